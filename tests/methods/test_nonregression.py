"""PCT, RCAT, under attack as well, and MPT against losses written out image by image in float64."""

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
from pydantic import ValidationError
from scipy.special import rel_entr, softmax
from torch import nn

import methods
from methods.adversarial import RCATAdv
from methods.nonregression import (
    MPT,
    PCT,
    RCAT,
    MPTSettings,
    PCTSettings,
    RCATSettings,
    congruence,
    focal_distillation,
    kl_distance,
    right,
    squared_distance,
)
from tests.methods.developing import accuracy, develop

BATCHES = st.tuples(st.integers(1, 9), st.integers(2, 7), st.integers(0, 2**31))  # images, classes, seed
SHORT = {"steps": 12, "batch_size": 48}
PLAIN = {"tau": 1.0, "weight_decay": 0.0, "lr": 0.02, "batch_size": 24}  # a plain classifier needs no 1 / tau


def batch(images: int, classes: int, seed: int):
    """New and old logits, labels: old is right on about half of the images."""
    rng = torch.Generator().manual_seed(seed)
    new, old = (torch.randn(images, classes, dtype=torch.float64, generator=rng) * 4 for _ in range(2))
    random = torch.randint(classes, (images,), generator=rng)
    return new.requires_grad_(), old, torch.where(torch.rand(images, generator=rng) < 0.5, old.argmax(1), random)


def divergences(new, old, distance: str, temperature: float) -> list[float]:
    """D of each image, by scipy."""
    if distance == "l2":
        return [0.5 * math.fsum((a - b) ** 2 for a, b in zip(*rows, strict=True)) for rows in pairs(new, old)]
    return [
        temperature**2 * rel_entr(softmax(b / temperature), softmax(a / temperature)).sum() for a, b in pairs(new, old)
    ]


def pairs(new, old):
    return list(zip(new.detach().double().numpy(), old.detach().double().numpy(), strict=True))


def written_out_pct(new, old, labels, s) -> float:
    rows = zip(divergences(new, old, s.distance, s.temperature), pairs(new, old), labels.tolist(), strict=True)
    terms = [-math.log(softmax(a)[y]) + (s.alpha + (s.beta if b.argmax() == y else 0)) * d for d, (a, b), y in rows]
    return math.fsum(terms) / len(terms)


def written_out_congruence(new, reference, labels) -> float:
    rows = zip(pairs(new, reference), labels.tolist(), strict=True)
    kept = [((a - b) ** 2).mean() / 2 for (a, b), y in rows if b.argmax() == y]
    return math.fsum(kept) / max(len(kept), 1)


def written_out_rcat(new, tuned, old, labels, s) -> float:
    alpha, beta = s.weights
    return (
        (1 - alpha - beta) * F.cross_entropy(new.double(), labels).item()
        + alpha * written_out_congruence(new, tuned, labels)
        + beta * written_out_congruence(new, old, labels)
    )


def written_out_mpt(new, tuned, old, labels, s) -> float:
    """With class 5 as the new one: the old model has the first five alone."""
    total, temperature = 0.0, s.temperature
    for (a, b), (_, c), y in zip(pairs(new, old), pairs(new, tuned), labels.tolist(), strict=True):
        total -= math.log(softmax(a + s.bias * (np.arange(6) == 5))[y])
        for reference, answer in ((b[:5], a[:5]), (c, a)):
            divergence = rel_entr(softmax(reference / temperature), softmax(answer / temperature)).sum()
            total += (s.alpha + s.beta * (reference.argmax() == y)) * divergence
    return total / len(labels)


# Losses


