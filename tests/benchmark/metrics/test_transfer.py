"""Figures of task matrices against tables worked by hand, and what must hold for any matrix."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.metrics import transfer

MATRIX = np.array([[0.9, 0.5, 0.4], [0.8, 0.85, 0.45], [0.92, 0.7, 0.8]])
accuracies = st.integers(1, 6).flatmap(
    lambda t: st.lists(st.lists(st.floats(0, 1), min_size=t, max_size=t), min_size=t, max_size=t).map(np.array)
)


def test_task_matrix_worked_by_hand() -> None:
    assert transfer.average_accuracy(MATRIX) == pytest.approx((0.92 + 0.7 + 0.8) / 3)
    assert transfer.backward_transfer(MATRIX) == pytest.approx((0.02 - 0.15) / 2)
    assert transfer.forward_transfer(MATRIX, np.array([0.1, 0.2, 0.3])) == pytest.approx((0.3 + 0.15) / 2)
    assert transfer.forgetting(MATRIX) == pytest.approx((-0.02 + 0.15) / 2)
    assert transfer.forgetting(MATRIX, "mammoth") == pytest.approx((0 + 0.15) / 2)
    assert transfer.forgetting(MATRIX, "avalanche") == pytest.approx((-0.02 + 0.15) / 2)


def test_conventions_of_forgetting_differ_where_an_untrained_task_was_best() -> None:
    matrix = np.array([[0.9, 0.8], [0.5, 0.6]])  # one earlier task only: all agree
    assert [transfer.forgetting(matrix, name) for name in ("chaudhry", "mammoth", "avalanche")] == pytest.approx(
        [0.4] * 3
    )
    matrix = np.array([[0.5, 0.9, 0.0], [0.6, 0.7, 0.0], [0.5, 0.4, 0.8]])
    assert transfer.forgetting(matrix, "chaudhry") == pytest.approx((0.1 + 0.5) / 2)
    assert transfer.forgetting(matrix, "mammoth") == pytest.approx((0.1 + 0.3) / 2)
    assert transfer.forgetting(matrix, "avalanche") == pytest.approx((0.0 + 0.3) / 2)


@given(accuracies.filter(lambda matrix: len(matrix) > 1))
def test_identities_of_task_matrices(matrix: np.ndarray) -> None:
    chaudhry, mammoth, avalanche = (
        transfer.forgetting(matrix, convention) for convention in ("chaudhry", "mammoth", "avalanche")
    )
    assert avalanche == pytest.approx(-transfer.backward_transfer(matrix))
    assert -1 <= avalanche <= chaudhry <= 1
    assert mammoth >= max(0, avalanche) - 1e-12
    seen = np.where(np.tri(len(matrix)), matrix, np.nan)  # tasks to come need not be measured
    for convention, value in (("mammoth", mammoth), ("avalanche", avalanche)):
        assert transfer.forgetting(seen, convention) == pytest.approx(value)
    assert transfer.forgetting(seen, "chaudhry") <= chaudhry + 1e-12
    baseline = np.zeros(len(matrix))
    assert transfer.forward_transfer(matrix, baseline) - transfer.forward_transfer(
        matrix, baseline + 0.1
    ) == pytest.approx(0.1)


def test_a_single_task_transfers_and_forgets_nothing_that_could_be_measured() -> None:
    one = np.array([[0.7]])
    assert transfer.average_accuracy(one) == 0.7
    values = [transfer.backward_transfer(one), transfer.forward_transfer(one, np.array([0.1]))]
    values += [transfer.forgetting(one, convention) for convention in ("chaudhry", "mammoth", "avalanche")]
    assert all(math.isnan(value) for value in values)


def test_what_is_no_task_matrix() -> None:
    for bad in (np.zeros((2, 3)), np.zeros(3), np.zeros((0, 0))):
        with pytest.raises(ValueError, match=r"\(T, T\)"):
            transfer.average_accuracy(bad)
    with pytest.raises(ValueError, match="baseline"):
        transfer.forward_transfer(MATRIX, np.zeros(2))
    with pytest.raises(ValueError, match="convention"):
        transfer.forgetting(MATRIX, "other")  # type: ignore[arg-type]
