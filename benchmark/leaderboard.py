"""Tables of results, from records alone: no model, no data, no torch."""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from benchmark import metrics
from benchmark.records import Record, RoundResult, read_all, replace_file
from benchmark.tuned import tuned
from methods import METHODS
from scenarios import fingerprints

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from benchmark.tuning import Tuning

# doing nothing, training on everything and the like: for orientation, never ranked
REFERENCE = frozenset(name for name, method in METHODS.items() if method.family == "reference")
# fmt: off
COLUMNS = [
    "scenario", "scenario_version", "method", "method_version", "seeds", "rounds", "diverged",
    "strict_rate", "strict_low", "strict_high", "preserved_gain", "target_gain", "target_gain_sd",
    "devsafety", "devsafety_min", "seconds", "reference", "note",
]
# fmt: on
HEADINGS = ("Method", "Runs", "Strictly preserved", "Preserved gain", "Target gain", "DevSafety", "Seconds")
CLASS_HEADINGS = ("Class", "n", "Old %", "New %", "Change", "Lost", "Won")
INTRODUCTION = """\
# Leaderboard

Made from the records by `python -m benchmark leaderboard`; do not edit.

Best preserved gain first, among equals best DevSafety; gains and DevSafety are percentage points of test accuracy, over
rounds × seeds. *Strictly preserved*: share of rounds in which no protected class got worse, with its exact 95 %
interval (Clopper–Pearson). *Preserved gain*: mean of the target's gain, a round that was not strictly preserved
counting 0. *Target gain*: mean ± standard deviation. *DevSafety*: smallest change over the protected classes, mean and
worst. *Seconds*: mean of a run. A diverged run counts as not preserved with preserved gain 0; the other columns leave
it out. Reference rows are not ranked and come last.
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
    for stream in _grouped(records, lambda record: record.scenario.name):
        usual_data = _most_common(_data(record) for record in stream)
        for method in _grouped(stream, lambda record: record.method.name):
            chosen = [record for record in method if _is_tuned(record)] or method
            usual = usual_data | _most_common(_development(record) for record in chosen)
            for group in _grouped(method, lambda record: _canonical(_data(record) | _development(record))):
                rows.append(_row(group) | {"note": _note(group, usual)})
    rows.sort(key=_order)
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(group: Sequence[Record]) -> dict[str, Any]:
    """Figures of runs that differ only in their seed."""
    complete = [record for record in group if record.status == "complete"]
    rounds = [result for record in complete for result in record.rounds]
    diverged = len(group) - len(complete)
    outcomes = [(result.target_gain, result.strictly_preserved) for result in rounds]
    outcomes += [(math.nan, False)] * (diverged * group[0].scenario.rounds)
    preserved = sum(kept for _, kept in outcomes)
    low, high = metrics.rate_interval(preserved, len(outcomes))
    gains, safeties = [result.target_gain for result in rounds], [result.devsafety for result in rounds]
    return {
        "scenario": group[0].scenario.name,
        "scenario_version": group[0].scenario.version,
        "method": group[0].method.name,
        "method_version": group[0].method.version,
        "seeds": len(group),
        "rounds": len(rounds),
        "diverged": diverged,
        "strict_rate": preserved / len(outcomes),
        "strict_low": low,
        "strict_high": high,
        "preserved_gain": metrics.preserved_gain(outcomes),
        "target_gain": _mean(gains),
        "target_gain_sd": stdev(gains) if len(gains) > 1 else math.nan,
        "devsafety": _mean(safeties),
        "devsafety_min": min(safeties, default=math.nan),
        "seconds": _mean([record.seconds for record in complete]),
        "reference": group[0].method.name in REFERENCE,
    }


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
    return all(_canonical(record.method.settings.get(key)) == _canonical(value) for key, value in wanted.items())


def _development(record: Record) -> dict[str, Any]:
    return {"method version": record.method.version, "settings": record.method.settings}


def _note(group: Sequence[Record], usual: dict[str, Any]) -> str:
    """What is unlike the usual runs in ``group``, and seeds that it holds more than once."""
    own = _data(group[0]) | _development(group[0])
    unlike = [word for word in own if _canonical(own[word]) != _canonical(usual[word])]
    if "data version" in unlike and "data" in unlike:
        unlike.remove("data")  # goes without saying
    parts = [f"other {word}: {_difference(own[word], usual[word])}" for word in unlike]
    if old := outdated(group[0]):
        parts.append(old)
    seeds = Counter(record.seed for record in group)
    if repeated := sorted(seed for seed, times in seeds.items() if times > 1):
        parts.append(f"training data differ between runs of seed {', '.join(map(str, repeated))}")
    return "; ".join(parts)


def outdated(record: Record) -> str:
    """How the stream of a record differs from the one this package makes; empty where it does not, as far as known."""
    today = fingerprints().get(record.scenario.name)
    if today is None or any(record.scenario.options.get(key) != value for key, value in today["options"].items()):
        return ""
    if record.scenario.version != today["version"]:
        return f"of version {record.scenario.version} of the stream, which is at {today['version']} now"
    if record.scenario.fingerprint != today["fingerprint"]:
        return f"of other pictures ({record.scenario.fingerprint[:8]}) than today's ({today['fingerprint'][:8]})"
    return ""


def _difference(own: Any, usual: Any) -> str:
    if isinstance(own, dict):
        mine, theirs = ({key: _canonical(value) for key, value in part.items()} for part in (own, usual))
        unlike = [key for key in sorted(mine | theirs) if mine.get(key) != theirs.get(key)]
        return ", ".join(f"{key}={mine.get(key, 'unset')}".replace('"', "") for key in unlike)
    *words, last = str(own).split(" ")
    return " ".join([*words, last[:8]])  # of a hash, the first digits will do


def _most_common(variants: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The most frequent of ``variants``; of equally frequent ones, that with the newest version (its first entry)."""
    found = list(variants)
    times = Counter(map(_canonical, found))
    return max(
        found, key=lambda variant: (times[_canonical(variant)], *list(variant.values())[:1], _canonical(variant))
    )


