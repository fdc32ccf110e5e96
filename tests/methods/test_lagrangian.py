"""Lagrange multipliers: where they end on a convex problem, and whole steps against the formulas in float64."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import nnls
from torch import nn

import methods
from tests.conftest import make_toy_stream
from tests.methods.developing import develop
from tests.methods.test_mds_variants import Doubles

pytest.importorskip("cooper", reason='needs cooper-optim: pip install "mds-bench[cooper]"')

BOTH = ("primal-dual", "augmented-lagrangian")
CLASSES = 5

# Minimise |w - GOAL|^2 / 2 subject to ROWS w <= 0: three constraints hold with equality at the minimum. The third never
# binds; the fifth is violated at GOAL, and so on the way, but not at the minimum.
ROWS = torch.tensor([[1, 0, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 1, 3]])
GOAL = torch.tensor([1.0, 0.5, -0.7, 0.4])


class Point(nn.Module):
    """A point w, in the form of a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(4))

    def forward(self, images):
        return images.new_zeros(len(images), CLASSES + 1) + 0 * self.w.sum()


def solved(name: str, **changes):
    """The strategy ``name`` with the quadratic for F and ROWS w for the losses of classes."""

    class Quadratic(methods.load(name)):
        def round_loss(self, logits, labels):
            losses = (ROWS @ self.model.w)[self.batches.class_positions]
            each = losses.repeat_interleave(self.batches.images_per_class)
            return (self.model.w - GOAL).square().sum() / 2 + self.protected_loss(each)

        def old_losses(self):
            return torch.zeros(len(self.batches.protected_rows))

    stream = make_toy_stream(0, per_class=4)
    fixed = {"lr": 0.02, "weight_decay": 0.0, "warmup": 0.0, "gamma_protected": 1.0}
    strategy = Quadratic(model=Point(), settings=Quadratic.SETTINGS(**fixed, **changes))
    strategy.protect(stream.protected[0])
    strategy.train(stream.train[0], eval_streams=[])
    return strategy


@pytest.mark.parametrize(
    ("name", "shown", "tolerance", "changes"),
    [
        ("primal-dual", 5, 0.01, {"steps": 500, "batch_size": 13, "multiplier_lr": 0.1}),
        ("augmented-lagrangian", 5, 0.01, {"steps": 300, "batch_size": 13, "multiplier_lr": 0.2, "beta": 100.0}),
        ("augmented-lagrangian", 1, 0.03, {"steps": 600, "batch_size": 4, "multiplier_lr": 0.3, "beta": 20.0}),
    ],
)
def test_multipliers_end_at_those_of_the_kuhn_tucker_conditions(name, shown, tolerance, changes):
    """The dual of the problem is a least-squares problem with multipliers of 0 or more, which scipy solves."""
    wanted, _ = nnls(ROWS.T.double().numpy(), GOAL.double().numpy())
    assert [value > 0.3 for value in wanted] == [True, True, False, True, False]
    strategy = solved(name, **changes)
    kept = strategy.ascended / CLASSES  # the Lagrangian has the mean over the classes
    assert (kept.diff(dim=0) != 0).sum(dim=1).max() == min(shown, 4)  # all but the third move
    np.testing.assert_allclose(kept[-1], wanted, atol=tolerance)
    np.testing.assert_allclose(strategy.multipliers([len(kept)])[0] / CLASSES, wanted, atol=tolerance)
    np.testing.assert_allclose(strategy.model.w.detach(), GOAL - ROWS.T @ torch.from_numpy(wanted).float(), atol=0.01)
    assert (kept[:, 2] == 0).all() and kept[:, 4].max() > 0.02 and kept[-1, 4] == 0


