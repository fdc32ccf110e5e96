"""Images of a target from elsewhere, listed in a CSV, beside those of a published data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scenarios.table_files import MissingColumns, UnreadableTable, WrongColumns, read_table, with_slashes
from scenarios.wording import some


def external_images(file: str, folders: Sequence[Path], title: str) -> list[Path]:
    """The images with slabel 1 in a CSV ``filepath,title,slabel``, in its order and once each.

    Args:
        file: the CSV; paths in it are absolute or relative to its folder.
        folders: of a data set, which none may belong to.
        title: of that data set.

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
        elif any(image.resolve().is_relative_to(folder.resolve()) for folder in folders):
            problems.append(f"line {line}, column filepath: {row['filepath']} belongs to {title} itself")
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
