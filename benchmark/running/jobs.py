"""Many runs, one after the other, each kept as soon as it is finished."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import methods
from benchmark.arguments import known_method, known_scenario
from benchmark.output.files import check_writable
from benchmark.output.progress import Reporter
from benchmark.records import files
from benchmark.records.schema import Record
from benchmark.records.tuned import tuned
from benchmark.running.presets import Preset, preset
from benchmark.running.request import BaseChoice, Request, validated
from benchmark.running.streams import build
from scenarios.wording import some

if TYPE_CHECKING:
    from torch import Tensor

    from benchmark.running.bases import Bases
    from benchmark.running.runner import Run
    from methods.strategy import Settings


def run(request: Request, quiet: bool = False) -> list[Record]:
    """``make_records`` with progress on standard error, unless ``quiet``."""
    with Reporter(quiet) as reporter:
        return make_records(request, reporter)


def make_records(request: Request, reporter: Reporter) -> list[Record]:
    """Run every method and seed that has no record yet; all records, by method.

    Raises:
        ValueError: a name, setting, option, folder or checkpoint is not usable; or, once all else is done, another
            process has made a run with another outcome meanwhile.
        OSError: the disk does not take a record; those before it are kept.
    """
    jobs = Jobs(request, reporter)
    found: list[Record] = []
    refused: list[str] = []
    for seed in request.seeds:
        for job in jobs.of_seed(seed):
            path = files.record_path(request.results, job.stream.name, job.method, seed, job.run_id)
            if path.is_file() and not request.force:
                reporter.say(f"{job.method} seed {seed}: already in {path}; --force runs it again")
                found.append(files.read(path))
                continue
            record, predictions = job.execute(partial(reporter.report, f"{job.method} seed {seed}"))
            try:
                kept = files.write(record, predictions, request.results, overwrite=request.force)
            except ValueError as error:  # another process was faster, with another outcome: the others still count
                refused.append(str(error))
                reporter.say(refused[-1])
                continue
            found.append(files.read(kept))
    if refused:
        raise ValueError(some(refused, 1))
    return sorted(found, key=lambda record: request.methods.index(record.method.name))


class Jobs:
    """The runs of a request: names, folder, settings and device are checked before anything slow is done.

    Args:
        request: the runs that are asked for.
        reporter: told how far pictures and bases are.
        bases: those loaded before, by other jobs of the same command.

    Raises:
        ValueError: a name, setting, option, folder or checkpoint is not usable.
    """

    def __init__(self, request: Request, reporter: Reporter, bases: Bases | None = None) -> None:
        for name in request.methods:
            known_method(name)
        known_scenario(request.scenario)
        check_writable(request.results)
        self.request, self.reporter = request, reporter
        chosen = preset(request.preset, request.scenario) if request.preset is not None else None

        # only now, as these take seconds to import
        from benchmark.running.bases import Bases, pick_device
        from methods.checkpoints import image_size

        self.device = pick_device(request.device)
        self.base = request.base
        if chosen is not None and self.base == BaseChoice():
            self.base = BaseChoice(model=chosen.model, pretrained=chosen.pretrained)
        self.options = (chosen.options if chosen is not None else {}) | request.options
        self.options = {"image_size": image_size(self.base.model, self.base.file)} | self.options
        self.strategies = {name: methods.load(name) for name in request.methods}
        self.settings = {name: self._settings(name, chosen) for name in request.methods}
        self.bases = Bases() if bases is None else bases
        self._old_predictions: dict[tuple[str, int], Tensor] = {}

    def of_seed(self, seed: int) -> Iterator[Run]:
        """A run of each method, on one stream."""
        from benchmark.running.runner import Run

        stream = build(self.request.scenario, seed, self.options, self.reporter)
        base, info = self.bases.load(stream, self.base, self.device, self.reporter.report)
        for name, strategy in self.strategies.items():
            yield Run(stream, base, info, name, strategy, self.settings[name], self.device, self._old_predictions)

    def _settings(self, name: str, chosen: Preset | None) -> Settings:
        """Defaults, then the settings tuned for the scenario or those of the preset, then those asked for."""
        strategy = self.strategies[name]
        values: dict[str, Any] = tuned(self.request.scenario, name) if self.request.tuned else {}
        if chosen is not None:
            fields = strategy.SETTINGS.model_fields if strategy.trains else {}
            values = {key: value for key, value in chosen.settings.items() if key in fields}
        return validated(strategy.SETTINGS, values | self.request.settings, f"method {name}")
