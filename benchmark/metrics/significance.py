"""Whether a class truly got worse: tests of paired predictions, and the losses that a test set can see.

The second verdict of a round, beside strict preservation: *no significant regression*. The tests are McNemar's, exact
and one-sided (Psychometrika 12, 1947), with Holm's correction over the protected classes (Scandinavian Journal of
Statistics 6, 1979), and Tango's score test of non-inferiority (Statistics in Medicine 17, 1998).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmark.metrics.counts import Counts
from benchmark.metrics.preservation import scored

# scipy is imported where it is used: it takes a second, and not every command tests

ALPHA = 0.05  # level of the second verdict, over all protected classes of a round
POWER = 0.8  # probability with which a drop must be found to count as one that a test set can see
EXACT = 1_000_000  # expected flips up to which the power is summed: a hundredth of a second; beyond, it is approximated
FINEST = 1e-15  # level below which scipy finds no critical values
BLOCK = 1024  # numbers of flips whose critical values are found at once

Name = TypeVar("Name", bound=Hashable)


def mcnemar(counts: Counts) -> float:
    """One-sided exact p-value that a class got worse, in (0, 1]: P(Binomial(flips, 1/2) >= negative flips).

    1 without flips, as nothing speaks for a change.

    Example:
        >>> mcnemar(Counts(n=100, old_correct=80, new_correct=75, both_correct=75))
        0.03125
    """
    return p_of_flips(counts.lost, counts.won)


def p_of_flips(lost: int, won: int) -> float:
    """P(Binomial(lost + won, 1/2) >= lost), in (0, 1].

    Example:
        >>> p_of_flips(lost=5, won=0)
        0.03125
    """
    if not lost:
        return 1.0
    from scipy.special import betainc  # the same bits as scipy.stats.binom.sf(lost - 1, flips, 1/2), in a hundredth

    return float(betainc(lost, won + 1, 0.5))


def holm(p_values: Mapping[Name, float]) -> dict[Name, float]:
    """Holm's adjusted p-values, in [0, 1]: a hypothesis is rejected at level alpha where its own is alpha or less.

    Of all those that are true, one or more is then rejected with probability alpha at most.

    Example:
        >>> holm({"fog": 0.01, "rain": 0.04, "snow": 0.3})
        {'fog': 0.03, 'rain': 0.08, 'snow': 0.3}
    """
    # written out: statsmodels collects garbage in every call, a fifth of a second for each round of a table
    adjusted, greatest = dict(p_values), 0.0
    for done, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        greatest = max(greatest, min(1.0, p_values[name] * (len(p_values) - done)))
        adjusted[name] = greatest
    return adjusted


def regressions(counts: Mapping[str, Counts], protected: Sequence[str], alpha: float = ALPHA) -> list[str]:
    """The protected classes that got significantly worse, in the order given: none is *no significant regression*.

    A round in which no class truly got worse has one with probability alpha at most.

    Raises:
        ValueError: if no class is protected, one was not measured, or unless 0 < alpha < 1.

    Example:
        >>> regressions({"rain": Counts(100, 80, 72, 72), "snow": Counts(100, 80, 79, 78)}, ["rain", "snow"])
        ['rain']
    """
    _check_level("alpha", alpha)
    p_values = {name: mcnemar(entry) for name, entry in zip(protected, scored(counts, protected), strict=True)}
    return [name for name, adjusted in holm(p_values).items() if adjusted <= alpha]


def non_inferiority(counts: Counts, margin: float) -> float:
    """One-sided p-value that a class lost less than ``margin``, in [0, 1] (Tango 1998, eq. 7; asymptotic).

    Unlike a test that finds no regression, a small value is evidence that there is none of that size. At margin 0 it is
    McNemar's test without continuity correction that the class got better.

    Args:
        counts: of the class.
        margin: a loss of accuracy that would not matter, in [0, 1).

    Raises:
        ValueError: without images, or unless 0 <= margin < 1.

    Example:
        >>> round(non_inferiority(Counts(n=800, old_correct=640, new_correct=640, both_correct=620), margin=0.02), 4)
        0.0086
    """
    if not 0 <= margin < 1:
        raise ValueError(f"margin must lie in 0..1, got {margin}")
    if counts.n == 0:
        raise ValueError("a class without images cannot be tested: add some or leave it out")
    return tango(counts.n, counts.lost, counts.won, margin)


def tango(n: float, lost: float, won: float, margin: float) -> float:
    """``non_inferiority`` of so many images and flips, which need be no whole numbers.

    Example:
        >>> round(tango(n=800, lost=20, won=20, margin=0.02), 4)
        0.0086
    """
    # the most likely share of negative flips if exactly the margin was lost: the larger root of 2n q² − b q + c
    b = lost + won + margin * (2 * n + lost - won)
    c = lost * margin * (1 + margin)
    share_lost = (b + math.sqrt(max(b * b - 8 * n * c, 0.0))) / (4 * n)
    variance = n * (2 * share_lost - margin * (1 + margin))
    if variance <= 0:  # no margin and no flips: nothing speaks for a gain
        return 1.0
    return 0.5 * math.erfc((won - lost + n * margin) / math.sqrt(2 * variance))


def non_inferior(counts: Counts, margin: float, alpha: float = ALPHA) -> bool:
    """Whether a class lost less than ``margin``, at level alpha: see ``non_inferiority``.

    It holds exactly if the lower end of Tango's interval of the change, at confidence 1 − 2 alpha, is above −margin.

    Raises:
        ValueError: without images, or unless 0 <= margin < 1 and 0 < alpha < 1.

    Example:
        >>> non_inferior(Counts(n=800, old_correct=640, new_correct=640, both_correct=620), margin=0.02)
        True
    """
    _check_level("alpha", alpha)
    return non_inferiority(counts, margin) <= alpha


def detection_power(images: int, flips: float, drop: float, alpha: float = ALPHA, classes: int = 1) -> float:
    """Probability, in [0, 1], that ``mcnemar`` finds a class that truly lost ``drop``, at level alpha / classes.

    It is exact up to ``EXACT`` expected flips, and ``normal_power`` beyond. The level is that of Holm's first step, so
    with more classes it is the one that a single regression meets; where several classes regress, Holm finds them more
    often.

    Args:
        images: test images of the class.
        flips: share of predictions that go from right to wrong or back, in [0, 1].
        drop: true loss of accuracy, in [0, flips].
        alpha: level of the round, between 0 and 1.
        classes: protected classes tested at once.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> round(detection_power(images=800, flips=0.06, drop=0.02), 2)
        0.71
    """
    _check_level("alpha", alpha)
    if images < 0 or classes < 1 or not 0 <= drop <= flips <= 1:
        raise ValueError(
            f"needs images >= 0, classes >= 1 and 0 <= drop <= flips <= 1, got {images} images, {classes} classes, "
            f"drop {drop}, flips {flips}"
        )
    if alpha / classes < FINEST:
        raise ValueError(f"needs alpha / classes of {FINEST} or more, got {alpha / classes:g}")
    if flips == 0 or images == 0:
        return 0.0
    if images * flips > EXACT:
        return normal_power(images, flips, drop, alpha, classes)
    fewest, weights = _flip_numbers(images, flips)
    most_accepted = _critical(alpha / classes, fewest, len(weights))
    beyond = _survival(most_accepted, np.arange(fewest, fewest + len(weights)), (1 + drop / flips) / 2)
    return min(float(weights @ beyond), 1.0)


def normal_power(images: int, flips: float, drop: float, alpha: float = ALPHA, classes: int = 1) -> float:
    """``detection_power`` by the normal approximation of net losses, with the correction for an exact test.

    Example:
        >>> round(normal_power(images=800, flips=0.06, drop=0.02), 1)
        0.7
    """
    from scipy.special import ndtr, ndtri

    threshold = 1 - ndtri(alpha / classes) * math.sqrt(images * flips)  # in net losses, which go in steps of two
    deviation = math.sqrt(images * (flips - drop * drop))
    if deviation == 0:  # every prediction flips, and to wrong
        return float(images * drop >= threshold)
    return float(ndtr((images * drop - threshold) / deviation))


@lru_cache(maxsize=64)
def _flip_numbers(images: int, flips: float) -> tuple[int, NDArray[np.float64]]:
    """The fewest flips that matter, and the probabilities of that many, one more, and so on."""
    # eight standard deviations and a little: those outside have probability 1e-14 and would be slow
    width = 8 * math.sqrt(images * flips * (1 - flips)) + 40
    fewest, most = max(0, math.floor(images * flips - width)), min(images, math.ceil(images * flips + width))
    number = np.arange(fewest - 1, most + 1)
    return fewest, -np.diff(_survival(number, np.full_like(number, images), flips))


def _survival(number: NDArray[np.int64], of: NDArray[np.int64], share: float) -> NDArray[np.float64]:
    """P(Binomial(of, share) > number), as scipy.stats.binom.sf without its overhead."""
    from scipy.special import betainc

    inside = (number >= 0) & (number < of)
    found = betainc(np.where(inside, number + 1, 1), np.where(inside, of - number, 1), share)
    return np.where(inside, found, np.where(number < 0, 1.0, 0.0))


def _critical(level: float, fewest: int, count: int) -> NDArray[np.int64]:
    """The most negative flips that are no regression at ``level``, of ``fewest`` flips, one more, and so on."""
    first = fewest // BLOCK
    blocks = [_critical_block(level, number) for number in range(first, (fewest + count - 1) // BLOCK + 1)]
    return np.concatenate(blocks)[fewest - first * BLOCK :][:count]


@lru_cache(maxsize=2048)
def _critical_block(level: float, block: int) -> NDArray[np.int64]:
    from scipy.stats import binom

    number = np.arange(block * BLOCK, (block + 1) * BLOCK)
    return binom.isf(level, number, 0.5).astype(np.int64)


def detectable_drop(images: int, flips: float, alpha: float = ALPHA, power: float = POWER, classes: int = 1) -> float:
    """The smallest true loss of accuracy that a test set can see: the one that ``mcnemar`` finds with this power.

    Args:
        images: test images of the class.
        flips: share of predictions that go from right to wrong or back, in [0, 1].
        alpha: level of the round, between 0 and 1.
        power: wanted probability of finding it, above alpha / classes and below 1.
        classes: protected classes tested at once, with Holm's correction.

    Returns:
        The drop, in (0, flips]; NaN if even that of flips which are all negative is not found often enough.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> round(detectable_drop(images=800, flips=0.06), 3)
        0.022
    """
    _check_level("power", power)
    if power <= alpha / classes:
        raise ValueError(f"power must be above alpha / classes = {alpha / classes}, got {power}")

    def lacking(drop: float) -> float:
        return power - detection_power(images, flips, drop, alpha, classes)

    if lacking(flips) > 0:
        return math.nan
    from scipy.optimize import brentq

    return float(brentq(lacking, 0.0, flips, xtol=1e-9))


def _check_level(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie between 0 and 1, got {value}")
