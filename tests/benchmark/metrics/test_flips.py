"""Flips and compatibility against tables worked by hand, and what must hold for any counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.metrics import flips
from benchmark.metrics.counts import Counts
from tests.benchmark.metrics.test_preservation import measured_counts


def test_compatibility_of_a_table_worked_by_hand() -> None:
    counts = Counts(10, 8, 6, 5)  # three lost, one won, one wrong both times
    assert (counts.lost, counts.won) == (3, 1)
    assert flips.relative_nfr(counts) == pytest.approx(0.3 / (0.8 * 0.4))
    assert flips.btc(counts) == 5 / 8
    assert flips.bec(counts) == 1 / 2


@given(measured_counts)
def test_compatibilities_follow_from_flips(counts: Counts) -> None:
    old, new_error = counts.old_accuracy, 1 - counts.new_accuracy
    if old:
        assert flips.btc(counts) == pytest.approx(1 - flips.negative_flips(counts) / old)
    if old < 1:
        assert flips.bec(counts) == pytest.approx(1 - flips.positive_flips(counts) / (1 - old), abs=1e-9)
    if old and counts.new_correct < counts.n:
        assert flips.relative_nfr(counts) == pytest.approx(flips.negative_flips(counts) / (old * new_error))
    for value in (flips.btc(counts), flips.bec(counts)):
        assert math.isnan(value) or 0 <= value <= 1


def test_compatibility_at_the_ends() -> None:
    same, all_lost, all_won = Counts(4, 3, 3, 3), Counts(4, 4, 0, 0), Counts(4, 0, 4, 0)
    assert flips.btc(same) == flips.bec(same) == 1
    assert flips.relative_nfr(same) == 0
    assert (flips.btc(all_lost), flips.relative_nfr(all_lost), flips.bec(all_won)) == (0, 1, 0)
    undefined = [flips.bec(all_lost), flips.btc(all_won), flips.relative_nfr(all_won)]
    undefined += [function(Counts(0, 0, 0, 0)) for function in (flips.btc, flips.bec, flips.relative_nfr)]
    assert all(math.isnan(value) for value in undefined)
    assert flips.relative_nfr(Counts(100, 60, 50, 30)) == pytest.approx(1)  # as of unrelated models: 0.6 × 0.5 = 0.3


RIGHT = st.lists(st.tuples(*[st.booleans()] * 4), max_size=30)  # old, new, and both under attack, of each image


@given(RIGHT)
def test_flips_of_robustness_are_those_counted_image_by_image(images: list[tuple[bool, bool, bool, bool]]) -> None:
    columns = np.array(images, dtype=bool).reshape(-1, 4).T
    found = flips.robust_flips(*columns)
    clean = [old and not new for old, new, _, _ in images]
    robust = [old and not new for _, _, old, new in images]
    either = [one or other for one, other in zip(clean, robust, strict=True)]
    both = [one and other for one, other in zip(clean, robust, strict=True)]
    rates = (found.nfr, found.r_nfr, found.b_nfr, found.s_nfr)
    if not images:
        assert all(map(math.isnan, rates))
        return
    assert rates == tuple(sum(flipped) / len(images) for flipped in (clean, robust, both, either))
    assert found.s_nfr == pytest.approx(found.nfr + found.r_nfr - found.b_nfr)
    old, new = columns[:2]
    counts = Counts(len(images), int(old.sum()), int(new.sum()), int((old & new).sum()))
    assert found.nfr == flips.negative_flips(counts)


def test_flips_of_robustness_need_booleans_of_the_same_images() -> None:
    right = np.array([True, False])
    for wrong in (right.astype(int), right[:1], right[:, None]):
        with pytest.raises(ValueError, match=r"booleans \(N,\) alike"):
            flips.robust_flips(right, right, wrong, right)
