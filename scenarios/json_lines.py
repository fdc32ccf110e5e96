"""Columns of a file with a JSON object on every line, as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scenarios.table_files import Table, UnreadableTable, excerpt, opened, reason, take_header


def read_json_lines(part: Path, table: Table, wanted: Sequence[str], names: Mapping[str, str]) -> None:
    """Add the rows of a file to a table; arguments as in ``scenarios.parquet_files.read_parquet``.

    Raises:
        MissingColumns: a column is missing.
        UnreadableTable: a line is no object, has a name twice, or has another value than text, an integer or null; in
            a column of numbers it may be any number.
    """
    decode = json.JSONDecoder(object_pairs_hook=tuple, parse_int=str, parse_float=float, parse_constant=float).decode
    columns = [(table.columns[name].append, own) for name, own in names.items()]
    before, number = len(table), 0
    with opened(part) as file:
        for number, line in enumerate(file, start=1):
            if line.isspace():
                continue
            try:
                pairs = decode(line)
            except (ValueError, RecursionError) as error:
                told = f"line {number} is not JSON, {reason(error)}"
                raise UnreadableTable(f"{part}: {told}: {excerpt(line)}") from None
            if not isinstance(pairs, tuple):
                raise UnreadableTable(f"{part}: line {number} is no JSON object: {excerpt(line)}")
            row = dict(pairs)
            if len(row) != len(pairs) or len(table) == before:
                take_header(table, part, [key for key, _ in pairs], wanted, names.values())
            for append, own in columns:
                value = row.get(own)
                if isinstance(value, float) and own in table.numbers_in:
                    value = repr(value)
                append(_text(part, number, own, value))
            table.numbers.append(number)


def _text(part: Path, number: int, name: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UnreadableTable(f"{part}: line {number}, column {name} is neither text nor an integer: store it as text")
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        raise UnreadableTable(f"{part}: line {number}, column {name} is no text that UTF-8 can hold: {excerpt(value)}")
    return value
