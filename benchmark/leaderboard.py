"""Tables of results, from records alone: no model, no data, no torch."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from benchmark import metrics
from benchmark.record_view import mean_luck_rate, outdated, without_regression
from benchmark.record_view import print_record as print_record
from benchmark.record_view import verdict as verdict
from benchmark.records import read_all, replace_file
from benchmark.schema import Record
from benchmark.tables import canonical, escaped, markdown_table, one_line, percent, percent_interval, points, print_rows
from benchmark.tuned import tuned
from methods import METHODS

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from benchmark.tuning import Tuning

# doing nothing, training on everything and the like: for orientation, never ranked
REFERENCE = frozenset(name for name, method in METHODS.items() if method.family == "reference")
# fmt: off
COLUMNS = [
    "scenario", "scenario_version", "method", "method_version", "seeds", "rounds", "diverged",
    "strict_rate", "strict_low", "strict_high", "luck_rate", "no_regression_rate",
    "preserved_gain", "preserved_gain_low", "preserved_gain_high", "target_gain", "target_gain_sd",
    "devsafety", "devsafety_min", "seconds", "reference", "note",
]
HEADINGS = (
    "Method", "Runs", "Strictly preserved", "By luck", "No significant regression",
    "Preserved gain", "Target gain", "DevSafety", "Seconds",
)
# fmt: on
INTRODUCTION = """\
# Leaderboard

Made from the records by `python -m benchmark leaderboard`; do not edit.

