"""Tables that people hand over as files: the one reader for predictions, lists of photos and external images.

Text in UTF-8 with commas, semicolons or tabs (.csv, .tsv), a JSON object per line (.jsonl), both packed too (.gz), and
Parquet (.parquet, or a folder of such parts). A value is the text in the file: "NA" and "007" are names.
"""

from __future__ import annotations

import gzip
import zlib
from array import array
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TextIO, cast

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".jsonl", ".parquet")
SHOWN = 100  # characters of a line that a message shows


class UnreadableTable(ValueError):
    """A file that is no table that can be read; the message names it and shows the place."""


class WrongColumns(UnreadableTable):
    """A table whose header cannot serve."""


class MissingColumns(WrongColumns):
    """A table without the columns it needs: those ``missing``, and the ``header`` it has."""

    def __init__(self, message: str, missing: Sequence[str], header: str) -> None:
        super().__init__(message)
        self.missing = missing
        self.header = header


@dataclass
class Table:
    """The columns asked for, in full.

    Attributes:
        path: of the file or folder.
        columns: the names asked for -> one text per row.
        files: where rows come from: the first row of each file, the file, and what ``numbers`` count in it.
        numbers: the line of each row in its file, in Parquet the row, from 1.
        header: all columns of the first file.
        numbers_in: the names of those in the file whose values may be numbers with a fraction, not only text.
    """

    path: Path
    columns: dict[str, list[str]]
    files: list[tuple[int, Path, str]] = field(default_factory=list)
    numbers: array[int] = field(default_factory=lambda: array("q"))
    header: list[str] = field(default_factory=list)
    numbers_in: Collection[str] = ()

    def __len__(self) -> int:
        return len(self.numbers)

    def place(self, row: int) -> str:
        """Where a row is: "line 7", in Parquet "row 7", in a folder with the name of the part."""
        _, file, unit = next(entry for entry in reversed(self.files) if entry[0] <= row)
        return f"{'' if file == self.path else f'{file.name}, '}{unit} {self.numbers[row]}"

    def stripped(self) -> list[tuple[int, dict[str, str]]]:
        """Every row's number, and its texts without the blanks around them."""
        rows = zip(*self.columns.values(), strict=True)
        return [
            (number, {name: text.strip() for name, text in zip(self.columns, row, strict=True)})
            for number, row in zip(self.numbers, rows, strict=True)
        ]


def read_table(
    path: Path,
    needed: Sequence[str],
    optional: Sequence[str] = (),
    renamed: Mapping[str, str] | None = None,
    short: bool = False,
    numbers_in: Collection[str] = (),
) -> Table:
    """The columns of a file, whatever else it holds.

    Args:
        path: a file, its format told by its suffix (else CSV), or a folder of Parquet parts.
        needed: names of columns.
        optional: names of columns that may be missing; they are empty then.
        renamed: name of a column -> its name in the file, where that is another one.
        short: whether text may have rows with fewer values than the header; the others are empty then.
        numbers_in: columns, by their names in the file, whose values may be numbers with a fraction: 0.5 is "0.5".

    Raises:
        MissingColumns: a column is missing.
        WrongColumns: a column is there twice.
        UnreadableTable: the file is missing, damaged, not in UTF-8 or of another form.
    """
    names = {name: (renamed or {}).get(name, name) for name in (*needed, *optional)}
    wanted = [names[name] for name in needed]
    table = Table(path, {name: [] for name in names}, numbers_in=numbers_in)
    for part in parts(path):
        suffix = Path(part.name.lower().removesuffix(".gz")).suffix
        table.files.append((len(table), part, "row" if suffix == ".parquet" else "line"))
        try:
            if suffix == ".parquet":
                from scenarios.parquet_files import read_parquet

                read_parquet(part, table, wanted, names)
            elif suffix == ".jsonl":
                from scenarios.json_lines import read_json_lines

                read_json_lines(part, table, wanted, names)
            else:
                from scenarios.delimited_files import read_delimited

                read_delimited(part, table, wanted, names, short)
        except UnicodeDecodeError:
            raise _not_utf8(part) from None
        except (OSError, EOFError, zlib.error) as error:
            raise UnreadableTable(f"{part}: cannot be read: {reason(error)}") from None
    return table


