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
from scenarios.labelled_images import LabelledImages, held_out
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
        names = sorted(p.name for part in parts.values() for p in part)
        assert len(names) == len(set(names)) and set(names) <= {p.name for p in photos[label]}
        assert label == "t" or len(names) == len(
            photos[label]
        )  # of the target the base sees few, the rest of its groups nobody
        for split, part in parts.items():
            for one in part:
                found[one.group or one].add(split)
    assert all(len(places) == 1 for places in found.values())


def test_the_base_hardly_sees_the_target_whatever_its_groups_show():
    together = {label: [photo(n, label, f"drive {n // 5}") for n in range(100)] for label in "abt"}
    apart = together | {"t": [photo(n, "t", f"t {n // 25}") for n in range(100)]}
    for photos in (together, apart):
        splits = split_photos(photos, "t", ["a", "b"], 0.4)
        assert len(splits["a"]["base"]) > 10 and len(splits["t"]["base"]) == 1
        assert all(len(splits["t"][split]) > 10 for split in ("test", "val", "train"))
    asked = together | {"t": [photo(n, "t", None, "base" if n < 30 else None) for n in range(100)]}
    assert len(split_photos(asked, "t", ["a", "b"], 0.4)["t"]["base"]) == 30  # what a row says is obeyed


def test_photos_that_follow_their_group_are_none_of_the_rest():
    """A row that says train decides for its group: a quarter of the others are test, not a quarter of all."""
    rows = [photo(n, "a", f"drive {n // 20}", "train" if not n % 20 else None) for n in range(80)]
    free = [photo(n, "a") for n in range(80, 100)]
    counts = {split: len(part) for split, part in split_photos({"a": rows + free}, "", ["a"], 0.4)["a"].items()}
    assert counts == {"base": 5, "train": 87, "val": 3, "test": 5}


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
    """Also where a group shows several classes, or the target and a protected class; and no class is left without."""
    parts = [labelled(rows) for rows in (target, [(label + 3, group) for label, group in protected])]
    kept: set[str] = set()
    out: set[str] = set()
    for images, held in zip(parts, held_out(parts, share, seed), strict=True):
        assert set(images.chosen(~held).targets) == set(images.targets)
        kept, out = kept | set(images.chosen(~held).groups or []), out | set(images.chosen(held).groups or [])
    assert not (kept & out) - {""}


@pytest.mark.parametrize("seed", range(20))
def test_a_class_of_one_group_is_trained_on_whatever_the_others_draw(seed):
    target = labelled([(0, f"drive {n}") for n in range(6)])
    protected = labelled([(1, f"drive {n}") for n in range(6)] + [(2, "drive 3")] * 4)
    _, held = held_out([target, protected], 0.5, seed)
    assert not held[-4:].any() and held.any()
