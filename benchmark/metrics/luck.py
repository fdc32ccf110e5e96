"""When strictness is luck: how often models that truly changed nothing would be strictly preserved.

A model that flips predictions without a true change wins as many as it loses on average, but rarely in every class.
The *luck rate* is the strict preservation rate of such a model. It stands beside every strict rate: any excess over it
was earned, any shortfall lost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.metrics.counts import Counts
from benchmark.metrics.preservation import scored


class LuckRate(NamedTuple):
    """A probability, in [0, 1], and its Monte-Carlo standard error, 0 where it is exact."""

    rate: float
    error: float


def luck_rate(counts: Mapping[str, Counts], protected: Sequence[str]) -> LuckRate:
    """Probability that a change-free round is strictly preserved, given how many predictions flipped in each class.

    In a class that truly did not change, each of the d flips is negative with probability 1/2, as in McNemar's test. So
    the class is preserved with P(Binomial(d, 1/2) <= d / 2): 1 without flips, 1/2 for odd d, more for even d, where
    as many may be won as lost. Classes are independent, as they share no images.

    Given d, it is exact, and over rounds without change its mean is the strict rate to be expected. The rate of one
    round jumps with the parities of its d: compare means of several rounds, from ``expected_rate``.

    Raises:
        ValueError: if no class is protected, or one was not measured.

    Example:
        >>> luck_rate({"rain": Counts(100, 80, 80, 79), "snow": Counts(100, 80, 81, 80)}, ["rain", "snow"])
        LuckRate(rate=0.375, error=0.0)
    """
    return LuckRate(math.prod(_kept_by_luck(entry.lost + entry.won) for entry in scored(counts, protected)), 0.0)


def simulated_luck_rate(
    counts: Mapping[str, Counts], protected: Sequence[str], draws: int = 100_000, seed: int = 0
) -> LuckRate:
    """``luck_rate`` with the number of flips drawn, too: every image flips, either way, with half the observed share.

    Where many predictions flip, it is between the rates of odd and even d of ``luck_rate``; with less than about ten
    flips per class it is biased, because the observed share is a poor guess of the true one.

    Args:
        counts: of every protected class.
        protected: names of the protected classes.
        draws: simulated rounds.
        seed: of the simulation.

    Raises:
        ValueError: if no class is protected, one was not measured, or there are no draws.
    """
    if draws < 1:
        raise ValueError(f"draws must be 1 or more, got {draws}")
    rng = np.random.default_rng(seed)
    preserved: NDArray[np.bool_] = np.ones(draws, dtype=bool)
    for entry in scored(counts, protected):
        each_way = (entry.lost + entry.won) / entry.n / 2
        lost, won, _ = rng.multinomial(entry.n, [each_way, each_way, 1 - 2 * each_way], draws).T
        preserved &= lost <= won
    rate = float(preserved.mean())
    return LuckRate(rate, math.sqrt(rate * (1 - rate) / draws))


def expected_rate(rates: Sequence[LuckRate]) -> LuckRate:
    """The strict preservation rate to be expected of several rounds by luck: the mean of theirs; NaN without rounds.

    Example:
        >>> expected_rate([LuckRate(0.25, 0.0), LuckRate(0.75, 0.0)])
        LuckRate(rate=0.5, error=0.0)
    """
    if not rates:
        return LuckRate(math.nan, math.nan)
    mean = math.fsum(one.rate for one in rates) / len(rates)
    return LuckRate(mean, math.hypot(*(one.error for one in rates)) / len(rates))


def strict_probability(images: int, flips: float, gain: float = 0.0) -> float:
    """Probability, in [0, 1], that a class does not get worse on its test images, before they are seen; exact.

    Every image flips to wrong with probability (flips − gain) / 2 and to right with (flips + gain) / 2. The product
    over classes is the probability of strict preservation, without a gain the luck rate.

    Args:
        images: test images of the class.
        flips: share of predictions that go from right to wrong or back, in [0, 1].
        gain: true change of the accuracy, in [-flips, flips].

    Raises:
        ValueError: if ``images`` is negative, ``flips`` no share or ``gain`` more than flips can make.

    Example:
        >>> round(strict_probability(images=800, flips=0.06), 2)
        0.53
        >>> round(strict_probability(images=800, flips=0.06, gain=0.01), 2)
        0.89
    """
    if images < 0 or not 0 <= flips <= 1 or abs(gain) > flips:
        raise ValueError(
            f"needs images >= 0, flips in [0, 1] and |gain| <= flips, got {images} images, flips {flips}, gain {gain}"
        )
    if flips == 0:
        return 1.0
    from scipy.stats import binom

    number = np.arange(images + 1)
    kept = binom.pmf(number, images, flips) @ binom.cdf(number // 2, number, (1 - gain / flips) / 2)
    return min(float(kept), 1.0)  # the sum may round to a little more


@cache
def _kept_by_luck(flips: int) -> float:
    """P(Binomial(flips, 1/2) <= flips / 2), by symmetry: half the probability of no tie, plus that of a tie."""
    if flips % 2:
        return 0.5
    if flips > 10_000:  # the integers below have as many bits
        return (1 + math.exp(math.lgamma(flips + 1) - 2 * math.lgamma(flips // 2 + 1) - flips * math.log(2))) / 2
    return (1 + math.comb(flips, flips // 2) / 2**flips) / 2
