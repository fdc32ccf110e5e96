"""The leaderboard as text: Markdown, CSV and the terminal, from records alone: no model, no data, no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.aggregation import COLUMNS as COLUMNS
from benchmark.aggregation import frames as frames
from benchmark.aggregation import overall as overall
from benchmark.aggregation import table as table
from benchmark.records import no_collection, read_all, replace_file
from benchmark.tables import escaped, markdown_table, one_line, percent, percent_interval, points, print_rows

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

# fmt: off
HEADINGS = (
    "Rank", "Method", "Runs", "Strictly preserved", "By luck", "No significant regression",
    "Preserved gain", "Target gain", "DevSafety", "Front", "Seconds",
)
OVERALL_HEADINGS = (
    "Rank", "Method", "Streams", "Strictly preserved", "By luck", "No significant regression",
    "Preserved gain", "DevSafety",
)
# fmt: on
Row = dict[Any, Any]  # of a frame
Marks = dict[str, str]  # what a row asks caution for, and its footnote mark
WORDS = 2  # columns of both that are no figures
INTRODUCTION = """\
# Leaderboard

Made from the records by `python -m benchmark leaderboard`; do not edit.

Best preserved gain first, among equals best DevSafety; gains and DevSafety are percentage points of test accuracy, over
rounds × seeds. *Rank*: 1 + the number of rows whose interval of preserved gain lies entirely above that of the row, so
rows whose intervals overlap the best one's share rank 1; a row with a wide interval may stand below one of a higher
number. Not ranked are single runs, which have no interval, rows on other data or from another base model than most, and
reference rows, which come last. *Strictly preserved*: share of rounds in which no protected class got worse, with its
exact 95 % interval (Clopper–Pearson). *By luck*: the share to be expected of models that flip as many predictions and
truly change nothing; only a rate above it is earned. *No significant regression*: share of rounds in which no protected
class got significantly worse (McNemar's exact one-sided test, Holm over the classes, α 0.05). *Preserved gain*: mean of
the target's gain, a round that was not strictly preserved counting 0, with its 95 % interval (bootstrap over runs)
where its ends differ. With few runs it is too narrow, and [0, 0] where none was preserved: read ranks beside the strict
rate's interval. *Target gain*: mean ± standard deviation. *DevSafety*: smallest change over the protected classes, mean
and worst. *Front*: ● where no other ranked row has as much of both, mean target gain and mean DevSafety, and more of
one: what gains most for what it loses, as far as means tell. *Seconds*: mean of a run. A diverged run fails both
verdicts, with preserved gain 0; the other columns leave it out. What the mark of a row means is said below its table.
"""
ACROSS_STREAMS = """\
Methods with runs on two streams or more. *Preserved gain* and *DevSafety*: means over streams, each counting alike, the
interval by bootstrap over the runs within each. Rates: over all rounds together. A mean over other streams compares
nothing, so methods are ranked only among those on the same streams: first those on most.
"""


def write(results: Path, made: tuple[pd.DataFrame, pd.DataFrame] | None = None) -> tuple[Path, Path]:
    """Make ``leaderboard.md`` and ``leaderboard.csv`` in ``results`` from its records; same records, same bytes.

    Args:
        results: the folder.
        made: what ``frames`` made of the records in it, if they have been read already.

    Raises:
        ValueError: if there are no records, or one cannot be read.
    """
    with no_collection():
        frame, across = made or frames(read_all(results))
    markdown, csv = Path(results) / "leaderboard.md", Path(results) / "leaderboard.csv"
    replace_file(markdown, to_markdown(frame, across).encode())
    replace_file(csv, frame.to_csv(index=False, lineterminator="\n").encode())
    return markdown, csv


def to_markdown(frame: pd.DataFrame, across: pd.DataFrame) -> str:
    """The frames of ``table`` and ``overall`` as a Markdown document: across streams, then one section a stream."""
    lines = [INTRODUCTION]
    if len(across):
        lines += ["## Across streams", "", ACROSS_STREAMS]
        lines += _markdown_section(OVERALL_HEADINGS, across.to_dict("records"), _overall_cells)
    for scenario, rows in frame.groupby("scenario", sort=False):
        lines += [f"## {escaped(str(scenario))}", ""]
        lines += _markdown_section(HEADINGS, rows.to_dict("records"), _cells)
    return "\n".join(lines if len(frame) else [*lines, "There are no records yet.", ""])


def print_table(frame: pd.DataFrame, console: Console) -> None:
    """Show the frame that ``table`` returns, one table a scenario."""
    for scenario, rows in frame.groupby("scenario", sort=False):
        found = rows.to_dict("records")
        marks = _marks(found)
        print_rows(console, str(scenario), HEADINGS, (_cells(row, marks) for row in found), WORDS)
        for note, mark in marks.items():
            console.print(f"{mark} {one_line(note)}", markup=False, highlight=False)


def _markdown_section(
    headings: Sequence[str], rows: Sequence[Row], cells: Callable[[Row, Marks], list[str]]
) -> list[str]:
    """A table, and what its marks mean."""
    marks = _marks(rows)
    shown = ([rank, escaped(method), *figures] for rank, method, *figures in (cells(row, marks) for row in rows))
    notes = [f"* {mark} {escaped(note)}" for note, mark in marks.items()]
    return [markdown_table(headings, shown, WORDS), "", *notes, *([""] if notes else [])]


def _marks(rows: Iterable[Row]) -> Marks:
    """¹, ² and so on for every different caution, in the order of the rows."""
    superscript = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
    cautions = dict.fromkeys(filter(None, map(_caution, rows)))
    return {caution: str(number).translate(superscript) for number, caution in enumerate(cautions, start=1)}


def _caution(row: Row) -> str:
    """The note, but for what stands beside the method's name; across streams also which of them lack runs."""
    note = str(row["note"]).removeprefix(row.get("variant", "")).removeprefix("; ")
    return "; ".join(filter(None, (note, f"no runs on {row['lacking']}" if row.get("lacking") else "")))


def _cells(row: Row, marks: Marks) -> list[str]:
    """What a row of ``table`` shows under ``HEADINGS``."""
    spread = "" if math.isnan(row["target_gain_sd"]) else f" ± {100 * row['target_gain_sd']:.1f}"
    worst = "" if math.isnan(row["devsafety_min"]) else f", {points(row['devsafety_min'])}"
    return [
        _rank(row),
        _name(row, marks, row["variant"]),
        f"{row['seeds']}" + (f", {row['diverged']} diverged" if row["diverged"] else ""),
        *_shared_cells(row),
        points(row["target_gain"]) + spread,
        points(row["devsafety"]) + worst,
        "●" if row["front"] else "",
        "–" if math.isnan(row["seconds"]) else f"{row['seconds']:.1f}",
    ]


def _overall_cells(row: Row, marks: Marks) -> list[str]:
    """What a row of ``overall`` shows under ``OVERALL_HEADINGS``."""
    return [_rank(row), _name(row, marks), str(row["streams"]), *_shared_cells(row), points(row["devsafety"])]


def _shared_cells(row: Row) -> list[str]:
    low, high = row["preserved_gain_low"], row["preserved_gain_high"]
    interval = f" [{points(low)}, {points(high)}]" if low < high else ""  # none for NaN either
    return [
        f"{percent(row['strict_rate'])} {percent_interval(row['strict_low'], row['strict_high'])}",
        percent(row["luck_rate"]),
        percent(row["no_regression_rate"]),
        points(row["preserved_gain"]) + interval,
    ]


def _rank(row: Row) -> str:
    import pandas as pd

    return "–" if pd.isna(row["rank"]) else str(row["rank"])


def _name(row: Row, marks: Marks, variant: str = "") -> str:
    remarks = "; ".join(filter(None, ("reference" if row["reference"] else "", variant)))
    name = one_line(row["method"]) + (f" ({one_line(remarks)})" if remarks else "")
    return " ".join(filter(None, (name, marks.get(_caution(row)))))
