"""What a round kept and gained: strict preservation, DevSafety, target gain, and the rule of selection.

DevSafety and strict preservation are Eq. 2 of arXiv 2410.03955. All figures are fractions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

from benchmark.metrics.counts import Counts, Scores, share

Tally = TypeVar("Tally", bound=Counts | Scores)


def scored(counts: Mapping[str, Tally], names: Sequence[str]) -> list[Tally]:
    """The counts of ``names``, in their order.

    Raises:
        ValueError: if there are no names, or one has no images: it is then neither preserved nor forgotten.
    """
    if not names:
        raise ValueError("no class is protected: name one or more, or there is nothing to preserve")
    for name in names:
        if name not in counts or counts[name].n == 0:
            raise ValueError(f"class {name!r} has no images here: it cannot be scored, add some or leave it out")
    return [counts[name] for name in names]


def devsafety(counts: Mapping[str, Counts], protected: Sequence[str]) -> float:
    """The smallest change of accuracy over the protected classes, in [-1, 1] (arXiv 2410.03955, Eq. 2).

    Raises:
        ValueError: if no class is protected, or one was not measured.

    Example:
        >>> devsafety({"rain": Counts(100, 80, 82, 79), "snow": Counts(100, 80, 77, 76)}, ["rain", "snow"])
        -0.03
    """
    return min(measured.change for measured in scored(counts, protected))


def strictly_preserved(counts: Mapping[str, Counts], protected: Sequence[str]) -> bool:
    """Whether no protected class got worse: DevSafety >= 0, decided on integers.

    Raises:
        ValueError: if no class is protected, or one was not measured.

    Example:
        >>> strictly_preserved({"rain": Counts(100, 80, 80, 70)}, ["rain"])
        True
    """
    return all(measured.new_correct >= measured.old_correct for measured in scored(counts, protected))


def preserved_share(counts: Mapping[str, Counts], protected: Sequence[str]) -> float:
    """Share of the protected classes that did not get worse, in [0, 1]; 1 exactly where strictly preserved.

    Raises:
        ValueError: if no class is protected, or one was not measured.

    Example:
        >>> preserved_share({"rain": Counts(100, 80, 82, 79), "snow": Counts(100, 80, 77, 76)}, ["rain", "snow"])
        0.5
    """
    return share(sum(entry.new_correct >= entry.old_correct for entry in scored(counts, protected)), len(protected))


def target_gain(counts: Mapping[str, Counts], target: str) -> float:
    """New minus old accuracy on the target class, in [-1, 1].

    Raises:
        ValueError: if the target was not measured.

    Example:
        >>> target_gain({"fog": Counts(100, 20, 55, 20)}, "fog")
        0.35
    """
    return scored(counts, [target])[0].change


def preserved_gain(rounds: Sequence[tuple[float, bool]]) -> float:
    """Mean over rounds of target gain × [strictly preserved], in [-1, 1]: doing nothing scores 0, forgetting scores 0.

    Args:
        rounds: the target gain of each round and whether it was strictly preserved. The gain of a round that was not
            is ignored, so that of a diverged run may be NaN.

    Returns:
        The mean; NaN without rounds.

    Example:
        >>> preserved_gain([(0.3, True), (0.5, False)])
        0.15
    """
    if not rounds:
        return math.nan
    return math.fsum(gain for gain, preserved in rounds if preserved) / len(rounds)


def merit(devsafety: float, target_accuracy: float) -> tuple[float, float]:
    """The rule of selection: how good a model is by its validation figures; greater is better, ties go to the first.

    Args:
        devsafety: smallest change of a protected class, in [-1, 1]; NaN where it was not to be had.
        target_accuracy: the model's accuracy on the target, in [0, 1].

    Returns:
        min(DevSafety, 0), in [-1, 0], then the target's accuracy. Safety beyond "nothing got worse" earns nothing, so
        that it is never bought with the target's accuracy. A model that could not be scored comes after all others.

    Example:
        >>> max([(0.02, 0.5), (0.0, 0.6), (-0.01, 0.9)], key=lambda figures: merit(*figures))
        (0.0, 0.6)
    """
    if not (math.isfinite(devsafety) and math.isfinite(target_accuracy)):
        return -math.inf, -math.inf
    return min(devsafety, 0.0), target_accuracy


def front(means: Iterable[tuple[float, float]]) -> set[tuple[float, float]]:
    """The Pareto front: those of ``means`` that no other equals in both figures and exceeds in one.

    Args:
        means: pairs such as (target gain, DevSafety), the greater the better; none is NaN.

    Example:
        >>> sorted(front([(0.3, -0.02), (0.2, -0.02), (0.1, 0.0)]))
        [(0.1, 0.0), (0.3, -0.02)]
    """
    ordered = sorted(set(means), reverse=True)
    best = accumulate((second for _, second in ordered), max, initial=-math.inf)  # of those before, so not less in both
    return {mean for mean, before in zip(ordered, best, strict=False) if mean[1] > before}
