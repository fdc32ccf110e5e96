"""The columns that are means of the target's gain over the rounds that kept enough, each with its interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from statistics import fmean
from typing import Any

from benchmark.leaderboard import cells
from benchmark.leaderboard.cells import Cell, Column, Parts, Row
from benchmark.leaderboard.figures import Scores
from benchmark.metrics import preservation, tolerance
from benchmark.metrics.intervals import mean_preserved_gain_interval
from benchmark.output.tables import points

Outcomes = list[tuple[float, bool]]  # the gain of each round of a run, and whether it counts


def strict(run: Sequence[Scores]) -> Outcomes:
    """Rounds count that were strictly preserved."""
    return tolerance.within(_rounds(run))


def _within(lost: int) -> Callable[[Sequence[Scores]], Outcomes]:
    return lambda run: tolerance.within(_rounds(run), lost / 100)


def _tolerant(run: Sequence[Scores]) -> Outcomes:
    return tolerance.averaged(_rounds(run))


def _harmless(run: Sequence[Scores]) -> Outcomes:
    return [(scores.gain, scores.harmless) for scores in run]


def _rounds(run: Sequence[Scores]) -> list[tuple[float, float]]:
    return [(scores.gain, scores.devsafety) for scores in run]


def _column(
    key: str,
    heading: str,
    meaning: str,
    outcomes: Callable[[Sequence[Scores]], Outcomes],
    cell: Callable[[Row], Cell] | None = None,
    **where: Any,
) -> Column:
    """A column with three values in the CSV: the mean, in which every stream counts alike, and its interval's ends."""
    name = key.replace("-", "_")

    def mean(parts: Parts) -> float:
        return fmean(preservation.preserved_gain([o for run in part.runs for o in outcomes(run)]) for part in parts)

    def interval(parts: Parts) -> tuple[float, float]:
        return _interval(tuple(tuple(tuple(outcomes(run)) for run in part.runs) for part in parts))

    values: dict[str, Callable[[Parts], float]] = {
        name: mean,
        f"{name}_low": lambda parts: interval(parts)[0],
        f"{name}_high": lambda parts: interval(parts)[1],
    }
    written = cell or (lambda row: cells.number(row[name], points))
    return Column(key, heading, meaning, written, {**values}, across=() if where else tuple(values), **where)


@lru_cache(maxsize=64)  # both ends are asked for one after the other, and where nothing was lost all columns agree
def _interval(streams: tuple[tuple[tuple[tuple[float, bool], ...], ...], ...]) -> tuple[float, float]:
    low, high = mean_preserved_gain_interval(streams)
    return round(low, 6), round(high, 6)  # the last digits depend on the processor


PRESERVED = _column(
    "preserved-gain",
    "Preserved gain",
    "mean of the target's gain in points, a round that was not strictly preserved counting 0, with its 95 % "
    "interval (bootstrap over runs) where its ends differ. With few runs it is too narrow, and [0, 0] where none "
    "was preserved: read ranks beside the strict rate's interval",
    strict,
    cells.preserved_gain,
)
TOLERANT = (
    _column(
        "gain-within-1",
        "Within 1 point",
        "the preserved gain if a round may lose 1 point in any protected class",
        _within(1),
    ),
    _column("gain-within-2", "Within 2 points", "the same for 2 points", _within(2)),
    _column(
        "tolerant-gain",
        "Tolerant gain",
        "the mean of the preserved gain over all tolerances from 0 to 3 points, which orders rows of equal preserved "
        "gain: a round counts the less of its gain the more it lost, and doing nothing gains nothing",
        _tolerant,
    ),
)
HARMLESS = _column(
    "no-regression-gain",
    "Gain without regression",
    "mean of the target's gain in points, a round with a significant regression counting 0; shown where strictness is "
    "out of reach",
    _harmless,
    shown=frozenset({cells.TEXT, cells.PAGE}),
    beyond=True,
)
