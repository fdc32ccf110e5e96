"""Images of a target from elsewhere, listed in a CSV, beside those of a published data set."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from scenarios.on_disk import at_home, digest
from scenarios.table_files import MissingColumns, UnreadableTable, WrongColumns, read_table, with_slashes
from scenarios.wording import some


def external_images(file: str, folders: Sequence[Path], title: str, scored: Iterable[str] = ()) -> list[Path]:
    """The images with slabel 1 in a CSV ``filepath,title,slabel``, in its order and once each.

    Args:
        file: the CSV; paths in it are absolute or relative to its folder.
        folders: of a data set, which none may belong to.
        title: of that data set.
        scored: its images of validation and test, which none may be a copy of.

    Raises:
        ValueError: the CSV or a row of it cannot serve; the message has the line and the column.
    """
    path = at_home(file).absolute()
    labels: dict[Path, tuple[str, int]] = {}
    problems = []
    for line, row in _csv_rows(path):
        image = path.parent / with_slashes(path.parent, row["filepath"])
        if not row["filepath"] or not image.is_file():
            problems.append(f"line {line}, column filepath: there is no file {row['filepath']!r}")
        elif any(image.resolve().is_relative_to(folder.resolve()) for folder in folders):
            problems.append(f"line {line}, column filepath: {row['filepath']} belongs to {title} itself")
        elif not row["title"]:
            problems.append(f"line {line}, column title: it is empty")
        elif row["slabel"] not in ("0", "1"):
            problems.append(f"line {line}, column slabel: {row['slabel']!r} is neither 1 (shows the target) nor 0")
        elif (before := labels.setdefault(image.resolve(), (row["slabel"], line)))[0] != row["slabel"]:
            problems.append(f"line {line}, column slabel: {row['filepath']} has another one in line {before[1]}")
    images = [image for image, (label, _) in labels.items() if label == "1"]
    problems += [
        f"line {labels[image][1]}, column filepath: {image} is a copy of {own}, which is scored"
        for image, own in _copies(images, scored).items()
    ]
    if problems:
        raise ValueError(f"external: {path}: {some(problems)}: correct or remove these rows")
    if not images:
        raise ValueError(f"external: {path} has no row with slabel 1: list images that show the target")
    return images


def _copies(images: Sequence[Path], scored: Iterable[str]) -> dict[Path, str]:
    """Images -> those of ``scored`` that have the same bytes."""
    sizes = {image.stat().st_size for image in images}
    alike = [file for file in scored if os.path.isfile(file) and os.path.getsize(file) in sizes]  # noqa: PTH113, PTH202
    content = {digest(Path(file)): file for file in alike}
    return {image: content[found] for image in images if (found := digest(image)) in content} if content else {}


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
