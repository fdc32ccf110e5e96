"""What a command does: many runs, one after the other, each kept as soon as it is finished."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import methods
from benchmark import leaderboard, records
from benchmark.arguments import BaseChoice, validated
from benchmark.metrics import preserved_gain
from benchmark.presets import Preset, preset
from benchmark.progress import Reporter
from benchmark.schema import Record
from benchmark.tables import console
from benchmark.tuned import tuned
from scenarios import SCENARIOS, rendered, unknown_name

if TYPE_CHECKING:
    from benchmark.runner import Run
    from scenarios.stream import DevelopmentStream


@dataclass(frozen=True)
class Request:
    """Methods on a scenario, over seeds. ``method`` is a name, or several with commas."""

    method: str
    scenario: str
    seeds: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    device: str = "auto"
    results: Path = Path("runs")
    force: bool = False
    preset: str | None = None
    tuned: bool = True  # start from what was tuned for the scenario, where there is something
    base: BaseChoice = field(default_factory=BaseChoice)

    @property
    def methods(self) -> tuple[str, ...]:
        """The names."""
        return tuple(dict.fromkeys(name.strip() for name in self.method.split(",")))


def run(request: Request, as_json: bool = False, quiet: bool = False) -> list[Record]:
    """Make or find the records of a request, print them as a table or as JSON, and return them."""
    with Reporter(quiet) as reporter:
        found = make_records(request, reporter)
    if as_json:
        for name in request.methods:
            print(json.dumps(summary(request, name, found), allow_nan=False))
    else:
        out = console()
        leaderboard.print_table(leaderboard.table(found), out)
        for line in (
            f"records: {request.results / 'records' / request.scenario}",
            f"next: python -m benchmark leaderboard --results {request.results}",
        ):
            out.print(line, markup=False, highlight=False, soft_wrap=True)
    return found


def make_records(request: Request, reporter: Reporter) -> list[Record]:
    """Run every method and seed that has no record yet.

    Raises:
        ValueError: a name, setting, option, folder or checkpoint is not usable.
    """
    jobs = Jobs(request, reporter)
    found: list[Record] = []
    for seed in request.seeds:
        for job in jobs.of_seed(seed):
            path = records.record_path(request.results, job.stream.name, job.method, seed, job.run_id)
            if path.is_file() and not request.force:
                reporter.say(f"{job.method} seed {seed}: already in {path}; --force runs it again")
                found.append(records.read(path))
                continue
            record, predictions = job.execute(partial(reporter.report, f"{job.method} seed {seed}"))
            records.write(record, predictions, request.results, overwrite=request.force)
            found.append(record)
    return sorted(found, key=lambda record: request.methods.index(record.method.name))


def tune(request: Request, budget: int, quiet: bool = False) -> None:
    """Search for the settings of methods on a scenario; print what was tried and what is best."""
    from benchmark import tuning

    with Reporter(quiet) as reporter:
        jobs = Jobs(request, reporter)
        for name, strategy in jobs.strategies.items():
            if not strategy.SETTINGS.GRID:
                raise ValueError(f"--method {name}: has nothing to tune: its settings have no GRID")
        by_method = [list(runs) for runs in zip(*(jobs.of_seed(seed) for seed in request.seeds), strict=True)]
        found = [
            tuning.search(runs, budget, request.results, partial(reporter.report, f"{runs[0].method} trials"))
            for runs in by_method
        ]
    for one in found:
        tuning.print_trials(one, console())


def try_method(name: str) -> bool:
    """Check an implementation on tiny streams, print a line a check, and say whether it may compete."""
    if not methods.is_method(name):
        raise ValueError(unknown_name("method", name, methods.METHODS))
    from benchmark.trial import run_trial

    return run_trial(methods.load(name), name)


def measure_costs(scenario: str, device: str, out: Path) -> None:
    """Time all methods side by side and write the figures to ``out``."""
    from benchmark import costs
    from benchmark.catalogue import timed_as

    request = Request(",".join(timed_as(name) for name in methods.METHODS), scenario, (0,), device=device)
    with Reporter() as reporter:
        runs = list(Jobs(request, reporter).of_seed(0))
        found = costs.measure(runs, partial(reporter.report, "rounds timed"))
    records.replace_file(out, (json.dumps(found, indent=1) + "\n").encode())
    print(f"costs: {out}")


class Jobs:
    """The runs of a request: names, folder, settings and device are checked before anything slow is done.

    Raises:
        ValueError: a name, setting, option, folder or checkpoint is not usable.
    """

    def __init__(self, request: Request, reporter: Reporter) -> None:
        for name in request.methods:
            if not methods.is_method(name):
                raise ValueError(unknown_name("method", name, methods.METHODS))
        if request.scenario not in SCENARIOS:
            raise ValueError(unknown_name("scenario", request.scenario, SCENARIOS))
        _check_writable(request.results)
        self.request, self.reporter = request, reporter
        chosen = preset(request.preset, request.scenario) if request.preset is not None else None

        # only now what takes seconds to import
        from benchmark.bases import pick_device
        from methods.checkpoints import image_size

        self.device = pick_device(request.device)
        self.base = request.base
        if chosen is not None and self.base == BaseChoice():
            self.base = BaseChoice(model=chosen.model, pretrained=chosen.pretrained)
        self.options = (chosen.options if chosen is not None else {}) | request.options
        self.options = {"image_size": image_size(self.base.model, self.base.file)} | self.options
        self.strategies = {name: methods.load(name) for name in request.methods}
        self.settings = {name: self._settings(name, chosen) for name in request.methods}
        self._old_predictions: dict[tuple[str, int], Any] = {}

    def of_seed(self, seed: int) -> Iterator[Run]:
        """A run of each method, on one stream."""
        from benchmark.bases import load_base
        from benchmark.runner import Run

        stream = build(self.request.scenario, seed, self.options, self.reporter)
        base, info = load_base(stream, self.base, self.device, self.reporter.report)
        for name, strategy in self.strategies.items():
            yield Run(stream, base, info, name, strategy, self.settings[name], self.device, self._old_predictions)

    def _settings(self, name: str, chosen: Preset | None) -> Any:
        """Defaults, then what was tuned for the scenario or what the preset says, then what was asked for."""
        strategy = self.strategies[name]
        values = tuned(self.request.scenario, name) if self.request.tuned else {}
        if chosen is not None:
            fields = strategy.SETTINGS.model_fields if strategy.trains else {}
            values = {key: value for key, value in chosen.settings.items() if key in fields}
        values |= self.request.settings
        return validated(strategy.SETTINGS, values, f"method {name}")


def build(scenario: str, seed: int, options: dict[str, Any], reporter: Reporter) -> DevelopmentStream:
    """The stream, with progress while its pictures are made."""
    import scenarios
    from scenarios.pixels import reporting

    with reporting(reporter.report):
        return scenarios.build(scenario, seed, **options)


def summary(request: Request, method: str, found: Sequence[Record]) -> dict[str, Any]:
    """What ``--json`` prints. A diverged run has its status and message, and counts as not preserved."""
    found = [record for record in found if record.method.name == method]
    complete = [record for record in found if record.status == "complete"]
    scored = [(r.target_gain, r.strictly_preserved) for record in complete for r in record.rounds]
    scored += [(0.0, False)] * sum(r.scenario.rounds for r in found if r.status == "diverged")
    return {
        "scenario": request.scenario,
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
    from benchmark.sheets import contact_sheet, pair_sheet

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
