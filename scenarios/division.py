"""Photos divided into splits, so that what belongs together is never in two."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from scenarios.photos import SPLITS, Photo
from scenarios.wording import some

FILLED = ("test", "val", "base")  # in this order, each up to its quota; what is left is train


def divide(photos: Sequence[Photo], quotas: Mapping[str, Mapping[str, int]]) -> dict[Photo, str]:
    """The split of every photo.

    One that has a split keeps it, and so do all others of its group. The rest is gone through in the order of a hash,
    group by group, photos without a group one by one: each goes to the first of ``FILLED`` that still wants photos of
    one of its classes. So test and validation have as many photos of a class as wanted, or some more where a group was
    too large; base has one group at least, and others as long as they bring it nearer to its quota.

    Args:
        photos: of all classes.
        quotas: class -> split -> how many of the photos without a split of their own it wants.

    Raises:
        ValueError: photos of a group have different splits.
    """
    fixed = fixed_splits(photos)
    split_of = {photo: split for photo in photos if (split := photo.split or fixed.get(photo.group or ""))}
    units: dict[str | Photo, list[Photo]] = {}
    for photo in photos:
        if photo not in split_of:
            units.setdefault(photo.group or photo, []).append(photo)
    have: Counter[tuple[str, str]] = Counter()
    for unit in sorted(units.values(), key=_rank):
        labels = Counter(photo.label for photo in unit)
        split = next((split for split in FILLED if _wants(split, labels, have, quotas)), "train")
        have.update({(label, split): number for label, number in labels.items()})
        split_of |= dict.fromkeys(unit, split)
    return split_of


def _wants(
    split: str, labels: Counter[str], have: Counter[tuple[str, str]], quotas: Mapping[str, Mapping[str, int]]
) -> bool:
    """Whether a split wants a unit with so many photos of each class."""
    for label, number in labels.items():
        count, quota = have[label, split], quotas[label].get(split, 0)
        if count < quota and (split != "base" or not count or count + number / 2 < quota):
            return True
    return False


def fixed_splits(photos: Iterable[Photo]) -> dict[str, str]:
    """group -> its split, where a photo of it has one.

    Raises:
        ValueError: photos of a group have different splits.
    """
    found: dict[str, set[str]] = {}
    for photo in photos:
        if photo.group and photo.split:
            found.setdefault(photo.group, set()).add(photo.split)
    torn = [
        f"{group} ({', '.join(split for split in SPLITS if split in splits)})"
        for group, splits in found.items()
        if len(splits) > 1
    ]
    if torn:
        raise ValueError(
            f"data: the photos of a group show the same thing, but some groups are in two splits: {some(torn)}: give "
            "all rows of a group one split, or none"
        )
    return {group: splits.pop() for group, splits in found.items()}


def _rank(unit: Sequence[Photo]) -> tuple[bytes, str]:
    # "surrogateescape": Linux allows file names that are not Unicode.
    first = unit[0]
    name = first.group or f"{first.label}/{first.name}"
    return hashlib.sha256(name.encode(errors="surrogateescape")).digest(), str(first.path)
