"""Photos on disk, found by class."""

from __future__ import annotations

import csv
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scenarios.wording import some

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
        raise ValueError(f"data: {file} has no rows: list one photo per row")
    return rows
