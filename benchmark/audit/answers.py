"""Graded answers: a score from 0 to 1 for each, of any judge, in a table; and those of two models, paired."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.audit.pairing import Paired, check_same_columns, check_same_images, group_column
from benchmark.audit.predictions import told
from benchmark.audit.rows import Rows, group_numbers
from scenarios.table_files import MissingColumns, read_table

COLUMNS = ("id", "label")
GRADES = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}  # Inspect's: correct, incorrect, partial, no answer


class Answers(NamedTuple):
    """Of one model, in the order of the file: id, class and score of each, and other columns.

    ``rows`` is the row of each id, ``header`` the names of all columns.
    """

    path: Path
    labels: list[str]
    scores: NDArray[np.float64]
    rows: dict[str, int]
    more: dict[str, list[str]]
    header: list[str]


def pair(before: Answers, after: Answers, group: str | None) -> Paired:
    """What two models' answers score, matched by id.

    Args:
        before: of the model in use.
        after: of its successor.
        group: column that tells which answers belong together.

    Raises:
        ValueError: the two are not about the same questions.
    """
    check_same_images(before, after)
    order = np.fromiter(map(after.rows.__getitem__, before.rows), np.int64, len(before.rows))
    ids = list(before.rows)
    if other := [name for row, name in enumerate(ids) if before.labels[row] != after.labels[order[row]]]:
        raise ValueError(
            f"{after.path}: {told(other)} with another label than in {before.path}: a question has one class"
        )
    check_same_columns(before, after, order)
    classes = sorted(set(before.labels))
    index = {name: number for number, name in enumerate(classes)}
    old, new = right_or_scores(before.scores, after.scores[order])
    rows = Rows(
        tuple(classes),
        np.array([index[name] for name in before.labels], dtype=np.int64),
        old,
        new,
        None if group is None else group_numbers(group_column(before, group)),
    )
    return Paired(rows, ids, before.labels, before.more)


def right_or_scores(old: NDArray[np.float64], new: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scores (N,) as they are, or as bool where all are 0 or 1: right and wrong have tests of their own."""
    both = np.concatenate([old, new])
    return (old.astype(bool), new.astype(bool)) if np.isin(both, (0, 1)).all() else (old, new)


def read_scores(
    path: Path,
    column: str,
    renamed: Mapping[str, str] | None = None,
    more: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> Answers:
    """The answers in a table with the columns ``id`` and ``label`` and one of scores.

    Raises:
        ValueError: it cannot be read, a score is no number from 0 to 1, or an id is there twice.
    """
    try:
        table = read_table(path, (*COLUMNS, column, *more), optional, renamed, numbers_in=(column,))
    except MissingColumns as error:
        named = set(error.missing) <= {column, *more}
        raise ValueError(f"{error}{'' if named else '; name yours with --columns'}") from None
    ids, labels = (table.columns[name] for name in COLUMNS)
    scores = np.zeros(len(ids))
    for row, (text, name, label) in enumerate(zip(table.columns[column], ids, labels, strict=True)):
        if not name.strip() or not label.strip():
            raise ValueError(f"{path}: {table.place(row)} (id {name!r}) has no id or label: fill in every value")
        scores[row] = score_of(text, f"{path}: {table.place(row)} (id {name!r})")
    others = {name: table.columns[name] for name in (*more, *optional)}
    return answers(path, ids, labels, scores, others, table.header)


def answers(
    path: Path,
    ids: list[str],
    labels: list[str],
    scores: NDArray[np.float64],
    more: dict[str, list[str]],
    header: list[str],
) -> Answers:
    """The answers of a file, in its order.

    Raises:
        ValueError: there is none, or an id is there twice.
    """
    rows = dict(zip(ids, range(len(ids)), strict=True))
    if not ids:
        raise ValueError(f"{path}: holds no answers: it needs a row for each")
    if len(rows) < len(ids):
        seen: set[str] = set()
        twice = [name for name in ids if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
        raise ValueError(f"{path}: {told(twice)} there more than once: an id names one answer")
    return Answers(path, labels, scores, rows, more, header)


def score_of(value: Any, place: str) -> float:
    """A number from 0 to 1, whatever its form.

    Raises:
        ValueError: it is another one, or none; the line begins with ``place``.
    """
    if isinstance(value, str):
        value = GRADES.get(value, value)
    try:
        score = float(value)
    except (TypeError, ValueError, OverflowError):
        score = math.nan
    if not 0 <= score <= 1:  # NaN, too
        raise ValueError(f"{place}: the score {value!r} is no number from 0 to 1")
    return score
