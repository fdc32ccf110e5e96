"""The leaderboard as text: Markdown, CSV and the terminal, from records alone: no model, no data, no torch."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.leaderboard.aggregation import Frames, frames
from benchmark.leaderboard.cells import ACROSS, TEXT, Column, Row
from benchmark.leaderboard.columns import columns, out_of_reach
from benchmark.leaderboard.entries import shown_name
from benchmark.leaderboard.order import told
from benchmark.metrics.stability import Stability
from benchmark.output.files import no_collection, replace_file
from benchmark.output.tables import escaped, markdown_table, one_line, print_rows
from benchmark.records.files import read_all

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

WIDTH = 120  # of the prose above the tables
WIDEST = 1000  # cells, for all columns whatever is in them
Marks = dict[str, str]  # the caution that a row asks for, and its footnote mark
WORDS = 2  # columns of both tables that are no figures
TERMINAL = 100  # cells that printed tables take at most
IMPORTANCE = (  # keys of columns, those first that are printed before all others
    *("preserved-gain", "tolerant-gain", "strict", "target-gain", "devsafety", "luck", "runs"),
    *("gain-within-2", "gain-within-1", "no-regression", "no-regression-gain", "kept", "front"),
)
INTRODUCTION = """\
Best preserved gain first; where it is equal, best tolerant gain, then best DevSafety. Gains and DevSafety are
percentage points of test accuracy, over rounds × seeds. The meaning of a row's mark stands below its table."""
ACROSS_STREAMS = """\
Methods with runs on two streams or more. Gains and *DevSafety*: means over streams, each counting alike, the interval
by bootstrap over the runs within each. Rates: over all rounds together. A mean over other streams compares
nothing, so methods are ranked only among those on the same streams: first those on most.
"""


def write(results: Path, made: Frames | None = None) -> tuple[Path, Path]:
    """Make ``leaderboard.md`` and ``leaderboard.csv`` in ``results`` from its records; same records, same bytes.

    Args:
        results: the folder.
        made: what ``frames`` made of the records in it, if they have been read already.

    Raises:
        ValueError: if there are no records, or one cannot be read.
    """
    with no_collection():
        made = made or frames(read_all(results))
    markdown, csv = Path(results) / "leaderboard.md", Path(results) / "leaderboard.csv"
    replace_file(markdown, to_markdown(*made).encode())
    replace_file(csv, made.rows.to_csv(index=False, lineterminator="\n").encode())
    return markdown, csv


def to_markdown(frame: pd.DataFrame, across: pd.DataFrame, stability: Mapping[str, Stability]) -> str:
    """What ``frames`` makes as a Markdown document: across streams, then one section per stream."""
    lines = ["# Leaderboard", "", "Made from the records by `python -m benchmark leaderboard`; do not edit.", ""]
    lines += [introduction(), ""]
    if len(across):
        lines += ["## Across streams", "", ACROSS_STREAMS]
        lines += _markdown_section(columns(ACROSS), across.to_dict("records"))
    for scenario, rows in frame.groupby("scenario", sort=False):
        lines += [f"## {escaped(str(scenario))}", ""]
        found = rows.to_dict("records")
        lines += _markdown_section(columns(TEXT, out_of_reach(found)), found)
        if order := stability.get(str(scenario)):
            lines += [textwrap.fill(told(order), WIDTH), ""]
    return "\n".join(lines if len(frame) else [*lines, "There are no records yet.", ""])


def introduction() -> str:
    """The meanings of the columns, as a paragraph."""
    meanings = " ".join(f"*{column.heading}*: {column.meaning}." for column in columns(TEXT) if column.number)
    whole = f"{' '.join(INTRODUCTION.split())} {meanings}"
    return textwrap.fill(whole, WIDTH, break_long_words=False, break_on_hyphens=False)


def print_table(frame: pd.DataFrame, console: Console, wide: bool = False) -> None:
    """Show the frame that ``table`` returns, one table per scenario.

    Args:
        frame: fractions.
        console: where to.
        wide: all columns, on lines as long as they need; else those that matter most, on ``TERMINAL`` cells.
    """
    console.width = WIDEST if wide else min(console.width, TERMINAL)
    for scenario, rows in frame.groupby("scenario", sort=False):
        found = rows.to_dict("records")
        shown, marks = columns(TEXT, out_of_reach(found)), _marks(found)
        headings = [column.heading for column in shown]
        first = [column.heading for key in IMPORTANCE for column in shown if column.key == key]
        print_rows(console, str(scenario), headings, (_cells(shown, row, marks) for row in found), WORDS, first)
        for note, mark in marks.items():
            console.print(f"{mark} {one_line(note)}", markup=False, highlight=False)


def _markdown_section(shown: Sequence[Column], rows: Sequence[Row]) -> list[str]:
    """A table, and the meanings of its marks."""
    marks = _marks(rows)
    cells = ([rank, escaped(method), *others] for rank, method, *others in (_cells(shown, row, marks) for row in rows))
    notes = [f"* {mark} {escaped(note)}" for note, mark in marks.items()]
    return [markdown_table([c.heading for c in shown], cells, WORDS), "", *notes, *([""] if notes else [])]


def _cells(shown: Sequence[Column], row: Row, marks: Marks) -> list[str]:
    """The cells of a row; beside the method's name its variant and its footnote mark."""
    return [_name(row, marks) if column.key == "method" else column.written(row) for column in shown]


def _name(row: Row, marks: Marks) -> str:
    name = shown_name(row["method"], row.get("variant", ""), row["reference"])
    return " ".join(filter(None, (name, marks.get(_caution(row)))))


def _marks(rows: Iterable[Row]) -> Marks:
    """¹, ² and so on for every different caution, in the order of the rows."""
    superscript = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
    cautions = dict.fromkeys(filter(None, map(_caution, rows)))
    return {caution: str(number).translate(superscript) for number, caution in enumerate(cautions, start=1)}


def _caution(row: Row) -> str:
    """The note, without the words beside the method's name; across streams also which of them lack runs."""
    note = str(row["note"]).removeprefix(row.get("variant", "")).removeprefix("; ")
    return "; ".join(filter(None, (note, f"no runs on {row['lacking']}" if row.get("lacking") else "")))
