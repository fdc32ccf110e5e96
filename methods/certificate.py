"""Whether held-out images show that an update kept every class: exact p-values, and which candidates are certified.

``docs/certified.md`` states what follows from them, under which assumptions, and why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

# scipy is imported where it is used: it takes a second, and not every command tests

Array = NDArray[np.float64]
UNCOVERED = 1e-4  # probability that the true share of flips lies outside the interval searched; no p-value is below
STEADY = 4  # flips added in T, so that a few flips that all are wins are no wonder
POINTS = 17  # shares of flips tried in that interval, and as many again about the worst of them


def loss_p_value(lost: int, won: int, n: int, margin: float = 0.0) -> float:
    """Exact one-sided p-value that a class lost ``margin`` or more, in (0, 1]; at margin 0: that it did not gain.

    At margin 0 it is McNemar's exact test that the class got better: P(Binomial(lost + won, 1/2) >= won). Above, no
    such test is free of the unknown true share s of predictions that flip. So it is the greatest P(T >= observed T), if
    exactly the margin was lost, of all s in an exact interval, plus ``UNCOVERED`` for those outside (Berger & Boos,
    Journal of the American Statistical Association 89, 1994). T = (won − lost + n · margin) / sqrt(lost + won +
    ``STEADY``) depends on s but little; the p-value is 1 where T <= 0.

    Args:
        lost: held-out images that were right before and are wrong now.
        won: the reverse.
        n: held-out images.
        margin: loss of accuracy that matters, in [0, 1).

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> round(loss_p_value(lost=20, won=34, n=1000), 3)
        0.038
        >>> round(loss_p_value(lost=27, won=31, n=1000, margin=0.01), 3)
        0.036
    """
    _check(lost, won, n)
    if not 0 <= margin < 1:
        raise ValueError(f"margin must lie in 0..1, got {margin}")
    if margin == 0:
        return float(_tail(np.array(lost + won), np.array(won), np.array(0.5)))
    return _greatest(lost, won, n, margin, lambda flips: np.maximum(1 - margin / flips, 0) / 2)


def prediction_p_value(lost: int, won: int, n: int, fresh: int, risk: float) -> float:
    """Exact one-sided p-value that ``fresh`` new images would show a loss with a probability above ``risk``, in (0, 1].

    They show a loss if more of them are lost than won. The test is that of ``loss_p_value`` above margin 0, with
    margin 0 in T, and at every share of flips the greatest share of wins among flips that leaves a risk so high.

    Args:
        lost: held-out images that were right before and are wrong now.
        won: the reverse.
        n: held-out images.
        fresh: new images of the class.
        risk: between 0 and 1.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> round(prediction_p_value(lost=10, won=40, n=1000, fresh=2000, risk=0.005), 4)
        0.0068
    """
    _check(lost, won, n)
    if fresh < 1 or not 0 < risk < 1:
        raise ValueError(f"needs 1 or more fresh images and a risk between 0 and 1, got {fresh} and {risk}")
    return _greatest(lost, won, n, 0.0, lambda flips: np.array([_risky_wins(share, fresh, risk) for share in flips]))


def certified_p_value(counts: Sequence[tuple[int, int, int]], margin: float = 0.0) -> float:
    """p-value that some class lost ``margin`` or more: the greatest over the classes, whatever their number.

    An update is wrongly certified only if a class that truly lost the margin passes its own test, so there is nothing
    to correct for (intersection–union test: Berger, Technometrics 24, 1982).

    Args:
        counts: lost, won and n of every class, as in ``loss_p_value``.
        margin: the same for every class.

    Raises:
        ValueError: without classes, or if an argument is out of its range.

    Example:
        >>> round(certified_p_value([(20, 34, 1000), (2, 30, 1000)]), 3)
        0.038
    """
    return max(loss_p_value(*entry, margin) for entry in _some(counts))


def predicted_p_value(counts: Sequence[tuple[int, int, int]], fresh: int, risk: float) -> float:
    """p-value that ``fresh`` new images of every class would show a loss in one of them with more than ``risk``.

    Risks of several classes add up, so each is given its share. An update that passes at level alpha / 2 with risk
    alpha / 2 shows a loss in a class with probability alpha at most; a single candidate may have alpha for both.

    Args:
        counts: lost, won and n of every class.
        fresh: new images of each class.
        risk: over all classes, between 0 and 1.

    Raises:
        ValueError: without classes, or if an argument is out of its range.

    Example:
        >>> round(predicted_p_value([(10, 40, 1000), (2, 30, 1000)], fresh=2000, risk=0.01), 4)
        0.0068
    """
    return max(prediction_p_value(*entry, fresh, risk / len(counts)) for entry in _some(counts))


def fixed_sequence(p_values: Iterable[float], alpha: float) -> int:
    """How many candidates are certified, in the order given: each is tested at level alpha, until the first that fails.

    The order, safest first, must be fixed before their held-out images are looked at. One or more is then wrongly
    certified with probability alpha at most: it would take the first that should not be (Learn then Test, arXiv
    2110.01052, fixed sequence testing). No p-value after the first failure is asked for.

    Raises:
        ValueError: unless 0 < alpha < 1.

    Example:
        >>> fixed_sequence([0.01, 0.04, 0.2, 0.001], alpha=0.05)
        2
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, got {alpha}")
    return sum(1 for _ in takewhile(lambda p_value: p_value <= alpha, p_values))


