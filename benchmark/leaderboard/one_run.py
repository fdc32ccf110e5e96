"""One record in words: gains and losses of each class, both verdicts, and how much they can tell."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.leaderboard.text import TERMINAL
from benchmark.leaderboard.verdicts import outdated, second_verdict, summary, verdict, worth
from benchmark.metrics import scene_pairs, significance
from benchmark.output.tables import canonical, console, one_line, points, print_rows
from benchmark.records import files
from benchmark.records.schema import Record, RoundResult

if TYPE_CHECKING:
    from rich.console import Console

HEADINGS = ("Class", "n", "Old %", "New %", "Change", "Lost", "Won", "p")
SCENE_HEADINGS = ("Preference", "Meaning", "Chance %", "Old %", "New %", "Change", "Lost", "Won")
IMPORTANCE = ("Change", "p", "n", "Lost", "Won", "Old %", "New %")  # of columns, on a narrow terminal


def show(path: Path) -> None:
    """Print the record in a file.

    Raises:
        ValueError: there is none; one line names the file and what is wrong.
    """
    record, out = files.read(path), console()
    out.width = min(out.width, TERMINAL)
    print_record(record, out)


def print_record(record: Record, out: Console) -> None:
    """Show one run: per round, gains and losses of every class on test data, both verdicts and the luck rate.

    ``p`` is that of McNemar's one-sided test that a protected class got worse.
    """
    from rich.text import Text

    def say(text: str, style: str = "") -> None:
        out.print(Text(one_line(text), style=style))

    say(f"{record.scenario.name} · {record.method.name} · seed {record.seed} · {record.status}", style="bold")
    if old := outdated(record):
        say(f"This record is {old}: it cannot be compared with new ones.")
    for number, result in enumerate(record.rounds):
        title = f"round {number + 1} of {len(record.rounds)}: {result.target}, selected step {result.selected_step}"
        print_rows(out, title, HEADINGS, _class_rows(result), importance=IMPORTANCE)
        for line in (verdict(result), second_verdict(result), *worth(result)):
            say(line)
        if result.scene_pairs:
            print_rows(out, scenes_title(result), SCENE_HEADINGS, _scene_rows(result), 2, IMPORTANCE)
    if record.status == "diverged":
        say(f"diverged: counts as not preserved, preserved gain 0. {record.message}")
    elif len(record.rounds) > 1:
        say(summary(record.rounds))
    settings = ", ".join(f"{key}={canonical(value)}" for key, value in sorted(record.method.settings.items()))
    say(f"settings: {settings or 'none'}")


def _class_rows(result: RoundResult) -> Iterator[list[str]]:
    counts = result.test_counts
    worst = min(result.protected, key=lambda name: counts[name].change)
    for name, own in counts.items():
        mark = {result.target: " (target)", worst: " (worst protected)"}.get(name, "")
        shares = map(_share, (own.old_accuracy, own.new_accuracy))
        p_value = shown_p_value(significance.mcnemar(own)) if name in result.protected else "–"
        yield [one_line(name) + mark, str(own.n), *shares, points(own.change), str(own.lost), str(own.won), p_value]


def _share(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.1f}"


def scenes_title(result: RoundResult) -> str:
    """The title of a round's preferences."""
    n = next(iter(result.scene_pairs.values())).n
    return f"{n} scenes, each once as {result.target} and once as a protected class"


def _scene_rows(result: RoundResult) -> Iterator[list[str]]:
    for name, entry in result.scene_pairs.items():
        own = entry.counts
        shares = map(_share, (scene_pairs.CHANCE[name], own.old_accuracy, own.new_accuracy))
        yield [name, scene_pairs.MEANINGS[name], *shares, points(own.change), str(own.lost), str(own.won)]


def shown_p_value(value: float) -> str:
    """A p-value as it is shown everywhere."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"
