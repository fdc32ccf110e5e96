"""Whether a stream measures something, as figures against the ranges it was made for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import methods
from benchmark.output.files import replace_file
from benchmark.output.progress import Reporter
from benchmark.output.tables import console, markdown_table, points, print_rows
from benchmark.records.schema import Record
from benchmark.running.jobs import budget_of
from benchmark.running.request import Request
from benchmark.running.sweep import make_records

PROTECTED_ACCURACY = (0.65, 0.92)  # able, with something to lose and something to win
TARGET_ACCURACY = (0.25, 0.55)  # met before, not learned
FORGETTING = 0.20  # fine-tuning loses as much on some protected class, in every seed
ROOM = 0.25  # training on everything gains as much on the target, in every seed
MANY = 50  # classes: of more, the mean must be in range, not each
METHODS = ("frozen", "finetune", "joint")  # the figures are made from their records

PROTECTED, TARGET = "protected: base accuracy", "target: base accuracy"
HEADINGS = ("stream", "round", PROTECTED, "in range", TARGET, "finetune", "joint", "")
EXPLANATION = f"""\
*Protected: base accuracy*: lowest to highest class protected from the start, on test, and the mean; wanted
{PROTECTED_ACCURACY[0]:.0%} to {PROTECTED_ACCURACY[1]:.0%} for every class (*in range*: how many are), where the classes
are more than {MANY} for their mean. *Target: base accuracy*: wanted
{TARGET_ACCURACY[0]:.0%} to {TARGET_ACCURACY[1]:.0%}. Both are the base's, in every round. *finetune*: points it loses
on the worst protected class, least and most over seeds; in round 1 wanted {100 * FORGETTING:.0f} or more in every seed.
*joint*: points that training on everything gains on the target, least and most over seeds; wanted
{100 * ROOM:.0f} or more in every seed. In later rounds both start from what their earlier rounds left.
"""


@dataclass(frozen=True)
class Row:
    """One round of a stream, measured. Accuracies are fractions of test images; the tuples go over classes or seeds."""

    scenario: str
    number: int  # of the round, from 1
    target: str
    protected: dict[str, float]  # accuracy of the base on the classes protected from the start
    target_accuracy: float  # of the base
    forgetting: tuple[float, ...]  # DevSafety of fine-tuning, one per seed
    room: tuple[float, ...]  # target gain of joint training, one per seed

    @property
    def faults(self) -> list[str]:
        """The figures that are out of range; empty for a round that is calibrated."""
        low, high = PROTECTED_ACCURACY
        found = []
        if len(self.protected) > MANY:
            mean = fmean(self.protected.values())
            if not low <= mean <= high:
                found.append(f"mean of the protected classes {mean:.1%}")
        else:
            found += [f"{name} {value:.1%}" for name, value in self.protected.items() if not low <= value <= high]
        if not TARGET_ACCURACY[0] <= self.target_accuracy <= TARGET_ACCURACY[1]:
            found.append(f"{self.target} {self.target_accuracy:.1%}")
        if self.number == 1 and max(self.forgetting) > -FORGETTING:
            found.append(f"finetune forgets only {-100 * max(self.forgetting):.1f}")
        if min(self.room) < ROOM:
            found.append(f"joint gains only {100 * min(self.room):.1f}")
        return found

    def cells(self) -> tuple[str, ...]:
        """The cells of the table under ``HEADINGS``."""
        values = list(self.protected.values())
        inside = sum(PROTECTED_ACCURACY[0] <= value <= PROTECTED_ACCURACY[1] for value in values)
        return (
            self.scenario,
            f"{self.number}: {self.target}",
            f"{100 * min(values):.1f}–{100 * max(values):.1f} %, mean {100 * fmean(values):.1f} %",
            f"{inside} of {len(values)}",
            f"{100 * self.target_accuracy:.1f} %",
            f"{points(max(self.forgetting))} to {points(min(self.forgetting))}",
            f"{points(min(self.room))} to {points(max(self.room))}",
            f"out of range: {', '.join(self.faults)}" if self.faults else "ok",
        )


def run(scenarios: Sequence[str], seeds: tuple[int, ...], device: str, results: Path, out: Path | None) -> None:
    """Run ``METHODS`` where their records are missing, then print the table, and write it to ``out``."""
    rows: list[Row] = []
    with Reporter() as reporter:
        for scenario in scenarios:
            records = [
                record
                for method in METHODS
                for record in make_records(
                    Request(method, scenario, seeds, device=device, results=results, tuned=False), reporter
                )
            ]
            rows += measure(records)
    _print(rows)
    if out is not None:
        replace_file(out, to_markdown(rows).encode())
        print(f"table: {out}")


def untuned(records: Sequence[Record]) -> list[Record]:
    """Those of the records of ``METHODS`` that were made with default settings, as calibration asks."""
    return [record for record in records if record.method.name in METHODS and record.method.settings == _usual(record)]


def _usual(record: Record) -> dict[str, Any]:
    strategy = methods.load(record.method.name)
    return strategy.SETTINGS(**budget_of(strategy, record.scenario.name)).model_dump()


def measure(records: Sequence[Record]) -> list[Row]:
    """The rows of the stream that these complete records of ``METHODS`` are of.

    Raises:
        ValueError: a method has no complete record.
    """
    made = {name: [r for r in records if r.method.name == name and r.status == "complete"] for name in METHODS}
    for name, found in made.items():
        if not found:
            raise ValueError(f"calibration needs complete runs of {', '.join(METHODS)}: there is none of {name}")
    base = made["frozen"][0]
    known = base.rounds[0].protected
    return [
        Row(
            scenario=base.scenario.name,
            number=number + 1,
            target=result.target,
            protected={name: result.test[name].counts.old_accuracy for name in result.protected if name in known},
            target_accuracy=result.test[result.target].counts.old_accuracy,
            forgetting=tuple(record.rounds[number].devsafety for record in made["finetune"]),
            room=tuple(record.rounds[number].target_gain for record in made["joint"]),
        )
        for number, result in enumerate(base.rounds)
    ]


def to_markdown(rows: Sequence[Row]) -> str:
    """The table as a Markdown document."""
    table = markdown_table(HEADINGS, [row.cells() for row in rows], left=2)
    return f"# Calibration\n\nMade by `python -m benchmark calibrate`; do not edit.\n\n{table}\n\n{EXPLANATION}"


def _print(rows: Sequence[Row]) -> None:
    print_rows(console(), "calibration", HEADINGS, [row.cells() for row in rows], left=2)
    print(EXPLANATION)
