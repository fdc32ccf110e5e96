"""From records to figures: a row for every method on every stream, and one for every method over its streams."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from benchmark import luck, metrics, significance
from benchmark.entries import Entry, entries
from benchmark.record_view import ALPHA
from benchmark.records import no_collection
from benchmark.schema import Record

if TYPE_CHECKING:
    import pandas as pd

# fmt: off
COLUMNS = [
    "scenario", "scenario_version", "rank", "method", "variant", "method_version", "seeds", "rounds", "diverged",
    "strict_rate", "strict_low", "strict_high", "luck_rate", "no_regression_rate",
    "preserved_gain", "preserved_gain_low", "preserved_gain_high", "target_gain", "target_gain_sd",
    "devsafety", "devsafety_min", "front", "seconds", "reference", "note",
]
OVERALL = [
    "rank", "method", "streams", "lacking", "strict_rate", "strict_low", "strict_high", "luck_rate",
    "no_regression_rate", "preserved_gain", "preserved_gain_low", "preserved_gain_high", "devsafety", "reference",
    "note",
]
# fmt: on


def table(records: Sequence[Record]) -> pd.DataFrame:
    """One row for every scenario, method and variant of them, best first; fractions, not percentage points.

    Runs on other data, another base model, or with other settings are rows of their own. Reference rows come last.

    Returns:
        A frame with the columns ``COLUMNS``. What a row has no value for is missing.

        ``scenario``, ``method``, ``variant``: name the row; ``variant`` says what is unlike most runs of the scenario
        (data, options, base) or of the method in it (version, settings), and is empty for the usual ones.
        ``rank``: 1 + the number of rows whose interval of preserved gain lies entirely above this one's (Int64).
        Missing for reference rows, for other data, options or base models, and for single runs, which have no interval.
        ``seeds``, ``rounds``, ``diverged``: the runs, the rounds scored, and the runs that were not.
        ``strict_rate``, ``strict_low``, ``strict_high``: the strict preservation rate and its exact 95 % interval;
        ``luck_rate``: what it would be by luck; ``no_regression_rate``: the second verdict; all in [0, 1].
        ``preserved_gain`` and its 95 % interval, ``target_gain`` with standard deviation, ``devsafety`` mean and worst:
        in [-1, 1].
        ``front``: whether no other ranked row of the stream has at least its mean target gain and its mean DevSafety,
        and more of one of them; false for rows without a rank.
        ``seconds``: mean of a complete run. ``reference``: whether the row is there for orientation only.
        ``note``: ``variant``, then all that asks for caution: too few or other seeds than most, mixed hardware,
        pictures that are not today's.
    """
    return _table(list(_figures(records)))


def overall(records: Sequence[Record]) -> pd.DataFrame:
    """One row for every method with usual runs on two streams or more, best first; fractions, not percentage points.

    Every stream counts alike in means; rounds are pooled in rates. Methods are ranked among those on the same streams
    alone: whoever lacks some is apart, as a mean over other streams compares nothing.

    Returns:
        A frame with the columns ``OVERALL``: ``streams`` is their number, ``lacking`` names those that other rows have
        and this one has not, with commas; ``rank`` is missing for reference rows and where a stream has a single run.
        The others are as in ``table``.
    """
    return _overall(list(_figures(records)))


def frames(records: Sequence[Record]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """``table`` and ``overall`` in little more than the time of one."""
    with no_collection():
        figures = list(_figures(records))
        return _table(figures), _overall(figures)


def _table(figures: Sequence[_Figures]) -> pd.DataFrame:
    import pandas as pd

    streams: defaultdict[str, list[_Figures]] = defaultdict(list)
    for one in figures:
        streams[one.entry.stream].append(one)
    rows = [row for stream in streams.values() for row in _ranked(stream)]
    rows.sort(key=_order)
    return pd.DataFrame(rows, columns=COLUMNS).astype({"rank": "Int64"})


def _overall(figures: Sequence[_Figures]) -> pd.DataFrame:
    import pandas as pd

    by_method: defaultdict[str, dict[str, _Figures]] = defaultdict(dict)
    for one in figures:
        if not one.entry.variant:
            by_method[one.entry.method][one.entry.stream] = one
    several = [found for found in by_method.values() if len(found) > 1]
    every = sorted({stream for found in several for stream in found})
    rows = [_overall_row(list(found.values()), every) for found in several]
    for lacking in {row["lacking"] for row in rows}:
        _rank([row for row in rows if row["lacking"] == lacking and not row["reference"]])
    rows.sort(key=lambda row: (row["reference"], -row["streams"], row["lacking"], *_merits(row), row["method"]))
    return pd.DataFrame(rows, columns=OVERALL).astype({"rank": "Int64"})


@dataclass(frozen=True)
class _Figures:
    """An entry and what was measured in its complete runs."""

    entry: Entry
    runs: list[list[tuple[float, bool]]]  # of each run its rounds: target gain, whether strictly preserved
    devsafety: list[float]  # of each round of complete runs, as the next two
    luck: list[luck.LuckRate]
    harmless: list[bool]

    @property
    def outcomes(self) -> list[tuple[float, bool]]:
        return [outcome for run in self.runs for outcome in run]


def _figures(records: Sequence[Record]) -> Iterator[_Figures]:
    for entry in entries(records):
        runs, safety, lucky, harmless = [], [], [], []
        for record in entry.runs:
            if record.status == "diverged":  # fails every round, and is otherwise left out
                runs.append([(math.nan, False)] * record.scenario.rounds)
                continue
            run = []
            for result in record.rounds:
                counts, protected = result.test_counts, result.protected
                run.append((metrics.target_gain(counts, result.target), metrics.strictly_preserved(counts, protected)))
                safety.append(metrics.devsafety(counts, protected))
                lucky.append(luck.luck_rate(counts, protected))
                harmless.append(not significance.regressions(counts, protected, ALPHA))
            runs.append(run)
        yield _Figures(entry, runs, safety, lucky, harmless)


def _ranked(stream: Sequence[_Figures]) -> list[dict[str, Any]]:
    """The rows of a stream."""
    rows = [_row(figures) for figures in stream]
    _rank([row for row, one in zip(rows, stream, strict=True) if one.entry.same_data and not one.entry.reference])
    ranked = [row for row in rows if row["rank"] is not None and row["rounds"]]
    front = metrics.front((row["target_gain"], row["devsafety"]) for row in ranked)
    for row in ranked:
        row["front"] = (row["target_gain"], row["devsafety"]) in front
    return rows


def _rank(rows: Sequence[dict[str, Any]]) -> None:
    """Rank rows among each other: 1 + the number of those whose interval lies entirely above.

    Rows whose intervals overlap the best one's share the first rank. Unlike sharing from neighbour to neighbour this
    does not make a chain of overlaps equal: a row that something surely beats never has rank 1.
    """
    measured = [row for row in rows if not math.isnan(row["preserved_gain_low"])]
    lows = sorted(row["preserved_gain_low"] for row in measured)
    for row in measured:
        row["rank"] = 1 + len(lows) - bisect_right(lows, row["preserved_gain_high"])


def _row(figures: _Figures) -> dict[str, Any]:
    entry = figures.entry
    complete = [run for run in entry.runs if run.status == "complete"]
    gains = [gain for run in figures.runs for gain, _ in run if not math.isnan(gain)]
    low, high = metrics.preserved_gain_interval(figures.runs)
    return {
        "scenario": entry.stream,
        "scenario_version": entry.runs[0].scenario.version,
        "rank": None,
        "method": entry.method,
        "variant": entry.variant,
        "method_version": entry.runs[0].method.version,
        "seeds": len(entry.runs),
        "rounds": len(figures.devsafety),
        "diverged": len(entry.runs) - len(complete),
        **_rates([figures]),
        "preserved_gain": metrics.preserved_gain(figures.outcomes),
        "preserved_gain_low": round(low, 6),  # the last digits depend on the processor
        "preserved_gain_high": round(high, 6),
        "target_gain": _mean(gains),
        "target_gain_sd": stdev(gains) if len(gains) > 1 else math.nan,
        "devsafety": _mean(figures.devsafety),
        "devsafety_min": min(figures.devsafety, default=math.nan),
        "front": False,
        "seconds": _mean([run.seconds for run in complete]),
        "reference": entry.reference,
        "note": "; ".join(filter(None, (entry.variant, entry.cautions))),
    }


def _overall_row(streams: Sequence[_Figures], every: Sequence[str]) -> dict[str, Any]:
    """Figures of one method over its streams."""
    names = [figures.entry.stream for figures in streams]
    low, high = metrics.mean_preserved_gain_interval([figures.runs for figures in streams])
    cautions: defaultdict[str, list[str]] = defaultdict(list)
    for figures in streams:
        if figures.entry.cautions:
            cautions[figures.entry.cautions].append(figures.entry.stream)
    return {
        "rank": None,
        "method": streams[0].entry.method,
        "streams": len(streams),
        "lacking": ", ".join(name for name in every if name not in names),
        **_rates(streams),
        "preserved_gain": fmean(metrics.preserved_gain(figures.outcomes) for figures in streams),
        "preserved_gain_low": round(low, 6),
        "preserved_gain_high": round(high, 6),
        "devsafety": fmean(_mean(figures.devsafety) for figures in streams),
        "reference": streams[0].entry.reference,
        "note": "; ".join(f"{caution} on {', '.join(found)}" for caution, found in cautions.items()),
    }


def _rates(parts: Sequence[_Figures]) -> dict[str, float]:
    """Both verdicts and luck, over the rounds of all parts."""
    outcomes = [outcome for figures in parts for outcome in figures.outcomes]
    preserved = sum(kept for _, kept in outcomes)
    low, high = metrics.rate_interval(preserved, len(outcomes))
    return {
        "strict_rate": preserved / len(outcomes),
        "strict_low": low,
        "strict_high": high,
        "luck_rate": luck.expected_rate([rate for figures in parts for rate in figures.luck]).rate,
        "no_regression_rate": sum(sum(figures.harmless) for figures in parts) / len(outcomes),
    }


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["scenario"], row["reference"], *_merits(row), row["method"], row["note"]


def _merits(row: dict[str, Any]) -> list[float]:
    """Best preserved gain first; among equals who lost least, then who gained most; nothing scored comes last."""
    values = [row[merit] for merit in ("preserved_gain", "devsafety", "target_gain") if merit in row]
    return [math.inf if math.isnan(value) else -value for value in values]


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else math.nan