@pytest.mark.parametrize("name", BOTH)
def test_a_step_follows_the_lagrangian_of_the_multipliers_that_the_step_has_moved(name, toy_stream):
    """F + mean_k lambda_k h_k, or with the augmented term, written anew; averages without memory are the batch's."""
    torch.manual_seed(0)
    model, eta, c = Doubles(), 0.8, 3.0
    old, compared = copy.deepcopy(model), []
    multipliers = torch.zeros(CLASSES, dtype=torch.float64)

    def lagrangian(x, y):
        nonlocal multipliers
        s, target = model(x), y == CLASSES
        own = s[target].gather(1, y[target, None])
        image_side = (s[target][:, y[~target]] - own).exp().mean(1).log().mean()
        text_side = (s[~target][:, CLASSES][None] - own).exp().mean(1).log().mean()
        change = F.cross_entropy(s, y, reduction="none") - F.cross_entropy(old(x), y, reduction="none").detach()
        h = torch.stack([change[y == k].mean() for k in range(CLASSES)])
        multipliers = (multipliers + eta * h.detach()).clamp_min(0)
        linear, squared = multipliers * h, (multipliers + c * h).clamp_min(0) ** 2 - multipliers**2
        return image_side + text_side + (linear if name == "primal-dual" else squared / (2 * c)).mean(), h

    class Compare:
        def before_update(self, strategy, **kwargs):
            loss, h = lagrangian(strategy.mb_x, strategy.mb_y)
            for wanted, parameter in zip(
                torch.autograd.grad(loss, list(model.parameters())), model.parameters(), strict=True
            ):
                torch.testing.assert_close(parameter.grad, wanted, rtol=1e-4, atol=1e-6)
            slopes = multipliers if name == "primal-dual" else (multipliers + c * h.detach()).clamp_min(0)
            (kept,) = strategy.multipliers([len(strategy.violations)])
            torch.testing.assert_close(kept, slopes.float(), rtol=1e-4, atol=1e-6)
            compared.append(h.detach())

    strategy_class = methods.load(name)
    wanted = {"tau": 1.0, "t": 1.0, "beta": c, "gamma_target": 1.0, "gamma_protected": 1.0, "multiplier_lr": eta}
    own = {key: value for key, value in wanted.items() if key in strategy_class.SETTINGS.model_fields}
    settings = strategy_class.SETTINGS(steps=6, batch_size=40, lr=0.1, warmup=0.0, **own)
    strategy = strategy_class(model=model, settings=settings, plugins=[Compare()])
    strategy.protect(toy_stream.protected[0])
    strategy.train(toy_stream.train[0], eval_streams=[])
    h = torch.stack(compared)
    assert len(h) == 6 and (h > 0.01).any() and (h < -0.01).any() and (multipliers > 0).any()


@pytest.mark.parametrize("name", BOTH)
def test_multipliers_of_classes_that_a_step_does_not_show_stay(name, toy_stream, toy_base):
    shown = []

    class Watched(methods.load(name)):
        def ascend(self, state):
            super().ascend(state)
            shown.append(set(self.batches.class_positions.tolist()))

    settings = Watched.SETTINGS(steps=8, batch_size=7, lr=1e-2, warmup=0.0)
    strategy = Watched(model=copy.deepcopy(toy_base), settings=settings)
    strategy.protect(toy_stream.protected[0])
    strategy.train(toy_stream.train[0], eval_streams=[])
    moved = strategy.ascended.diff(dim=0) != 0
    assert all(set(row.nonzero().flatten().tolist()) <= own for row, own in zip(moved, shown[1:], strict=True))
    assert moved.any() and all(len(own) < CLASSES for own in shown)


@pytest.mark.parametrize(
    ("name", "beta", "own"), [("primal-dual", 0.0, {}), ("augmented-lagrangian", 3.0, {"beta": 3.0})]
)
def test_with_multipliers_that_do_not_move_it_is_mds(name, beta, own, toy_stream):
    """Without its penalty, for primal-dual."""
    torch.manual_seed(0)
    model, changes = Doubles(), {"steps": 8, "lr": 0.05, "tau": 1.0}
    fixed, moving, mds = (
        torch.cat(
            [p.detach().flatten() for p in develop(which, model, toy_stream, **changes, **more).model.parameters()]
        )
        for which, more in (
            (name, own | {"multiplier_lr": 0.0}),
            (name, own | {"multiplier_lr": 10.0}),
            ("mds", {"beta": beta}),
        )
    )
    torch.testing.assert_close(fixed, mds, rtol=1e-4, atol=1e-5)
    assert (moving - mds).abs().max() > 0.01
