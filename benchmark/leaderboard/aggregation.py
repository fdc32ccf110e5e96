"""From records to tables: a row for every method on every stream, and one for every method over its streams."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmark.leaderboard.columns import keys, values
from benchmark.leaderboard.figures import Figures, figures, merits
from benchmark.leaderboard.order import stabilities
from benchmark.metrics import preservation
from benchmark.metrics.stability import Stability
from benchmark.output.files import no_collection
from benchmark.records.schema import Record

if TYPE_CHECKING:
    import pandas as pd


def table(records: Sequence[Record]) -> pd.DataFrame:
    """One row for every scenario, method and variant of them, best first; fractions, not percentage points.

    Runs on other data, another base model, or with other settings are rows of their own. Reference rows come last.

    Returns:
        A frame with the columns ``columns.keys()``. Values that a row does not have are missing.

        ``scenario``, ``method``, ``variant``: name the row; ``variant`` names differences from most runs of the
        scenario (data, options, base) or of the method in it (version, code, settings), and is empty for usual ones.
        ``rank``: Int64; missing for reference rows, for other data, options or base models, and for single runs.
        ``seeds``, ``rounds``, ``diverged``: the runs, the rounds scored, and the runs that were not.
        ``strict_rate``, ``strict_low``, ``strict_high``, ``luck_rate``, ``no_regression_rate``, ``kept_share``: in
        [0, 1]. ``preserved_gain``, ``gain_within_1``, ``gain_within_2``, ``tolerant_gain`` and ``no_regression_gain``,
        each with its 95 % interval, ``target_gain`` with standard deviation, ``devsafety`` mean and worst: in [-1, 1].
        ``front``, ``reference``: whether the row is on the front, and for orientation only.
        ``seconds``: mean of a complete run. ``note``: ``variant``, then all that asks for caution.

        ``columns.COLUMNS`` explains each of them.
    """
    return _table(list(figures(records)))


def overall(records: Sequence[Record]) -> pd.DataFrame:
    """One row for every method with usual runs on two streams or more, best first; fractions, not percentage points.

    Every stream counts alike in means; rounds are pooled in rates. Methods are ranked among those on the same streams
    alone: one that lacks some is apart, as a mean over other streams compares nothing.

    Returns:
        A frame with the columns ``columns.keys(across=True)``: ``streams`` is their number, ``lacking`` names those
        that other rows have and this one has not, with commas; ``rank`` is missing for reference rows and where a
        stream has a single run. The others are as in ``table``.
    """
    return _overall(list(figures(records)))


class Frames(NamedTuple):
    """What records say: ``table``, ``overall``, and for each stream how far its order rests on the seeds."""

    rows: pd.DataFrame
    across: pd.DataFrame
    stability: dict[str, Stability]


def frames(records: Sequence[Record]) -> Frames:
    """All of it in little more than the time of one."""
    with no_collection():
        found = list(figures(records))
        return Frames(_table(found), _overall(found), stabilities(found))


def _table(found: Sequence[Figures]) -> pd.DataFrame:
    import pandas as pd

    streams: defaultdict[str, list[Figures]] = defaultdict(list)
    for one in found:
        streams[one.entry.stream].append(one)
    rows = [row for stream in streams.values() for row in _of_stream(stream)]
    rows.sort(key=lambda row: (row["scenario"], row["reference"], *_merits(row), row["method"], row["note"]))
    return pd.DataFrame(rows, columns=keys()).astype({"rank": "Int64"})


def _of_stream(stream: Sequence[Figures]) -> list[dict[str, Any]]:
    """The rows of a stream, ranked, with their front."""
    rows = [values([one]) for one in stream]
    _rank([row for row, one in zip(rows, stream, strict=True) if one.entry.same_data and not one.entry.reference])
    ranked = [row for row in rows if row["rank"] is not None and row["rounds"]]
    front = preservation.front((row["target_gain"], row["devsafety"]) for row in ranked)
    for row in ranked:
        row["front"] = (row["target_gain"], row["devsafety"]) in front
    return rows


def _overall(found: Sequence[Figures]) -> pd.DataFrame:
    import pandas as pd

    by_method: defaultdict[str, dict[str, Figures]] = defaultdict(dict)
    for one in found:
        if not one.entry.variant:
            by_method[one.entry.method][one.entry.stream] = one
    several = [streams for streams in by_method.values() if len(streams) > 1]
    every = sorted({stream for streams in several for stream in streams})
    rows = []
    for streams in several:
        lacking = ", ".join(name for name in every if name not in streams)
        rows.append(values(list(streams.values()), across=True) | {"streams": len(streams), "lacking": lacking})
    for lacking in {row["lacking"] for row in rows}:
        _rank([row for row in rows if row["lacking"] == lacking and not row["reference"]])
    rows.sort(key=lambda row: (row["reference"], -row["streams"], row["lacking"], *_merits(row), row["method"]))
    return pd.DataFrame(rows, columns=keys(across=True)).astype({"rank": "Int64"})


def _rank(rows: Sequence[dict[str, Any]]) -> None:
    """Rank rows among each other: 1 + the number of those whose interval lies entirely above.

    Rows whose intervals overlap the best one's share the first rank. Unlike sharing from neighbour to neighbour this
    does not make a chain of overlaps equal: a row that something surely beats never has rank 1.
    """
    measured = [row for row in rows if not math.isnan(row["preserved_gain_low"])]
    lows = sorted(row["preserved_gain_low"] for row in measured)
    for row in measured:
        row["rank"] = 1 + len(lows) - bisect_right(lows, row["preserved_gain_high"])


def _merits(row: dict[str, Any]) -> tuple[float, ...]:
    return merits(row["preserved_gain"], row["tolerant_gain"], row["devsafety"], row.get("target_gain", 0.0))
