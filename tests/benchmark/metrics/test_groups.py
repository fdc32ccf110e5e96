"""Sign flips of groups and the factor by which groups widen a variance."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm, permutation_test

from benchmark.metrics.counts import Counts
from benchmark.metrics.groups import Groups, design_effect, group_rows, sign_flip

nets = st.lists(st.integers(-60, 60), min_size=1, max_size=10)


@settings(deadline=None)
@given(nets)
def test_sign_flips_are_those_of_all_signs(net: list[int]) -> None:
    every = [
        sum(sign * abs(one) for sign, one in zip(signs, net, strict=True))
        for signs in product((-1, 1), repeat=len(net))
    ]
    expected = float(np.mean([total <= sum(net) for total in every])) if any(net) else 1.0
    assert sign_flip(np.array(net)) == pytest.approx(expected, abs=1e-12)


def test_sign_flips_are_those_of_scipy() -> None:
    net = np.random.default_rng(0).integers(-30, 25, 14)
    theirs = permutation_test((net,), np.sum, permutation_type="samples", alternative="less", n_resamples=np.inf)
    assert sign_flip(net) == pytest.approx(theirs.pvalue, abs=1e-12)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=10), st.integers(0, 2**32 - 1))
def test_a_few_great_changes_are_no_normal_sum(great: list[float], seed: int) -> None:
    """Against all signs of the great ones, each with the normal sum of 200 small ones."""
    small = np.random.default_rng(seed).normal(0, 1e-4, 200)
    net = np.concatenate([great, small])
    sums = np.array([0.0])
    for one in great:
        sums = np.concatenate([sums - one, sums + one])
    expected = norm.cdf((net.sum() - sums) / np.sqrt((small**2).sum())).mean()
    assert sign_flip(net) == pytest.approx(expected, abs=4e-3)


def test_changes_of_scores_are_counted_as_exactly_as_whole_ones() -> None:
    rng = np.random.default_rng(3)
    assert sign_flip(np.array([-70_001, -65_003, -66_007, -64_009])) == 1 / 16
    net = rng.integers(-3_000, 3_000, 60)
    assert sign_flip(net * 0.7310585) == pytest.approx(sign_flip(net), abs=1e-3)
    assert sign_flip(net / 100) == sign_flip(net)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 40))
def test_equal_changes_are_a_binomial(lost: int, won: int, size: int) -> None:
    net = np.repeat([-size, size, 0], [lost, won, 5])
    expected = binom.sf(lost - 1, lost + won, 0.5) if lost + won else 1.0
    assert sign_flip(net) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_many_groups_are_nearly_normal_and_the_tails_are_no_noise() -> None:
    net = np.random.default_rng(1).integers(-60, 60, 5000)
    deviate = (net.sum() + 0.5) / np.sqrt((net.astype(float) ** 2).sum())
    assert sign_flip(net) == pytest.approx(norm.cdf(deviate), abs=2e-3)
    assert 0 < sign_flip(np.full(900, -7)) < 1e-100, "as many signs as there are make it as small"
    assert sign_flip(np.full(900, 7)) == 1


def test_rows_are_gathered_whatever_their_order() -> None:
    rng = np.random.default_rng(2)
    names, old, new = rng.integers(0, 9, 200) * 1000, rng.random(200) < 0.7, rng.random(200) < 0.6
    groups = group_rows(names, old, new)
    for place, name in enumerate(np.unique(names)):
        own = names == name
        assert (groups.sizes[place], groups.right[place]) == (own.sum(), new[own].sum())
        assert groups.net[place] == int(new[own].sum()) - int(old[own].sum())


@given(st.integers(2, 30), st.integers(1, 40), st.integers(1, 40))
def test_copies_of_an_image_widen_the_variance_as_often_as_they_are_there(copies: int, lost: int, won: int) -> None:
    net = np.repeat([-copies, copies, 0], [lost, won, 50])
    groups = Groups(np.full(len(net), copies), net, np.repeat([0, copies, copies], [lost, won, 50]))
    right = 50 * copies
    counts = Counts(len(net) * copies, right + lost * copies, right + won * copies, right)
    assert design_effect(counts, groups) == pytest.approx(copies)
    assert groups.effective == pytest.approx(len(net))