Best preserved gain first, among equals best DevSafety; gains and DevSafety are percentage points of test accuracy, over
rounds × seeds. *Strictly preserved*: share of rounds in which no protected class got worse, with its exact 95 %
interval (Clopper–Pearson). *By luck*: the share to be expected of models that flip as many predictions and truly change
nothing; only a rate above it is earned. *No significant regression*: share of rounds in which no protected class got
significantly worse (McNemar's exact one-sided test, Holm over the classes, α 0.05). *Preserved gain*: mean of the
target's gain, a round that was not strictly preserved counting 0, with its 95 % interval (bootstrap over runs) where
they differ. *Target gain*: mean ± standard deviation. *DevSafety*: smallest change over the protected classes, mean and
worst. *Seconds*: mean of a run. A diverged run fails both verdicts, with preserved gain 0; the other columns leave it
out. Reference rows are not ranked and come last.
"""


def table(records: Sequence[Record]) -> pd.DataFrame:
    """One row for every scenario, method and variant of them, best first; fractions, not percentage points.

    Runs on other data, another base model, or with other settings are rows of their own. ``note`` says what is unlike
    most runs of the scenario (data, base) or of the method in it (version, settings).

    Returns:
        A frame with the columns ``COLUMNS``. ``seeds`` counts runs, ``rounds`` the rounds scored, ``diverged`` the runs
        that were not. What a row has no value for is NaN.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    records = sorted(records, key=lambda record: (record.seed, record.run_id))  # the bootstrap draws them by place
    for stream in _grouped(records, lambda record: record.scenario.name):
        usual_data = _most_common(_data(record) for record in stream)
        for method in _grouped(stream, lambda record: record.method.name):
            chosen = [record for record in method if _is_tuned(record)] or method
            usual = usual_data | _most_common(_development(record) for record in chosen)
            for group in _grouped(method, lambda record: canonical(_data(record) | _development(record))):
                rows.append(_row(group) | {"note": _note(group, usual)})
    rows.sort(key=_order)
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(group: Sequence[Record]) -> dict[str, Any]:
    """Figures of runs that differ only in their seed."""
    complete = [record for record in group if record.status == "complete"]
    rounds = [result for record in complete for result in record.rounds]
    runs = [_outcomes(record) for record in group]
    outcomes = [outcome for run in runs for outcome in run]
    preserved = sum(kept for _, kept in outcomes)
    low, high = metrics.rate_interval(preserved, len(outcomes))
    gain_low, gain_high = metrics.preserved_gain_interval(runs)
    gains, safeties = [result.target_gain for result in rounds], [result.devsafety for result in rounds]
    return {
        "scenario": group[0].scenario.name,
        "scenario_version": group[0].scenario.version,
        "method": group[0].method.name,
        "method_version": group[0].method.version,
        "seeds": len(group),
        "rounds": len(rounds),
        "diverged": len(group) - len(complete),
        "strict_rate": preserved / len(outcomes),
        "strict_low": low,
        "strict_high": high,
        "luck_rate": mean_luck_rate(rounds),
        "no_regression_rate": sum(map(without_regression, rounds)) / len(outcomes),
        "preserved_gain": metrics.preserved_gain(outcomes),
        "preserved_gain_low": round(gain_low, 6),  # the last digits depend on the processor
        "preserved_gain_high": round(gain_high, 6),
        "target_gain": _mean(gains),
        "target_gain_sd": stdev(gains) if len(gains) > 1 else math.nan,
        "devsafety": _mean(safeties),
        "devsafety_min": min(safeties, default=math.nan),
        "seconds": _mean([record.seconds for record in complete]),
        "reference": group[0].method.name in REFERENCE,
    }


def _outcomes(record: Record) -> list[tuple[float, bool]]:
    """Target gain of every round and whether it was strictly preserved; a diverged run fails every round."""
    if record.status == "diverged":
        return [(math.nan, False)] * record.scenario.rounds
    return [(result.target_gain, result.strictly_preserved) for result in record.rounds]


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    """Best preserved gain first; among equals who lost least, then who gained most; nothing scored comes last."""
    merits = ("preserved_gain", "devsafety", "target_gain")
    values = [math.inf if math.isnan(row[merit]) else -row[merit] for merit in merits]
    return row["scenario"], row["reference"], *values, row["method"], row["note"]


def _data(record: Record) -> dict[str, Any]:
    """What a run was scored on and started from, by the words a note uses for it."""
    return {
        "data version": record.scenario.version,
        "data": record.scenario.fingerprint,
        "options": record.scenario.options,
        "base": f"{record.base.model} {record.base.sha256}",
    }


def _is_tuned(record: Record) -> bool:
    wanted = tuned(record.scenario.name, record.method.name)
    return all(canonical(record.method.settings.get(key)) == canonical(value) for key, value in wanted.items())


def _development(record: Record) -> dict[str, Any]:
    return {"method version": record.method.version, "settings": record.method.settings}


def _note(group: Sequence[Record], usual: dict[str, Any]) -> str:
    """What is unlike the usual runs in ``group``, and seeds that it holds more than once."""
    own = _data(group[0]) | _development(group[0])
    unlike = [word for word in own if canonical(own[word]) != canonical(usual[word])]
    if "data version" in unlike and "data" in unlike:
        unlike.remove("data")  # goes without saying
    parts = [f"other {word}: {_difference(own[word], usual[word])}" for word in unlike]
    if old := outdated(group[0]):
        parts.append(old)
    seeds = Counter(record.seed for record in group)
    if repeated := sorted(seed for seed, times in seeds.items() if times > 1):
        parts.append(f"training data differ between runs of seed {', '.join(map(str, repeated))}")
    return "; ".join(parts)


def _difference(own: Any, usual: Any) -> str:
    if isinstance(own, dict):
        mine, theirs = ({key: canonical(value) for key, value in part.items()} for part in (own, usual))
        unlike = [key for key in sorted(mine | theirs) if mine.get(key) != theirs.get(key)]
        return ", ".join(f"{key}={mine.get(key, 'unset')}".replace('"', "") for key in unlike)
    *words, last = str(own).split(" ")
    return " ".join([*words, last[:8]])  # of a hash, the first digits will do


def _most_common(variants: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The most frequent of ``variants``; of equally frequent ones, that with the newest version (its first entry)."""
    found = list(variants)
    times = Counter(map(canonical, found))
    return max(found, key=lambda variant: (times[canonical(variant)], *list(variant.values())[:1], canonical(variant)))


def _grouped(records: Iterable[Record], key: Callable[[Record], str]) -> Iterator[list[Record]]:
    groups: defaultdict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[key(record)].append(record)
    return (groups[name] for name in sorted(groups))


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else math.nan


def to_markdown(frame: pd.DataFrame) -> str:
    """The frame that ``table`` returns as a Markdown document, one section a scenario."""
    lines = [INTRODUCTION]
    for scenario, rows in frame.groupby("scenario", sort=False):
        cells = [[escaped(method), *numbers] for method, *numbers in map(_cells, rows.to_dict("records"))]
        lines += [f"## {escaped(str(scenario))}", "", markdown_table(HEADINGS, cells), ""]
    return "\n".join(lines if len(frame) else [*lines, "There are no records yet.", ""])


def _cells(row: dict[Any, Any]) -> list[str]:
    """What a row of the frame shows under ``HEADINGS``."""
    remarks = "; ".join(filter(None, ("reference" if row["reference"] else "", row["note"])))
    low, high = row["preserved_gain_low"], row["preserved_gain_high"]
    interval = f" [{points(low)}, {points(high)}]" if low < high else ""  # none for NaN either
    spread = "" if math.isnan(row["target_gain_sd"]) else f" ± {100 * row['target_gain_sd']:.1f}"
    worst = "" if math.isnan(row["devsafety_min"]) else f", {points(row['devsafety_min'])}"
    return [
        one_line(row["method"]) + (f" ({one_line(remarks)})" if remarks else ""),
        f"{row['seeds']}" + (f", {row['diverged']} diverged" if row["diverged"] else ""),
        f"{percent(row['strict_rate'])} {percent_interval(row['strict_low'], row['strict_high'])}",
        percent(row["luck_rate"]),
        percent(row["no_regression_rate"]),
        points(row["preserved_gain"]) + interval,
        points(row["target_gain"]) + spread,
        points(row["devsafety"]) + worst,
        "–" if math.isnan(row["seconds"]) else f"{row['seconds']:.1f}",
    ]


def write(results: Path) -> tuple[Path, Path]:
    """Make ``leaderboard.md`` and ``leaderboard.csv`` in ``results`` from its records; same records, same bytes.

    Raises:
        ValueError: if there are no records, or one cannot be read.
    """
    frame = table(read_all(results))
    markdown, csv = Path(results) / "leaderboard.md", Path(results) / "leaderboard.csv"
    replace_file(markdown, to_markdown(frame).encode())
    replace_file(csv, frame.to_csv(index=False, lineterminator="\n").encode())
    return markdown, csv


def print_table(frame: pd.DataFrame, console: Console) -> None:
    """Show the frame that ``table`` returns, one table a scenario."""
    for scenario, rows in frame.groupby("scenario", sort=False):
        print_rows(console, str(scenario), HEADINGS, map(_cells, rows.to_dict("records")))


def print_trials(tuning: Tuning, console: Console) -> None:
    """Show a search for hyper-parameters: every trial, and which one was chosen."""
    from rich.text import Text

    title = f"{tuning.method} on {tuning.scenario}, validation, seeds {', '.join(map(str, tuning.seeds))}"
    rows = [
        [
            ("* " if trial is tuning.chosen else "") + (canonical(trial.settings) if trial.settings else "defaults"),
            points(trial.target_gain) if trial.outcomes else "diverged",
            points(trial.devsafety) if trial.outcomes else "",
        ]
        for trial in tuning.trials
    ]
    print_rows(console, title, ("Settings", "Target gain", "DevSafety"), rows)
    console.print(Text(f"* chosen: the greatest gain of those with DevSafety {points(-tuning.margin)} or better"))
