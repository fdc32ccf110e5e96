"""The last output of ``run``: a table and what is next, or for every method one JSON object with its runs' figures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from operator import mul
from pathlib import Path
from typing import Any

from benchmark.leaderboard.aggregation import table
from benchmark.leaderboard.text import print_table
from benchmark.leaderboard.verdicts import earned
from benchmark.metrics.preservation import preserved_gain
from benchmark.output.tables import console, duration
from benchmark.records.schema import Record
from scenarios import builder, full_name, rendered, steps_of
from scenarios.cores import available
from scenarios.options import options_of

FEW = 4  # methods and scenarios of which each has a line of its own
PASSES = 3  # a training image costs as much as so many that are scored: there and back, twice as long


def print_runs(found: Sequence[Record], results: Path, as_json: bool, quiet: bool = False) -> None:
    """Print records, scenario by scenario, and where they are kept; nothing without any.

    Unless ``quiet``, a line says how long quick ones would take in full budget.
    """
    if not found:
        return
    if as_json:
        for scenario, method in dict.fromkeys((record.scenario.name, record.method.name) for record in found):
            print(json.dumps(summary(scenario, method, found), allow_nan=False))
        return
    out, scenarios = console(), list(dict.fromkeys(record.scenario.name for record in found))
    for title in dict.fromkeys(record.scenario.title for record in found):
        print_table(table([record for record in found if record.scenario.title == title]), out)
    place = results / "records"
    lines = [
        *_told_from_luck(found),
        f"records: {place / scenarios[0] if len(scenarios) == 1 else place}",
        f"next: python -m benchmark leaderboard --results {results}",
    ]
    if not quiet and (seconds := seconds_in_full(found)):
        lines.append(f"with --budget full: about {duration(seconds)} here, once the pictures are drawn")
    for line in lines:
        out.print(line, markup=False, highlight=False, soft_wrap=True)


def _told_from_luck(found: Sequence[Record]) -> Iterator[str]:
    """A line for each method of a few, unless all its runs diverged; of many the table says it all."""
    runs: dict[str, list[Record]] = {}
    for record in found:
        runs.setdefault(f"{record.method.name} on {record.scenario.title}", []).append(record)
    for name, own in runs.items() if len(runs) <= FEW else ():
        measured = [result for record in own if record.status == "complete" for result in record.rounds]
        if measured:
            yield f"{name}: {earned(measured, _failed(own))}"


def _failed(runs: Sequence[Record]) -> int:
    """Rounds of diverged runs, none of which counts as preserved."""
    return sum(record.scenario.rounds for record in runs if record.status == "diverged")


def seconds_in_full(found: Sequence[Record]) -> float:
    """About how long the quick ones of these runs would take in full budget on the cores at hand; 0 without any."""
    quick = [record for record in found if record.scenario.name in rendered() and record.rounds]
    alone = [_in_full(record) for record in quick]
    return max([sum(map(mul, alone, map(_share, quick))), *alone])


def _share(record: Record) -> float:
    """Of this machine, that a run keeps busy."""
    return min(1.0, record.environment.threads / available()) if record.environment.device == "cpu" else 1.0


def _in_full(record: Record) -> float:
    """Seconds of a run in full budget: as many more as images pass through the model."""
    name, sizes = full_name(record.scenario.name), record.scenario.options
    full = {option: known.default for option, known in options_of(builder(name)).items()}
    more = {split: full[f"{split}_per_class"] / sizes[f"{split}_per_class"] for split in ("val", "test")}
    steps = record.method.settings["steps"]
    full_steps = (steps_of(name) or steps) if steps else 0
    return record.seconds * _passes(record, full_steps, **more) / _passes(record, steps)


def _passes(record: Record, steps: int, val: float = 1.0, test: float = 1.0) -> float:
    """Images that pass through the model: in training, and in scoring ``val`` and ``test`` times as many."""
    trained = PASSES * steps * record.method.settings["batch_size"]
    scored = (
        (sum(counts.n for counts in r.val.values()) * len(r.checkpoints), sum(counts.n for counts in r.test.values()))
        for r in record.rounds
    )
    return sum(trained + val * validation + test * tests for validation, tests in scored)


def summary(scenario: str, method: str, found: Sequence[Record]) -> dict[str, Any]:
    """One object. A diverged run has its status and message, and counts as not preserved."""
    found = [record for record in found if (record.scenario.name, record.method.name) == (scenario, method)]
    complete = [record for record in found if record.status == "complete"]
    scored = [(r.target_gain, r.strictly_preserved) for record in complete for r in record.rounds]
    scored += [(0.0, False)] * _failed(found)
    return {
        "scenario": scenario,
        "method": method,
        "runs": [_run_summary(record) for record in found],
        "strict_preservation_rate": sum(kept for _, kept in scored) / len(scored),
        "preserved_gain": preserved_gain(scored),
    }


def _run_summary(record: Record) -> dict[str, Any]:
    rounds = [
        {
            "target": r.target,
            "target_gain": r.target_gain,
            "devsafety": r.devsafety,
            "strictly_preserved": r.strictly_preserved,
            "classes": {name: counts.model_dump() for name, counts in r.test.items()},
        }
        for r in record.rounds
    ]
    state = {} if record.status == "complete" else {"status": record.status, "message": record.message}
    return {"seed": record.seed, "rounds": rounds, "seconds": record.seconds} | state
