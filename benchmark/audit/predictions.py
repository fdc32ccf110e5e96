"""Predictions of any framework's model as files: CSV or Parquet with the columns ``id``, ``label`` and ``prediction``.

A row is a test image. Everything is text: "NA" and "007" are class names. Other columns are ignored.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.metrics.counts import Counts, count_pairs
from scenarios.wording import some

COLUMNS = ("id", "label", "prediction")
SUFFIXES = (".csv", ".parquet")
SHOWN = 5  # ids that an error message names


class Answer(NamedTuple):
    """The class that an image shows and the one that a model predicts."""

    label: str
    prediction: str


def paired_counts(old: Path, new: Path) -> dict[str, Counts]:
    """Counts of every class, sorted by name, from two models' predictions on the same images, matched by id.

    Raises:
        ValueError: if a file cannot be read, or the two are not about the same images; one line names file and ids.
    """
    before, after = read(old), read(new)
    for path, own, other_path, other in ((new, after, old, before), (old, before, new, after)):
        if missing := [name for name in other if name not in own]:
            raise ValueError(f"{path}: lacks {_some(missing)} of {other_path}: both files must hold the same images")
    if differing := [name for name, answer in after.items() if answer.label != before[name].label]:
        first = differing[0]
        raise ValueError(
            f"{new}: {_some(differing)} with another label than in {old} ({after[first].label!r}, there "
            f"{before[first].label!r}): an image has one true label"
        )
    classes = sorted({answer.label for answer in before.values()})
    index = {name: number for number, name in enumerate(classes)}

    def codes(names: Iterable[str]) -> NDArray[np.int64]:
        return np.array([index.get(name, -1) for name in names], dtype=np.int64)

    labels = codes(answer.label for answer in before.values())
    predicted = [codes(answers[name].prediction for name in before) for answers in (before, after)]
    for path, answered in zip((old, new), predicted, strict=True):
        if answered.max() < 0:
            raise ValueError(
                f"{path}: no prediction is a label, such as {classes[0]!r}: use the same names in both columns"
            )
    return count_pairs(labels, predicted[0], predicted[1], classes)


def read(path: Path) -> dict[str, Answer]:
    """The answers in a file, by id, in the order of the file.

    Raises:
        ValueError: one line names the file and what is wrong in it: it is missing, empty or damaged, a column is
            missing, a value is empty, or an id is there twice.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: must end in {' or '.join(SUFFIXES)}")
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    answers: dict[str, Answer] = {}
    twice: dict[str, None] = {}
    rows = _csv_rows(path) if path.suffix.lower() == ".csv" else _parquet_rows(path)
    for number, row in enumerate(rows, start=1):
        name, label, prediction = row
        if not all(value and not value.isspace() for value in row):
            empty = ", ".join(column for column, value in zip(COLUMNS, row, strict=True) if not value.strip())
            raise ValueError(f"{path}: row {number} (id {name!r}) has no {empty}: every value must be filled in")
        if name in answers:
            twice[name] = None
        answers[name] = Answer(label, prediction)
    if twice:
        raise ValueError(f"{path}: {_some(twice)} there more than once: an id names one image")
    if not answers:
        raise ValueError(f"{path}: holds no predictions: it needs a row for every test image")
    return answers


def _csv_rows(path: Path) -> Iterator[tuple[str, str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            _check_columns(path, header)
            first, second, third = map(header.index, COLUMNS)
            for row in reader:
                if not row:
                    continue  # an empty line
                if len(row) != len(header):
                    raise ValueError(f"{path}: line {reader.line_num} has {len(row)} values, the header {len(header)}")
                yield row[first], row[second], row[third]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: is not CSV in UTF-8: {error}") from error


def _parquet_rows(path: Path) -> Iterator[tuple[str, str, str]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ValueError(f"{path}: Parquet needs pyarrow: pip install 'mds-bench[parquet]', or write CSV") from None
    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            _check_columns(path, schema.names)
            for name in COLUMNS:
                _check_type(path, name, schema.field(name).type)
            for batch in file.iter_batches(columns=list(COLUMNS)):
                texts = (batch.column(name).cast(pyarrow.string()).to_pylist() for name in COLUMNS)
                for name, label, prediction in zip(*texts, strict=True):
                    yield name or "", label or "", prediction or ""
    except pyarrow.ArrowException as error:
        raise ValueError(f"{path}: is not a Parquet file that can be read: {error}") from error


def _check_columns(path: Path, header: Collection[str]) -> None:
    names = list(header)
    if missing := [name for name in COLUMNS if name not in names]:
        raise ValueError(f"{path}: column {', '.join(missing)} is missing: it needs {', '.join(COLUMNS)}")
    if double := [name for name in COLUMNS if names.count(name) > 1]:
        raise ValueError(f"{path}: column {', '.join(double)} is there more than once")


def _check_type(path: Path, name: str, kind: Any) -> None:
    """Refuse types whose values have no one text: 7.0 is a 7 with missing values beside it, or is not."""
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    texts = (types.is_string, types.is_large_string, types.is_string_view, types.is_integer)
    if not any(is_text(kind) for is_text in texts):
        raise ValueError(f"{path}: column {name} is of type {kind}: store it as text")


def _some(ids: Collection[str]) -> str:
    """The first of ``ids``, and how many more there are."""
    return f"id{'' if len(ids) == 1 else 's'} {some(list(map(repr, ids)), SHOWN)}"
