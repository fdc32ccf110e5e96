"""Test images with what two models get right of them, and the evidence of classes and slices that they make."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from math import fsum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.audit.evidence import Evidence, GradedEvidence, ImageEvidence
from benchmark.metrics.counts import Counts, Scores
from benchmark.metrics.groups import group_rows

LOOKED_AT = 10_000  # ids that are looked at for clips
FRAMES = 3  # ids of a name and a number, on average, that look like one clip
FRAME = re.compile(r"(.*?)[^0-9A-Za-z]*\d+(\.[A-Za-z]{2,5})?")


@dataclass(frozen=True)
class Rows:
    """N test images, or answers.

    Attributes:
        classes: their names.
        labels: (N,) indices into ``classes``.
        old_right: (N,) bool, whether the model in use is right; or its scores, float64 in [0, 1].
        new_right: (N,) whether its successor is, or its scores.
        groups: (N,) the number of the group that each belongs to; None where each stands for itself.
    """

    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    old_right: NDArray[Any]
    new_right: NDArray[Any]
    groups: NDArray[np.int64] | None = None

    def of_classes(self) -> dict[str, Evidence]:
        """The evidence of every class that has images."""
        order = np.argsort(self.labels, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(self.labels[order])) + 1)
        found = {self.classes[self.labels[part[0]]]: self.of(part) for part in parts if len(part)}
        return {name: found[name] for name in self.classes if name in found}

    def of(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Evidence:
        """The evidence of some images, by their numbers or as a mask (N,)."""
        old, new = self.old_right[chosen], self.new_right[chosen]
        names = None if self.groups is None else self.groups[chosen]
        if old.dtype == bool:
            counts = Counts(len(old), int(old.sum()), int(new.sum()), int((old & new).sum()))
            return ImageEvidence(counts, None if names is None else group_rows(names, old, new))
        return _graded(old, new, names)


def _graded(old: NDArray[Any], new: NDArray[Any], names: NDArray[np.int64] | None) -> GradedEvidence:
    scores = Scores(len(old), fsum(old), fsum(new), int((new < old).sum()), int((new > old).sum()))
    if names is None:
        return GradedEvidence(scores, new - old, np.ones(len(old), dtype=np.int64), new, in_groups=False)
    _, place = np.unique(names, return_inverse=True)
    sizes = np.bincount(place)
    net, right = (np.bincount(place, part).astype(float) for part in (new - old, new))
    return GradedEvidence(scores, net, sizes, right, in_groups=True)


def group_numbers(names: Sequence[str]) -> NDArray[np.int64]:
    """A number (N,) for each group; an image whose name is empty is a group of its own.

    Example:
        >>> group_numbers(["a", "", "a", ""]).tolist()
        [0, 1, 0, 3]
    """
    first: dict[str, int] = {}
    return np.array([first.setdefault(name, row) if name.strip() else row for row, name in enumerate(names)], np.int64)


def clip_of(ids: Sequence[str], labels: Sequence[str]) -> str:
    """The name of a clip, if ids look like frames of clips: names that several share, and a number; else "".

    A name that all share is no clip, and neither is one that says the class.

    Example:
        >>> ids = [f"{clip}_{frame:04d}.jpg" for clip in ("drive1", "drive2", "drive3") for frame in range(5)]
        >>> clip_of(ids, ["fog"] * 15)
        'drive1'
        >>> clip_of([f"img_{k}" for k in range(15)], ["fog"] * 15)
        ''
    """
    seen: Counter[str] = Counter()
    for name in islice(ids, LOOKED_AT):
        if not (found := FRAME.fullmatch(name)) or not found[1]:
            return ""
        seen[found[1]] += 1
    several = max(2, len(set(labels)) + 1)  # fewer names are those of folders, splits or classes
    if len(seen) < several or seen.total() < FRAMES * len(seen):
        return ""
    return seen.most_common(1)[0][0]
