"""BDD100K on disk: where its archives put labels and images, and the labels of either release read and kept small."""

from __future__ import annotations

import codecs
import hashlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import ijson
import pandas as pd

from scenarios.cache import cache_folder
from scenarios.leftovers import is_leftover
from scenarios.real import Source

SOURCE = Source("BDD100K", "bdd100k.com (or bair.berkeley.edu): '100K Images' and 'Labels' or 'Detection 2020 Labels'")

# Labels of an official split: one file of either release, or a folder of one file per image. Of those that are there
# for both splits, the first count.
LABELS = ("labels/det_20/det_{}.json", "labels/bdd100k_labels_images_{}.json")
LABELS_PER_IMAGE = ("labels/100k/{}", "100k/{}")
IMAGES = ("images/100k/{}", "100k/{}")
COLUMNS = ("name", "weather", "scene", "timeofday")
INDEX_VERSION = 1  # raised whenever the small index kept of a label file would be another one


def labels_of(split: str) -> str:
    """How messages name the labels of a split."""
    one, other = (name.format(split) for name in LABELS)
    return f"{one}, {other} or {LABELS_PER_IMAGE[0].format(split)}/*.json"


def images_of(split: str) -> str:
    """How messages name the images of a split."""
    return IMAGES[0].format(split)


def locate(folder: Path) -> dict[str, Path | None]:
    """Labels and image folders of train and val, None where there is nothing.

    Each archive may lie in a folder of its own: ``bdd100k_labels_release/bdd100k/labels``,
    ``bdd100k_images/bdd100k/images``.
    """
    roots = _roots(folder)

    def places(pattern: str, suffix: str) -> list[Path | None]:
        return [
            next((place for root in roots if _holds(place := root / pattern.format(split), suffix)), None)
            for split in ("train", "val")
        ]

    def fullest(patterns: tuple[str, ...], suffix: str) -> list[Path | None]:
        return max((places(pattern, suffix) for pattern in patterns), key=lambda pair: len(pair) - pair.count(None))

    labels = fullest((*LABELS, *LABELS_PER_IMAGE), ".json")
    images = fullest(IMAGES, "")
    return {labels_of("train"): labels[0], labels_of("val"): labels[1]} | {
        images_of("train"): images[0],
        images_of("val"): images[1],
    }


def _roots(folder: Path) -> list[Path]:
    """The folder and those up to two levels below, nearest first."""
    roots, level = [folder], [folder]
    for _ in range(2):
        level = sorted((below for parent in level for below in _below(parent)), key=lambda one: one.name != "bdd100k")
        roots += level
    return roots


def _below(parent: Path) -> list[Path]:
    with os.scandir(parent) as entries:  # a Path for each of 70,000 images would be slow
        names = sorted(entry.name for entry in entries if entry.is_dir())
    return [parent / name for name in names if not is_leftover(name)]


def _holds(place: Path, suffix: str) -> bool:
    """Whether there is such a file; or such a folder, and in it the labels that are looked for, or images."""
    if not place.is_dir():
        return bool(suffix) and place.is_file()
    with os.scandir(place) as entries:
        first = next((entry.name for entry in entries if not is_leftover(entry.name)), "")
    return first.endswith(".json") == bool(suffix) if first else not suffix


def read_labels(place: Path) -> pd.DataFrame:
    """name, weather, scene, timeofday of every frame: labels may have over 1 GB, so this is kept on disk.

    Raises:
        ValueError: they cannot be read.
    """
    files = sorted(_json_files(place)) if place.is_dir() else None
    key = hashlib.sha256(_edition(place, files).encode(errors="surrogateescape")).hexdigest()[:16]
    kept = cache_folder() / "labels" / f"{place.stem}-{key}.json"
    with suppress(OSError, ValueError):  # none yet, or cut off: made anew
        return pd.DataFrame(json.loads(kept.read_text()), columns=COLUMNS, dtype=object)
    rows = list(_frames_of_list(place) if files is None else map(_frame_of_file, files))
    table = pd.DataFrame(rows, columns=COLUMNS, dtype=object)
    with suppress(OSError):  # nowhere to keep it
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(table.to_dict("list")))
        part.replace(kept)
    return table


def _json_files(folder: Path) -> Iterator[Path]:
    return (file for file in folder.iterdir() if file.suffix == ".json" and not is_leftover(file.name))


def _edition(place: Path, files: list[Path] | None) -> str:
    """A text that is another one after the labels were edited."""
    if files is None:
        status = place.stat()
        return f"{INDEX_VERSION} {place.resolve()} {status.st_size} {status.st_mtime_ns}"
    stats = ((file.name, file.stat()) for file in files)
    return "\0".join([f"{INDEX_VERSION} {place.resolve()}", *(f"{n} {s.st_size} {s.st_mtime_ns}" for n, s in stats)])


def _frames_of_list(file: Path) -> Iterator[list[str]]:
    try:
        with file.open("rb") as handle:
            text = _as_utf8(handle)
            yield from (_row(f"frame {number}", frame) for number, frame in enumerate(ijson.items(text, "item"), 1))
    except (OSError, ValueError, ijson.JSONError) as error:
        raise _unusable(file, "list of BDD100K's frames", error) from None


def _frame_of_file(file: Path) -> list[str]:
    try:
        frame = json.loads(file.read_bytes())  # with a byte order mark or without
        row = _row("it", {"name": file.stem} | frame if isinstance(frame, dict) else frame)
    except (OSError, ValueError, RecursionError) as error:
        raise _unusable(file, "label of a BDD100K frame", error) from None
    return [row[0] if row[0].lower().endswith((".jpg", ".jpeg", ".png")) else f"{row[0]}.jpg", *row[1:]]


def _unusable(file: Path, what: str, error: Exception) -> ValueError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return ValueError(f"data: {file} is no {what} ({reason}): get the labels again from {SOURCE.address}")


def _as_utf8(handle: BinaryIO) -> BinaryIO:
    """The file from its list on, as UTF-8: editors and shells put a byte order mark or blank lines before it."""
    start = handle.read(4096)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _as_utf8(io.BytesIO((start + handle.read()).decode("utf-16").encode()))
    mark = codecs.BOM_UTF8 if start.startswith(codecs.BOM_UTF8) else b""
    handle.seek(len(mark))
    first = start[len(mark) :].lstrip()[:1]
    while not first and (more := handle.read(4096)):  # blanks alone so far
        first = more.lstrip()[:1]
    if first != b"[":
        raise ValueError("it does not begin with [")
    handle.seek(len(mark))
    return handle


def _row(which: str, frame: Any) -> list[str]:
    name = frame.get("name") if isinstance(frame, dict) else None
    attributes = (frame.get("attributes") or {}) if name else None
    if not isinstance(name, str) or not isinstance(attributes, dict):
        raise ValueError(f"{which} has no name or no attributes")
    row = [name, *(str(attributes.get(key) or "undefined") for key in COLUMNS[1:])]
    if any("\0" in cell or (not cell.isascii() and _broken(cell)) for cell in row):
        raise ValueError(f"{which} has a name or attribute that is no text")
    return row


def _broken(text: str) -> bool:
    """Whether it has halves of characters, which no file name or hash can hold."""
    return any("\ud800" <= character <= "\udfff" for character in text)
