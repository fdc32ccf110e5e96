"""Whether a folder holds a published data set as its stream needs it: as plain data, and as plain text."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from scenarios import bdd100k, gtsrb, places365, unknown_name
from scenarios.bdd100k_files import SOURCE as BDD100K
from scenarios.bdd100k_files import locate as locate_bdd100k
from scenarios.decoding import unreadable
from scenarios.gtsrb_files import SOURCE as GTSRB
from scenarios.gtsrb_files import locate as locate_gtsrb
from scenarios.pixels import Progress
from scenarios.places365_files import SOURCE as PLACES365
from scenarios.places365_files import locate as locate_places365
from scenarios.real import Pool, Source, data_folder, shortages
from scenarios.wording import some

# Frames of each weather in official val, recovered from a published training log; foggy as the study divided all 143.
WEATHER_TEST = {"clear": 5346, "overcast": 1239, "snowy": 769, "rainy": 738, "partly cloudy": 738, "foggy": 43}
FOGGY = {"train": 57, "val": 43, "test": 43}

# Official sizes of Places365-Standard; a class has 3,068 to 5,000 images to train on.
PLACES_TRAIN, PLACES_TRAIN_OF_CLASS, PLACES_VAL, PLACES_VAL_OF_CLASS = 1_803_460, (3_068, 5_000), 36_500, 100
ALL = "all classes"

# Official sizes of GTSRB, by class number; a track has 30 photos, one of class 33 has 29.
SIGNS_TRAIN = (
    *(210, 2220, 2250, 1410, 1980, 1860, 420, 1440, 1410, 1470, 2010, 1320, 2100, 2160, 780, 630, 420, 1110, 1200, 210),
    *(360, 330, 390, 510, 270, 1500, 600, 240, 540, 270, 450, 780, 240, 689, 420, 1200, 390, 210, 2070, 300, 360, 240),
    240,
)
SIGNS_TEST = (
    *(60, 720, 750, 450, 660, 630, 150, 450, 450, 480, 660, 420, 690, 720, 270, 210, 150, 360, 390, 60, 90, 90, 120),
    *(150, 90, 480, 180, 60, 150, 90, 150, 270, 60, 210, 120, 390, 120, 60, 690, 90, 90, 60, 90),
)
SIGNS_OF_TRACK = 30

MANY = 20  # classes: of more, only those that differ are written out


@dataclass(frozen=True)
class Count:
    """How many images of a class a split holds; ``published``: the least and the most it should hold, where known."""

    label: str
    split: str
    images: int
    published: tuple[int, int] | None = None

    @property
    def agrees(self) -> bool:
        """Whether it is as published, or nothing is known."""
        return self.published is None or self.published[0] <= self.images <= self.published[1]

    def __str__(self) -> str:
        if self.published is None:
            return f"{self.images:,}"
        least, most = self.published
        return f"{self.images:,} of {least:,}" + (f" to {most:,}" if most != least else "")


@dataclass(frozen=True)
class Report:
    """The findings in a folder.

    Attributes:
        scenario: name of the stream.
        folder: where was looked.
        source: the data set.
        places: label files and image folders -> where they are; None where they are missing.
        problem: why the labels cannot be used, "" if they can.
        counts: images per class and split.
        dropped: reason -> listed images that the stream does not use.
        images: how many it may use.
        absent: those of them that are not on disk.
        unreadable: those that cannot be decoded in full, with the reason; None where that was not tried.
        short: one phrase per class that has no images in a split of the stream with its usual options.
    """

    scenario: str
    folder: str
    source: Source
    places: Mapping[str, str | None]
    problem: str = ""
    counts: tuple[Count, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    images: int = 0
    absent: tuple[str, ...] = ()
    unreadable: tuple[str, ...] | None = None
    short: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is missing or broken, as far as was looked, and no class is without images."""
        complete = all(self.places.values()) and all(count.images for count in self.counts)
        return complete and not (self.problem or self.absent or self.unreadable or self.short)

    @property
    def as_published(self) -> bool:
        """Whether, moreover, all counts that are known agree."""
        return self.ok and all(count.agrees for count in self.counts)

    def lines(self) -> list[str]:
        """The report as plain text."""
        return [f"{self.scenario} in {self.folder}", *(f"  {line}" for line in self._findings()), self._verdict()]

    def _findings(self) -> Iterator[str]:
        yield from (f"found: {place}" if place else f"MISSING: {what}" for what, place in self.places.items())
        if self.problem:
            yield f"UNUSABLE: {self.problem}"
        if self.counts:
            yield from _table(self.counts)
        if self.short:
            yield f"TOO FEW: {some(self.short)}: each split needs 1 or more with the usual options"
        yield from (f"left out: {number:,} with {reason}" for reason, number in self.dropped.items())
        if self.absent:
            yield f"MISSING: {len(self.absent):,} of {self.images:,} listed images: {some(self.absent)}"
        if self.unreadable:
            yield f"UNREADABLE: {len(self.unreadable):,} of {self.images:,} images: {some(self.unreadable)}"
        if self.counts and self.unreadable is None:
            yield "images were not decoded: broken files would not be noticed"

    def _verdict(self) -> str:
        if not self.ok:
            return f"not ok: get what is missing or broken from {self.source.address}"
        differ = [f"{count.label} {count.split} {count}" for count in self.counts if not count.agrees]
        return f"ok, but not as published: {some(differ)}" if differ else "ok"


