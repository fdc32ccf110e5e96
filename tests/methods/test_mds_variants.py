"""Variants of MDS: gradients of whole training steps against autograd through the penalised objectives."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

import methods
from methods.constraints import CosineWeight
from methods.objectives import hinge_penalty
from tests.methods.developing import develop

MARGIN = 0.05
PENALTIES = {
    "mds": lambda h: h.clamp_min(0) ** 2 / 2,
    "mds-cosine": lambda h: h.clamp_min(0) ** 2 / 2,
    "mds-l1": lambda h: h.clamp_min(0),
    "mds-margin": lambda h: (h + MARGIN).clamp_min(0) ** 2 / 2,
    "mds-replay": lambda h: (h + MARGIN).clamp_min(0) ** 2 / 2,
}


@trials(max_examples=50, deadline=None)
@given(st.lists(st.floats(-3, 3).filter(lambda h: abs(h) > 1e-6), min_size=1, max_size=8), st.floats(0, 500))
def test_hinge_gradient_is_that_of_the_exact_penalty(violations, beta):
    old = torch.linspace(0.2, 1.0, len(violations), dtype=torch.float64)
    losses = (old + torch.tensor(violations, dtype=torch.float64)).requires_grad_()
    h = losses - old
    (wanted,) = torch.autograd.grad(beta * 0.05 * h.clamp_min(0).mean(), losses, retain_graph=True)
    (got,) = torch.autograd.grad(hinge_penalty(losses, h.detach(), beta, 0.05), losses)
    torch.testing.assert_close(got, wanted)


class Doubles(nn.Module):
    """A plain classifier in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(48, 6, dtype=torch.float64)

    def forward(self, images):
        return self.linear(F.avg_pool2d(images, 16).flatten(1).double())


def rising(steps: int) -> list[float]:
    """Shares of a weight by the cosine schedule, step by step: what torch's annealing to 0 has taken off."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    shares = []
    for _ in range(steps):
        optimizer.step()
        schedule.step()
        shares.append(1 - schedule.get_last_lr()[0])
    return shares


@pytest.mark.parametrize("name", PENALTIES)
def test_a_step_without_memory_follows_the_gradient_of_the_penalised_objective(name, toy_stream):
    """Objective + beta tau mean_k penalty(h_k), written anew, in float64; averages without memory are the batch's.

    The objective is F, of mds-replay the cross-entropy of the batch.
    """
    torch.manual_seed(0)
    model, compared = Doubles(), []
    old = copy.deepcopy(model)
    shares = rising(5) if name == "mds-cosine" else [1.0] * 5

    def objective(x, y):
        s, target = model(x), y == 5
        own = s[target].gather(1, y[target, None])
        image_side = (s[target][:, y[~target]] - own).exp().mean(1).log().mean()
        text_side = (s[~target][:, 5][None] - own).exp().mean(1).log().mean()
        change = F.cross_entropy(s, y, reduction="none") - F.cross_entropy(old(x), y, reduction="none").detach()
        h = torch.stack([change[y == k].mean() for k in range(5)])
        first = F.cross_entropy(s, y) if name == "mds-replay" else image_side + text_side
        return first + 3.0 * shares[len(compared)] * PENALTIES[name](h).mean(), h

    class Compare:
        def before_update(self, strategy, **kwargs):
            loss, h = objective(strategy.mb_x, strategy.mb_y)
            compared.append(h.detach())
            if len(compared) > 1:  # before the first step h is 0, where the hinge has no gradient
                for wanted, parameter in zip(
                    torch.autograd.grad(loss, list(model.parameters())), model.parameters(), strict=True
                ):
                    torch.testing.assert_close(parameter.grad, wanted, rtol=1e-4, atol=1e-7)

    strategy_class = methods.load(name)
    wanted = {"tau": 1.0, "t": 1.0, "beta": 3.0, "gamma_target": 1.0, "gamma_protected": 1.0, "margin": MARGIN}
    own = {key: value for key, value in wanted.items() if key in strategy_class.SETTINGS.model_fields}
    settings = strategy_class.SETTINGS(steps=5, batch_size=40, lr=0.1, warmup=0.0, **own)
    strategy = strategy_class(model=model, settings=settings, plugins=[Compare()])
    strategy.protect(toy_stream.protected[0])
    strategy.train(toy_stream.train[0], eval_streams=[])
    h = torch.stack(compared)[1:]
    assert len(compared) == 5 and (h > 0.01).any() and (h < -0.01).any()  # of both kinds


def test_the_moving_average_decides_what_counts_as_violated(toy_stream, toy_base):
    """A class whose average is below 0 has no weight although the batch's h is above."""
    weighted = []

    class Watched(methods.load("mds-l1")):
        def protected_loss(self, losses):
            value = super().protected_loss(losses)
            self.violation.value.fill_(-100.0)
            weighted.append(value.item())
            return value

    settings = Watched.SETTINGS(steps=3, batch_size=32, lr=3e-3, warmup=0.0, gamma_protected=0.5)
    strategy = Watched(model=copy.deepcopy(toy_base), settings=settings)
    strategy.protect(toy_stream.protected[0])
    strategy.train(toy_stream.train[0], eval_streams=[])
    assert weighted[1:] == [0.0, 0.0]


