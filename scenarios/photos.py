"""Photos on disk: found by class, and decoded once a process into square RGB bytes."""

from __future__ import annotations

import csv
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})
SPLITS = ("base", "train", "val", "test")


@dataclass(frozen=True)
class Photo:
    """One file. ``name`` is its path below the class, with slashes: the same wherever the photos lie."""

    label: str
    name: str
    path: Path
    split: str | None = None  # where the user decided it: one of SPLITS


def find_photos(data: str) -> dict[str, list[Photo]]:
    """The photos in a folder of class-named folders, or in a CSV with the columns ``path,label[,split]``.

    In a folder, files in folders below a class folder count, hidden files and files without an image extension do not.
    In a CSV every row counts. Names are compared in Unicode's composed form, as file systems differ in it.

    Args:
        data: path of the folder or of the CSV.

    Returns:
        The photos of each class, sorted by name; the classes sorted too.

    Raises:
        ValueError: there is no such file, or it holds no classes, or a row of the CSV cannot serve.
    """
    root = Path(data).expanduser()
    if not data or not root.exists():
        raise ValueError(f"data: there is no {data!r}: give a folder of class-named folders of photos, or a CSV")
    found = _in_folder(root) if root.is_dir() else _in_csv(root)
    return {label: sorted(found[label], key=lambda photo: (photo.name, str(photo.path))) for label in sorted(found)}


def compose(name: str) -> str:
    """``name`` in Unicode's composed form (NFC): macOS may store ``é`` as two characters, a terminal sends one."""
    return unicodedata.normalize("NFC", name)


def some(items: Sequence[str], most: int = 3) -> str:
    """The first ``most`` items for a message, and how many more there are."""
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")


def _in_folder(root: Path) -> dict[str, list[Photo]]:
    found: dict[str, list[Photo]] = {}
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and not folder.name.startswith("."):
            label = compose(folder.name)
            photos = [Photo(label, compose(path.relative_to(folder).as_posix()), path) for path in _images(folder)]
            found.setdefault(label, []).extend(photos)
    if not found:
        raise ValueError(
            f"data: {root} holds no class folders: give each class a folder of its own, named as the class"
        )
    return found


def _images(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in EXTENSIONS:
                yield Path(parent, name)


def _in_csv(file: Path) -> dict[str, list[Photo]]:
    rows = _rows(file)
    found: dict[str, list[Photo]] = {}
    lines: dict[str, int] = {}  # where a path was first listed
    problems = []
    for line, row in rows:
        path, label, split = row["path"], compose(row["label"]), row.get("split") or None
        name = Path(os.path.normpath(path)).as_posix()
        if not path or not label:
            problems.append(f"line {line}: path or label is empty")
        elif Path(path).is_absolute():
            problems.append(f"line {line}: path {path} must be relative to the CSV's folder")
        elif split not in (None, *SPLITS):
            problems.append(f"line {line}: split {split!r} must be empty or one of {', '.join(SPLITS)}")
        elif name in lines:
            problems.append(f"line {line}: path {path} is listed already in line {lines[name]}")
        elif not (file.parent / path).is_file():
            problems.append(f"line {line}: there is no file {path}")
        else:
            # Without the class folder in front, a CSV of a tree of folders gives the same names as the tree itself.
            below = compose(name).removeprefix(f"{label}/")
            found.setdefault(label, []).append(Photo(label, below, file.parent / name, split))
        lines.setdefault(name, line)
    if problems:
        raise ValueError(f"data: {file}: {some(problems)}: correct or remove these rows")
    return found


def _rows(file: Path) -> list[tuple[int, dict[str, str]]]:
    """Line number and stripped cells of every row."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle, strict=True)
            columns = [column.strip() for column in reader.fieldnames or ()]
            reader.fieldnames = columns
            rows = [(reader.line_num, {c: (row[c] or "").strip() for c in columns}) for row in reader]
    except (csv.Error, OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"data: {file} is neither a folder nor a CSV in UTF-8 ({error}): give a folder of class-named folders, or "
            "a CSV with the columns path,label[,split]"
        ) from None
    missing = [column for column in ("path", "label") if column not in columns]
    if missing:
        raise ValueError(
            f"data: {file} has no column {' and no column '.join(missing)}, its first line is "
            f"{','.join(columns)[:80]!r}: name the columns path,label[,split] there, with commas between"
        )
    if not rows:
        raise ValueError(f"data: {file} has no rows: list one photo a row")
    return rows


# (path, image_size) -> (size and time of the file, its pixels): an edited file is read again, any other once.
_cache: dict[tuple[Path, int], tuple[tuple[int, int], Tensor]] = {}


def decode(paths: Iterable[Path], image_size: int) -> list[Tensor]:
    """The photos as (3, image_size, image_size) uint8 RGB, each file decoded once a process, by all cores.

    The short side is resized to ``image_size`` (bicubic, antialiased) and the centre cut out, as CLIP evaluates. The
    EXIF orientation is honoured, transparency is laid over white, 16 bits are scaled to 8, gray is repeated, and of
    several frames or pages the first one counts.

    Args:
        paths: the files.
        image_size: side in px.

    Raises:
        ValueError: files cannot be decoded in full; the message has the first few and their number.
    """
    paths = [path.absolute() for path in paths]
    stamps = {path: _stamp(path) for path in paths}
    stale = [path for path, stamp in stamps.items() if _cache.get((path, image_size), (None,))[0] != stamp]
    block = torch.empty(len(stale), 3, image_size, image_size, dtype=torch.uint8)

    def read(number: int) -> str | None:
        try:
            block[number] = torch.from_numpy(_pixels(stale[number], image_size)).permute(2, 0, 1)
        except Exception as error:  # Pillow raises nearly anything on a broken file
            return f"{stale[number]} ({error or type(error).__name__})"
        _cache[stale[number], image_size] = stamps[stale[number]], block[number]
        return None

    with ThreadPoolExecutor(_cores()) as pool:  # Pillow decodes and resizes without the GIL
        broken = [report for report in pool.map(read, range(len(stale))) if report]
    if broken:
        raise ValueError(
            f"data: {len(broken)} of {len(paths)} photos cannot be read: {some(broken)}: delete or repair them"
        )
    return [_cache[path, image_size][1] for path in paths]


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return (-1, -1)  # opening it will fail too, and is reported with the other unreadable files
    return (status.st_size, status.st_mtime_ns)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _pixels(path: Path, side: int) -> np.ndarray:
    """(side, side, 3) uint8."""
    with Image.open(path) as image:
        image.draft(None, (2 * side, 2 * side))  # JPEG decodes straight to a size near, but never below, twice the side
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return np.array(_resized_centre(_eight_bit(image), side).convert("RGB"))


def _eight_bit(image: Image.Image) -> Image.Image:
    """The image in a mode that can be resized smoothly: L, RGB or CMYK."""
    if image.mode == "F":
        raise ValueError("pixels are floating-point numbers of unknown range")
    if image.mode.startswith("I"):  # Pillow's own conversion cuts off at 255 instead of scaling
        values = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert("RGB")
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("L" if image.mode == "1" else "RGB")


def _resized_centre(image: Image.Image, side: int) -> Image.Image:
    """The same pixels as torchvision's ``Resize(side, BICUBIC)`` and ``CenterCrop(side)``."""
    short = min(image.size)
    width, height = (side * length // short for length in image.size)
    left, top = round((width - side) / 2), round((height - side) / 2)
    return image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + side, top + side))
