"""What a column is, and how cells with more than a number are written."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from benchmark.leaderboard.figures import Figures
from benchmark.output.tables import points

Row = Mapping[Any, Any]  # of a frame: values by key
Parts = Sequence[Figures]  # of one stream, or of several
TEXT, ACROSS, PAGE = "text", "across", "page"  # Markdown and terminal; the table across streams; the page


class Cell(NamedTuple):
    """The text of a cell, the value it is sorted by (empty: last), and the lesser part of the text."""

    text: str
    value: float | str = ""
    more: str = ""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        key: names it in the page's markup.
        heading: as it is shown.
        meaning: a sentence that may follow the heading and a colon.
        cell: writes a cell from the row's values.
        values: those in the CSV, by key, from the figures of a row.
        across: which of these the table across streams has.
        shown: where it is.
        number: whether it holds figures, not words.
        between: the words, in text, between a cell's two parts.
        beyond: whether it is only for streams on which strictness is out of reach.
    """

    key: str
    heading: str
    meaning: str
    cell: Callable[[Row], Cell]
    values: dict[str, Callable[[Parts], Any]] = field(default_factory=dict)
    across: tuple[str, ...] = ()
    shown: frozenset[str] = frozenset({TEXT, ACROSS, PAGE})
    number: bool = True
    between: str = " "
    beyond: bool = False

    def written(self, row: Row) -> str:
        """The cell as one text."""
        cell = self.cell(row)
        return self.between.join(filter(None, (cell.text, cell.more)))


def number(value: float, shown: Callable[[float], str], more: str = "") -> Cell:
    """A figure, written by ``shown``; a dash where there is none."""
    return Cell("–") if math.isnan(value) else Cell(shown(value), value, more)


def rank(row: Row) -> Cell:
    """A dash for rows that have none."""
    own = row["rank"]
    return Cell(f"{own:g}", own) if isinstance(own, int | float) and own == own else Cell("–")


def preserved_gain(row: Row) -> Cell:
    """With its interval, where its ends differ."""
    low, high = row["preserved_gain_low"], row["preserved_gain_high"]
    interval = f"[{points(low)}, {points(high)}]" if low < high else ""  # none for NaN either
    return number(row["preserved_gain"], points, interval)


def target_gain(row: Row) -> Cell:
    """Mean and standard deviation."""
    spread = row["target_gain_sd"]
    return number(row["target_gain"], points, "" if math.isnan(spread) else f"± {100 * spread:.1f}")


def devsafety(row: Row) -> Cell:
    """Mean and worst; across streams the mean."""
    worst = row.get("devsafety_min", math.nan)
    return number(row["devsafety"], points, "" if math.isnan(worst) else points(worst))