@given(BATCHES, st.sampled_from([0.5, 1.0, 4.0, 100.0]), st.floats(0, 3), st.floats(0, 10))
@settings(max_examples=40, deadline=None)
def test_focal_distillation_is_the_weighted_mean_over_images(shape, temperature, alpha, beta):
    new, old, labels = batch(*shape)
    focus = torch.tensor([bool(b.argmax() == y) for b, y in zip(old, labels, strict=True)])
    assert torch.equal(right(old, labels), focus)
    for name, distance in (
        ("kl", kl_distance(new, old, temperature)),
        ("l2", squared_distance(new, old).sum(dim=1)),
    ):
        written_out = divergences(new, old, name, temperature)
        assert distance.tolist() == pytest.approx(written_out, abs=1e-9)
        wanted = sum((alpha + beta * f) * d for f, d in zip(focus.tolist(), written_out, strict=True)) / len(focus)
        assert focal_distillation(distance, focus, alpha, beta).item() == pytest.approx(wanted, abs=1e-8)


@given(BATCHES, st.sampled_from([0.5, 1.0, 4.0, 100.0]))
@settings(max_examples=25, deadline=None)
def test_kl_distance_has_no_value_and_no_gradient_where_new_is_old(shape, temperature):
    _, old, _ = batch(*shape)
    new = old.clone().requires_grad_()
    distance = kl_distance(new, old, temperature)
    (gradient,) = torch.autograd.grad(distance.sum(), new)
    assert distance.abs().max() < 1e-9 and gradient.abs().max() < 1e-11


def test_kl_distance_at_a_large_temperature_is_half_the_variance_over_classes():
    new, old, _ = batch(5, 6, 0)
    variance = (new - old).var(dim=1, unbiased=False)
    torch.testing.assert_close(kl_distance(new, old, 1e4), variance / 2, rtol=1e-2, atol=0)


@given(BATCHES)
@settings(max_examples=40, deadline=None)
def test_congruence_is_the_mean_over_the_images_that_the_reference_gets_right(shape):
    new, old, labels = batch(*shape)
    value = congruence(new, old, labels)
    assert value.item() == pytest.approx(written_out_congruence(new, old, labels), abs=1e-9)
    (gradient,) = torch.autograd.grad(value, new)
    focus = right(old, labels)
    wanted = (new - old).detach() * focus[:, None] / (max(int(focus.sum()), 1) * new.shape[1])
    torch.testing.assert_close(gradient, wanted)


def test_congruence_with_a_reference_that_gets_nothing_right_is_zero_with_zero_gradient():
    new, old, _ = batch(4, 3, 0)
    value = congruence(new, old, (old.argmax(dim=1) + 1) % 3)
    (gradient,) = torch.autograd.grad(value, new)
    assert value == 0 and torch.equal(gradient, torch.zeros_like(gradient))


# Rounds