def _grouped(records: Iterable[Record], key: Callable[[Record], str]) -> Iterator[list[Record]]:
    groups: defaultdict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[key(record)].append(record)
    return (groups[name] for name in sorted(groups))


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else math.nan


def to_markdown(frame: pd.DataFrame) -> str:
    """The frame that ``table`` returns as a Markdown document, one section a scenario."""
    lines = [INTRODUCTION]
    for scenario, rows in frame.groupby("scenario", sort=False):
        cells = [[_escaped(method), *numbers] for method, *numbers in map(_cells, rows.to_dict("records"))]
        lines += [f"## {_escaped(str(scenario))}", "", markdown_table(HEADINGS, cells), ""]
    return "\n".join(lines if len(frame) else [*lines, "There are no records yet.", ""])


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table whose first ``left`` columns are words and the others numbers."""
    marks = ["---"] * left + ["---:"] * (len(headings) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, marks, *rows))


def _cells(row: dict[Any, Any]) -> list[str]:
    """What a row of the frame shows under ``HEADINGS``."""
    remarks = "; ".join(filter(None, ("reference" if row["reference"] else "", row["note"])))
    spread = "" if math.isnan(row["target_gain_sd"]) else f" ± {100 * row['target_gain_sd']:.1f}"
    worst = "" if math.isnan(row["devsafety_min"]) else f", {points(row['devsafety_min'])}"
    return [
        one_line(row["method"]) + (f" ({one_line(remarks)})" if remarks else ""),
        f"{row['seeds']}" + (f", {row['diverged']} diverged" if row["diverged"] else ""),
        f"{100 * row['strict_rate']:.1f} % [{100 * row['strict_low']:.1f}, {100 * row['strict_high']:.1f}]",
        points(row["preserved_gain"]),
        points(row["target_gain"]) + spread,
        points(row["devsafety"]) + worst,
        "–" if math.isnan(row["seconds"]) else f"{row['seconds']:.1f}",
    ]


def points(fraction: float) -> str:
    """A change of accuracy in percentage points, with its sign even where it rounds to zero; "–" for NaN."""
    if math.isnan(fraction):
        return "–"
    return "0.0" if fraction == 0 else f"{100 * fraction:+.1f}".replace("-", "−")


def one_line(text: str) -> str:
    """``text`` on one line and without control characters, which could rewrite what a terminal shows."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*<>|\[\]])|(?<![^\W_])_|_(?![^\W_])", lambda found: "\\" + found[0], one_line(text))


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
        _print(console, one_line(str(scenario)), HEADINGS, map(_cells, rows.to_dict("records")))


