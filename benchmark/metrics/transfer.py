"""Figures of streams of many tasks, from the matrix of accuracies after each: average, transfer, forgetting.

Sources: Lopez-Paz & Ranzato, "Gradient Episodic Memory", NeurIPS 2017, and Chaudhry et al., "Riemannian Walk", ECCV
2018. All are fractions.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


def average_accuracy(matrix: NDArray[np.floating[Any]]) -> float:
    """Mean accuracy over all tasks after the last, in [0, 1] (ACC of Lopez-Paz & Ranzato 2017).

    Args:
        matrix: (T, T) accuracies, in [0, 1]; row i is after training task i, column j is on task j. Cells that a
            function does not use may be NaN. The same in the functions below.

    Raises:
        ValueError: if ``matrix`` is not square or empty.

    Example:
        >>> average_accuracy(np.array([[0.9, 0.5], [0.7, 0.8]]))
        0.75
    """
    return float(_task_matrix(matrix)[-1].mean())


def backward_transfer(matrix: NDArray[np.floating[Any]]) -> float:
    """Mean change of the earlier tasks since each was trained, in [-1, 1] (BWT of Lopez-Paz & Ranzato 2017).

    mean over j < T of R[T, j] − R[j, j]. Avalanche and Mammoth define it alike. NaN for a single task.

    Raises:
        ValueError: if ``matrix`` is not square or empty.

    Example:
        >>> round(backward_transfer(np.array([[0.9, 0.5], [0.7, 0.8]])), 3)
        -0.2
    """
    matrix = _task_matrix(matrix)
    return _mean((matrix[-1] - matrix.diagonal())[:-1])


def forward_transfer(matrix: NDArray[np.floating[Any]], baseline: NDArray[np.floating[Any]]) -> float:
    """Mean lead on a task just before it is trained, in [-1, 1] (FWT of Lopez-Paz & Ranzato 2017).

    mean over j > 1 of R[j − 1, j] − baseline[j]; NaN for a single task.

    Args:
        matrix: (T, T) accuracies.
        baseline: (T,) accuracies without any training on the stream: of random weights in the paper and in Mammoth; for
            CLIP its zero-shot accuracy, which makes another number of it, so say which.

    Raises:
        ValueError: if ``matrix`` is not square or empty, or ``baseline`` does not fit it.

    Example:
        >>> forward_transfer(np.array([[0.9, 0.5], [0.7, 0.8]]), np.array([0.25, 0.25]))
        0.25
    """
    matrix, baseline = _task_matrix(matrix), np.asarray(baseline, dtype=float)
    if baseline.shape != matrix.shape[:1]:
        raise ValueError(f"baseline must be ({len(matrix)},), got {baseline.shape}")
    return _mean(matrix.diagonal(1) - baseline[1:])


def forgetting(
    matrix: NDArray[np.floating[Any]], convention: Literal["chaudhry", "mammoth", "avalanche"] = "chaudhry"
) -> float:
    """Mean over the earlier tasks j < T of the accuracy lost at the end, in [-1, 1]; NaN for a single task.

    Three definitions go by this name. They differ in what the end is compared with:

    * ``chaudhry``: the best of all rows before the last, also those before task j was trained (Chaudhry et al. 2018).
      Negative if the last row is the best.
    * ``mammoth``: the best of all rows from j on, the last one included: never negative.
    * ``avalanche``: the row after task j was trained, so it is −``backward_transfer``.

    Raises:
        ValueError: if ``matrix`` is not square or empty, or the convention is none of these.

    Example:
        >>> round(forgetting(np.array([[0.9, 0.5], [0.7, 0.8]])), 3)
        0.2
    """
    matrix = _task_matrix(matrix)
    if convention == "chaudhry":
        best = np.fmax.reduce(matrix[:-1], axis=0, initial=-np.inf)  # fmax: a cell that was not measured is no best
    elif convention == "mammoth":
        best = np.tril(matrix).max(axis=0)
    elif convention == "avalanche":
        best = matrix.diagonal()
    else:
        raise ValueError(f"convention must be chaudhry, mammoth or avalanche, got {convention!r}")
    return _mean((best - matrix[-1])[:-1])


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if values.size else math.nan


def _task_matrix(matrix: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.asarray(matrix, dtype=np.float64)
    if found.ndim != 2 or found.shape[0] != found.shape[1] or not found.size:
        raise ValueError(f"a task matrix must be (T, T) with T of 1 or more, got {found.shape}")
    return found
