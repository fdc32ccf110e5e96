"""Photos divided into splits: nothing that belongs together is in two, and all find a place."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.division import divide
from scenarios.folder import TEST_PERCENT, VAL_PERCENT, split_photos
from scenarios.labelled_images import LabelledImages
from scenarios.photos import SPLITS, Photo

ROW = st.tuples(st.sampled_from("abt"), st.none() | st.integers(0, 30))  # class and group


def photo(number: int, label: str, group: str | None = None, split: str | None = None) -> Photo:
    return Photo(label, f"{number}.png", Path(f"{label}/{number}.png"), split, group)


@settings(max_examples=200, deadline=None)
@given(st.lists(ROW, min_size=3, max_size=150), st.booleans(), st.floats(0, 0.9))
def test_no_group_is_in_two_splits(rows, shared, base_share):
    """In random folders, with groups of one class and with groups of several."""
    photos: dict[str, list[Photo]] = {label: [photo(999, label)] for label in "abt"}
    for number, (label, group) in enumerate(rows):
        name = None if group is None else f"{group}" if shared else f"{label}{group}"
        photos[label].append(photo(number, label, name))
    splits = split_photos(photos, "t", ["a", "b"], base_share)
    found = defaultdict(set)
    for label, parts in splits.items():
        assert sorted(p.name for part in parts.values() for p in part) == sorted(p.name for p in photos[label])
        for split, part in parts.items():
            for one in part:
                found[one.group or one].add(split)
    assert all(len(places) == 1 for places in found.values())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=8, max_size=40))
def test_a_split_has_its_share_and_no_more_than_one_group_above(sizes):
    photos = [photo(100 * g + n, "a", f"g{g}") for g, size in enumerate(sizes) for n in range(size)]
    parts = split_photos({"a": photos, "t": [photo(0, "t")]}, "t", ["a"], 0.4)["a"]
    for split, percent in (("test", TEST_PERCENT), ("val", VAL_PERCENT)):
        wanted = len(photos) * percent // 100
        assert wanted <= len(parts[split]) < wanted + max(sizes)


def test_without_groups_each_photo_stands_for_itself():
    photos = [photo(n, "a") for n in range(100)]
    assert divide(photos, {"a": {"test": 25}}) == divide(photos[::-1], {"a": {"test": 25}})
    assert list(divide(photos, {"a": {"test": 25}}).values()).count("test") == 25


def test_a_group_follows_the_split_that_one_of_its_rows_has():
    photos = [photo(n, "a", "drive", "val" if n == 3 else None) for n in range(5)]
    assert set(divide(photos, {"a": {"test": 5}}).values()) == {"val"}


def test_a_group_with_two_splits_is_refused():
    photos = [photo(n, "a", "drive 7", split) for n, split in enumerate(SPLITS[1:3])]
    with pytest.raises(ValueError, match=r"groups are in two splits: drive 7 \(train, val\): give all rows"):
        divide(photos, {"a": {}})


def labelled(rows: list[tuple[int, str]]) -> LabelledImages:
    labels, groups = zip(*rows, strict=True)
    return LabelledImages(torch.zeros(len(rows), 3, 1, 1, dtype=torch.uint8), torch.tensor(labels), groups)


LABELLED = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["", *"abcdefgh"])), min_size=1, max_size=60)


@settings(max_examples=200, deadline=None)
@given(LABELLED, LABELLED, st.floats(0.1, 0.6), st.integers(0, 5))
def test_no_group_is_both_trained_on_and_held_out(target, protected, share, seed):
    """Also where a group shows several classes, or the target and a protected class."""
    decided: dict[str, bool] = {}
    kept: set[str] = set()
    held: set[str] = set()
    for rows in (target, protected):
        images = labelled([*rows, *((label, "") for label in range(3))])  # so that no class is without a photo
        part, out = images.divided(share, seed, decided)
        assert len(part) + len(out) == len(images) and set(part.targets) == {0, 1, 2}
        kept, held = kept | set(part.groups or []), held | set(out.groups or [])
    assert not (kept & held) - {""}


def test_groups_that_leave_a_class_nothing_are_refused():
    with pytest.raises(ValueError, match="all groups of the class with label 1 are held out for other classes"):
        labelled([(1, "a"), (1, "b")]).divided(0.5, 0, {"a": True, "b": True})