def print_trials(tuning: Tuning, console: Console) -> None:
    """Show a search for hyper-parameters: every trial, and which one was chosen."""
    from rich.text import Text

    title = f"{tuning.method} on {tuning.scenario}, validation, seeds {', '.join(map(str, tuning.seeds))}"
    rows = [
        [
            ("* " if trial is tuning.chosen else "") + (_canonical(trial.settings) if trial.settings else "defaults"),
            points(trial.target_gain) if trial.outcomes else "diverged",
            points(trial.devsafety) if trial.outcomes else "",
        ]
        for trial in tuning.trials
    ]
    _print(console, one_line(title), ("Settings", "Target gain", "DevSafety"), rows)
    console.print(Text(f"* chosen: the greatest gain of those with DevSafety {points(-tuning.margin)} or better"))


def print_record(record: Record, console: Console) -> None:
    """Show one run: per round, what every class gained and lost on test data, and the verdict."""
    from rich.text import Text

    head = f"{record.scenario.name} · {record.method.name} · seed {record.seed} · {record.status}"
    console.print(Text(one_line(head), style="bold"))
    if old := outdated(record):
        console.print(Text(one_line(f"This record is {old}: it cannot be compared with new ones.")))
    for number, result in enumerate(record.rounds):
        title = f"round {number + 1} of {len(record.rounds)}: {result.target}, selected step {result.selected_step}"
        _print(console, one_line(title), CLASS_HEADINGS, _class_rows(result))
        console.print(Text(one_line(verdict(result))))
    if record.status == "diverged":
        console.print(Text(one_line(f"diverged: counts as not preserved, preserved gain 0. {record.message}")))
    settings = ", ".join(f"{key}={_canonical(value)}" for key, value in sorted(record.method.settings.items()))
    console.print(Text(one_line(f"settings: {settings or 'none'}")))


def _class_rows(result: RoundResult) -> Iterator[list[str]]:
    counts = result.test_counts
    worst = min(result.protected, key=lambda name: counts[name].change)
    for name, own in counts.items():
        mark = {result.target: " (target)", worst: " (worst protected)"}.get(name, "")
        shares = ["–" if math.isnan(share) else f"{100 * share:.1f}" for share in (own.old_accuracy, own.new_accuracy)]
        lost, won = own.old_correct - own.both_correct, own.new_correct - own.both_correct
        yield [one_line(name) + mark, str(own.n), *shares, points(own.change), str(lost), str(won)]


def verdict(result: RoundResult) -> str:
    """Whether the round was strictly preserved and, if not, which protected classes got worse, worst first."""
    counts = result.test_counts
    if result.strictly_preserved:
        return "strictly preserved"
    worse = sorted((counts[name].change, name) for name in result.protected if counts[name].change < 0)
    return "not preserved: " + ", ".join(f"{name} {points(change)} points" for change, name in worse)


def _print(console: Console, title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=Text(title), title_justify="left")
    for number, heading in enumerate(headings):
        shown.add_column(heading, justify="right" if number else "left", overflow="fold")
    for row in rows:
        shown.add_row(*map(Text, row))  # as Text, or "[red]" in a name would be markup
    console.print(shown)
