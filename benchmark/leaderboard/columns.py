"""The columns of the leaderboard, once: the heading, meaning and values of each, and how a cell is written.

CSV, Markdown, terminal and page are all made from ``COLUMNS``, and so is the prose above the tables. A column's values
are made from the figures of a row: those of one entry, or across streams those of a method's entry on each.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any, NamedTuple

from benchmark.leaderboard.families import family
from benchmark.leaderboard.figures import Figures
from benchmark.metrics import luck, preservation
from benchmark.metrics.intervals import mean_preserved_gain_interval, rate_interval
from benchmark.output.tables import one_line, percent, percent_interval, points

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

    def written(self, row: Row) -> str:
        """The cell as one text."""
        cell = self.cell(row)
        return self.between.join(filter(None, (cell.text, cell.more)))


def keys(across: bool = False) -> list[str]:
    """The columns of the CSV, or of the frame across streams."""
    return [key for column in COLUMNS for key in (column.across if across else column.values)]


def values(parts: Parts, across: bool = False) -> dict[str, Any]:
    """A row, without the values that only a look at the other rows can tell: ``rank``, ``front`` and ``lacking``."""
    chosen = keys(across)
    return {key: made(parts) for column in COLUMNS for key, made in column.values.items() if key in chosen}


def columns(where: str) -> list[Column]:
    """Those that are shown in ``TEXT``, ``ACROSS`` or ``PAGE``."""
    return [column for column in COLUMNS if where in column.shown]


def _mean(numbers: Sequence[float]) -> float:
    return fmean(numbers) if numbers else math.nan


def _outcomes(parts: Parts) -> list[tuple[float, bool]]:
    return [outcome for part in parts for outcome in part.outcomes]


def _strict_interval(parts: Parts) -> tuple[float, float]:
    outcomes = _outcomes(parts)
    return rate_interval(sum(kept for _, kept in outcomes), len(outcomes))


def _gain_interval(parts: Parts) -> tuple[float, float]:
    low, high = mean_preserved_gain_interval([part.runs for part in parts])
    return round(low, 6), round(high, 6)  # the last digits depend on the processor


def _note(parts: Parts) -> str:
    """All that asks for caution; across streams, on which."""
    if len(parts) == 1:
        return "; ".join(filter(None, (parts[0].entry.variant, parts[0].entry.cautions)))
    cautions: defaultdict[str, list[str]] = defaultdict(list)
    for part in parts:
        if part.entry.cautions:
            cautions[part.entry.cautions].append(part.entry.stream)
    return "; ".join(f"{caution} on {', '.join(found)}" for caution, found in cautions.items())


def _number(value: float, shown: Callable[[float], str], more: str = "") -> Cell:
    return Cell("–") if math.isnan(value) else Cell(shown(value), value, more)


def _rank(row: Row) -> Cell:
    rank = row["rank"]
    return Cell(f"{rank:g}", rank) if isinstance(rank, int | float) and rank == rank else Cell("–")


def _gain_cell(row: Row) -> Cell:
    low, high = row["preserved_gain_low"], row["preserved_gain_high"]
    interval = f"[{points(low)}, {points(high)}]" if low < high else ""  # none for NaN either
    return _number(row["preserved_gain"], points, interval)


def _target_gain_cell(row: Row) -> Cell:
    spread = row["target_gain_sd"]
    return _number(row["target_gain"], points, "" if math.isnan(spread) else f"± {100 * spread:.1f}")


def _devsafety_cell(row: Row) -> Cell:
    worst = row.get("devsafety_min", math.nan)
    return _number(row["devsafety"], points, "" if math.isnan(worst) else points(worst))


COLUMNS = (  # in the order of the CSV
    Column(
        "stream",
        "Stream",
        "the classes that are learned and those that are kept",
        lambda row: Cell(one_line(row["scenario"])),
        {
            "scenario": lambda parts: parts[0].entry.stream,
            "scenario_version": lambda parts: parts[0].entry.runs[0].scenario.version,
        },
        shown=frozenset({PAGE}),
        number=False,
    ),
    Column(
        "rank",
        "Rank",
        "1 + the number of rows whose interval of preserved gain lies entirely above that of the row, so rows whose "
        "intervals overlap the best one's share rank 1; a row with a wide interval may stand below one of a higher "
        "number. Not ranked are single runs, which have no interval, rows on other data or from another base model "
        "than most, and reference rows, which come last",
        _rank,
        {"rank": lambda parts: None},
        across=("rank",),
    ),
    Column(
        "method",
        "Method",
        "the procedure that turned the old model into the new one",
        lambda row: Cell(one_line(row["method"])),
        {
            "method": lambda parts: parts[0].entry.method,
            "variant": lambda parts: parts[0].entry.variant,
            "method_version": lambda parts: parts[0].entry.runs[0].method.version,
        },
        across=("method",),
        number=False,
    ),
    Column(
        "family",
        "Family",
        "of the method",
        lambda row: Cell(family(row["method"])),
        shown=frozenset({PAGE}),
        number=False,
    ),
    Column(
        "streams",
        "Streams",
        "on which the method has runs",
        lambda row: Cell(str(row["streams"]), row["streams"]),
        {},
        across=("streams", "lacking"),
        shown=frozenset({ACROSS}),
    ),
    Column(
        "runs",
        "Runs",
        "seeds that were run, and how many of them diverged; a diverged run fails both verdicts, with preserved gain "
        "0, and the other columns leave it out",
        lambda row: Cell(str(row["seeds"]), row["seeds"], f"{row['diverged']} diverged" if row["diverged"] else ""),
        {
            "seeds": lambda parts: len(parts[0].entry.runs),
            "rounds": lambda parts: len(parts[0].devsafety),
            "diverged": lambda parts: len(parts[0].entry.runs) - len(parts[0].complete),
        },
        shown=frozenset({TEXT, PAGE}),
        between=", ",
    ),
    Column(
        "strict",
        "Strictly preserved",
        "share of rounds in which no protected class got worse, with its exact 95 % interval (Clopper–Pearson)",
        lambda row: _number(row["strict_rate"], percent, percent_interval(row["strict_low"], row["strict_high"])),
        {
            "strict_rate": lambda parts: fmean(kept for _, kept in _outcomes(parts)),
            "strict_low": lambda parts: _strict_interval(parts)[0],
            "strict_high": lambda parts: _strict_interval(parts)[1],
        },
        across=("strict_rate", "strict_low", "strict_high"),
    ),
    Column(
        "luck",
        "By luck",
        "the share to be expected of models that flip as many predictions and truly change nothing; only a rate above "
        "it is earned",
        lambda row: _number(row["luck_rate"], percent),
        {"luck_rate": lambda parts: luck.expected_rate([rate for part in parts for rate in part.luck]).rate},
        across=("luck_rate",),
    ),
    Column(
        "no-regression",
        "No significant regression",
        "share of rounds in which no protected class got significantly worse (McNemar's exact one-sided test, Holm "
        "over the classes, α 0.05)",
        lambda row: _number(row["no_regression_rate"], percent),
        {"no_regression_rate": lambda parts: sum(sum(part.harmless) for part in parts) / len(_outcomes(parts))},
        across=("no_regression_rate",),
    ),
    Column(
        "preserved-gain",
        "Preserved gain",
        "mean of the target's gain in points, a round that was not strictly preserved counting 0, with its 95 % "
        "interval (bootstrap over runs) where its ends differ. With few runs it is too narrow, and [0, 0] where none "
        "was preserved: read ranks beside the strict rate's interval",
        _gain_cell,
        {
            "preserved_gain": lambda parts: fmean(preservation.preserved_gain(part.outcomes) for part in parts),
            "preserved_gain_low": lambda parts: _gain_interval(parts)[0],
            "preserved_gain_high": lambda parts: _gain_interval(parts)[1],
        },
        across=("preserved_gain", "preserved_gain_low", "preserved_gain_high"),
    ),
    Column(
        "target-gain",
        "Target gain",
        "change of accuracy on the target class in points, mean ± standard deviation",
        _target_gain_cell,
        {
            "target_gain": lambda parts: _mean(parts[0].gains),
            "target_gain_sd": lambda parts: stdev(parts[0].gains) if len(parts[0].gains) > 1 else math.nan,
        },
        shown=frozenset({TEXT, PAGE}),
    ),
    Column(
        "devsafety",
        "DevSafety",
        "smallest change over the protected classes in points, mean and worst of the rounds",
        _devsafety_cell,
        {
            "devsafety": lambda parts: fmean(_mean(part.devsafety) for part in parts),
            "devsafety_min": lambda parts: min(parts[0].devsafety, default=math.nan),
        },
        across=("devsafety",),
        between=", ",
    ),
    Column(
        "front",
        "Front",
        "● where no other ranked row of the stream has as much of both, mean target gain and mean DevSafety, and more "
        "of one: the greatest gains for their losses, as far as means tell",
        lambda row: Cell("●", 1) if row["front"] else Cell("", 0),
        {"front": lambda parts: False},
        shown=frozenset({TEXT, PAGE}),
    ),
    Column(
        "seconds",
        "Seconds",
        "mean of a run",
        lambda row: _number(row["seconds"], "{:.1f}".format),
        {"seconds": lambda parts: _mean([run.seconds for run in parts[0].complete])},
        shown=frozenset({TEXT, PAGE}),
    ),
    Column(
        "note",
        "Note",
        "all that asks for caution: too few or other seeds than most, mixed hardware, pictures that are not today's",
        lambda row: Cell(one_line(row["note"])),
        {"reference": lambda parts: parts[0].entry.reference, "note": _note},
        across=("reference", "note"),
        shown=frozenset(),
        number=False,
    ),
)
