"""Whether a folder or CSV of photos can serve as a stream: as plain data, and as plain text."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scenarios.decoding import unreadable
from scenarios.folder import divided, needs, same_names, shortages
from scenarios.on_disk import at_home, digest
from scenarios.photos import SPLITS, Photo, look
from scenarios.pixels import Progress
from scenarios.real import VARIABLE
from scenarios.wording import some

TRAINING = ("base", "train")  # which of the two a photo is in depends on the target


@dataclass(frozen=True)
class FolderReport:
    """The findings in a folder of photos.

    Attributes:
        data: the folder or CSV.
        counts: class -> split -> photos, were the class protected and the options at their defaults.
        left_out: class, or "" beside the class folders -> which files are not used and why.
        short: one phrase per class with too few photos.
        unreadable: photos that cannot be decoded in full, with the reason; None where that was not tried.
        repeated: groups of files with the same bytes in one class and one split: they count more than once.
        leaked: groups of files with the same bytes in several classes or splits: labels or scores are wrong.
        twins: names that several classes have in prompts, where underscores are spaces.
    """

    data: str
    counts: Mapping[str, Mapping[str, int]]
    left_out: Mapping[str, str] = field(default_factory=dict)
    short: tuple[str, ...] = ()
    unreadable: tuple[str, ...] | None = None
    repeated: tuple[str, ...] = ()
    leaked: tuple[str, ...] = ()
    twins: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether it can serve: two classes of different names, each with enough photos, all readable, none twice."""
        return len(self.counts) > 1 and not (self.short or self.unreadable or self.leaked or self.twins)

    def lines(self) -> list[str]:
        """The report as plain text."""
        return [f"folder in {self.data}", *(f"  {line}" for line in self._findings()), self._verdict()]

    def _findings(self) -> Iterator[str]:
        width = max(map(len, self.counts))
        for label, counts in self.counts.items():
            yield f"{label:{width}}  {sum(counts.values()):,} photos: " + ", ".join(
                f"{counts[split]:,} {split}" for split in SPLITS
            )
        for label, told in self.left_out.items():
            yield f"left out of {label or 'the folder itself'}: {told}"
        if len(self.counts) == 1:
            yield "TOO FEW: one class: add a class that must be kept"
        yield from (f"TOO FEW: {phrase}" for phrase in self.short)
        yield from (f"SAME NAME: several classes are {name} in their prompts" for name in self.twins)
        if not any(counts["base"] for counts in self.counts.values()):
            remedy = "give one with --base FILE.safetensors, or photos in a folder or split base"
            yield f"no photos for a base model: {remedy}"
        if self.unreadable:
            yield f"UNREADABLE: {len(self.unreadable):,} photos: {some(self.unreadable)}"
        if self.leaked:
            yield f"DUPLICATE: {_groups(self.leaked)} in several classes or splits: {some(self.leaked, between='; ')}"
        if self.repeated:
            yield f"duplicate: {_groups(self.repeated)} in one class and split: {some(self.repeated, between='; ')}"
        if self.unreadable is None:
            yield "photos were not decoded: broken files would not be noticed"

    def _verdict(self) -> str:
        if self.ok:
            return "ok"
        remedies = {
            f"add photos ({needs()})": self.short or len(self.counts) == 1,
            "delete or repair what is unreadable": self.unreadable,
            "rename classes of the same name": self.twins,
            "delete duplicates, or name them in a CSV with the same class and split": self.leaked,
        }
        return "not ok: " + "; ".join(remedy for remedy, needed in remedies.items() if needed)


def verify_folder(data: str, decode: bool = False, progress: Progress | None = None) -> FolderReport:
    """Look at every photo that a stream of these could use, whatever its target.

    Args:
        data: the folder or CSV, or "" for what MDS_BENCH_DATA names.
        decode: decode every photo, by all cores: this finds files that are cut off, empty or no images.
        progress: called with the task under way, how many photos are done, and how many there are.

    Raises:
        ValueError: there is no such folder or CSV, it holds no classes or cannot be listed.
    """
    data = data or os.environ.get(VARIABLE, "")
    found = look(data)
    splits = divided(found.photos)
    photos = [(photo, split) for parts in splits.values() for split, part in parts.items() for photo in part]
    repeated, leaked = _duplicates(photos, at_home(data))
    return FolderReport(
        data=data,
        counts={label: {split: len(part) for split, part in parts.items()} for label, parts in splits.items()},
        left_out={label: found.told(label) for label in sorted(found.left_out) if found.told(label)},
        short=tuple(shortages(splits, found)),
        unreadable=tuple(unreadable(sorted({str(p.path) for p, _ in photos}), progress)) if decode else None,
        repeated=tuple(repeated),
        leaked=tuple(leaked),
        twins=tuple(same_names(found.photos)),
    )


def _groups(groups: tuple[str, ...]) -> str:
    return f"{len(groups):,} photo" + ("s" if len(groups) > 1 else "")


def _duplicates(photos: Iterable[tuple[Photo, str]], root: Path) -> tuple[list[str], list[str]]:
    """Groups of files with the same bytes: those in one class and split, and the others."""
    below = root if root.is_dir() else root.parent
    repeated: list[str] = []
    leaked: list[str] = []
    for group in _alike(
        _alike([list(photos)], lambda photo: photo.path.stat().st_size), lambda photo: digest(photo.path)
    ):
        group.sort(key=lambda one: str(one[0].path))
        places = {(photo.label, "training" if split in TRAINING else split) for photo, split in group}
        named = [f"{_short(photo.path, below)} ({photo.label}, {split})" for photo, split in group]
        (leaked if len(places) > 1 else repeated).append(some(named, 4, between=" = "))
    return sorted(repeated), sorted(leaked)


def _alike(
    groups: Iterable[list[tuple[Photo, str]]], key: Callable[[Photo], object]
) -> Iterator[list[tuple[Photo, str]]]:
    """The groups divided by ``key``, of two files or more; what cannot be opened is unreadable and in none."""
    for group in groups:
        by_key: dict[object, list[tuple[Photo, str]]] = defaultdict(list)
        for photo, split in group:
            try:
                by_key[key(photo)].append((photo, split))
            except OSError:
                continue
        yield from (alike for alike in by_key.values() if len(alike) > 1)


def _short(path: Path, below: Path) -> str:
    return path.relative_to(below).as_posix() if path.is_relative_to(below) else str(path)
