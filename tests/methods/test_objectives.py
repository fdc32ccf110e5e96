"""Gradients of the surrogates against autograd through the exact objectives, in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.estimators import MovingAverage
from methods.objectives import (
    class_losses,
    contrastive_means,
    global_contrastive,
    negative_gaps,
    squared_hinge_penalty,
)

TARGETS, KEPT, EACH, T, TAU, BETA = 4, 3, 5, 0.05, 0.05, 100.0


def problem(seed: int):
    """Features with gradients, labels (target images first), the old model's similarities."""
    rng = torch.Generator().manual_seed(seed)
    images = torch.randn(TARGETS + KEPT * EACH, 8, dtype=torch.float64, generator=rng, requires_grad=True)
    texts = torch.randn(KEPT + 1, 8, dtype=torch.float64, generator=rng, requires_grad=True)
    labels = torch.tensor([KEPT] * TARGETS + [k for k in range(KEPT) for _ in range(EACH)])
    old = torch.rand(TARGETS + KEPT * EACH, KEPT + 1, dtype=torch.float64, generator=rng) * 2 - 1
    return images, texts, labels, old


def similarity(images, texts):
    return F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T


def exact(images, texts, labels, old):
    """F + (beta tau / 2) mean_k [h_k]_+^2 written out with loops, as the paper states it."""
    s, tau_losses = similarity(images, texts), lambda sim, i: -torch.log_softmax(sim[i] / TAU, 0)[labels[i]]
    negatives = range(TARGETS, len(labels))
    value = torch.zeros((), dtype=torch.float64)
    for i in range(TARGETS):
        own = s[i, labels[i]]
        value = value + T * torch.stack([((s[i, labels[j]] - own) / T).exp() for j in negatives]).mean().log() / TARGETS
        value = value + T * torch.stack([((s[j, labels[i]] - own) / T).exp() for j in negatives]).mean().log() / TARGETS
    for k in range(KEPT):
        rows = [i for i in range(len(labels)) if labels[i] == k]
        h = (
            torch.stack([tau_losses(s, i) for i in rows]).mean()
            - torch.stack([tau_losses(old, i) for i in rows]).mean()
        )
        value = value + BETA * TAU / 2 * h.clamp_min(0) ** 2 / KEPT
    return value


def surrogate(images, texts, labels, old):
    s = similarity(images, texts)
    value = torch.zeros((), dtype=torch.float64)
    for gaps in negative_gaps(s, labels, TARGETS):
        means = contrastive_means(gaps, T)
        value = value + global_contrastive(means, means.detach(), T)
    losses = class_losses(s[TARGETS:], labels[TARGETS:], TAU).view(KEPT, EACH).mean(1)
    before = class_losses(old[TARGETS:], labels[TARGETS:], TAU).view(KEPT, EACH).mean(1)
    return value + squared_hinge_penalty(losses, (losses - before).detach(), BETA, TAU)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_surrogate_gradient_is_the_objectives(seed):
    images, texts, labels, old = problem(seed)
    wanted = torch.autograd.grad(exact(images, texts, labels, old), [images, texts])
    got = torch.autograd.grad(surrogate(images, texts, labels, old), [images, texts])
    for w, g in zip(wanted, got, strict=True):
        assert (w - g).norm() <= 1e-6 * w.norm()


def test_gradient_against_finite_differences():
    images, texts, labels, old = problem(3)
    (gradient,) = torch.autograd.grad(surrogate(images, texts, labels, old), [texts])
    step = 1e-6
    for c, d in [(0, 0), (1, 3), (KEPT, 5)]:
        change = torch.zeros_like(texts)
        change[c, d] = step
        slope = (exact(images, texts + change, labels, old) - exact(images, texts - change, labels, old)) / (2 * step)
        assert slope.item() == pytest.approx(gradient[c, d].item(), rel=1e-5, abs=1e-8)


def test_a_constraint_that_holds_has_no_weight():
    losses = torch.tensor([1.0, 2.0], requires_grad=True)
    squared_hinge_penalty(losses, torch.tensor([-0.1, 0.2]), beta=10.0, temperature=0.5).backward()
    assert losses.grad.tolist() == pytest.approx([0.0, 10 * 0.5 * 0.2 / 2])


def test_averages_start_from_the_first_value_and_mix_after():
    average = MovingAverage(3, gamma=0.8)
    assert average.update(torch.tensor([0, 2]), torch.tensor([1.0, 3.0])).tolist() == [1.0, 3.0]
    assert average.update(torch.tensor([2, 1]), torch.tensor([4.0, -1.0])).tolist() == pytest.approx([3.8, -1.0])
    assert average.value.tolist() == pytest.approx([1.0, -1.0, 3.8])
    assert average.seen.tolist() == [True, True, True]


def test_averages_scale_the_contrastive_gradient():
    means = torch.tensor([2.0, 4.0], requires_grad=True)
    global_contrastive(means, torch.tensor([1.0, 8.0]), temperature=0.1).backward()
    assert means.grad.tolist() == pytest.approx([0.1 / 1 / 2, 0.1 / 8 / 2])


def test_of_an_entry_that_is_met_twice_the_last_value_is_kept():
    average = MovingAverage(3, gamma=0.5)
    average.update(torch.tensor([0, 1, 2]), torch.tensor([1.0, 2.0, 3.0]))
    mixed = average.update(torch.tensor([1, 0, 1]), torch.tensor([4.0, 5.0, 6.0]))
    assert mixed.tolist() == [3.0, 3.0, 4.0], "each by what was there before"
    assert average.value.tolist() == [3.0, 4.0, 3.0]
