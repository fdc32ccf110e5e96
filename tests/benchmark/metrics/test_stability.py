"""Kendall's τ between halves of the seeds, against scipy and counting by hand."""

from __future__ import annotations

import math
from itertools import combinations
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.metrics import stability
from benchmark.metrics.stability import split_half


def total(runs):
    return (math.fsum(runs),)


def pairs_alike(one, other):
    """Kendall's tau-a by its definition, for values without ties."""
    signs = [np.sign(one[i] - one[j]) * np.sign(other[i] - other[j]) for i, j in combinations(range(len(one)), 2)]
    return fmean(signs)


@pytest.mark.parametrize("runs", [4, 5, 6])
def test_the_mean_is_over_all_divisions(runs):
    rows = np.random.default_rng(runs).normal(size=(6, runs)) + np.arange(6)[:, None] / 2
    halves = [half for half in combinations(range(runs), runs // 2) if runs % 2 or 0 in half]
    taus = [pairs_alike(rows[:, half].sum(1), np.delete(rows, half, axis=1).sum(1)) for half in halves]
    found = split_half(rows.tolist(), total)
    assert found.mean == pytest.approx(fmean(taus)) and found.lowest == pytest.approx(min(taus))
    assert (found.divisions, found.rows) == (len(halves), 6)
    assert len(halves) == {4: 3, 5: 10, 6: 10}[runs]


@given(st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=4, max_size=7), st.randoms())
def test_the_order_in_which_rows_are_given_does_not_matter(rows, random):
    found, shuffled = split_half(rows, total), list(rows)
    random.shuffle(shuffled)
    again = split_half(shuffled, total)
    if found is None:
        assert again is None
        return
    assert again == pytest.approx(found) and -1 <= found.lowest <= found.mean <= 1


def test_many_seeds_are_divided_in_drawn_ways_the_same_each_time():
    rows = np.random.default_rng(0).normal(size=(5, 20)).tolist()
    found = split_half(rows, total)
    assert found.divisions == stability.MOST_DIVISIONS and split_half(rows, total) == found
    assert abs(found.mean) < 0.5  # there is no order here: halves agree by chance alone


def test_there_must_be_rows_and_runs_that_make_an_order():
    assert split_half([], total) is None
    assert split_half([[1, 2, 3, 4]] * 3, total) is None
    assert split_half([[1, 2, 3]] * 4, total) is None
    assert split_half([[1, 2, 3, 4]] * 4, total) is None  # all are equal
    with pytest.raises(ValueError, match="same seeds"):
        split_half([[1, 2, 3, 4], [1, 2, 3]], total)
