"""Photos on disk, found by class."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scenarios.leftovers import is_leftover
from scenarios.on_disk import at_home
from scenarios.photo_kinds import readable_suffixes, why_left_out
from scenarios.table_files import MissingColumns, UnreadableTable, WrongColumns, mistaken, read_table, with_slashes
from scenarios.wording import some

OPTIONAL = ("split", "group")  # columns of a CSV
SPLITS = ("base", "train", "val", "test")
SPLIT_NAMES = {split: split for split in SPLITS} | {"valid": "val", "validation": "val"}  # of folders


@dataclass(frozen=True)
class Photo:
    """One file. ``name`` is its path below the class, with slashes: the same wherever the photos lie."""

    label: str
    name: str
    path: Path
    split: str | None = None  # where the user decided it: one of SPLITS
    group: str | None = None  # where the user named it: what it shows together with others


@dataclass(frozen=True)
class Found:
    """Photos of each class, sorted by name, the classes sorted too; and files that are not among them, by reason.

    ``left_out`` has the name of the class, or "" for files beside the class folders, then reason -> number. Files that
    systems leave behind are in neither.
    """

    photos: dict[str, list[Photo]]
    left_out: dict[str, Counter[str]] = field(default_factory=dict)

    def told(self, label: str) -> str:
        """What was left out of a class, as ``3 hidden, 2 .txt (no photos)``; "" if nothing was."""
        return ", ".join(f"{number:,} {reason}" for reason, number in sorted(self.left_out.get(label, {}).items()))


def find_photos(data: str) -> dict[str, list[Photo]]:
    """The photos of each class: those of ``look``, which says what counts and what is refused."""
    return look(data).photos


def look(data: str) -> Found:
    """The photos in a folder of class-named folders, or in a CSV with the columns ``path,label[,split][,group]``.

    In a folder, files in folders below a class folder count. Hidden files and files of a kind that Pillow cannot read
    are left out and counted. Where the only folders are named as splits (``train``, ``val``, ``test``, ``base``), the
    class folders are inside them and each photo keeps its split. In a CSV every row counts, and rows with the same
    ``group`` belong together, such as frames of one drive. Names are compared in
    Unicode's composed form, as file systems differ in it.

    Args:
        data: path of the folder or of the CSV.

    Raises:
        ValueError: there is no such file, or it holds no classes, or a folder cannot be listed, or a row of the CSV
            cannot serve.
    """
    root = at_home(data)
    if not data or not root.exists():
        raise ValueError(f"data: there is no {data!r}: give a folder of class-named folders of photos, or a CSV")
    found = _in_folder(root) if root.is_dir() else Found(_in_csv(root))
    photos = {
        label: sorted(found.photos[label], key=lambda photo: (photo.name, str(photo.path)))
        for label in sorted(found.photos)
    }
    return Found(photos, found.left_out)


def compose(name: str) -> str:
    """``name`` in Unicode's composed form (NFC): macOS may store ``é`` as two characters, a terminal sends one."""
    return unicodedata.normalize("NFC", name)


def _in_folder(root: Path) -> Found:
    found = Found({})
    parents: Sequence[tuple[Path, str | None]] = _split_folders(root) or [(root, None)]
    for parent, split in parents:
        classes = _folders(parent)
        for folder in classes:
            label = compose(folder.name)
            found.photos.setdefault(label, []).extend(
                Photo(label, compose(path.relative_to(folder).as_posix()), path, split)
                for path in _images(folder, found.left_out.setdefault(label, Counter()))
            )
        beside = [entry for entry in _entries(parent) if entry not in classes and not is_leftover(entry.name)]
        found.left_out.setdefault("", Counter()).update(
            "hidden folders" if entry.is_dir() else _why_not(entry.name) or "beside the class folders"
            for entry in beside
        )
    if not found.photos:
        raise ValueError(
            f"data: {root} holds no class folders: give each class a folder of its own, named as the class"
        )
    return found