def verify(scenario: str, data: str, decode: bool = False, progress: Progress | None = None) -> Report:
    """Look for all that the stream needs.

    Args:
        scenario: name of a stream of a published data set.
        data: its folder, or "" for the one that MDS_BENCH_DATA names.
        decode: decode every image that the stream may use, by all cores: this finds files that are cut off, empty or
            no images.
        progress: called with the task under way, how many images are done, and how many there are.

    Raises:
        ValueError: the scenario has no published data set, or there is no such folder.
    """
    if scenario not in CHECKS:
        raise ValueError(unknown_name("scenario with data on disk", scenario, ["folder", *CHECKS]))
    source, locate, make_pool, count = CHECKS[scenario]
    folder = data_folder(data, source)
    places = {what: str(place) if place else None for what, place in locate(folder).items()}
    report = partial(Report, scenario, str(folder), source, places)
    if not all(places.values()):
        return report()
    try:
        pool = make_pool(folder)
    except ValueError as error:
        return report(problem=str(error))
    used = {pool.files[row]: row for rows in pool.rows.values() for row in rows}
    files = sorted(used)
    absent = _absent(files)
    present = sorted(used.keys() - set(absent))
    boxes = None if pool.boxes is None else pool.boxes[[used[file] for file in present]]
    return report(
        counts=tuple(count(pool)),
        dropped=pool.dropped,
        images=len(files),
        absent=tuple(absent),
        unreadable=tuple(unreadable(present, progress, boxes)) if decode else None,
        short=tuple(shortages(pool.classes, pool)),
    )


def _images(pool: Pool, label: str, split: str) -> int:
    return len(pool.rows.get((label, split), ()))


def _bdd100k_counts(pool: Pool) -> Iterator[Count]:
    """Counts of a BDD100K stream's splits, which are known in part where its classes are weathers alone."""
    published = set(pool.classes) <= set(bdd100k.WEATHERS)
    for label in pool.classes:
        known = FOGGY if label == "foggy" else {"test": WEATHER_TEST.get(label, 0)}
        for split in ("train", "val", "test"):
            number = known.get(split) if published else None
            yield Count(label, split, _images(pool, label, split), (number, number) if number else None)


def _places365_counts(pool: Pool) -> Iterator[Count]:
    """Counts of Places365's official splits: validation is carved from official train, and official val is the test."""
    train = {label: _images(pool, label, "train") + _images(pool, label, "val") for label in pool.classes}
    val = {label: _images(pool, label, "test") for label in pool.classes}
    for label in pool.classes:
        yield Count(label, "train", train[label], PLACES_TRAIN_OF_CLASS)
        yield Count(label, "val", val[label], (PLACES_VAL_OF_CLASS,) * 2)
    yield Count(ALL, "train", sum(train.values()), (PLACES_TRAIN,) * 2)
    yield Count(ALL, "val", sum(val.values()), (PLACES_VAL,) * 2)


def _gtsrb_counts(pool: Pool) -> Iterator[Count]:
    """Photos and tracks of GTSRB's training part, whatever the stream makes of them, and photos of its test."""
    assert pool.groups is not None
    photos, tracks = (Counter(group[:5] for group in groups if group) for groups in (pool.groups, set(pool.groups)))
    rows = {label: pool.rows.get((label, "test"), ()) for label in pool.classes}
    test = {label: sum(not pool.groups[row] for row in found) for label, found in rows.items()}
    found: dict[str, list[int]] = {}
    for number, label in enumerate(pool.classes):
        key, train = f"{number:05}", SIGNS_TRAIN[number]
        counts = {"photos": (photos[key], train), "tracks": (tracks[key], -(-train // SIGNS_OF_TRACK))}
        if any(test.values()):
            counts["test"] = (test[label], SIGNS_TEST[number])
        for what, (own, official) in counts.items():
            yield Count(label, what, own, (official,) * 2)
            found[what] = [a + b for a, b in zip(found.get(what, (0, 0)), (own, official), strict=True)]
    for what, (own, official) in found.items():
        yield Count(ALL, what, own, (official,) * 2)


Check = tuple[
    Source, Callable[[Path], dict[str, Path | None]], Callable[[Path], Pool], Callable[[Pool], Iterator[Count]]
]
# stream -> its data set, and the functions that find the files, read the labels and count
CHECKS: dict[str, Check] = {
    name: (BDD100K, locate_bdd100k, partial(bdd100k.pool, name), _bdd100k_counts) for name in bdd100k.PLANS
} | {places365.NAME: (PLACES365, locate_places365, places365.pool, _places365_counts)}
CHECKS |= {name: (GTSRB, locate_gtsrb, partial(gtsrb.pool, name), _gtsrb_counts) for name in gtsrb.TARGETS}


def _absent(files: Sequence[str]) -> list[str]:
    """Those that are not on disk, by listing each folder once: looking for a million files one by one takes minutes."""
    present: dict[str, set[str]] = {}
    for folder in {os.path.dirname(file) for file in files}:  # noqa: PTH120 a million Paths take seconds
        present[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()  # noqa: PTH112, PTH208
    parts = ((file, *os.path.split(file)) for file in files)
    return [file for file, folder, name in parts if name not in present[folder]]


def _table(counts: Sequence[Count]) -> Iterator[str]:
    """One line per class; of many classes, for those alone that differ from what was published, and for the totals."""
    labels = list(dict.fromkeys(count.label for count in counts))
    if len(labels) > MANY:
        differ = {count.label for count in counts if not count.agrees}
        yield f"{len(labels) - 1} classes" + (", of which these differ:" if differ - {ALL} else "")
        labels = [label for label in labels if label in differ or label == ALL]
    width = max(map(len, labels))
    for label in labels:
        cells = [f"{count.split} {count}" for count in counts if count.label == label]
        yield f"{label:{width}}  " + "  ".join(f"{cell:24}" for cell in cells).rstrip()
