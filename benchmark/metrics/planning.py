"""How many test images and runs a claim needs: the arithmetic of a study, before it is run.

Every figure is exact for independent images and classes; nothing is simulated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from benchmark.metrics.intervals import rate_interval
from benchmark.metrics.luck import strict_probability
from benchmark.metrics.significance import detectable_drop, detection_power

GAINS = (0.0, 0.005, 0.01, 0.02)
HALF_WIDTHS = (0.2, 0.1)


class Plan(NamedTuple):
    """What a study can show; fractions throughout.

    The first six fields are the arguments of ``plan``.

    Attributes:
        power: probability that the test of one round finds the drop in one class.
        smallest_drop: the one it finds with the wanted power; NaN if not even a loss without any gain is found.
        images_needed: test images of a class with which it finds the drop with the wanted power.
        luck_rate: probability that a round without any true change is strictly preserved.
        strict: that of a round in which every protected class truly gained so much: pairs of gain and probability.
        runs: pairs of a half-width and the runs that make the 95 % interval of a strict rate no wider, whatever it is.
    """

    classes: int
    images: int
    flips: float
    drop: float
    alpha: float
    wanted_power: float
    power: float
    smallest_drop: float
    images_needed: int
    luck_rate: float
    strict: tuple[tuple[float, float], ...]
    runs: tuple[tuple[float, int], ...]


def plan(classes: int, images: int, flips: float, drop: float, alpha: float = 0.05, power: float = 0.8) -> Plan:
    """What a round with these test data can show, and what it would take to show more.

    Args:
        classes: protected classes.
        images: test images of each.
        flips: share of a class's predictions that go from right to wrong or back in a round, in (0, 1].
        drop: true loss of accuracy of one class that should be found, in (0, flips].
        alpha: probability of a false alarm in a round without regressions, between 0 and 1.
        power: wanted probability of finding the drop, above alpha / classes and below 1.

    Raises:
        ValueError: if an argument is out of its range.
    """
    if classes < 1 or images < 1:
        raise ValueError(f"needs 1 or more classes and images, got {classes} classes and {images} images")
    if not 0 < drop <= flips <= 1:
        raise ValueError(
            f"needs 0 < drop <= flips <= 1, got drop {drop} and flips {flips}: "
            "a class loses no more predictions than flip"
        )
    return Plan(
        classes=classes,
        images=images,
        flips=flips,
        drop=drop,
        alpha=alpha,
        wanted_power=power,
        power=detection_power(images, flips, drop, alpha, classes),
        smallest_drop=detectable_drop(images, flips, alpha, power, classes),
        images_needed=images_needed(flips, drop, alpha, power, classes),
        luck_rate=strict_probability(images, flips) ** classes,
        strict=tuple((gain, strict_probability(images, flips, gain) ** classes) for gain in GAINS if gain <= flips),
        runs=tuple((half_width, runs_needed(half_width)) for half_width in HALF_WIDTHS),
    )


def images_needed(flips: float, drop: float, alpha: float = 0.05, power: float = 0.8, classes: int = 1) -> int:
    """Test images of a class with which a true loss of ``drop`` is found with this power; arguments as in ``plan``.

    Example:
        >>> images_needed(flips=0.06, drop=0.03)
        446
    """
    return _first(lambda count: detection_power(count, flips, drop, alpha, classes) >= power)


def runs_needed(half_width: float, confidence: float = 0.95) -> int:
    """Runs of one round that make the Clopper–Pearson interval of any rate no wider than ± ``half_width``.

    The widest is that of half the runs preserved.

    Raises:
        ValueError: unless 0 < half_width < 1 and 0 < confidence < 1.

    Example:
        >>> runs_needed(half_width=0.1)
        104
    """
    if not 0 < half_width < 1:
        raise ValueError(f"half_width must lie between 0 and 1, got {half_width}")

    def is_narrow(runs: int) -> bool:
        low, high = rate_interval(runs // 2, runs, confidence)
        return high - low <= 2 * half_width

    return _first(is_narrow)


def lines(plan: Plan) -> list[str]:
    """The plan in plain words, one statement per line; changes of accuracy are percentage points."""
    drop, wanted = _points(plan.drop), _percent(plan.wanted_power)
    smallest = "none" if math.isnan(plan.smallest_drop) else _points(round(plan.smallest_drop, 3))
    strict = [f"{_percent(probability)} at +{100 * gain:g}" for gain, probability in plan.strict]
    runs = [f"± {_points(half_width)} with {count}" for half_width, count in plan.runs]
    return [
        f"{plan.classes} protected classes with {plan.images} test images each; {_percent(plan.flips)} of predictions "
        f"flip in a round; at most {_percent(plan.alpha)} of rounds are false alarms.",
        f"Power: a class that truly lost {drop} is found with probability {_percent(plan.power)}.",
        f"Smallest drop that is found with probability {wanted}: {smallest}.",
        f"Images: to find {drop} with probability {wanted} takes {plan.images_needed} test images per class.",
        f"Luck: a round that truly changed nothing is strictly preserved with probability {_percent(plan.luck_rate)}.",
        f"Strict preservation, by the true gain of every protected class, in points: {', '.join(strict)}.",
        f"Runs: a strict rate is known to {', '.join(runs)} runs of one round, at the worst (95 % interval).",
    ]


def _percent(share: float) -> str:
    return "below 0.01 %" if 0 < share < 0.0001 else f"{100 * share:.3g} %"


def _points(share: float) -> str:
    return "1 point" if share == 0.01 else f"{100 * share:.3g} points"


def _first(holds: Callable[[int], bool]) -> int:
    """A number, from 1, for which ``holds`` and not for the one before: the least one, if it then goes on holding.

    The power of an exact test rises with the images but for small steps back, so it is the least but for those.
    """
    high = 1
    while not holds(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
