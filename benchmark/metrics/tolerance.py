"""Preserved gain as a function of what may be lost.

A *tolerance* is a loss of accuracy that is accepted in any protected class: 0 is the strict rule, 0.01 accepts one
point. All figures are fractions. Comparisons with a tolerance are exact: a division of integers is rounded correctly,
so a loss of 1 of 100 images and a tolerance of 0.01 are the same number.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.metrics.preservation import preserved_gain

Round = tuple[float, float]  # target gain and DevSafety; both NaN where the run diverged, which counts as gain 0
MOST = 0.03  # the tolerances from 0 to here make the tolerant gain
WIDEST = 0.05  # and those from 0 to here the curve


def within(rounds: Sequence[Round], tolerance: float = 0.0) -> list[tuple[float, bool]]:
    """The rounds as ``preserved_gain`` takes them: target gain, and whether DevSafety >= −tolerance.

    Raises:
        ValueError: unless 0 <= tolerance <= 1.

    Example:
        >>> within([(0.3, -0.01), (0.5, -0.02)], 0.01)
        [(0.3, True), (0.5, False)]
    """
    _check("tolerance", tolerance)
    return [(gain, safety >= -tolerance) for gain, safety in rounds]


def gain_within(rounds: Sequence[Round], tolerance: float = 0.0) -> float:
    """Mean over rounds of target gain × [DevSafety >= −tolerance], in [-1, 1]; NaN without rounds.

    Without tolerance it is the preserved gain.

    Raises:
        ValueError: unless 0 <= tolerance <= 1.

    Example:
        >>> gain_within([(0.3, -0.01), (0.5, -0.02)], 0.01)
        0.15
    """
    return preserved_gain(within(rounds, tolerance))


def averaged(rounds: Sequence[Round], most: float = MOST) -> list[tuple[float, bool]]:
    """The rounds as ``preserved_gain`` takes them, each with the mean of its gain over the tolerances 0 to ``most``.

    A round that loses L counts at the tolerances from L on, so for max(0, 1 − L / most) of its gain.

    Raises:
        ValueError: unless 0 < most <= 1.

    Example:
        >>> averaged([(0.3, 0.02), (0.5, -0.025)], 0.05)
        [(0.3, True), (0.25, True)]
    """
    _check("most", most)
    if most == 0:
        raise ValueError("most must be more than 0: at 0 the mean is the preserved gain")
    return [(gain * (1 - max(0.0, -safety) / most), safety > -most) for gain, safety in rounds]


def tolerant_gain(rounds: Sequence[Round], most: float = MOST) -> float:
    """Mean of ``gain_within`` over the tolerances from 0 to ``most``, in [-1, 1]; NaN without rounds.

    It is the exact integral of a step function. It tells methods apart that the strict rule ties at 0, and one that
    changes nothing still gains nothing by it.

    Raises:
        ValueError: unless 0 < most <= 1.

    Example:
        >>> tolerant_gain([(0.3, 0.02), (0.5, -0.025)], 0.05)
        0.275
    """
    return preserved_gain(averaged(rounds, most))


def curve(rounds: Sequence[Round], widest: float = WIDEST) -> list[tuple[float, float]]:
    """``gain_within`` from tolerance 0 to ``widest``, as the steps that it takes.

    Returns:
        Tolerances in ascending order, the first 0, and the gain from each of them to the next; the last one holds up to
        ``widest``.

    Raises:
        ValueError: unless 0 <= widest <= 1.

    Example:
        >>> curve([(0.25, 0.02), (0.5, -0.025), (0.75, -0.2)])
        [(0.0, 0.08333333333333333), (0.025, 0.25)]
    """
    _check("widest", widest)
    losses = {-safety for _, safety in rounds if -widest <= safety < 0}
    return [(tolerance, gain_within(rounds, tolerance)) for tolerance in sorted({0.0, *losses})]


def _check(name: str, tolerance: float) -> None:
    if not 0 <= tolerance <= 1:
        raise ValueError(f"{name} must lie in [0, 1], as a fraction: 0.01 is one point; got {tolerance}")
