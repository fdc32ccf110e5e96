"""Whether a stream measures something, as figures against the ranges it was made for.

Judged by pictures and seeds that nothing else uses, so that a stream may be changed until it is calibrated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import methods
from benchmark.output.files import replace_file
from benchmark.output.progress import Reporter
from benchmark.output.tables import console, markdown_table, points, print_rows
from benchmark.records.files import read_all
from benchmark.records.schema import Record
from benchmark.running.jobs import budget_of
from benchmark.running.request import Request
from benchmark.running.sweep import make_records
from scenarios import builder
from scenarios.options import options_of

PROTECTED_ACCURACY = (0.65, 0.92)  # able, with something to lose and something to win
TARGET_ACCURACY = (0.25, 0.55)  # met before, not learned
FORGETTING = 0.20  # fine-tuning loses as much on some protected class, in every seed
ROOM = 0.25  # training on everything gains as much on the target, in every seed
MANY = 50  # classes: of more, the mean must be in range, not each, and headroom is not looked for
NAMED = 5  # classes out of range; of more, their number is told
METHODS = FROZEN, FINETUNE, JOINT = ("frozen", "finetune", "joint")  # the figures are made from their records
LONGER, MORE = 4, 2  # times the steps, and the protected images, of the run that looks for headroom
PROBED = {"scored": "probe"}

MADE_BY = """\
Made by `python -m benchmark calibrate --results results/calibration --out docs/calibration.md`, with `--budget full`
for rendered streams and with `--scenario NAME --data DIR` for others; do not edit.
"""
PROTECTED, TARGET = "protected: base accuracy", "target: base accuracy"
HEADINGS = ("stream", "round", PROTECTED, "in range", TARGET, FINETUNE, JOINT, "")
EXPLANATION = f"""\
Scored on pictures that nothing else uses, or of data sets on validation photos, never on test, over seeds that no table
has. *Protected: base accuracy*:
lowest to highest class protected from the start, and the mean; wanted
{PROTECTED_ACCURACY[0]:.0%} to {PROTECTED_ACCURACY[1]:.0%} for every class (*in range*: how many are), where the classes
are more than {MANY} for their mean. *Target: base accuracy*: wanted
{TARGET_ACCURACY[0]:.0%} to {TARGET_ACCURACY[1]:.0%}. Both are the base's, in every round. *finetune*: points it loses
on the worst protected class, least and most over seeds; in round 1 wanted {100 * FORGETTING:.0f} or more in every seed.
*joint*: points that training on everything gains on the target, least and most over seeds; wanted
{100 * ROOM:.0f} or more in every seed. In later rounds both start from what their earlier rounds left.
"""

HEADROOM_HEADINGS = ("stream", "class", "base", "joint", "joint, longer")
HEADROOM = f"""\
Accuracy on the classes protected from the start: the base's; after all rounds of joint training, mean over seeds; and
after joint training of {LONGER} times the steps on {MORE} times the protected images, one seed. What lies between the
first and the last could be gained on top of what was known: where it is little, a method keeps a class by changing few
answers, not by improving it.
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
            out = [f"{name} {value:.1%}" for name, value in self.protected.items() if not low <= value <= high]
            found += out if len(out) <= NAMED else [f"{len(out)} protected classes"]
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


@dataclass(frozen=True)
class Headroom:
    """What a class protected from the start could still gain. Accuracies are fractions of the pictures scored."""

    scenario: str
    name: str  # of the class
    base: float
    joint: float  # mean over seeds
    longer: float  # more steps on more images

    def cells(self) -> tuple[str, ...]:
        """The cells of the table under ``HEADROOM_HEADINGS``."""
        return self.scenario, self.name, *(f"{100 * value:.1f}" for value in (self.base, self.joint, self.longer))


def run(
    scenarios: Mapping[str, Mapping[str, Any]], seeds: tuple[int, ...], device: str, results: Path, out: Path | None
) -> None:
    """Run ``METHODS`` where their records are missing, then print the tables; ``out`` has those of other streams too.

    Args:
        scenarios: name -> options, such as where its photos are.
        seeds: of the runs.
        device: where to train.
        results: folder of the records, perhaps of other streams too.
        out: Markdown file for all of them.
    """
    with Reporter() as reporter:
        records = make_records(
            [
                Request(
                    ",".join(METHODS),
                    scenario,
                    seeds,
                    PROBED | dict(options),
                    device=device,
                    results=results,
                    tuned=False,
                )
                for scenario, options in scenarios.items()
            ],
            reporter,
        )
        small = [  # not of data sets, whose images are all in use
            name
            for name, options in scenarios.items()
            if not options and len(_of(records, name)[0].scenario.classes) <= MANY
        ]
        if small:
            records += make_records([_longer(name, seeds[:1], device, results) for name in small], reporter)
    _print(rows(records), headroom(records))
    if out is not None:
        others = [record for record in _probed(results) if record.scenario.name not in scenarios]
        replace_file(out, to_markdown(rows(others + records), headroom(others + records)).encode())
        print(f"table: {out}")