def test_mds_without_heads_is_mds_of_rank_zero(toy_stream, toy_base):
    changes = {"steps": 4, "batch_size": 32}
    bare, rank_zero, full = (
        develop(name, toy_base, toy_stream, **changes, **more).model.state_dict()
        for name, more in (("mds-no-heads", {}), ("mds", {"head_rank": 0}), ("mds", {}))
    )
    assert bare.keys() == toy_base.state_dict().keys() and "heads_in" in full
    assert all(torch.equal(bare[key], rank_zero[key]) for key in bare)
    assert any(not torch.equal(bare[key], full[key]) for key in bare)
    with pytest.raises(ValidationError):
        methods.load("mds-no-heads").SETTINGS(head_rank=8)


@pytest.mark.parametrize(("of", "slope"), [("mds", lambda u: u.clamp_min(0)), ("mds-l1", lambda u: 1.0 * (u > 0))])
def test_the_cosine_schedule_raises_the_weight_of_any_penalty_to_its_full_value(of, slope, toy_stream, toy_base):
    class Rising(CosineWeight, methods.load(of)):
        pass

    settings = Rising.SETTINGS(steps=6, batch_size=32, lr=3e-3, beta=10.0, tau=0.1)
    strategy = Rising(model=copy.deepcopy(toy_base), settings=settings)
    strategy.protect(toy_stream.protected[0])
    strategy.train(toy_stream.train[0], eval_streams=[])
    found, u = strategy.multipliers([1, 3, 6]), torch.stack(strategy.violations)[[0, 2, 5]]
    shares = torch.tensor(rising(6))[[0, 2, 5], None]
    torch.testing.assert_close(found, shares * slope(u), rtol=1e-5, atol=1e-8)
    assert 0 < shares[0] < 0.1 and shares[-1] == 1 and (found[-1] > 0).any()


def test_a_margin_weighs_classes_that_fell_by_less_than_it(toy_stream, toy_base):
    strategy = develop("mds-margin", toy_base, toy_stream, steps=3, margin=0.2, beta=10.0, tau=0.1)
    violations = torch.tensor([-0.3, -0.2, -0.1, 0.0, 0.1])
    torch.testing.assert_close(multipliers_of(strategy, violations), (violations + 0.2).clamp_min(0))
    plain = develop("mds", toy_base, toy_stream, steps=3, beta=10.0, tau=0.1)
    torch.testing.assert_close(multipliers_of(plain, violations), violations.clamp_min(0))


def multipliers_of(strategy, violations):
    """The multipliers of a last step with these violations."""
    strategy.violations[-1] = violations
    (found,) = strategy.multipliers([len(strategy.violations)])
    return found


def test_without_a_margin_it_is_mds(toy_stream, toy_base):
    one, same, other = (
        develop(name, toy_base, toy_stream, steps=6, **more).model.state_dict()
        for name, more in (("mds", {}), ("mds-margin", {"margin": 0.0}), ("mds-margin", {"margin": 0.3}))
    )
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_mds_replay_without_a_penalty_is_replay(toy_stream, toy_base):
    replay, same, other = (
        develop(name, toy_base, toy_stream, steps=6, target_share=0.25, **more).model.state_dict()
        for name, more in (("replay", {}), ("mds-replay", {"beta": 0.0}), ("mds-replay", {}))
    )
    assert all(torch.equal(replay[key], same[key]) for key in replay) and replay.keys() == other.keys()
    assert any(not torch.equal(replay[key], other[key]) for key in replay)


def test_mds_replay_weighs_the_slowest_class_most(toy_stream, toy_base):
    strategy = develop("mds-replay", toy_base, toy_stream, steps=3, margin=0.3, beta=10.0, tau=0.1)
    weights = multipliers_of(strategy, torch.tensor([0.1, -0.1, -0.3, -0.4, -0.5]))
    torch.testing.assert_close(weights, torch.tensor([0.4, 0.2, 0.0, 0.0, 0.0]))
    assert len(strategy.violations) == 3


def test_grids_of_the_family_are_of_equal_size_and_hold_the_default():
    for name in ("mds", "mds-l1", "mds-no-heads", "rm"):
        settings = methods.load(name).SETTINGS
        assert sorted(map(len, settings.GRID.values())) == [4, 5]
        assert all(getattr(settings(), key) in values for key, values in settings.GRID.items())