def parts(path: Path) -> list[Path]:
    """The files that a table is made of: itself, or the Parquet parts in a folder, by name.

    Raises:
        UnreadableTable: there is nothing, or a folder without parts.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UnreadableTable(f"{path}: no such file")
    found = sorted(part for part in path.iterdir() if part.suffix.lower() == ".parquet" and part.name[0] not in "._")
    if not found:
        raise UnreadableTable(f"{path}: is a folder without Parquet parts: give a file, or a folder of .parquet files")
    return found


def take_header(table: Table, part: Path, header: Sequence[str], wanted: Sequence[str], names: Collection[str]) -> None:
    """Refuse a header without the columns ``wanted``, or with one of ``names`` twice; the table keeps its first one.

    Raises:
        MissingColumns: a column is missing.
        WrongColumns: a column is there twice.
    """
    shown = excerpt(",".join(header))
    if missing := [name for name in wanted if name not in header]:
        near = [alike for name in missing if (alike := _alike(name, header))]
        hint = f" (did you mean {', '.join(map(repr, near))}?)" if near else ""
        message = (
            f"column {', '.join(missing)} is missing{hint}: it needs {','.join(wanted)}, its first line is {shown}"
        )
        raise MissingColumns(f"{part}: {message}", missing, shown)
    if double := [name for name in names if list(header).count(name) > 1]:
        raise WrongColumns(
            f"{part}: column {', '.join(double)} is there more than once, its first line is {shown}: keep one of them"
        )
    table.header = table.header or list(header)


def mistaken(table: Table, optional: Sequence[str]) -> dict[str, str]:
    """The optional columns that a table lacks -> a column of its that is spelt nearly so, as ``Groups`` is."""
    found = {name: _alike(name, table.header, cutoff=0.75) for name in optional if name not in table.header}
    return {name: near for name, near in found.items() if near is not None and near not in table.columns}


def with_slashes(folder: Path, path: str) -> str:
    """A path written on Windows with the slashes of other systems, where only so it names a file."""
    if "\\" not in path or (folder / path).is_file():
        return path
    slashed = path.replace("\\", "/")
    return slashed if (folder / slashed).is_file() else path


def reason(error: BaseException) -> str:
    """What an error says, on one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


def opened(part: Path, errors: str = "strict") -> TextIO:
    """A file, packed or not, as text in UTF-8, at its start."""
    if part.name.lower().endswith(".gz"):
        return cast(TextIO, gzip.open(part, "rt", encoding="utf-8-sig", errors=errors, newline=""))
    return part.open(encoding="utf-8-sig", errors=errors, newline="")


def _not_utf8(part: Path) -> UnreadableTable:
    with opened(part, "surrogateescape") as file:
        for number, line in enumerate(file, start=1):
            if any("\udc80" <= char <= "\udcff" for char in line):
                kind = "UTF-16" if line.startswith(("\udcff\udcfe", "\udcfe\udcff")) else "of another encoding"
                told = f"line {number} is {kind}: {excerpt(line)}"
                return UnreadableTable(f"{part}: is not CSV in UTF-8: {told}: save it as UTF-8")
    return UnreadableTable(f"{part}: is not CSV in UTF-8: save it as UTF-8")


def excerpt(line: str) -> str:
    """The start of a line for a message, in quotes and with nothing in it that a terminal would obey."""
    text = line.rstrip("\r\n")
    return repr(text if len(text) <= SHOWN else text[:SHOWN] + "…")


def _alike(name: str, header: Sequence[str], cutoff: float = 0.6) -> str | None:
    folded = {own.casefold(): own for own in header}
    near = get_close_matches(name.casefold(), folded, n=1, cutoff=cutoff)
    return folded[near[0]] if near else None
