"""SONEX: its penalty against the definition of the Moreau envelope, its steps against recursions in float64."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import nn

from methods.objectives import hinge_penalty, smoothed_hinge_penalty
from methods.sonex import SONEX, SONEXSettings
from tests.conftest import make_toy_stream
from tests.methods.test_mds_variants import Doubles

MU, BETA, TAU = 0.1, 20.0, 0.05
CLASSES = 5


def envelope(h: float, mu: float) -> float:
    """min_x [x]_+ + (x - h)^2 / (2 mu), by search."""
    return minimize_scalar(
        lambda x: max(x, 0.0) + (x - h) ** 2 / (2 * mu),
        bounds=(h - 2 * mu, h + 2 * mu),
        method="bounded",
        options={"xatol": 1e-12},
    ).fun


def test_the_slope_of_the_penalty_is_that_of_the_hinges_moreau_envelope():
    violations = torch.tensor([-1.0, -0.01, 0.003, 0.05, 0.097, 0.13, 2.0], dtype=torch.float64)
    losses = torch.rand(len(violations), dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(smoothed_hinge_penalty(losses, violations, BETA, TAU, MU), losses)
    step = 1e-4
    slopes = [(envelope(h + step, MU) - envelope(h - step, MU)) / (2 * step) for h in violations.tolist()]
    wanted = BETA * TAU * torch.tensor(slopes, dtype=torch.float64) / len(violations)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-7)
    narrow = smoothed_hinge_penalty(losses, violations, BETA, TAU, 1e-9)
    torch.testing.assert_close(narrow, hinge_penalty(losses, violations, BETA, TAU))


class Watch:
    """Notes what a step depends on: weights, gradients, and h of its classes with the weights of now and of before."""

    def __init__(self, old: Doubles) -> None:
        self.old, self.models, self.gradients = old, [], []
        self.shown, self.now, self.earlier, self.batches = [], [], [], []

    def before_update(self, strategy, **kwargs) -> None:
        batches = strategy.batches
        first = len(batches.target_rows)
        x, y = strategy.mb_x[first:], strategy.mb_y[first:]
        self.models.append(copy.deepcopy(strategy.model))
        self.shown.append(batches.class_positions.tolist())
        self.batches.append((strategy.mb_x, strategy.mb_y))
        self.now.append(self.change(self.models[-1], x, y, batches.images_per_class))
        self.earlier.append(self.change(self.models[max(len(self.models) - 2, 0)], x, y, batches.images_per_class))
        self.gradients.append([p.grad.clone() for p in strategy.model.parameters()])

    def change(self, model, x, y, each: int) -> list[float]:
        with torch.no_grad():
            new, old = (F.cross_entropy(m(x), y, reduction="none") for m in (model, self.old))
        return (new - old).view(-1, each).mean(1).tolist()


def watched(stream, **changes) -> tuple[SONEX, Watch]:
    torch.manual_seed(0)
    model = Doubles()
    watch = Watch(copy.deepcopy(model))
    settings = SONEXSettings(**{"lr": 0.05, "warmup": 0.0, "tau": 1.0, "t": 1.0, "gamma_target": 1.0} | changes)
    strategy = SONEX(model=model, settings=settings, plugins=[watch])
    strategy.protect(stream.protected[0])
    strategy.train(stream.train[0], eval_streams=[])
    return strategy, watch


@pytest.mark.parametrize(("batch_size", "shown"), [(40, CLASSES), (4, 1)])
def test_estimates_follow_the_recursion_with_what_the_last_step_did(batch_size, shown, toy_stream):
    gamma = 0.3
    strategy, watch = watched(toy_stream, steps=12, batch_size=batch_size, gamma_protected=gamma)
    factor = (CLASSES - shown) / (shown * (1 - gamma)) + 1 - gamma
    u: dict[int, float] = {}
    for step, classes in enumerate(watch.shown):
        assert len(classes) == shown
        for k, now, before in zip(classes, watch.now[step], watch.earlier[step], strict=True):
            u[k] = (1 - gamma) * u[k] + gamma * now + factor * (now - before) if k in u else now
        wanted = torch.tensor([u.get(k, 0.0) for k in range(CLASSES)])
        torch.testing.assert_close(strategy.violations[step], wanted, rtol=1e-4, atol=1e-5)
    assert max(abs(value) for value in u.values()) > 0.01


def test_where_every_step_shows_all_images_a_step_follows_the_smoothed_objective():
    """Then u_k is h_k itself, whatever gamma."""
    mu, steps = 0.3, 10
    stream = make_toy_stream(0, per_class=6)
    _, watch = watched(stream, steps=steps, batch_size=40, lr=0.02, mu=mu, gamma_protected=0.1)
    parts: set[int] = set()
    for step in range(1, steps):
        model, (x, y) = watch.models[step], watch.batches[step]
        s, target = model(x), y == CLASSES
        own = s[target].gather(1, y[target, None])
        objective = (s[target][:, y[~target]] - own).exp().mean(1).log().mean()
        objective = objective + (s[~target][:, CLASSES][None] - own).exp().mean(1).log().mean()
        change = F.cross_entropy(s, y, reduction="none") - F.cross_entropy(watch.old(x), y, reduction="none").detach()
        h = torch.stack([change[y == k].mean() for k in range(CLASSES)])
        smoothed = torch.where(h > mu, h - mu / 2, h.clamp_min(0) ** 2 / (2 * mu))
        wanted = torch.autograd.grad(objective + 20.0 * smoothed.mean(), list(model.parameters()))
        for found, gradient in zip(watch.gradients[step], wanted, strict=True):
            torch.testing.assert_close(found, gradient, rtol=1e-4, atol=1e-6)
        parts |= set(np.digitize(h.tolist(), [0.0, mu]).tolist())
    assert parts == {0, 1, 2}  # kept, violated by less than mu and by more


def test_the_direction_of_a_step_is_the_moving_average_of_gradients(toy_stream):
    strategy, watch = watched(toy_stream, steps=5, batch_size=40)
    for number, parameter in enumerate(strategy.model.parameters()):
        average = torch.zeros_like(parameter)
        for gradients in watch.gradients:
            average = 0.9 * average + 0.1 * gradients[number]
        torch.testing.assert_close(strategy.optimizer.state[parameter]["exp_avg"], average)


def test_older_weights_see_a_batch_without_a_trace_in_batch_norms(toy_stream):
    model = nn.Sequential(nn.AvgPool2d(16), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 6))
    strategy = SONEX(model=model, settings=SONEXSettings(steps=4, batch_size=40))
    strategy.protect(toy_stream.protected[0])
    strategy.train(toy_stream.train[0], eval_streams=[])
    assert model[1].num_batches_tracked == 4


def test_the_weights_of_the_step_before_are_given_back(toy_stream):
    strategy, _ = watched(toy_stream, steps=2, batch_size=40)
    assert not hasattr(strategy, "previous")
