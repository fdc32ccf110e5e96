"""ELODI against its distance in closed form, and against rounds trained by hand with an optimizer for each model."""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmark.running.selection import Selection
from methods.elodi import ELODI, ELODISettings, logit_difference_inhibition
from methods.nonregression import squared_distance
from tests.methods.developing import watched

PLAIN = {"tau": 1.0, "lr": 0.02, "batch_size": 24}


# The distance


@settings(max_examples=50, deadline=None)
@given(
    st.tuples(st.integers(1, 6), st.integers(2, 7)),
    st.integers(0, 2**31),
    st.sampled_from([0.0, 0.5, 2.0]),
    st.sampled_from([1.0, 2.0, 3.5]),
    st.integers(0, 9),
)
def test_value_and_gradient_of_the_distance_are_the_closed_form(shape, seed, margin, power, top):
    new, reference = (np.random.default_rng([seed, part]).normal(size=shape) * 3 for part in range(2))
    counted = np.ones(shape, dtype=bool)
    if top:
        counted = new >= np.sort(new, axis=1)[:, -min(top, shape[1])][:, None]
    excess = np.maximum(np.abs(new - reference) - margin, 0)
    wanted = (excess**power)[counted].mean()
    slope = counted * power * excess ** (power - 1) * (excess > 0) * np.sign(new - reference) / counted.sum()
    z = torch.tensor(new, requires_grad=True)
    found = logit_difference_inhibition(z, torch.tensor(reference), margin, power, top)
    (gradient,) = torch.autograd.grad(found, z)
    assert found.item() == pytest.approx(wanted, rel=1e-12)
    np.testing.assert_allclose(gradient, slope, atol=1e-12)


def test_squares_of_all_differences_are_twice_the_distance_of_rcat():
    new, reference = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0)).unbind()
    wanted = 2 * squared_distance(new, reference).mean()
    torch.testing.assert_close(logit_difference_inhibition(new, reference, 0.0, 2.0), wanted)


# Rounds


class Batches:
    """A plugin that keeps the batch of each step."""

    def __init__(self):
        self.kept = []

    def before_forward(self, strategy, **kwargs):
        self.kept.append((strategy.mb_x.clone(), strategy.mb_y.clone()))


def trained(model, stream, plugins=(), **changes):
    strategy = ELODI(model=copy.deepcopy(model), settings=ELODISettings(**changes), plugins=list(plugins))
    strategy.protect(stream.protected[0])
    strategy.train(stream.train[0], eval_streams=[])
    return strategy


def rate(step: int, steps: int, s) -> float:
    """The learning rate of a step, from 0, of a training of so many steps."""
    warmup = max(1, round(s.warmup * steps))
    if step < warmup:
        return s.lr * (step + 1) / warmup
    return s.lr * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2


def fit(old, batches, loss, s):
    """A copy of the old model after a training of its own on ``batches``, and its losses."""
    model, losses = copy.deepcopy(old).train(), []
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=s.weight_decay)
    for step, (x, y) in enumerate(batches):
        optimizer.param_groups[0]["lr"] = rate(step, len(batches), s)
        value = loss(model, x, y)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return model.eval(), losses


def by_hand(old, batches, sizes, z, s):
    """The new model and the losses of all steps; ``sizes`` are the numbers of steps of the members."""
    members, losses, start = [], [], 0
    for size in sizes:
        part = batches[start : start + size]
        model, found = fit(old, part, lambda model, x, y: F.cross_entropy(z(model, x), y), s)
        members.append(model)
        losses += found
        start += size

    def distilled(model, x, y):
        with torch.no_grad():
            mean = sum(z(member, x) for member in members) / len(members)
        new = z(model, x)
        distance = (new - mean).abs().sub(s.margin).clamp_min(0).pow(s.power).mean()
        return (1 - s.alpha) * F.cross_entropy(new, y) + s.alpha * distance

    model, found = fit(old, batches[start:], distilled, s)
    return model, losses + found


@pytest.fixture(params=["plain", "clip"])
def any_model(request):
    """A classifier, the settings that suit it, and its logits z of images."""
    if request.param == "plain":
        torch.manual_seed(0)
        model = nn.Sequential(nn.AvgPool2d(32), nn.Flatten(), nn.Linear(12, 6))
        return model, PLAIN, lambda model, images: model(images)
    old = request.getfixturevalue("toy_base")
    return old, {"lr": 3e-4, "batch_size": 24}, lambda model, images: model.similarity(images) / 0.05


@pytest.mark.parametrize("augment", [False, True], ids=["clean", "varied"])
@pytest.mark.parametrize(("steps", "members", "sizes"), [(10, 2, [2, 3]), (7, 4, [0, 1, 1, 1]), (4, 3, [0, 1, 1])])
def test_a_round_is_that_of_members_and_a_new_model_trained_by_hand(
    any_model, augment, steps, members, sizes, toy_stream
):
    old, common, z = any_model
    batches, stream = Batches(), dataclasses.replace(toy_stream, augment=augment)
    chosen = {"steps": steps, "members": members, "alpha": 0.7, "margin": 0.05, **common}
    strategy = trained(old, stream, [batches], **chosen)
    model, losses = by_hand(old, batches.kept, sizes, z, strategy.settings)
    assert [loss.item() for loss in strategy.losses] == pytest.approx(losses, rel=1e-3, abs=1e-4)
    if common is PLAIN:
        for found, wanted in zip(strategy.model.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert strategy.ensemble == [] and strategy.start == {}


@pytest.mark.parametrize(("steps", "points"), [(8, [6, 8]), (9, [5, 7, 9]), (1, [1]), (0, [])])
def test_members_are_no_candidates(steps, points, toy_base, toy_stream):
    val, round_ = toy_stream.data[0].val, toy_stream.rounds[0]
    selection = Selection(val, torch.zeros_like(val.labels), round_, toy_stream.classes, steps)
    trained(toy_base, toy_stream, [selection], steps=steps, batch_size=12)
    assert [point.step for point in selection.checkpoints] == points and selection.diverged_at is None


def test_members_are_no_ingredients_of_a_soup(toy_base, toy_stream):
    plugin = watched("elodi+soup", copy.deepcopy(toy_base), toy_stream, steps=8, members=2)[0].weight_space
    assert len(plugin.ingredients) == 2  # of the four points those after half of the steps


def test_every_value_of_the_grid_is_a_setting():
    for field, values in ELODISettings.GRID.items():
        assert [getattr(ELODISettings(**{field: value}), field) for value in values] == list(values)
