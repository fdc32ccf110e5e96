"""What a command does: many runs, one after the other, each kept as soon as it is finished."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmark import leaderboard, records
from benchmark.arguments import BaseChoice, validated
from benchmark.metrics import preserved_gain
from benchmark.progress import Reporter
from benchmark.records import Record
from methods import METHODS
from scenarios import SCENARIOS, unknown_name


@dataclass(frozen=True)
class Request:
    """A method on a scenario, over seeds."""

    method: str
    scenario: str
    seeds: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    device: str = "auto"
    results: Path = Path("runs")
    force: bool = False
    base: BaseChoice = field(default_factory=BaseChoice)


def run(request: Request, as_json: bool = False, quiet: bool = False) -> list[Record]:
    """Make or find the records of a request, print them as a table or as JSON, and return them."""
    with Reporter(quiet) as reporter:
        found = make_records(request, reporter)
    if as_json:
        print(json.dumps(summary(request, found), allow_nan=False))
    else:
        console = Console()
        leaderboard.print_table(leaderboard.table(found), console)
        for line in (
            f"records: {request.results / 'records' / request.scenario}",
            f"next: python -m benchmark leaderboard --results {request.results}",
        ):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    return found


def make_records(request: Request, reporter: Reporter) -> list[Record]:
    """Run every seed that has no record yet.

    Raises:
        ValueError: a name, setting, option, folder or checkpoint is not usable.
    """
    if request.method not in METHODS:
        raise ValueError(unknown_name("method", request.method, METHODS))
    if request.scenario not in SCENARIOS:
        raise ValueError(unknown_name("scenario", request.scenario, SCENARIOS))
    _check_writable(request.results)

    # only now what takes seconds to import
    import methods
    import scenarios
    from benchmark.bases import load_base, pick_device
    from benchmark.runner import Run
    from methods.checkpoints import image_size

    device = pick_device(request.device)
    strategy = methods.load(request.method)
    settings = validated(strategy.SETTINGS, request.settings, f"method {request.method}")
    options = {"image_size": image_size(request.base.model, request.base.file)} | request.options
    found: list[Record] = []
    shared: dict[tuple[str, int], Any] = {}
    for seed in request.seeds:
        stream = scenarios.build(request.scenario, seed, **options)
        base, info = load_base(stream, request.base, device, reporter.report)
        job = Run(stream, base, info, request.method, strategy, settings, device, shared)
        path = records.record_path(request.results, stream.name, request.method, seed, job.run_id)
        if path.is_file() and not request.force:
            reporter.say(f"seed {seed}: already in {path}; --force runs it again")
            found.append(records.read(path))
            continue
        record, predictions = job.execute(partial(reporter.report, f"{request.method} seed {seed}"))
        records.write(record, predictions, request.results, overwrite=request.force)
        found.append(record)
    return found


def summary(request: Request, found: Sequence[Record]) -> dict[str, Any]:
    """What ``--json`` prints. A diverged run has its status and message, and counts as not preserved."""
    complete = [record for record in found if record.status == "complete"]
    scored = [(r.target_gain, r.strictly_preserved) for record in complete for r in record.rounds]
    scored += [(0.0, False)] * sum(r.scenario.rounds for r in found if r.status == "diverged")
    return {
        "scenario": request.scenario,
        "method": request.method,
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


def pretrain_base(
    scenario: str, options: dict[str, Any], recipe: dict[str, Any], out: Path | None, device: str, quiet: bool
) -> None:
    """Train a scenario's base; into ``out``, or into the cache that ``run`` looks into."""
    if scenario not in SCENARIOS:
        raise ValueError(unknown_name("scenario", scenario, SCENARIOS))
    if out is not None:
        _check_writable(out.parent)
    import scenarios
    from benchmark.bases import pick_device, trained_base
    from benchmark.pretrain import Recipe

    settings = validated(Recipe, recipe, "the recipe")
    stream = scenarios.build(scenario, 0, **options)
    if stream.pretraining is None:
        raise ValueError(f"scenario {scenario} holds no images back to pretrain on: see its base_share option")
    with Reporter(quiet) as reporter:
        _, path = trained_base(stream, settings, pick_device(device), reporter.report)
    if out is not None:
        records.replace_file(out, path.read_bytes())
    print(f"base: {out or path}")


def draw_sheet(scenario: str, options: dict[str, Any], out: Path) -> None:
    """Write a contact sheet of a scenario to ``out``."""
    import scenarios
    from benchmark.plots import contact_sheet

    contact_sheet(scenarios.build(scenario, 0, **options), out)
    print(f"sheet: {out}")


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"cannot write to {folder}: {error.strerror}; choose another folder") from None
