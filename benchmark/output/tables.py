"""Numbers, names and tables as text, for Markdown files and the terminal."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from benchmark.output import narrow

if TYPE_CHECKING:
    from rich.console import Console

LOG_WIDTH = 160


def points(fraction: float) -> str:
    """A change of accuracy in percentage points, with its sign even where it rounds to zero; "–" for NaN."""
    if math.isnan(fraction):
        return "–"
    return "0.0" if fraction == 0 else f"{100 * fraction:+.1f}".replace("-", "−")


def percent(fraction: float) -> str:
    """A share in percent; "–" for NaN."""
    return "–" if math.isnan(fraction) else f"{100 * fraction:.1f} %"


def percent_interval(low: float, high: float) -> str:
    """The ends of an interval of a share, in percent."""
    return f"[{100 * low:.1f}, {100 * high:.1f}]"


def duration(seconds: float) -> str:
    """A time in seconds, minutes or hours."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6_000 else f"{seconds / 3_600:.1f} h"


def one_line(text: str) -> str:
    """``text`` on one line and without control characters, which could rewrite what a terminal shows."""
    return " ".join(printable(text).split())


def printable(text: str) -> str:
    """``text`` with a blank for each control character."""
    return "".join(char if char.isprintable() else " " for char in text)


def escaped(text: str) -> str:
    """``text`` on one line, with nothing in it that Markdown would take for markup."""
    return re.sub(r"([\\`*<>|\[\]])|(?<![^\W_])_|_(?![^\W_])", lambda found: "\\" + found[0], one_line(text))


def canonical(value: Any) -> str:
    """One text for equal settings, as JSON with sorted keys."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table whose first ``left`` columns are words and the others numbers."""
    marks = ["---"] * left + ["---:"] * (len(headings) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, marks, *rows))


def console() -> Console:
    """Standard output: as wide as its window, or wide enough for tables where there is none, as in a service's log."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else LOG_WIDTH)


def print_rows(
    console: Console,
    title: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: int = 1,
    importance: Sequence[str] = (),
) -> None:
    """Show a table whose first ``left`` columns are words and the others numbers.

    On a terminal that is too narrow for it, columns are left out, those last in ``importance`` first, and where that
    does not suffice every row becomes a block of lines.
    """
    rows = list(rows)
    if console.width >= LOG_WIDTH or narrow.fits(console.width, headings, rows):
        _print_table(console, title, headings, rows, left)
    elif (chosen := narrow.layout(console.width, headings, rows, left, importance)) is None:
        _print_blocks(console, title, headings, rows)
    else:
        _print_table(console, title, headings, rows, left, chosen.widths)
        if missing := ", ".join(headings[number] for number in chosen.left_out):
            console.print(f"not shown on {console.width} columns: {missing}", markup=False, highlight=False)


def _print_table(
    console: Console,
    title: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: int,
    widths: Mapping[int, int] | None = None,
) -> None:
    """All columns, or those that have ``widths``."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=Text(one_line(title)), title_justify="left")
    numbers = range(len(headings)) if widths is None else widths
    for number in numbers:
        justify: Literal["left", "right"] = "left" if number < left else "right"
        width = None if widths is None else widths[number]
        shown.add_column(headings[number], justify=justify, overflow="fold", width=width)
    for row in rows:
        shown.add_row(*(Text(row[number]) for number in numbers))  # as Text, or "[red]" in a name would be markup
    console.print(shown)


def _print_blocks(console: Console, title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A paragraph for each row: its first cell, then a line for every other that holds something."""
    from rich.text import Text

    console.print(Text(one_line(title), style="italic"))
    for first, *others in rows:
        console.print(Text(first, style="bold"))
        for heading, cell in zip(headings[1:], others, strict=True):
            if cell:
                console.print(Text(f"  {heading}: {cell}"))
