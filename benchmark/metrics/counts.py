"""How many images of a class the old model, the new model and both of them get right: the basis of all figures.

Accuracies, shares and changes are fractions (0.032, not 3.2 points).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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


class Scores(NamedTuple):
    """Graded answers of a class, each scored from 0 to 1: as ``Counts`` of answers that are right or wrong.

    ``old_correct`` and ``new_correct`` are sums of scores, ``lost`` and ``won`` count answers that score less or more
    than before.
    """

    n: int
    old_correct: float
    new_correct: float
    lost: int
    won: int

    @property
    def old_accuracy(self) -> float:
        """Mean score of the old model, in [0, 1]; NaN without answers."""
        return self.old_correct / self.n if self.n else math.nan

    @property
    def new_accuracy(self) -> float:
        """Mean score of the new model, in [0, 1]; NaN without answers."""
        return self.new_correct / self.n if self.n else math.nan

    @property
    def change(self) -> float:
        """New minus old mean score, in [-1, 1]; NaN without answers."""
        return (self.new_correct - self.old_correct) / self.n if self.n else math.nan


def count_pairs(
    labels: NDArray[np.integer[Any]],
    old: NDArray[np.integer[Any]],
    new: NDArray[np.integer[Any]],
    classes: Sequence[str],
) -> dict[str, Counts]:
    """Counts of every class, from the predictions of both models on the same images.

    Args:
        labels: (N,) integers, indices into ``classes``.
        old: (N,) integers, the old model's predictions. An index outside ``classes`` is merely wrong.
        new: (N,) integers, the new model's predictions, likewise.
        classes: the distinct names of the classes.

    Raises:
        ValueError: if the three arrays do not match, or a label is no index into ``classes``.

    Example:
        >>> count_pairs(np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([0, 0, 0]), ["fog", "rain"])["fog"]
        Counts(n=2, old_correct=1, new_correct=2, both_correct=1)
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


def share(part: int, n: int) -> float:
    """``part`` of ``n`` as a fraction; NaN if n is 0.

    Example:
        >>> share(1, 4)
        0.25
    """
    return part / n if n else math.nan
