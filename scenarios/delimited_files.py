"""Columns of a text file with commas, semicolons or tabs between values."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import TextIO

from scenarios.table_files import Table, UnreadableTable, excerpt, opened, take_header

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
LONGEST = 2**31 - 1  # characters of a cell: one that is ignored may be of any size
STEP = 4096  # rows read at once

Columns = Sequence[tuple[list[str], int]]  # what gets a column, and its position in the header


def read_delimited(part: Path, table: Table, wanted: Sequence[str], names: Mapping[str, str], short: bool) -> None:
    """Add the rows of a file to a table; arguments as in ``scenarios.parquet_files.read_parquet``, ``short`` as in
    ``scenarios.table_files.read_table``.

    Raises:
        WrongColumns: a column is missing or there twice.
        UnreadableTable: it is no CSV, or a row has another number of values than the header.
    """
    limit = csv.field_size_limit(LONGEST)
    try:
        with opened(part) as file:
            delimiter, header = _header(part, file, wanted)
            take_header(table, part, header, wanted, names.values())
            columns = [(table.columns[name], header.index(own)) for name, own in names.items() if own in header]
            if not _read_plain_rows(file, delimiter, len(header), columns, table.numbers):
                _read_rows(part, file, delimiter, len(header), columns, table.numbers, short)
    finally:
        csv.field_size_limit(limit)
    for column in table.columns.values():
        column.extend([""] * (len(table) - len(column)))  # an optional one that is not there


def _read_plain_rows(file: TextIO, delimiter: str, width: int, columns: Columns, numbers: array[int]) -> bool:
    """Add the rows in large steps, if all have a line and a value for each column; else none, and it is False."""
    first = 1 + bool(_delimiter_said(file.readline()))
    if first == 1:
        file.seek(0)
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    gathered: list[list[str]] = [[] for _ in columns]
    count = 0
    try:
        next(reader)  # the header
        while rows := list(islice(reader, STEP)):
            count += len(rows)
            if reader.line_num != count + 1 or set(map(len, rows)) != {width}:
                break
            for own, (_, position) in zip(gathered, columns, strict=True):
                own.extend(map(itemgetter(position), rows))
        else:
            for own, (column, _) in zip(gathered, columns, strict=True):
                column.extend(own)
            numbers.extend(range(first + 1, first + 1 + count))
            return True
    except csv.Error:
        pass  # it is found again, with its line
    file.seek(0)
    return False


def _read_rows(
    part: Path, file: TextIO, delimiter: str, width: int, columns: Columns, numbers: array[int], short: bool
) -> None:
    rows = _rows(part, file, delimiter)
    next(rows)  # the header
    for number, row in rows:
        if len(row) != width:
            if len(row) > width or not short:
                told = f"line {number} has {len(row)} values, the header {width}"
                raise UnreadableTable(f"{part}: {told}: {excerpt(_line(part, number))}")
            row += [""] * (width - len(row))
        for column, position in columns:
            column.append(row[position])
        numbers.append(number)


def _header(part: Path, file: TextIO, wanted: Sequence[str]) -> tuple[str, list[str]]:
    """The delimiter with which the header has the columns wanted, and its stripped names; the file is at its start."""
    said = _delimiter_said(file.readline())
    headers: dict[str, list[str]] = {}
    errors = []
    for delimiter in [said] if said else DELIMITERS:
        file.seek(0)
        try:
            _, row = next(_rows(part, file, delimiter), (1, []))
            headers[delimiter] = [name.strip() for name in row]
        except UnreadableTable as error:
            errors.append(error)
    file.seek(0)
    if not headers:
        raise errors[0]
    having = [delimiter for delimiter, header in headers.items() if set(wanted) <= set(header)]
    if len(having) > 1:
        kinds = " or ".join(DELIMITERS[delimiter] for delimiter in having)
        raise UnreadableTable(f"{part}: its first line can be read with {kinds} between: {excerpt(_line(part, 1))}")
    best = having[0] if having else max(headers, key=lambda delimiter: len(set(wanted) & set(headers[delimiter])))
    return best, headers[best]


def _rows(part: Path, file: TextIO, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows with values, the header among them, and the lines where they begin; the file is at its start."""
    number = 1
    if _delimiter_said(file.readline()):
        number = 2
    else:
        file.seek(0)
    skipped = number
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if row:
                yield number, row
            number = skipped + reader.line_num
    except csv.Error as error:
        told = f"line {number}, {error}: {excerpt(_line(part, number))}"
        raise UnreadableTable(f"{part}: is not CSV in UTF-8: {told}") from None


def _delimiter_said(line: str) -> str | None:
    """What a first line ``sep=;``, as Excel writes and reads it, says; None for any other line."""
    text = line.rstrip("\r\n").strip('"')
    said = text[:4].lower() == "sep=" and len(text) == 5 and not text[4].isalnum() and text[4] not in " '"
    return text[4] if said else None


def _line(part: Path, number: int) -> str:
    """A line of a file, for a message."""
    with opened(part, "replace") as file:
        return next((line for at, line in enumerate(file, start=1) if at == number), "")
