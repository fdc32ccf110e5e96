"""Rows of the page's table: text to show, and values to sort by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmark.plots import family
from benchmark.tables import one_line, percent, percent_interval, points

if TYPE_CHECKING:
    import pandas as pd


class Column(NamedTuple):
    """A column; ``meaning`` is shown to who asks for it."""

    heading: str
    meaning: str
    number: bool = True


class Cell(NamedTuple):
    """What a cell shows, what it is sorted by (empty: last), and the lesser part of the text."""

    text: str
    value: float | str = ""
    more: str = ""


COLUMNS = (
    Column("Rank", "by preserved gain, within the stream; reference rows have none"),
    Column("Method", "what turned the old model into the new one", number=False),
    Column("Stream", "what was learned and kept", number=False),
    Column("Family", "of the method", number=False),
    Column("Runs", "seeds that were run"),
    Column("Strictly preserved", "share of rounds in which no protected class got worse, with its exact 95 % interval"),
    Column("By luck", "the share to be expected if as many predictions flip and no class truly changes"),
    Column("No significant regression", "share of rounds in which no protected class got significantly worse"),
    Column("Preserved gain", "mean of the target's gain in points, a round not strictly preserved counting 0"),
    Column("Target gain", "change of accuracy on the target class in points, mean ± standard deviation"),
    Column("DevSafety", "worst change over the protected classes in points, mean and worst of the rounds"),
    Column(
        "Front", "no other ranked row of the stream has as much of both, mean gain and mean DevSafety, and more of one"
    ),
    Column("Seconds", "of a run, mean"),
)


def board_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """What the template needs of every row of the frame that ``leaderboard.table`` returns, in its order."""
    return [
        {
            "scenario": row["scenario"],
            "method": one_line(row["method"]),
            "name": row["method"],
            "family": family(row["method"]),
            "reference": row["reference"],
            "note": one_line(row["note"]),
            "interval": {key: 100 * row[key] for key in ("strict_low", "strict_high", "strict_rate")},
            "luck": None if math.isnan(row["luck_rate"]) else 100 * row["luck_rate"],
            "cells": dict(zip((column.heading for column in COLUMNS), _cells(row), strict=True)),
        }
        for row in frame.to_dict("records")
    ]


def _cells(row: Mapping[Any, Any]) -> tuple[Cell, ...]:
    """One cell for each of ``COLUMNS``."""
    low, high = row["preserved_gain_low"], row["preserved_gain_high"]
    return (
        _rank(row.get("rank")),
        Cell(one_line(row["method"])),
        Cell(one_line(row["scenario"])),
        Cell(family(row["method"])),
        Cell(str(row["seeds"]), row["seeds"], f"{row['diverged']} diverged" if row["diverged"] else ""),
        _number(row["strict_rate"], percent, percent_interval(row["strict_low"], row["strict_high"])),
        _number(row["luck_rate"], percent),
        _number(row["no_regression_rate"], percent),
        _number(row["preserved_gain"], points, f"[{points(low)}, {points(high)}]" if low < high else ""),
        _number(row["target_gain"], points, _unless_nan(row["target_gain_sd"], lambda sd: f"± {100 * sd:.1f}")),
        _number(row["devsafety"], points, _unless_nan(row["devsafety_min"], points)),
        Cell("●", 1) if row["front"] else Cell("", 0),
        _number(row["seconds"], "{:.1f}".format),
    )


def _rank(rank: Any) -> Cell:
    return Cell("–") if rank is None or rank != rank or rank == "" else Cell(f"{rank:g}", rank)


def _number(value: float, shown: Any, more: str = "") -> Cell:
    return Cell("–") if math.isnan(value) else Cell(shown(value), value, more)


def _unless_nan(value: float, shown: Any) -> str:
    return "" if math.isnan(value) else shown(value)
