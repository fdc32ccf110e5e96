"""Numbers, names and tables as text, for Markdown files and the terminal."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

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


def one_line(text: str) -> str:
    """``text`` on one line and without control characters, which could rewrite what a terminal shows."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


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
    console: Console, title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1
) -> None:
    """Show a table whose first ``left`` columns are words and the others numbers."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=Text(one_line(title)), title_justify="left")
    for number, heading in enumerate(headings):
        shown.add_column(heading, justify="left" if number < left else "right", overflow="fold")
    for row in rows:
        shown.add_row(*map(Text, row))  # as Text, or "[red]" in a name would be markup
    console.print(shown)