def _split_folders(root: Path) -> list[tuple[Path, str]]:
    """The folders of a root that are named as splits and hold class folders, no photos; none where they do not.

    Raises:
        ValueError: there are others beside them.
    """
    folders = _folders(root)
    named = [(folder, SPLIT_NAMES.get(folder.name.lower(), "")) for folder in folders]
    splits = {split for _, split in named}
    if not splits & {"train", "test"} or not any(_folders(folder) for folder, split in named if split):
        return []
    direct = (entry for folder, split in named if split for entry in _entries(folder) if not _why_not(entry.name))
    if any(entry.is_file() for entry in direct):
        return []
    if "" in splits:
        if len(splits) < 3:  # one of a split's name may be a class
            return []
        beside = some([folder.name for folder, split in named if not split])
        raise ValueError(
            f"data: {root} has folders of classes in {some([folder.name for folder, split in named if split])}, and "
            f"{beside} beside them: take {beside} away, or name it as a split ({', '.join(SPLITS)})"
        )
    return named


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise _unlisted(error) from None


def _folders(parent: Path) -> list[Path]:
    entries = [entry for entry in _entries(parent) if not entry.name.startswith(".") and not is_leftover(entry.name)]
    return [entry for entry in entries if entry.is_dir()]


def _unlisted(error: OSError) -> ValueError:
    return ValueError(
        f"data: {error.filename} cannot be listed ({error.strerror or error}): allow reading it, or take it away"
    )


def _images(folder: Path, left_out: Counter[str]) -> Iterator[Path]:
    """The photos in a class folder and below; other files are counted in ``left_out``."""

    def stop(error: OSError) -> None:
        raise _unlisted(error)

    for parent, folders, files in os.walk(folder, onerror=stop):
        hidden = any(part.startswith(".") for part in Path(parent).relative_to(folder).parts)
        folders[:] = sorted(name for name in folders if not is_leftover(name))
        links = [name for name in folders if Path(parent, name).is_symlink()]  # not followed: they may lead in circles
        left_out.update(["links to folders"] * len(links))
        for name in files:
            if is_leftover(name):
                continue
            if reason := "hidden" if hidden else _why_not(name):
                left_out[reason] += 1
            else:
                yield Path(parent, name)


def _why_not(name: str) -> str:
    """Why a file of this name is no photo to be read; "" if it is one."""
    if name.startswith("."):
        return "hidden"
    suffix = Path(name).suffix.lower()
    return "" if suffix in readable_suffixes() else why_left_out(suffix)


def _in_csv(file: Path) -> dict[str, list[Photo]]:
    rows = _rows(file)
    found: dict[str, list[Photo]] = {}
    lines: dict[str, int] = {}  # where a path was first listed
    problems = []
    for line, row in rows:
        path, label, split = with_slashes(file.parent, row["path"]), compose(row["label"]), row["split"] or None
        name = Path(os.path.normpath(path)).as_posix()
        if not path or not label:
            problems.append(f"line {line}: path or label is empty")
        elif Path(path).is_absolute():
            problems.append(f"line {line}: path {path} must be relative to the CSV's folder")
        elif split not in (None, *SPLITS):
            problems.append(f"line {line}: split {split!r} must be empty or one of {', '.join(SPLITS)}")
        elif name in lines:
            problems.append(f"line {line}: path {path} is listed already in line {lines[name]}")
        elif not _is_file(file.parent / path):
            problems.append(f"line {line}: there is no file {path}")
        else:
            # Without the class folder in front, a CSV of a tree of folders gives the same names as the tree itself.
            below = compose(name).removeprefix(f"{label}/")
            photo = Photo(label, below, file.parent / path, split, compose(row["group"]) or None)
            found.setdefault(label, []).append(photo)
        lines.setdefault(name, line)
    if problems:
        raise ValueError(f"data: {file}: {some(problems)}: correct or remove these rows")
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


def _rows(file: Path) -> list[tuple[int, dict[str, str]]]:
    """Line number and stripped cells of every row."""
    try:
        table = read_table(file, ("path", "label"), OPTIONAL, short=True)
    except MissingColumns as error:
        raise ValueError(
            f"data: {file} has no column {' and no column '.join(error.missing)}, its first line is {error.header}: "
            "name the columns path,label[,split][,group] there, with commas between"
        ) from None
    except WrongColumns as error:
        raise ValueError(f"data: {error}") from None
    except UnreadableTable as error:
        raise ValueError(
            f"data: {file} is neither a folder nor a CSV in UTF-8 ({error}): give a folder of class-named "
            "folders, or a CSV with the columns path,label[,split][,group]"
        ) from None
    if not len(table):
        raise ValueError(f"data: {file} has no rows: list one photo per row")
    if near := mistaken(table, OPTIONAL):
        told = ", ".join(f"{own!r} is not {name!r}" for name, own in near.items())
        raise ValueError(f"data: {file}: column {told} and would not be read: rename it so, or to something else")
    return table.stripped()
