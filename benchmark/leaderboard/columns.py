"""The columns of the leaderboard, once: the heading, meaning and values of each, and how a cell is written.

CSV, Markdown, terminal and page are all made from ``COLUMNS``, and so is the prose above the tables. A column's values
are made from the figures of a row: those of one entry, or across streams those of a method's entry on each.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean, median, stdev
from typing import Any

from benchmark.leaderboard import cells, gain_columns
from benchmark.leaderboard.cells import ACROSS, PAGE, TEXT, Cell, Column, Parts, Row
from benchmark.leaderboard.figures import Scores
from benchmark.metrics import luck
from benchmark.metrics.intervals import rate_interval
from benchmark.output.tables import one_line, percent, percent_interval

HOPELESS = 0.01  # luck rate below which strictness is out of reach by counting alone


def keys(across: bool = False) -> list[str]:
    """The columns of the CSV, or of the frame across streams."""
    return [key for column in COLUMNS for key in (column.across if across else column.values)]


def values(parts: Parts, across: bool = False) -> dict[str, Any]:
    """A row, without the values that only a look at the other rows can tell: ``rank``, ``front`` and ``lacking``."""
    chosen = keys(across)
    return {key: made(parts) for column in COLUMNS for key, made in column.values.items() if key in chosen}


def columns(where: str, beyond: bool = True) -> list[Column]:
    """Those shown in ``TEXT``, ``ACROSS`` or ``PAGE``, with or without those for streams ``out_of_reach``."""
    return [column for column in COLUMNS if where in column.shown and (beyond or not column.beyond)]


def out_of_reach(rows: Iterable[Row]) -> bool:
    """Whether strictness is out of reach on a stream: most of its ranked methods have a luck rate below 1 %."""
    rates = [row["luck_rate"] for row in rows if not (row["reference"] or math.isnan(row["luck_rate"]))]
    return bool(rates) and median(rates) < HOPELESS


def _mean(numbers: Sequence[float]) -> float:
    return fmean(numbers) if numbers else math.nan


def _measured(parts: Parts) -> list[Scores]:
    return [scores for part in parts for scores in part.measured]


def _verdicts(parts: Parts) -> list[bool]:
    return [kept for part in parts for _, kept in gain_columns.strict(part.rounds)]


def _strict_interval(parts: Parts) -> tuple[float, float]:
    verdicts = _verdicts(parts)
    return rate_interval(sum(verdicts), len(verdicts))


def _gain_spread(parts: Parts) -> float:
    gains = [scores.gain for scores in _measured(parts)]
    return stdev(gains) if len(gains) > 1 else math.nan


def _note(parts: Parts) -> str:
    """All that asks for caution; across streams, on which."""
    if len(parts) == 1:
        return "; ".join(filter(None, (parts[0].entry.variant, parts[0].entry.cautions)))
    cautions: defaultdict[str, list[str]] = defaultdict(list)
    for part in parts:
        if part.entry.cautions:
            cautions[part.entry.cautions].append(part.entry.stream)
    return "; ".join(f"{caution} on {', '.join(found)}" for caution, found in cautions.items())


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
        cells.rank,
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
        "0 at every tolerance, and the other columns leave it out",
        lambda row: Cell(str(row["seeds"]), row["seeds"], f"{row['diverged']} diverged" if row["diverged"] else ""),
        {
            "seeds": lambda parts: len(parts[0].entry.runs),
            "rounds": lambda parts: len(parts[0].measured),
            "diverged": lambda parts: len(parts[0].entry.runs) - len(parts[0].complete),
        },
        shown=frozenset({TEXT, PAGE}),
        between=", ",
    ),
    gain_columns.PRESERVED,
    *gain_columns.TOLERANT,
    Column(
        "target-gain",
        "Target gain",
        "change of accuracy on the target class in points, mean ± standard deviation",
        cells.target_gain,
        {
            "target_gain": lambda parts: _mean([scores.gain for scores in _measured(parts)]),
            "target_gain_sd": _gain_spread,
        },
        shown=frozenset({TEXT, PAGE}),
    ),
    Column(
        "devsafety",
        "DevSafety",
        "smallest change over the protected classes in points, mean and worst of the rounds",
        cells.devsafety,
        {
            "devsafety": lambda parts: fmean(_mean([scores.devsafety for scores in part.measured]) for part in parts),
            "devsafety_min": lambda parts: min((scores.devsafety for scores in _measured(parts)), default=math.nan),
        },
        across=("devsafety",),
        between=", ",
    ),
    Column(
        "strict",
        "Strictly preserved",
        "share of rounds in which no protected class got worse, with its exact 95 % interval (Clopper–Pearson)",
        lambda row: cells.number(row["strict_rate"], percent, percent_interval(row["strict_low"], row["strict_high"])),
        {
            "strict_rate": lambda parts: fmean(_verdicts(parts)),
            "strict_low": lambda parts: _strict_interval(parts)[0],
            "strict_high": lambda parts: _strict_interval(parts)[1],
        },
        across=("strict_rate", "strict_low", "strict_high"),
    ),
    Column(
        "luck",
        "By luck",
        "the share to be expected of models that flip as many predictions and truly change nothing; only a rate above "
        "it is earned. Where it is below 1 % in most rows, strictness is out of reach by counting alone: among so many "
        "classes one loses an image to chance in nearly every round, and two more columns tell what was kept",
        lambda row: cells.number(row["luck_rate"], percent),
        {"luck_rate": lambda parts: luck.expected_rate([scores.luck for scores in _measured(parts)]).rate},
        across=("luck_rate",),
    ),
    Column(
        "no-regression",
        "No significant regression",
        "share of rounds in which no protected class got significantly worse (McNemar's exact one-sided test, Holm "
        "over the classes, α 0.05)",
        lambda row: cells.number(row["no_regression_rate"], percent),
        {"no_regression_rate": lambda parts: fmean(scores.harmless for part in parts for scores in part.rounds)},
        across=("no_regression_rate",),
    ),
    gain_columns.HARMLESS,
    Column(
        "kept",
        "Classes preserved",
        "share of the protected classes that did not get worse, mean of the rounds; shown where strictness is out of "
        "reach",
        lambda row: cells.number(row["kept_share"], percent),
        {"kept_share": lambda parts: _mean([scores.kept for scores in _measured(parts)])},
        shown=frozenset({TEXT, PAGE}),
        beyond=True,
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
        lambda row: cells.number(row["seconds"], "{:.1f}".format),
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
