"""Predictions of any framework's model as files: tables with the columns ``id``, ``label`` and ``prediction``.

A row is a test image. Everything is text: "NA" and "007" are class names. Other columns are ignored unless asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from scenarios.table_files import SUFFIXES, MissingColumns, Table, read_table
from scenarios.wording import some

COLUMNS = ("id", "label", "prediction")
SHOWN = 5  # ids that an error message names


class Predictions(NamedTuple):
    """A file of predictions: three texts per row, each id's row, other columns, and the names of all."""

    path: Path
    labels: list[str]
    predictions: list[str]
    rows: dict[str, int]
    more: dict[str, list[str]]
    header: list[str]


def read(
    path: Path,
    renamed: Mapping[str, str] | None = None,
    more: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> Predictions:
    """The predictions in a file, with other columns, of which those ``optional`` are empty where it lacks them.

    Raises:
        ValueError: one line names the file and what is wrong in it: it is missing, empty or damaged, a column is
            missing, a value is empty, or an id is there twice.
    """
    if not path.name.lower().removesuffix(".gz").endswith(SUFFIXES) and not path.is_dir():
        raise ValueError(f"{path}: must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    try:
        table = read_table(path, (*COLUMNS, *more), optional, renamed)
    except MissingColumns as error:
        remedy = "" if set(error.missing) <= set(more) else "; name yours with --columns"
        raise ValueError(f"{error}{remedy}") from None
    ids, labels, predictions = (table.columns[name] for name in COLUMNS)
    if not ids:
        raise ValueError(f"{path}: holds no predictions: it needs a row for every test image")
    _check_filled(table)
    rows = dict(zip(ids, range(len(ids)), strict=True))
    if len(rows) < len(ids):
        twice = [name for name, count in Counter(ids).items() if count > 1]
        raise ValueError(f"{path}: {told(twice)} there more than once: an id names one image")
    others = {name: _shared(table.columns[name]) for name in (*more, *optional)}
    return Predictions(path, _shared(labels), _shared(predictions), rows, others, table.header)


def _check_filled(table: Table) -> None:
    columns = {name: table.columns[name] for name in COLUMNS}
    if all(all(map(str.strip, column)) for column in columns.values()):
        return
    empty = [(row, name) for name, column in columns.items() for row, text in enumerate(column) if not text.strip()]
    row = min(empty)[0]
    names = ", ".join(name for at, name in empty if at == row)
    raise ValueError(
        f"{table.path}: {table.place(row)} (id {table.columns['id'][row]!r}) has no {names}: fill in every value"
    )


def _shared(texts: list[str]) -> list[str]:
    """The same texts, equal ones as one object: a class has many images."""
    known: dict[str, str] = {}
    return list(map(known.setdefault, texts, texts))


def told(ids: Collection[str]) -> str:
    """The first of ``ids``, and how many more there are."""
    return f"id{'' if len(ids) == 1 else 's'} {some(list(map(repr, ids)), SHOWN)}"
