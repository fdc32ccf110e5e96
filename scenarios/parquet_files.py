"""Columns of a Parquet file as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scenarios.table_files import Table, UnreadableTable, reason, take_header


def read_parquet(part: Path, table: Table, wanted: Sequence[str], names: Mapping[str, str]) -> None:
    """Add the rows of a file to a table.

    Args:
        part: the file.
        table: gets a text for each of ``names`` and each row, "" for a missing value.
        wanted: columns that must be there, by their names in the file.
        names: name in the table -> name in the file.

    Raises:
        MissingColumns: a column is missing.
        UnreadableTable: a column is there twice, of a type without one text, or damaged; or pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UnreadableTable(
            f"{part}: Parquet needs pyarrow: pip install 'mds-bench[parquet]', or write CSV"
        ) from None
    where, rows = "is not a Parquet file that can be read", 0
    try:
        with parquet.ParquetFile(part) as file:
            schema = file.schema_arrow
            take_header(table, part, schema.names, wanted, names.values())
            rows = file.metadata.num_rows
            for name, own in names.items():
                if own not in schema.names:  # an optional one
                    table.columns[name].extend([""] * rows)
                    continue
                _check_type(part, own, schema.field(own).type, own in table.numbers_in)
                where = f"column {own} cannot be read"
                for batch in file.iter_batches(columns=[own]):
                    column = batch.column(own).cast(pyarrow.string())
                    column.validate(full=True)
                    table.columns[name].extend(value or "" for value in column.to_pylist())
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UnreadableTable(f"{part}: {where}: {reason(error)}") from None
    table.numbers.extend(range(1, rows + 1))
    if any(len(column) != len(table) for column in table.columns.values()):
        raise UnreadableTable(f"{part}: its columns do not have the {rows} rows that it promises: write it again")


def _check_type(part: Path, name: str, kind: Any, is_number: bool) -> None:
    """Refuse types whose values have no one text: 7.0 is a 7 with missing values beside it, or is not.

    In a column of numbers it is a number.
    """
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    texts = (types.is_string, types.is_large_string, types.is_string_view, types.is_integer)
    if not any(is_text(kind) for is_text in texts) and not (is_number and types.is_floating(kind)):
        raise UnreadableTable(f"{part}: column {name} is of type {kind}: store it as text")