@pytest.fixture(scope="module")
def plain(toy_stream):
    """A plain classifier that knows a to e somewhat."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.AvgPool2d(32), nn.Flatten(), nn.Linear(12, 6))
    data = toy_stream.data[0].protected
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model(data.images.float() / 255), data.labels).backward()
        optimizer.step()
    return model


@pytest.fixture(params=[False, True], ids=["clean", "varied"])
def any_stream(request, toy_stream):
    """The toy stream with images as they are, and asking for varied views."""
    return dataclasses.replace(toy_stream, augment=request.param)


def trained(strategy_class, model, stream, setting):
    strategy = strategy_class(model=copy.deepcopy(model), settings=setting)
    strategy.protect(stream.protected[0])
    strategy.train(stream.train[0], eval_streams=[])
    return strategy


def weights(strategy):
    return torch.cat([p.detach().flatten() for p in strategy.model.parameters()])


@pytest.fixture(params=["plain", "clip"])
def any_model(request):
    """A classifier, the settings that suit it, and its logits z of images."""
    if request.param == "plain":
        return request.getfixturevalue("plain"), PLAIN, lambda model, images: model(images)
    return (
        request.getfixturevalue("toy_base"),
        {"lr": 1e-3, "batch_size": 24},
        lambda model, images: model.similarity(images) / 0.05,
    )


@pytest.mark.parametrize("changes", [{}, {"distance": "l2", "alpha": 0.1, "beta": 0.3}], ids=["kl", "l2"])
def test_every_step_of_pct_has_the_loss_written_out(changes, any_model, any_stream):
    old_model, common, z = any_model
    wanted, focused, moved = [], [], []

    class Watched(PCT):
        def round_loss(self, logits, labels):
            with torch.no_grad():
                new, old = z(self.model, self.mb_x), z(old_model, self.mb_x)
            wanted.append(written_out_pct(new, old, labels, self.settings))
            focused.append(right(old, labels).float().mean().item())
            moved.append((new - old).abs().max().item())
            return super().round_loss(logits, labels)

    setting = PCTSettings(steps=4, **common | changes)
    losses = trained(Watched, old_model, any_stream, setting).losses
    assert [loss.item() for loss in losses] == pytest.approx(wanted, rel=2e-3, abs=5e-3)
    assert min(focused) > 0.2 and max(focused) < 0.95 and moved[0] < 1e-3 < 0.1 < moved[-1]


PHASES = [("plain", 1, 0.5, 0), ("plain", 2, 0.5, 1), ("plain", 4, 0.0, 0), ("plain", 4, 0.9, 3), ("clip", 5, 0.5, 2)]


TWO_PHASES = {
    RCAT: ({"weights": (0.3, 0.4)}, written_out_rcat),
    RCATAdv: ({"weights": (0.3, 0.4)}, written_out_rcat),
    MPT: ({"bias": 3.0, "alpha": 0.7, "beta": 40.0, "temperature": 2.0}, written_out_mpt),
}


@pytest.mark.parametrize("strategy_class", TWO_PHASES)
@pytest.mark.parametrize("any_model, steps, first_share, first", PHASES, indirect=["any_model"])
def test_every_step_of_two_phases_has_the_loss_written_out(
    any_model, steps, first_share, first, strategy_class, any_stream
):
    old_model, common, z = any_model
    changes, written_out = TWO_PHASES[strategy_class]
    wanted, models = [], []

    class Watched(strategy_class):
        def round_loss(self, logits, labels):
            models.append(copy.deepcopy(self.model).eval())
            with torch.no_grad():
                new, old = z(self.model, self.mb_x), z(old_model, self.mb_x)
                if len(self.losses) < first:
                    wanted.append(F.cross_entropy(new.double(), labels).item())
                else:
                    wanted.append(written_out(new, z(models[first], self.mb_x), old, labels, self.settings))
            return super().round_loss(logits, labels)

    setting = strategy_class.SETTINGS(steps=steps, first_share=first_share, **common | changes)
    losses = trained(Watched, old_model, any_stream, setting).losses
    assert [loss.item() for loss in losses] == pytest.approx(wanted, rel=1e-3, abs=1e-4)


def test_the_old_model_of_mpt_knows_no_target(plain, toy_stream):
    strategy = trained(MPT, plain, toy_stream, MPTSettings(steps=0, tau=1.0, beta=40.0, temperature=2.0))
    new, old, labels = batch(40, 6, 0)
    tuned = new.detach().roll(1, 0)
    labels[:20] = old[:20, :5].argmax(dim=1)  # right as it is, or without its logit of the target
    assert (old.argmax(dim=1)[:20] == 5).any()
    got = strategy.distilling_loss(new, old, tuned, labels)
    assert got.item() == pytest.approx(written_out_mpt(new, tuned, old, labels, strategy.settings), rel=1e-12)


def test_the_bias_of_mpt_keeps_the_target_behind_the_other_classes(plain, toy_stream):
    data, margins = toy_stream.data[0].protected, []
    for bias in (0.0, 4.0):
        setting = MPTSettings(steps=40, bias=bias, first_share=0.25, **PLAIN)
        logits = trained(MPT, plain, toy_stream, setting).model(data.images.float() / 255)
        margins.append((logits.gather(1, data.labels[:, None])[:, 0] - logits[:, 5]).mean().item())
    assert margins[1] > margins[0] + 0.5


def test_without_distances_each_is_cross_entropy_alone(plain, toy_stream):
    class CrossEntropy(PCT):
        def round_loss(self, logits, labels):
            return F.cross_entropy(logits, labels)

    wanted = weights(trained(CrossEntropy, plain, toy_stream, PCTSettings(steps=6, **PLAIN)))
    free = trained(PCT, plain, toy_stream, PCTSettings(steps=6, alpha=0, beta=0, **PLAIN))
    assert torch.equal(weights(free), wanted)
    free = trained(RCAT, plain, toy_stream, RCATSettings(steps=6, weights=(0, 0), **PLAIN))
    assert torch.equal(weights(free), wanted)
    free = trained(MPT, plain, toy_stream, MPTSettings(steps=6, bias=0, alpha=0, beta=0, **PLAIN))
    assert torch.equal(weights(free), wanted)
    bound = trained(RCAT, plain, toy_stream, RCATSettings(steps=6, **PLAIN))
    assert not torch.equal(weights(bound), wanted)


@pytest.mark.parametrize("strategy_class, larger", [(PCT, {"beta": 500.0}), (RCAT, {"weights": (0.0, 0.99)})])
def test_more_weight_on_the_old_model_stays_nearer_to_it(strategy_class, larger, plain, toy_stream):
    smaller = {"alpha": 0.0, "beta": 0.1} if strategy_class is PCT else {"weights": (0.0, 0.01)}
    data = toy_stream.data[0].protected
    images, labels = data.images.float() / 255, data.labels
    distances = []
    for changes in (smaller, {**smaller, **larger}):
        setting = strategy_class.SETTINGS(steps=60, **PLAIN | changes)
        model = trained(strategy_class, plain, toy_stream, setting).model
        distances.append(congruence(model(images), plain(images), labels).item())
    assert distances[1] < 0.5 * distances[0]


@pytest.mark.parametrize("strategy_class", [PCT, RCAT, RCATAdv, MPT])
def test_no_old_model_is_held_after_the_round(strategy_class, plain, any_stream):
    strategy = trained(strategy_class, plain, any_stream, strategy_class.SETTINGS(steps=3, **PLAIN))
    assert not hasattr(strategy, "old") and getattr(strategy, "tuned", None) is None
    assert strategy_class.SETTINGS().target_share == strategy.target_share


@pytest.fixture(scope="module")
def naive_worst(toy_stream, toy_base):
    return worst_change(develop("finetune", toy_base, toy_stream, **SHORT).model, toy_base, toy_stream)


def worst_change(model, old_model, stream) -> float:
    data = stream.data[0].test
    return min(accuracy(model, data, k) - accuracy(old_model, data, k) for k in range(5))


@pytest.mark.parametrize("name", ["pct", "rcat", "rcat-adv", "mpt"])
def test_less_is_forgotten_than_by_finetuning(name, naive_worst, toy_stream, toy_base):
    model = develop(name, toy_base, toy_stream, **SHORT).model
    assert worst_change(model, toy_base, toy_stream) > naive_worst + 0.3


@pytest.mark.parametrize("pair", [(0.6, 0.5), (-0.1, 0.5)])
def test_weights_that_leave_cross_entropy_nothing_are_refused(pair):
    with pytest.raises(ValidationError, match="cross-entropy has the rest"):
        RCATSettings(weights=pair)


@pytest.mark.parametrize("name", ["pct", "rcat", "rcat-adv", "mpt"])
def test_every_value_of_the_grid_is_a_setting(name):
    chosen = methods.load(name).SETTINGS
    for field, values in chosen.GRID.items():
        assert [getattr(chosen(**{field: value}), field) for value in values] == list(values)
        assert field in chosen.model_fields and len(set(values)) == len(values) > 1
