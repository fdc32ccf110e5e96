"""Parts that streams of published data sets share: the data folder, fixed splits, draws by seed, pixels on demand."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from scenarios.decoding import TRANSFORM, UnreadablePhotos, decode
from scenarios.external import external_images
from scenarios.on_disk import at_home, stamp
from scenarios.pixels import PixelStore, load_photos
from scenarios.stream import PROBE, SCORED, TEST, DevelopmentStream, LabelledImages, Round, RoundData
from scenarios.wording import some

VARIABLE = "MDS_BENCH_DATA"


@dataclass(frozen=True)
class Source:
    """A published data set, and where to get it: this suite never downloads it."""

    title: str
    address: str


@dataclass(frozen=True, eq=False)
class Pool:
    """Every image that a stream can use.

    Attributes:
        source: the data set.
        classes: the stream's classes, with images or without.
        folders: where its images lie.
        files: all images listed, whatever the stream takes of them: one collection of pixels for all streams.
        rows: (class, split) -> indices into ``files``, in an order that follows from the images' names alone.
        dropped: reason -> how many listed images belong to no class of the stream.
        groups: what each of ``files`` shows together with others, "" for nothing; None where no file does.
        boxes: the part of each that is seen, (N, 6) int64, as ``decode`` takes it; None where all are seen whole.
    """

    source: Source
    classes: tuple[str, ...]
    folders: tuple[Path, ...]
    files: Sequence[str]
    rows: Mapping[tuple[str, str], np.ndarray]
    dropped: Mapping[str, int]
    groups: Sequence[str] | None = None
    boxes: np.ndarray | None = None


@dataclass(frozen=True)
class Choices:
    """A user's choices for a stream; None stands for all there are."""

    image_size: int
    protected_per_class: int | None
    target_images: int | None
    val_per_class: int | None
    test_per_class: int | None
    augment: bool
    external: str | None
    scored: str = TEST

    def __post_init__(self) -> None:
        if not 16 <= self.image_size <= 1024:
            raise ValueError(f"image_size must be between 16 and 1024 px, not {self.image_size}")
        for name in ("protected_per_class", "target_images", "val_per_class", "test_per_class"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ValueError(f"{name} must be 1 or more, not {count}")
        if self.scored not in SCORED:
            raise ValueError(f"scored must be {' or '.join(SCORED)}, not {self.scored!r}")

    def options(self) -> dict[str, Any]:
        """For the record: of external images only that there are some, as paths say nothing about a stream."""
        given = {field.name: getattr(self, field.name) for field in fields(self)} | {"external": bool(self.external)}
        return {name: value for name, value in given.items() if (name, value) != ("scored", TEST)}


def data_folder(data: str, source: Source) -> Path:
    """The folder given, else the one in MDS_BENCH_DATA.

    Raises:
        ValueError: neither names a folder.
    """
    data = data or os.environ.get(VARIABLE, "")
    remedy = f"give the folder of {source.title} with --data DIR or in {VARIABLE}; the data set is at {source.address}"
    if not data:
        raise ValueError(f"data: {remedy}, and never downloaded by this suite")
    folder = at_home(data).absolute()
    if not folder.is_dir():
        raise ValueError(f"data: there is no folder {folder}: {remedy}")
    return folder


def found(places: Mapping[str, Path | None], folder: Path, source: Source) -> dict[str, Path]:
    """``places`` once all of them are there.

    Raises:
        ValueError: some are missing.
    """
    missing = [what for what, place in places.items() if place is None]
    if missing:
        raise ValueError(
            f"data: {folder} holds no {some(missing)}: unpack {source.title} there, it is at {source.address}"
        )
    return {what: place for what, place in places.items() if place is not None}


def ranks(names: pd.Series) -> np.ndarray:
    """One uint64 per name, SipHash-2-4 with pandas' fixed key: sorted by it, names are in arbitrary order for good."""
    return pd.util.hash_array(names.to_numpy(dtype=object), categorize=False)


def grouped(rows: np.ndarray, labels: np.ndarray, splits: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """(label, split) -> those of the rows, in their order."""
    groups = pd.Series(rows).groupby([labels, splits])
    return {(str(label), str(split)): group.to_numpy() for (label, split), group in groups}


def develop(
    name: str,
    seed: int,
    pool: Pool,
    prompts: Mapping[str, str],
    rounds: Sequence[Round],
    choices: Choices,
    options: Mapping[str, Any],
    mirror: bool = True,
    recipe: Mapping[str, Any] | None = None,
    base: str | None = None,
) -> DevelopmentStream:
    """The stream of a pool: the seed draws the protected images, everything else is the first of each class's order.

    Its base is trained on the images of the split "base", where the pool has some.

    Args:
        name: of the stream.
        seed: decides which training images of the protected classes a method may use.
        pool: the images.
        prompts: class -> prompt, so that each round's classes are the first of them.
        rounds: the target and the protected classes of each.
        choices: sizes, and how training sees the images.
        options: for the record, beside ``choices``.
        mirror: whether a mirrored image is of the same class.
        recipe: how the base is trained, where it differs from the usual way.
        base: file name of the base that is shipped, where there is one.

    Raises:
        ValueError: a class lacks images, or images cannot be read.
    """
    classes = tuple(prompts)
    if choices.external and len(rounds) > 1:
        raise ValueError(f"external: {name} has {len(rounds)} targets, external images can show one: leave it out")
    _check_counts(name, classes, pool)
    protected = {label for round_ in rounds for label in round_.protected}
    rows = {
        "val": {label: pool.rows[label, "val"][: choices.val_per_class] for label in classes},
        "test": {label: pool.rows[label, "test"][: choices.test_per_class] for label in classes},
        "train": {r.target: pool.rows[r.target, "train"][: choices.target_images] for r in rounds},
        "protected": {
            label: _draw(pool.rows[label, "train"], choices.protected_per_class, f"{seed} {label}")
            for label in classes
            if label in protected
        },
    }
    if choices.scored == PROBE:
        rows["test"] = rows["val"]
    held_back = {label: pool.rows[label, "base"] for label in classes if (label, "base") in pool.rows}
    images = _Images(
        pool,
        choices.image_size,
        at_once=[part for split in rows.values() for part in split.values()],
        later=list(held_back.values()),
    )
    scored = {split: images.of(rows[split], classes, classes) for split in ("val", "test")}
    external = None
    if choices.external:
        seen = [pool.files[row] for split in ("val", "test") for part in rows[split].values() for row in part]
        listed = external_images(choices.external, pool.folders, pool.source.title, seen)
        external = load_photos(listed, choices.image_size)
    data = []
    for round_ in rounds:
        known = classes[: len(round_.classes)]
        train = images.of(rows["train"], [round_.target], classes)
        if external is not None:
            labels = torch.full((len(external),), classes.index(round_.target))
            train = LabelledImages.concatenate([train, LabelledImages(external, labels)])
        kept = images.of(rows["protected"], [label for label in known if label in round_.protected], classes)
        val, test = (
            _first(scored[split], sum(len(rows[split][label]) for label in known)) for split in ("val", "test")
        )
        data.append(RoundData(train, kept, val, test))
    return DevelopmentStream(
        name=name,
        version=1,
        seed=seed,
        classes=classes,
        prompts=tuple(prompts.values()),
        rounds=tuple(rounds),
        data=tuple(data),
        options=choices.options() | dict(options),  # without ``data``: the same images elsewhere are the same stream
        pretraining=partial(images.of, held_back, list(held_back), classes) if held_back else None,
        base=base,
        recipe=dict(recipe or {}),
        augment=choices.augment,
        mirror=mirror,
    )


def shortages(classes: Sequence[str], pool: Pool) -> list[str]:
    """One phrase per class that lacks images in a split."""
    splits = ("train", "val", "test")
    counts = {label: [len(pool.rows.get((label, split), ())) for split in splits] for label in classes}
    return [
        f"class {label!r} has {', '.join(f'{n} {split}' for n, split in zip(count, splits, strict=True))} images"
        for label, count in counts.items()
        if not all(count)
    ]


def _check_counts(name: str, classes: Sequence[str], pool: Pool) -> None:
    if short := shortages(classes, pool):
        left_out = "".join(f"; left out are {number:,} with {reason}" for reason, number in pool.dropped.items())
        raise ValueError(
            f"data: {pool.folders[0]} cannot serve {name}: {some(short)}, each split needs 1 or more{left_out}: "
            f"complete {pool.source.title}, it is at {pool.source.address}, or leave the options of sizes and shares "
            "at their defaults"
        )


def _draw(rows: np.ndarray, count: int | None, key: str) -> np.ndarray:
    """``count`` of the rows, or all where there are fewer, as in the study; ``key`` decides which."""
    if count is None or count >= len(rows):
        return rows
    return rows[sorted(random.Random(key).sample(range(len(rows)), count))]


class _Images:
    """The pixels of the rows that one stream takes, decoded together so that all unreadable files are named at once.

    ``photo_store`` would look at every file of the pool, more than a minute for the 1.8 million of Places365: here
    only those taken are looked at. The collection is the same for every stream and seed of a data set.
    """

    def __init__(self, pool: Pool, image_size: int, at_once: Sequence[np.ndarray], later: Sequence[np.ndarray]) -> None:
        rows, known = np.unique(np.concatenate(at_once)), np.unique(np.concatenate([*at_once, *later]))
        stamps: Any = np.zeros(len(pool.files), dtype=np.int64)
        stamps[known] = [stamp(pool.files[row]) for row in known]
        digest = hashlib.sha256("\0".join(pool.files).encode(errors="surrogateescape"))
        digest.update(b"" if pool.boxes is None else pool.boxes.tobytes())
        self._groups = pool.groups
        self._store = PixelStore(
            name=f"{pool.source.title} {TRANSFORM} {digest.hexdigest()}",
            stamps=stamps,
            image_size=image_size,
            make=lambda rows: decode(
                [Path(pool.files[row]) for row in rows], image_size, None if pool.boxes is None else pool.boxes[rows]
            ),
        )
        try:
            self._store.fill(rows)
        except UnreadablePhotos as error:
            raise ValueError(
                f"data: {len(error.reports)} of {len(rows)} images of {pool.source.title} cannot be read: "
                f"{some(error.reports)}: get them again, the data set is at {pool.source.address}"
            ) from None

    def of(self, rows: Mapping[str, np.ndarray], names: Sequence[str], classes: Sequence[str]) -> LabelledImages:
        """The images of the classes ``names``, one class after the other."""
        labels = [torch.full((len(rows[name]),), classes.index(name)) for name in names]
        taken = np.concatenate([rows[name] for name in names])
        groups = None if self._groups is None else [self._groups[row] for row in taken.tolist()]
        return LabelledImages(self._store.take(taken), torch.cat(labels), groups)


def _first(images: LabelledImages, count: int) -> LabelledImages:
    """A view of the first images: rounds share their memory."""
    return images if count == len(images) else images.chosen(slice(count))