def _longer(scenario: str, seeds: tuple[int, ...], device: str, results: Path) -> Request:
    """Joint training with more of everything."""
    images = MORE * options_of(builder(scenario))["protected_per_class"].default
    steps = LONGER * _usual(JOINT, scenario)["steps"]
    options = PROBED | {"protected_per_class": images}
    return Request(JOINT, scenario, seeds, options, {"steps": steps}, device=device, results=results, tuned=False)


def _probed(results: Path) -> list[Record]:
    return [record for record in read_all(results) if PROBED.items() <= record.scenario.options.items()]


def _usual(method: str, scenario: str) -> dict[str, Any]:
    strategy = methods.load(method)
    return strategy.SETTINGS(**budget_of(strategy, scenario)).model_dump()


def _of(records: Sequence[Record], scenario: str) -> list[Record]:
    return [record for record in records if record.scenario.name == scenario]


def _names(records: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(record.scenario.name for record in records))


def rows(records: Sequence[Record]) -> list[Row]:
    """The rounds of all streams of these records, by ``measure``; the longer runs are left out."""
    usual = [r for r in records if r.method.settings == _usual(r.method.name, r.scenario.name)]
    return [row for name in _names(usual) for row in measure(_of(usual, name))]


def headroom(records: Sequence[Record]) -> list[Headroom]:
    """What the classes protected from the start could gain, of each stream with a longer run."""
    found = []
    for name in _names(records):
        usual = _usual(JOINT, name)
        trained = [r for r in _of(records, name) if r.method.name == JOINT and r.status == "complete"]
        joint = [r for r in trained if r.method.settings == usual]
        longer = [r for r in trained if r.method.settings == usual | {"steps": LONGER * usual["steps"]}]
        if not (joint and longer):
            continue
        first = longer[0].rounds[0]
        found += [
            Headroom(name, kept, first.test[kept].counts.old_accuracy, _kept(joint, kept), _kept(longer, kept))
            for kept in first.protected
        ]
    return found


def _kept(records: Sequence[Record], name: str) -> float:
    """Accuracy on a class after the last round, mean over the runs."""
    return fmean(record.rounds[-1].test[name].counts.new_accuracy for record in records)


def measure(records: Sequence[Record]) -> list[Row]:
    """The rows of the stream that these complete records of ``METHODS`` are of.

    Raises:
        ValueError: a method has no complete record.
    """
    made = {name: [r for r in records if r.method.name == name and r.status == "complete"] for name in METHODS}
    for name, found in made.items():
        if not found:
            raise ValueError(f"calibration needs complete runs of {', '.join(METHODS)}: there is none of {name}")
    base = made[FROZEN][0]
    known = base.rounds[0].protected
    return [
        Row(
            scenario=base.scenario.name,
            number=number + 1,
            target=result.target,
            protected={name: result.test[name].counts.old_accuracy for name in result.protected if name in known},
            target_accuracy=result.test[result.target].counts.old_accuracy,
            forgetting=tuple(record.rounds[number].devsafety for record in made[FINETUNE]),
            room=tuple(record.rounds[number].target_gain for record in made[JOINT]),
        )
        for number, result in enumerate(base.rounds)
    ]


def to_markdown(calibrated: Sequence[Row], gains: Sequence[Headroom]) -> str:
    """The tables as a Markdown document."""
    table = markdown_table(HEADINGS, [row.cells() for row in calibrated], left=2)
    parts = ["# Calibration", MADE_BY, table, EXPLANATION]
    if gains:
        parts += ["## Headroom", markdown_table(HEADROOM_HEADINGS, [row.cells() for row in gains], left=2), HEADROOM]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _print(calibrated: Sequence[Row], gains: Sequence[Headroom]) -> None:
    print_rows(console(), "calibration", HEADINGS, [row.cells() for row in calibrated], left=2)
    print(EXPLANATION)
    if gains:
        print_rows(console(), "headroom", HEADROOM_HEADINGS, [row.cells() for row in gains], left=2)
        print(HEADROOM)
