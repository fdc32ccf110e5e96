"""Intervals of rates over runs (Clopper & Pearson, Biometrika 26, 1934) and of preserved gains (bootstrap)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from benchmark.metrics.preservation import preserved_gain


def preserved_gain_interval(
    runs: Sequence[Sequence[tuple[float, bool]]], confidence: float = 0.95, seed: int = 0, resamples: int = 10_000
) -> tuple[float, float]:
    """Percentile bootstrap interval of the preserved gain, within [-1, 1] (Efron & Tibshirani 1993, chapter 13).

    Whole runs are drawn with replacement, because rounds of one run start from each other's models. With few runs it is
    too narrow, and it knows no outcome but those seen: runs of which none was preserved give (0, 0), so read it beside
    ``rate_interval``.

    Args:
        runs: for each run its rounds, as in ``preserved_gain``; runs without rounds are left out.
        confidence: share of the resamples inside, between 0 and 1.
        seed: of the resamples.
        resamples: how many.

    Returns:
        Low and high end; NaN with fewer than two runs, which tell nothing about how runs differ.

    Raises:
        ValueError: unless 0 < confidence < 1.

    Example:
        >>> preserved_gain_interval([[(0.3, True)], [(0.3, True)], [(0.3, True)]])
        (0.3, 0.3)
    """
    return mean_preserved_gain_interval([runs], confidence, seed, resamples)


def mean_preserved_gain_interval(
    streams: Sequence[Sequence[Sequence[tuple[float, bool]]]],
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = 10_000,
) -> tuple[float, float]:
    """``preserved_gain_interval`` of the mean over streams, each of which counts alike.

    Runs are drawn within their stream: the streams are those at hand, not a sample of others.

    Args:
        streams: for each stream its runs, as in ``preserved_gain_interval``.
        confidence: share of the resamples inside, between 0 and 1.
        seed: of the resamples.
        resamples: how many.

    Returns:
        Low and high end; NaN if there is no stream, or one has fewer than two runs.

    Raises:
        ValueError: unless 0 < confidence < 1.
    """
    _check_confidence(confidence)
    strata = [[run for run in runs if run] for runs in streams]
    if min(map(len, strata), default=0) < 2:
        return math.nan, math.nan
    if not any(preserved for runs in strata for run in runs for _, preserved in run):
        return 0.0, 0.0  # as every resample
    total = np.zeros(resamples)
    for runs, times_drawn in zip(strata, _times_drawn(tuple(map(len, strata)), seed, resamples), strict=True):
        sums = np.array([preserved_gain(run) * len(run) for run in runs])
        lengths = np.array([len(run) for run in runs], dtype=float)
        total += times_drawn @ sums / (times_drawn @ lengths)
    low, high = np.quantile(total / len(strata), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


@lru_cache(maxsize=16)  # rows of a table mostly have equally many runs
def _times_drawn(sizes: tuple[int, ...], seed: int, resamples: int) -> list[NDArray[np.float64]]:
    """How often each run is in each resample: for each stratum (resamples, size)."""
    rng = np.random.default_rng(seed)
    return [rng.multinomial(size, np.full(size, 1 / size), resamples).astype(float) for size in sizes]


@lru_cache(maxsize=4096)
def rate_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a binomial rate, within [0, 1] (Clopper & Pearson 1934); (0, 1) without trials.

    It covers the true rate with at least the asked-for probability, if the trials are independent.

    Raises:
        ValueError: unless 0 <= successes <= trials and 0 < confidence < 1.

    Example:
        >>> [round(end, 3) for end in rate_interval(0, 5)]
        [0.0, 0.522]
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must lie in 0..trials, got {successes} of {trials}")
    _check_confidence(confidence)
    if trials == 0:
        return 0.0, 1.0
    from scipy.stats import binomtest  # a second of imports, for tables only

    interval = binomtest(successes, trials).proportion_ci(confidence, method="exact")
    return float(interval.low), float(interval.high)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
