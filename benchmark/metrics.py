"""What is measured, as pure functions on counts: accuracies, DevSafety, gains, their intervals, the rule of selection.

Accuracies, shares and changes are fractions (0.032, not 3.2 points). Sources: DevSafety and strict preservation are
Eq. 2 of arXiv 2410.03955; the interval of a rate is that of Clopper & Pearson, Biometrika 26, 1934. Flips are in
``benchmark.flips``, matrices of tasks in ``benchmark.transfer``, pairs of scenes in ``benchmark.scene_pairs``. Whether
a number is luck is the business of ``benchmark.luck``, whether a change is significant that of
``benchmark.significance``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Counts(NamedTuple):
    """How many of a class's ``n`` images the old model, the new model and both of them get right."""

    n: int
    old_correct: int
    new_correct: int
    both_correct: int

    @property
    def old_accuracy(self) -> float:
        """Share of the images that the old model gets right, in [0, 1]; NaN without images."""
        return share(self.old_correct, self.n)

    @property
    def new_accuracy(self) -> float:
        """Share of the images that the new model gets right, in [0, 1]; NaN without images."""
        return share(self.new_correct, self.n)

    @property
    def change(self) -> float:
        """New minus old accuracy, in [-1, 1]; NaN without images. Its sign is exact: the subtraction is of integers."""
        return share(self.new_correct - self.old_correct, self.n)

    @property
    def lost(self) -> int:
        """Negative flips: images right before and wrong now."""
        return self.old_correct - self.both_correct

    @property
    def won(self) -> int:
        """Positive flips: images wrong before and right now."""
        return self.new_correct - self.both_correct

    def validated(self) -> Counts:
        """These counts, if any set of predictions can give them.

        Raises:
            ValueError: if one is negative, or more are correct than can be.
        """
        if min(self) < 0:
            raise ValueError(f"counts must not be negative, got {self}")
        if self.both_correct > min(self.old_correct, self.new_correct):
            raise ValueError(f"both_correct must not exceed old_correct or new_correct, got {self}")
        if self.old_correct + self.new_correct - self.both_correct > self.n:
            raise ValueError(f"more images are correct than there are images, got {self}")
        return self


def count_pairs(
    labels: NDArray[np.integer[Any]],
    old: NDArray[np.integer[Any]],
    new: NDArray[np.integer[Any]],
    classes: Sequence[str],
) -> dict[str, Counts]:
    """Counts of every class, from the predictions of both models on the same images.

    Args:
        labels: (N,) integers, indices into ``classes``.
        old: (N,) integers, what the old model predicts. An index outside ``classes`` is merely wrong.
        new: (N,) integers, what the new model predicts, likewise.
        classes: the distinct names of the classes.

    Raises:
        ValueError: if the three arrays do not match, or a label is no index into ``classes``.
    """
    labels, old, new = np.asarray(labels), np.asarray(old), np.asarray(new)
    if labels.ndim != 1 or not labels.shape == old.shape == new.shape:
        raise ValueError(f"labels, old and new must be (N,) alike, got {labels.shape}, {old.shape} and {new.shape}")
    if len(set(classes)) != len(classes):
        raise ValueError(f"classes must be distinct, got {list(classes)}")
    if labels.size and not (labels.min() >= 0 and labels.max() < len(classes)):
        raise ValueError(f"labels must lie in 0..{len(classes) - 1}, got {labels.min()}..{labels.max()}")
    old_right, new_right = old == labels, new == labels
    columns = [
        np.bincount(labels[chosen].astype(np.int64), minlength=len(classes)).tolist()
        for chosen in (slice(None), old_right, new_right, old_right & new_right)
    ]
    return {name: Counts(*row) for name, row in zip(classes, zip(*columns, strict=True), strict=True)}


def scored(counts: Mapping[str, Counts], names: Sequence[str]) -> list[Counts]:
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
    """
    return min(measured.change for measured in scored(counts, protected))


def strictly_preserved(counts: Mapping[str, Counts], protected: Sequence[str]) -> bool:
    """Whether no protected class got worse: DevSafety >= 0, decided on integers.

    Raises:
        ValueError: if no class is protected, or one was not measured.
    """
    return all(measured.new_correct >= measured.old_correct for measured in scored(counts, protected))


def target_gain(counts: Mapping[str, Counts], target: str) -> float:
    """New minus old accuracy on the target class, in [-1, 1].

    Raises:
        ValueError: if the target was not measured.
    """
    return scored(counts, [target])[0].change


def preserved_gain(rounds: Sequence[tuple[float, bool]]) -> float:
    """Mean over rounds of target gain × [strictly preserved], in [-1, 1]: doing nothing scores 0, forgetting scores 0.

    Args:
        rounds: the target gain of each round and whether it was strictly preserved. The gain of a round that was not
            is ignored, so that of a diverged run may be NaN.

    Returns:
        The mean; NaN without rounds.
    """
    if not rounds:
        return math.nan
    return math.fsum(gain for gain, preserved in rounds if preserved) / len(rounds)


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
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must lie in 0..trials, got {successes} of {trials}")
    _check_confidence(confidence)
    if trials == 0:
        return 0.0, 1.0
    from scipy.stats import binomtest  # a second of imports, for tables only

    interval = binomtest(successes, trials).proportion_ci(confidence, method="exact")
    return float(interval.low), float(interval.high)


def front(means: Iterable[tuple[float, float]]) -> set[tuple[float, float]]:
    """The Pareto front: those of ``means`` that no other equals in both figures and exceeds in one.

    Args:
        means: pairs such as (target gain, DevSafety), the greater the better; none is NaN.
    """
    ordered = sorted(set(means), reverse=True)
    best = accumulate((second for _, second in ordered), max, initial=-math.inf)  # of those before, so not less in both
    return {mean for mean, before in zip(ordered, best, strict=False) if mean[1] > before}


def selection_key(counts: Mapping[str, Counts], target: str, protected: Sequence[str]) -> tuple[float, float]:
    """How good a checkpoint is on validation data; larger is better.

    Returns:
        min(DevSafety, 0), in [-1, 0], then the new model's accuracy on the target, in [0, 1]. Safety beyond "nothing
        got worse" earns nothing, so that it is never bought with the target's accuracy.

    Raises:
        ValueError: if no class is protected, or a class was not measured.
    """
    return min(devsafety(counts, protected), 0.0), scored(counts, [target])[0].new_accuracy


def share(part: int, n: int) -> float:
    """``part`` of ``n`` as a fraction; NaN if n is 0."""
    return part / n if n else math.nan


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
