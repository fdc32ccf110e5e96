"""Predictions of any framework's model as files: tables with the columns ``id``, ``label`` and ``prediction``.

A row is a test image. Everything is text: "NA" and "007" are class names. Other columns are ignored unless asked for.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.audit.names import lookalikes, shown
from benchmark.audit.rows import Rows, group_numbers
from benchmark.output.files import no_collection
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


class Paired(NamedTuple):
    """Two models on the same images.

    Attributes:
        rows: what is right, sorted as in the old model's file; its classes by name.
        ids: of the N images.
        labels: of the N images, as texts.
        more: the other columns that were asked for.
        unpredicted: classes that neither model ever predicts, of any image.
        others: predictions that are no label -> how many there are in both files, the most frequent first.
    """

    rows: Rows
    ids: list[str]
    labels: list[str]
    more: dict[str, list[str]]
    unpredicted: tuple[str, ...]
    others: dict[str, int]


def pair(
    old: Path, new: Path, renamed: Mapping[str, str] | None = None, more: Sequence[str] = (), group: str | None = None
) -> Paired:
    """What two models say of the same images, matched by id.

    Args:
        old: file of the model in use.
        new: file of its successor.
        renamed: one of ``COLUMNS`` -> its name in the files, where that is another one.
        more: other columns of the old model's file, told where the new one's has them, too.
        group: the one that tells which images belong together; one without a text stands for itself.

    Raises:
        ValueError: if a file cannot be read, the two are not about the same images, or a prediction is a label but for
            its spelling; one line names file and ids.
    """
    wanted = tuple(dict.fromkeys((*more, *([group] if group is not None else ()))))
    with no_collection():
        before, after = read(old, renamed, wanted), read(new, renamed, optional=wanted)
    return _pair(before, after, group)


def _pair(before: Predictions, after: Predictions, group: str | None) -> Paired:
    old, new = before.path, after.path
    _check_same_images(before, after)
    order = np.fromiter(map(after.rows.__getitem__, before.rows), np.int64, len(before.rows))
    classes = sorted(set(before.labels))
    index = {name: number for number, name in enumerate(classes)}

    def codes(names: list[str]) -> NDArray[np.int64]:
        return np.fromiter(map(index.get, names, repeat(-1)), np.int64, len(names))

    labels = codes(before.labels)
    if (differing := np.flatnonzero(labels != codes(after.labels)[order])).size:
        first = differing[0]
        ids = list(before.rows)
        raise ValueError(
            f"{new}: {_some([ids[row] for row in differing])} with another label than in {old} "
            f"({after.labels[order[first]]!r}, there {before.labels[first]!r}): an image has one true label"
        )
    predicted = [codes(before.predictions), codes(after.predictions)[order]]
    others: Counter[str] = Counter()
    for own, answered in zip((before, after), predicted, strict=True):
        strange = Counter({name: count for name, count in Counter(own.predictions).items() if name not in index})
        _check_spelling(own.path, strange, classes)
        if answered.max() < 0:
            raise ValueError(
                f"{own.path}: no prediction is a label, such as {classes[0]!r}: use the same names in both columns"
            )
        others += strange
    never = np.setdiff1d(np.arange(len(classes)), np.concatenate(predicted)).tolist()
    groups = None if group is None else _groups(before, group)
    _check_same_columns(before, after, order)
    rows = Rows(tuple(classes), labels, predicted[0] == labels, predicted[1] == labels, groups)
    return Paired(
        rows,
        list(before.rows),
        before.labels,
        before.more,
        tuple(classes[number] for number in never),
        dict(others.most_common()),
    )


def _groups(of: Predictions, column: str) -> NDArray[np.int64]:
    if not any(map(str.strip, of.more[column])):
        raise ValueError(f"{of.path}: column {column!r} is empty, so it tells no groups: leave out --group")
    return group_numbers(of.more[column])


def _check_same_columns(before: Predictions, after: Predictions, order: NDArray[np.int64]) -> None:
    for name, column in before.more.items():
        if name not in after.header:
            continue
        other = after.more[name]
        differing = [
            row for row, (text, place) in enumerate(zip(column, order.tolist(), strict=True)) if text != other[place]
        ]
        if differing:
            ids = list(before.rows)
            raise ValueError(
                f"{after.path}: {_some([ids[row] for row in differing])} with another {name} than in {before.path} "
                f"({other[order[differing[0]]]!r}, there {column[differing[0]]!r})"
            )


def _check_same_images(one: Predictions, two: Predictions) -> None:
    if one.rows.keys() == two.rows.keys():
        return
    for own, other in ((two, one), (one, two)):
        if missing := [name for name in other.rows if name not in own.rows]:
            raise ValueError(
                f"{own.path}: lacks {_some(missing)} of {other.path}: both files must hold the same images"
            )


def check_measured(paired: Paired, protected: Iterable[str]) -> None:
    """Refuse to call a class kept that no model ever names, where models name things that are no class.

    Raises:
        ValueError: there is one.
    """
    never = [name for name in protected if name in set(paired.unpredicted)]
    if never and paired.others:
        strange = some([f"{shown(name)} ({count})" for name, count in paired.others.items()], SHOWN)
        raise ValueError(
            f"neither model ever predicts {some(list(map(repr, never)), SHOWN)}, so it was not measured; "
            f"predictions that are no label: {strange}; spell both columns alike, or choose classes with --protected"
        )


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
        raise ValueError(f"{path}: {_some(twice)} there more than once: an id names one image")
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


def _check_spelling(path: Path, strange: Counter[str], classes: Collection[str]) -> None:
    """Refuse predictions that are a label but for their spelling: the class would count as never predicted."""
    if near := lookalikes(strange, classes):
        told = some(
            [
                f"{_told_apart(name, near[name])} ({strange[name]})"
                for name in sorted(near, key=lambda n: (-strange[n], n))
            ],
            SHOWN,
        )
        meant = some(list(dict.fromkeys(repr(label) for label in near.values())), SHOWN)
        raise ValueError(
            f"{path}: predictions that are no label: {told}; did you mean {meant}? spell both columns alike"
        )


def _told_apart(name: str, label: str) -> str:
    """``name``, with its characters spelt out where it would look like ``label``."""
    return ascii(name) if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", label) else shown(name)


def _shared(texts: list[str]) -> list[str]:
    """The same texts, equal ones as one object: a class has many images."""
    known: dict[str, str] = {}
    return list(map(known.setdefault, texts, texts))


def _some(ids: Collection[str]) -> str:
    """The first of ``ids``, and how many more there are."""
    return f"id{'' if len(ids) == 1 else 's'} {some(list(map(repr, ids)), SHOWN)}"
