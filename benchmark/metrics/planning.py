"""How many test images and runs a claim needs: the arithmetic of a study, before it is run.

Figures are for independent images and classes; nothing is simulated. They are exact up to a thousand flips per class
and more; beyond, where sums would take minutes, they are those of the normal approximation, and said to be "about" so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from benchmark.metrics.intervals import rate_interval
from benchmark.metrics.luck import strict_probability
from benchmark.metrics.significance import EXACT, detectable_drop, detection_power

GAINS = (0.0, 0.005, 0.01, 0.02)
HALF_WIDTHS = (0.2, 0.1)
SEARCHED = 1000  # expected flips up to which the images needed are searched for: a few milliseconds
SUMMED = 50_000  # images up to which the probability of strict preservation is summed
MOST_CLASSES = 1_000_000
MOST_IMAGES = 10**12


class Plan(NamedTuple):
    """What a study can show; fractions throughout.

    The first six fields are the arguments of ``plan``.

    Attributes:
        power: probability that the test of one round finds the drop in one class.
        smallest_drop: the one it finds with the wanted power; NaN if not even a loss without any gain is found.
        images_needed: test images of a class with which it finds the drop with the wanted power; see the function.
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
        classes: protected classes, ``MOST_CLASSES`` at most.
        images: test images of each, ``MOST_IMAGES`` at most.
        flips: share of a class's predictions that go from right to wrong or back in a round, in (0, 1].
        drop: true loss of accuracy of one class that should be found, in (0, flips]; so large that ``MOST_IMAGES`` show
            it.
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
    if classes > MOST_CLASSES or images > MOST_IMAGES:
        raise ValueError(
            f"plans for {MOST_CLASSES:,} classes with {MOST_IMAGES:,} images each at most, got {classes} classes and "
            f"{images} images"
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
        luck_rate=_strict(images, flips) ** classes,
        strict=tuple((gain, _strict(images, flips, gain) ** classes) for gain in GAINS if gain <= flips),
        runs=tuple((half_width, runs_needed(half_width)) for half_width in HALF_WIDTHS),
    )


def images_needed(flips: float, drop: float, alpha: float = 0.05, power: float = 0.8, classes: int = 1) -> int:
    """Test images of a class with which a true loss of ``drop`` is found with this power; arguments as in ``plan``.

    Exact up to ``SEARCHED`` expected flips. Beyond, it is that of the normal approximation, about 1 % off at most.

    Raises:
        ValueError: if an argument is out of its range, or it takes more than ``MOST_IMAGES``.

    Example:
        >>> images_needed(flips=0.06, drop=0.03)
        446
    """
    detection_power(1, flips, drop, alpha, classes)  # for its checks
    if drop == 0 or not alpha / classes < power < 1:
        raise ValueError(
            f"needs drop above 0 and power between alpha / classes = {alpha / classes:g} and 1, got drop {drop} and "
            f"power {power}"
        )
    near = approximate_images(flips, drop, alpha, power, classes)
    if near > MOST_IMAGES:
        raise ValueError(
            f"a drop of {drop} takes more than {MOST_IMAGES:,} test images per class: ask for a larger one"
        )
    if near * flips > SEARCHED:
        return math.ceil(near)
    return _first(lambda count: detection_power(count, flips, drop, alpha, classes) >= power, near)


def approximate_images(flips: float, drop: float, alpha: float = 0.05, power: float = 0.8, classes: int = 1) -> float:
    """``images_needed`` where ``significance.normal_power`` is the power: within 2 % from 500 expected flips on.

    Example:
        >>> round(approximate_images(flips=0.06, drop=0.01))
        3905
    """
    from scipy.special import ndtri

    spread = -ndtri(alpha / classes) * math.sqrt(flips) + ndtri(power) * math.sqrt(flips - drop * drop)
    return _reached(drop, float(spread))


def certificate_images(
    flips: float, gain: float, classes: int = 1, alpha: float = 0.05, power: float = 0.8, margin: float = 0.0
) -> int:
    """Held-out images of each class with which an update that is worth it is certified with this power.

    That takes every class to pass its own test at level alpha (``methods.certificate``); their images are independent.
    At margin 0 it is exact where ``images_needed`` is; above, it is that of the normal approximation, which is a few
    percent more than needed but for the rarest flips.

    Args:
        flips: share of a class's predictions that go from right to wrong or back, in (0, 1].
        gain: true change of the accuracy of every class, above −margin and at most ``flips``.
        classes: ``MOST_CLASSES`` at most.
        alpha: level of the certificate, between 0 and power.
        power: wanted probability of a certificate, below 1.
        margin: true loss that the certificate excludes, in [0, 1); at 0, that a class did not gain.

    Raises:
        ValueError: if an argument is out of its range, or it takes more than ``MOST_IMAGES``.

    Example:
        >>> certificate_images(flips=0.06, gain=0.02, classes=5)
        1740
        >>> certificate_images(flips=0.06, gain=0.02, classes=5, margin=0.01)
        814
    """
    from scipy.special import ndtri

    if not 1 <= classes <= MOST_CLASSES or not 0 <= margin < 1 or not -margin < gain <= flips <= 1 or gain < -flips:
        raise ValueError(
            f"needs 1 to {MOST_CLASSES:,} classes, 0 <= margin < 1, -margin < gain <= flips <= 1 and gain >= -flips, "
            f"got {classes} classes, margin {margin}, gain {gain} and flips {flips}"
        )
    if not 0 < alpha < power < 1:
        raise ValueError(f"needs 0 < alpha < power < 1, got alpha {alpha} and power {power}")
    each = power ** (1 / classes)
    spread = -ndtri(alpha) * math.sqrt(flips) + ndtri(each) * math.sqrt(flips - gain * gain)
    near = _reached(gain + margin, float(spread))
    if near > MOST_IMAGES:
        raise ValueError(f"such a certificate takes more than {MOST_IMAGES:,} images per class: ask for less")
    return math.ceil(near) if margin else images_needed(flips, gain, alpha, each)


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

    return _first(is_narrow, math.inf)