def _greatest(lost: int, won: int, n: int, margin: float, wins: Callable[[Array], Array]) -> float:
    """The p-value of ``loss_p_value`` where ``wins`` gives the share of wins among flips, at every share of flips."""
    flips, shift = lost + won, n * margin
    statistic = (won - lost + shift) / math.sqrt(flips + STEADY)
    if statistic <= 0:
        return 1.0
    low, high = _interval(flips, n)
    low, high = max(low, margin), max(high, margin)
    number = _numbers(n, low, high)
    # observed T again, or more; a hair less, so that rounding leaves out none
    least = np.ceil((number - shift + statistic * np.sqrt(number + STEADY)) / 2 - 1e-9)

    def probability(shares: Array) -> Array:
        return (_chance(number, n, shares[:, None]) * _tail(number, least, wins(shares)[:, None])).sum(axis=1)

    shares = _spaced(low, high)
    found = probability(shares)
    worst = int(found.argmax())
    near = _spaced(shares[max(worst - 1, 0)], shares[min(worst + 1, POINTS - 1)])
    return min(UNCOVERED + float(max(found.max(), probability(near).max())), 1.0)


@lru_cache(maxsize=4096)
def _risky_wins(flips: float, fresh: int, risk: float) -> float:
    """The greatest share of wins among flips with which new images show a loss with probability ``risk``, or 0."""
    from scipy.optimize import brentq

    number = _numbers(fresh, flips, flips)
    chance = _chance(number, fresh, np.array(flips))

    def beyond(wins: float) -> float:
        return float(chance @ _tail(number, number // 2 + 1, np.array(1 - wins))) - risk

    return float(brentq(beyond, 0.0, 1.0)) if beyond(0.0) > 0 else 0.0


def _interval(flips: int, n: int) -> tuple[float, float]:
    """Clopper–Pearson interval of the share of flips, which misses the true one with ``UNCOVERED`` at most."""
    from scipy.special import betaincinv

    low = betaincinv(flips, n - flips + 1, UNCOVERED / 2) if flips else 0.0
    high = betaincinv(flips + 1, n - flips, 1 - UNCOVERED / 2) if flips < n else 1.0
    return float(low), float(high)


def _spaced(low: float, high: float) -> Array:
    """Shares between two, as far apart as their standard errors."""
    shares: Array = np.linspace(math.sqrt(low), math.sqrt(high), POINTS) ** 2
    return shares


def _numbers(n: int, low: float, high: float) -> Array:
    """Numbers of flips; those left out have a probability of 1e-14 at most."""
    fewest = n * low - 8 * math.sqrt(n * low * (1 - low)) - 40
    most = n * high + 8 * math.sqrt(n * high * (1 - high)) + 40
    return np.arange(max(0, math.floor(fewest)), min(n, math.ceil(most)) + 1, dtype=float)


def _chance(number: Array, n: int, share: Array) -> Array:
    """P(Binomial(n, share) = number)."""
    from scipy.special import gammaln, xlog1py, xlogy

    ways = gammaln(n + 1) - gammaln(number + 1) - gammaln(n - number + 1)
    chance: Array = np.exp(ways + xlogy(number, share) + xlog1py(n - number, -share))
    return chance


def _tail(number: Array, least: Array, share: Array) -> Array:
    """P(Binomial(number, share) >= least)."""
    from scipy.special import betainc

    inside = (least > 0) & (least <= number)
    found = betainc(np.where(inside, least, 1), np.where(inside, number - least + 1, 1), share)
    return np.where(inside, found, np.where(least <= 0, 1.0, 0.0))


def _check(lost: int, won: int, n: int) -> None:
    if lost < 0 or won < 0 or lost + won > n:
        raise ValueError(f"needs lost, won >= 0 and lost + won <= n, got {lost} lost, {won} won and {n} images")


def _some(counts: Sequence[tuple[int, int, int]]) -> Sequence[tuple[int, int, int]]:
    if not counts:
        raise ValueError("needs the counts of one class or more")
    return counts
