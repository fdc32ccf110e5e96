"""Rows of the page's table: text to show, and values to sort by."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from benchmark.leaderboard.cells import PAGE
from benchmark.leaderboard.columns import columns
from benchmark.leaderboard.families import family
from benchmark.output.tables import one_line

if TYPE_CHECKING:
    import pandas as pd


def board_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The template's data on every row of the frame that ``aggregation.table`` returns, in its order."""
    shown = columns(PAGE)
    return [
        {
            "scenario": row["scenario"],
            "name": row["method"],
            "family": family(row["method"]),
            "reference": row["reference"],
            "note": one_line(row["note"]),
            "interval": {key: 100 * row[key] for key in ("strict_low", "strict_high", "strict_rate")},
            "luck": None if math.isnan(row["luck_rate"]) else 100 * row["luck_rate"],
            "cells": {column.key: column.cell(row) for column in shown},
        }
        for row in frame.to_dict("records")
    ]
