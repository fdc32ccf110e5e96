"""What a command does: many runs, one after the other, each kept as soon as it is finished."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from benchmark import leaderboard, records
from benchmark.arguments import BaseChoice, validated
from benchmark.metrics import preserved_gain
from benchmark.presets import preset
from benchmark.progress import Reporter
from benchmark.records import Record
from methods import METHODS
from scenarios import SCENARIOS, rendered, unknown_name

if TYPE_CHECKING:
    from scenarios.stream import DevelopmentStream


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
    preset: str | None = None
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

    chosen = preset(request.preset, request.scenario) if request.preset is not None else None

    # only now what takes seconds to import
    import methods
    from benchmark.bases import load_base, pick_device
    from benchmark.runner import Run
    from methods.checkpoints import image_size

    device = pick_device(request.device)
    strategy = methods.load(request.method)
    values, options, base_choice = request.settings, request.options, request.base
    if chosen is not None:
        fields = strategy.SETTINGS.model_fields if strategy.trains else {}
        values = {key: value for key, value in chosen.settings.items() if key in fields} | values
        options = chosen.options | options
        if base_choice == BaseChoice():
            base_choice = BaseChoice(model=chosen.model, pretrained=chosen.pretrained)
    settings = validated(strategy.SETTINGS, values, f"method {request.method}")
    options = {"image_size": image_size(base_choice.model, base_choice.file)} | options
    found: list[Record] = []
    shared: dict[tuple[str, int], Any] = {}
    for seed in request.seeds:
        stream = build(request.scenario, seed, options, reporter)
        base, info = load_base(stream, base_choice, device, reporter.report)
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


def build(scenario: str, seed: int, options: dict[str, Any], reporter: Reporter) -> DevelopmentStream:
    """The stream, with progress while its pictures are made."""
    import scenarios
    from scenarios.pixels import reporting

    with reporting(reporter.report):
        return scenarios.build(scenario, seed, **options)


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
    from benchmark.bases import pick_device, recipe_of, trained_base
    from benchmark.pretrain import Recipe

    validated(Recipe, recipe, "the recipe")
    with Reporter(quiet) as reporter:
        stream = build(scenario, 0, options, reporter)
        if stream.pretraining is None:
            raise ValueError(f"scenario {scenario} holds no images back to pretrain on: see its base_share option")
        settings = validated(Recipe, recipe_of(stream) | recipe, "the recipe")
        _, path = trained_base(stream, settings, pick_device(device), reporter.report)
    if out is not None:
        records.replace_file(out, path.read_bytes())
    print(f"base: {out or path}")


def draw_sheet(scenario: str, options: dict[str, Any], out: Path, pair: str | None) -> None:
    """Write a contact sheet of a scenario to ``out``, or one of counterfactual pairs of two classes."""
    from benchmark.plots import contact_sheet, pair_sheet

    with Reporter() as reporter:
        stream = build(scenario, 0, options, reporter)
    if pair is None:
        contact_sheet(stream, out)
    else:
        if stream.counterfactuals is None:
            raise ValueError(f"--pair: scenario {scenario} has no counterfactuals, only rendered ones have")
        classes = [name.strip() for name in pair.split(",")]
        if len(classes) != 2:
            raise ValueError(f"--pair takes two classes with a comma between, not {pair!r}")
        pair_sheet(stream.counterfactuals(*classes, count=10, split="pairs"), out)
    print(f"sheet: {out}")


def print_card(scenario: str, options: dict[str, Any]) -> None:
    """Print the sizes and the fingerprint of a stream."""
    from benchmark.cards import card

    with Reporter() as reporter:
        stream = build(scenario, 0, options, reporter)
    print(card(stream))


def write_fingerprints(out: Path) -> None:
    """Write what the rendered streams are today, for records to be compared with."""
    found: dict[str, dict[str, Any]] = {}
    with Reporter() as reporter:
        for name in rendered():
            stream = build(name, 0, {"target_images": 1, "protected_per_class": 1}, reporter)
            options = {key: stream.options[key] for key in ("image_size", "val_per_class", "test_per_class")}
            found[name] = {"version": stream.version, "fingerprint": stream.fingerprint, "options": options}
    records.replace_file(out, (json.dumps(found, indent=1) + "\n").encode())
    print(f"fingerprints: {out}")


def verify_data(scenario: str, options: dict[str, Any], decode: bool) -> bool:
    """Print what a data set on disk holds and lacks; whether it can serve."""
    from scenarios.verify import verify

    with Reporter() as reporter:
        report = verify(scenario, options.get("data", ""), decode, reporter.report)
    print("\n".join(report.lines()))
    return report.ok


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"cannot write to {folder}: {error.strerror}; choose another folder") from None
