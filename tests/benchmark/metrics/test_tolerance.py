"""Preserved gain as a function of what may be lost: by hand, against a fine grid, and what holds for any rounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.metrics import preservation, tolerance
from benchmark.metrics.counts import Counts

DIVERGED = (math.nan, math.nan)
changes = st.integers(-100, 100).map(lambda images: images / 1000)  # of accuracy, on 1,000 images
rounds = st.lists(st.one_of(st.tuples(changes, changes), st.just(DIVERGED)), min_size=1, max_size=12)
gaining = st.lists(st.tuples(changes.map(abs), changes), min_size=1, max_size=12)
tolerances = st.integers(0, 50).map(lambda images: images / 1000)


def test_rounds_worked_by_hand() -> None:
    found = [(0.4, 0.01), (0.2, -0.01), (0.6, -0.025), DIVERGED]
    within = [tolerance.gain_within(found, points / 100) for points in (0, 1, 2, 2.5, 5)]
    assert within == pytest.approx([0.1, 0.15, 0.15, 0.3, 0.3])
    assert tolerance.tolerant_gain(found) == pytest.approx((0.4 + 0.2 * 2 / 3 + 0.6 * 1 / 6) / 4)
    assert tolerance.curve(found) == [(0.0, within[0]), (0.01, within[1]), (0.025, within[3])]
    assert tolerance.curve([DIVERGED]) == [(0.0, 0.0)]
    assert math.isnan(tolerance.gain_within([], 0.01)) and math.isnan(tolerance.tolerant_gain([]))


@given(st.integers(1, 5000), st.integers(0, 5), st.integers(-3, 3))
def test_a_loss_is_compared_exactly_with_the_tolerance(n: int, points: int, off: int) -> None:
    """As on integers: a class keeps if 100 × (old − new) <= points × images, at the boundary and beside it."""
    lost = min(max(points * n // 100 + off, 0), n)
    safety = preservation.devsafety({"rain": Counts(n, n, n - lost, n - lost)}, ["rain"])
    ((_, kept),) = tolerance.within([(0.3, safety)], points / 100)
    assert kept == (100 * lost <= points * n)


@given(rounds)
def test_without_tolerance_it_is_the_preserved_gain(found: list[tuple[float, float]]) -> None:
    strict = preservation.preserved_gain([(gain, safety >= 0) for gain, safety in found])
    assert tolerance.gain_within(found, 0) == strict == tolerance.curve(found)[0][1]


@given(st.lists(changes, min_size=1), tolerances)
def test_what_changes_nothing_gains_nothing(losses: list[float], accepted: float) -> None:
    still = [(0.0, safety) for safety in [0.0, *losses]]
    assert tolerance.gain_within(still, accepted) == tolerance.tolerant_gain(still) == 0
    assert {gain for _, gain in tolerance.curve(still)} == {0}


@given(gaining, tolerances, tolerances)
def test_more_tolerance_costs_nothing_where_no_gain_is_negative(
    found: list[tuple[float, float]], one: float, other: float
) -> None:
    low, high = sorted((one, other))
    assert tolerance.gain_within(found, low) <= tolerance.gain_within(found, high) + 1e-12
    heights = [gain for _, gain in tolerance.curve(found)]
    assert heights == sorted(heights)


@given(gaining, st.floats(0.001, 0.05))
def test_the_mean_lies_between_the_values_at_its_ends(found: list[tuple[float, float]], most: float) -> None:
    mean = tolerance.tolerant_gain(found, most)
    assert tolerance.gain_within(found, 0) - 1e-12 <= mean <= tolerance.gain_within(found, most) + 1e-12


@given(rounds)
def test_the_mean_is_that_of_the_curve(found: list[tuple[float, float]]) -> None:
    """On a grid with a point in the middle of every step, as losses are whole thousandths."""
    grid = (np.arange(30) + 0.5) / 1000
    mean = np.mean([tolerance.gain_within(found, float(at)) for at in grid])
    assert tolerance.tolerant_gain(found) == pytest.approx(mean, abs=1e-12)
    steps, heights = zip(*tolerance.curve(found), strict=True)
    for at in grid:
        assert heights[np.searchsorted(steps, at) - 1] == tolerance.gain_within(found, float(at))


@given(rounds)
def test_a_diverged_run_gains_nothing_at_any_tolerance(found: list[tuple[float, float]]) -> None:
    share = len(found) / (len(found) + 1)
    for figure in (tolerance.gain_within, tolerance.tolerant_gain):
        assert figure([*found, DIVERGED]) == pytest.approx(share * figure(found))
    assert tolerance.gain_within([*found, DIVERGED], 1.0) == pytest.approx(share * tolerance.gain_within(found, 1.0))


@pytest.mark.parametrize("wrong", [-0.01, 1.5, 3, math.nan])
def test_a_tolerance_is_a_fraction(wrong: float) -> None:
    for figure in (tolerance.gain_within, tolerance.within, tolerance.tolerant_gain, tolerance.curve):
        with pytest.raises(ValueError, match=r"0\.01 is one point"):
            figure([(0.3, 0.0)], wrong)
    with pytest.raises(ValueError, match="more than 0"):
        tolerance.tolerant_gain([(0.3, 0.0)], 0)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=6))
def test_all_classes_are_preserved_exactly_where_the_round_is(pairs: list[tuple[int, int]]) -> None:
    table = {str(place): Counts(100, old, new, min(old, new)) for place, (old, new) in enumerate(pairs)}
    share = preservation.preserved_share(table, list(table))
    assert (share == 1) == preservation.strictly_preserved(table, list(table))
    assert share * len(pairs) == pytest.approx(sum(new >= old for old, new in pairs))