def lines(plan: Plan) -> list[str]:
    """The plan in plain words, one statement per line; changes of accuracy are percentage points."""
    drop, wanted = _points(plan.drop), _percent(plan.wanted_power)
    seen = _about(plan.images * plan.flips > EXACT)
    smallest = "none" if math.isnan(plan.smallest_drop) else seen + _points(_rounded(plan.smallest_drop))
    needed = _about(plan.images_needed * plan.flips > SEARCHED) + str(plan.images_needed)
    luck = _about(plan.images > SUMMED)
    strict = [f"{luck}{_percent(probability)} at +{100 * gain:g}" for gain, probability in plan.strict]
    runs = [f"± {_points(half_width)} with {count}" for half_width, count in plan.runs]
    return [
        f"{plan.classes} protected classes with {plan.images} test images each; {_percent(plan.flips)} of predictions "
        f"flip in a round; at most {_percent(plan.alpha)} of rounds are false alarms.",
        f"Power: a class that truly lost {drop} is found with probability {seen}{_percent(plan.power)}.",
        f"Smallest drop that is found with probability {wanted}: {smallest}.",
        f"Images: to find {drop} with probability {wanted} takes {needed} test images per class.",
        f"Luck: a round that truly changed nothing is strictly preserved with probability {luck}"
        f"{_percent(plan.luck_rate)}.",
        f"Strict preservation, by the true gain of every protected class, in points: {', '.join(strict)}.",
        f"Runs: a strict rate is known to {', '.join(runs)} runs of one round, at the worst (95 % interval).",
    ]


def certificate_line(flips: float, gain: float, classes: int, alpha: float, power: float, margin: float = 0.0) -> str:
    """``certificate_images`` in plain words; arguments as there.

    Example:
        >>> certificate_line(flips=0.06, gain=0.02, classes=5, alpha=0.05, power=0.8).split(", ")[2]
        'that every class gained takes 1740 held-out images per class'
    """
    images = certificate_images(flips, gain, classes, alpha, power, margin)
    about = _about(margin > 0 or images * flips > SEARCHED)
    shown = f"no class lost {_points(margin)} or more" if margin else "every class gained"
    return (
        f"Certificate: to show, at level {_percent(alpha)}, that {shown} takes {about}{images} held-out images per "
        f"class, with probability {_percent(power)} where each truly gained {_points(gain)}."
    )


def _reached(effect: float, spread: float) -> float:
    """The n at which effect · n − 1 = spread · sqrt(n): what shows in n images exceeds their noise."""
    root = spread + math.sqrt(spread * spread + 4 * effect)
    return (root / (2 * effect)) ** 2 if effect > 1e-100 else math.inf


def _about(approximate: bool) -> str:
    return "about " if approximate else ""


def _rounded(share: float) -> float:
    """To tenths of a point, or to two digits where that would be nothing."""
    return round(share, 3) or float(f"{share:.2g}")


def _strict(images: int, flips: float, gain: float = 0.0) -> float:
    """``strict_probability``, by the normal approximation beyond ``SUMMED`` images."""
    if images <= SUMMED:
        return strict_probability(images, flips, gain)
    from scipy.special import ndtr

    variance = images * (flips - gain * gain)
    # half the probability of a draw, 1 in the density at 0, goes to what is kept: net gains go in steps of two
    return float(ndtr((images * gain + 0.5) / math.sqrt(variance))) if variance > 0 else 1.0


def _percent(share: float) -> str:
    return "below 0.01 %" if 0 < share < 0.0001 else f"{100 * share:.3g} %"


def _points(share: float) -> str:
    return "1 point" if share == 0.01 else f"{100 * share:.3g} points"


def _first(holds: Callable[[int], bool], near: float) -> int:
    """A number, from 1, for which ``holds`` and not for the one before: the least one, if it then goes on holding.

    The power of an exact test rises with the images but for small steps back, so it is the least but for those. It is
    looked for within a tenth of ``near`` first.
    """
    low, high = (0, 1) if math.isinf(near) else (math.floor(0.9 * near), math.ceil(1.1 * near))
    if low and holds(low):
        low, high = 0, low
    while not holds(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
