"""Whether a scenario measures something, as figures against the ranges it was made for."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmark.commands import Request, make_records
from benchmark.leaderboard import points
from benchmark.progress import Reporter
from benchmark.records import Record

PROTECTED_ACCURACY = (0.65, 0.92)  # able, with something to lose and something to win
TARGET_ACCURACY = (0.25, 0.55)  # met before, not learned
FORGETTING = 0.20  # fine-tuning loses as much on some protected class, in every seed
ROOM = 0.25  # training on everything gains as much on the target, in every seed
TEST_IMAGES, VAL_IMAGES = 600, 300  # of each class, at least


def run(scenario: str, seeds: tuple[int, ...], device: str, results: Path) -> None:
    """Run ``finetune`` and ``joint`` where their records are missing, then print the calibration table."""
    with Reporter() as reporter:
        finetune, joint = (
            make_records(Request(method, scenario, seeds, device=device, results=results), reporter)
            for method in ("finetune", "joint")
        )
    console = Console()
    console.print(_base_table(finetune[0]), _development_table(finetune, joint))


def _base_table(record: Record) -> Table:
    table = Table(title=f"{record.scenario.name}: base {record.base.name}, round 1")
    for column in ("class", "role", "test n", "val n", "test accuracy", "val accuracy", "wanted", ""):
        table.add_column(column, justify="left" if column in ("class", "role") else "right")
    first = record.rounds[0]
    for name in (*first.protected, first.target):
        low, high = TARGET_ACCURACY if name == first.target else PROTECTED_ACCURACY
        test, val = first.test[name].counts, first.val[name].counts
        fits = low <= test.old_accuracy <= high and test.n >= TEST_IMAGES and val.n >= VAL_IMAGES
        table.add_row(
            name,
            "target" if name == first.target else "protected",
            str(test.n),
            str(val.n),
            f"{test.old_accuracy:.1%}",
            f"{val.old_accuracy:.1%}",
            f"{low:.0%} to {high:.0%}",
            _mark(fits),
        )
    return table


def _development_table(finetune: list[Record], joint: list[Record]) -> Table:
    table = Table(title="what fine-tuning forgets and what there is to gain, in points on test")
    for column in ("seed", "finetune: target", "finetune: worst protected", "", "joint: target", "joint: worst", " "):
        table.add_column(column, justify="right")
    for forgetful, full in zip(finetune, joint, strict=True):
        lost, gained = forgetful.rounds[0], full.rounds[0]
        table.add_row(
            str(forgetful.seed),
            points(lost.target_gain),
            points(lost.devsafety),
            _mark(lost.devsafety <= -FORGETTING),
            points(gained.target_gain),
            points(gained.devsafety),
            _mark(gained.target_gain >= ROOM),
        )
    return table


def _mark(fits: bool) -> str:
    return "ok" if fits else "off"
