"""Parts that streams of published data sets share: the data folder, fixed splits, draws by seed, pixels on demand."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from scenarios.decoding import TRANSFORM, UnreadablePhotos, decode
from scenarios.pixels import PixelStore, load_photos
from scenarios.stream import DevelopmentStream, LabelledImages, Round, RoundData
from scenarios.table_files import MissingColumns, UnreadableTable, WrongColumns, read_table, with_slashes
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
    """

    source: Source
    classes: tuple[str, ...]
    folders: tuple[Path, ...]
    files: Sequence[str]
    rows: Mapping[tuple[str, str], np.ndarray]
    dropped: Mapping[str, int]


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

    def __post_init__(self) -> None:
        if not 16 <= self.image_size <= 1024:
            raise ValueError(f"image_size must be between 16 and 1024 px, not {self.image_size}")
        for name in ("protected_per_class", "target_images", "val_per_class", "test_per_class"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ValueError(f"{name} must be 1 or more, not {count}")

    def options(self) -> dict[str, Any]:
        """For the record: of external images only that there are some, as paths say nothing about a stream."""
        return {field.name: getattr(self, field.name) for field in fields(self)} | {"external": bool(self.external)}


def data_folder(data: str, source: Source) -> Path:
    """The folder given, else the one in MDS_BENCH_DATA.

    Raises:
        ValueError: neither names a folder.
    """
    data = data or os.environ.get(VARIABLE, "")
    remedy = f"give the folder of {source.title} with --data DIR or in {VARIABLE}; the data set is at {source.address}"
    if not data:
        raise ValueError(f"data: {remedy}, and never downloaded by this suite")
    folder = Path(data).expanduser().absolute()
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
) -> DevelopmentStream:
    """The stream of a pool: the seed draws the protected images, everything else is the first of each class's order.

    Args:
        name: of the stream.
        seed: decides which training images of the protected classes a method may use.
        pool: the images.
        prompts: class -> prompt, so that each round's classes are the first of them.
        rounds: the target and the protected classes of each.
        choices: sizes, and how training sees the images.
        options: for the record, beside ``choices``.

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
    images = _Images(pool, choices.image_size, [part for split in rows.values() for part in split.values()])
    scored = {split: images.of(rows[split], classes, classes) for split in ("val", "test")}
    external = load_photos(_external_images(choices.external, pool), choices.image_size) if choices.external else None
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
        augment=choices.augment,
    )


def _check_counts(name: str, classes: Sequence[str], pool: Pool) -> None:
    splits = ("train", "val", "test")
    counts = {label: [len(pool.rows.get((label, split), ())) for split in splits] for label in classes}
    short = [
        f"class {label!r} has {', '.join(f'{n} {split}' for n, split in zip(count, splits, strict=True))} images"
        for label, count in counts.items()
        if not all(count)
    ]
    if short:
        raise ValueError(
            f"data: {pool.folders[0]} cannot serve {name}: {some(short)}, each split needs 1 or more: complete "
            f"{pool.source.title}, it is at {pool.source.address}"
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

    def __init__(self, pool: Pool, image_size: int, parts: Sequence[np.ndarray]) -> None:
        rows = np.unique(np.concatenate(parts))
        stamps: Any = np.zeros(len(pool.files), dtype=np.int64)
        stamps[rows] = [_stamp(pool.files[row]) for row in rows]
        digest = hashlib.sha256("\0".join(pool.files).encode(errors="surrogateescape")).hexdigest()
        self._store = PixelStore(
            name=f"{pool.source.title} {TRANSFORM} {digest}",
            stamps=stamps,
            image_size=image_size,
            make=lambda rows: decode([Path(pool.files[row]) for row in rows], image_size),
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
        taken = self._store.take(np.concatenate([rows[name] for name in names]))
        return LabelledImages(taken, torch.cat(labels))


def _stamp(file: str) -> int:
    """A number that is another one after the file was edited."""
    try:
        status = os.stat(file)  # noqa: PTH116 a Path for each of a million files takes seconds
    except OSError:
        return -1  # opening it will fail too, and is reported with the other unreadable files
    return hash((status.st_size, status.st_mtime_ns))


def _first(images: LabelledImages, count: int) -> LabelledImages:
    """A view of the first images: rounds share their memory."""
    return images if count == len(images) else LabelledImages(images.images[:count], images.labels[:count])


def _external_images(file: str, pool: Pool) -> list[Path]:
    """The images with slabel 1 in a CSV ``filepath,title,slabel``, in its order and once each.

    Raises:
        ValueError: the CSV or a row of it cannot serve; the message has the line and the column.
    """
    path = Path(file).expanduser().absolute()
    images: dict[Path, None] = {}
    problems = []
    for line, row in _csv_rows(path):
        image = path.parent / with_slashes(path.parent, row["filepath"])
        if not row["filepath"] or not image.is_file():
            problems.append(f"line {line}, column filepath: there is no file {row['filepath']!r}")
        elif any(image.resolve().is_relative_to(folder.resolve()) for folder in pool.folders):
            problems.append(f"line {line}, column filepath: {row['filepath']} belongs to {pool.source.title} itself")
        elif not row["title"]:
            problems.append(f"line {line}, column title: it is empty")
        elif row["slabel"] not in ("0", "1"):
            problems.append(f"line {line}, column slabel: {row['slabel']!r} is neither 1 (shows the target) nor 0")
        elif row["slabel"] == "1":
            images[image] = None
    if problems:
        raise ValueError(f"external: {path}: {some(problems)}: correct or remove these rows")
    if not images:
        raise ValueError(f"external: {path} has no row with slabel 1: list images that show the target")
    return list(images)


def _csv_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Line number and stripped cells of every row."""
    columns = ("filepath", "title", "slabel")
    try:
        return read_table(path, columns, short=True).stripped()
    except MissingColumns as error:
        raise ValueError(
            f"external: {path}, line 1 has no column {some(error.missing)}, it is {error.header}: name the columns "
            f"{','.join(columns)}"
        ) from None
    except WrongColumns as error:
        raise ValueError(f"external: {error}") from None
    except UnreadableTable as error:
        raise ValueError(f"external: {path} is no CSV in UTF-8 ({error}): give one with {','.join(columns)}") from None
