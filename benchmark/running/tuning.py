"""Search for hyper-parameters: the same number of trials for every method, scored on validation images alone.

A trial develops the stream on each tuning seed; those seeds are never reported, and no test image is looked at. Of all
trials the one of the greatest tolerant gain is chosen, by which the leaderboards order, with losses within the noise of
validation forgiven; where none has any, the safest. Trials are kept in ``<results>/tuning/<scenario>/<method>.json``,
one by one, so that an interrupted search goes on where it was.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pydantic import Field, NonNegativeInt, ValidationError

import methods
from benchmark.arguments import known_method
from benchmark.metrics.tolerance import tolerant_gain
from benchmark.output.tables import canonical, points, print_rows
from benchmark.records import tuned
from benchmark.records.schema import BaseInfo, Frozen, PlainDict
from benchmark.running.request import validated
from scenarios.leftovers import is_leftover

if TYPE_CHECKING:
    from rich.console import Console

    from methods.strategy import Settings

TUNING_SEEDS = (1000, 1001)  # never reported
BUDGET = 6  # trials per method
FLIPS = 0.06  # share of predictions that flip in a round that changes nothing for the worse: an order of magnitude


class Outcome(Frozen):
    """One round of one seed on validation, as fractions."""

    seed: NonNegativeInt
    round: NonNegativeInt
    target_gain: float
    devsafety: float


class Trial(Frozen):
    """Settings that differ from the defaults, and their outcomes; none if a run diverged."""

    settings: PlainDict
    outcomes: tuple[Outcome, ...]

    @property
    def target_gain(self) -> float:
        """Mean over rounds and seeds; minus infinity if a run diverged."""
        return fmean(o.target_gain for o in self.outcomes) if self.outcomes else -math.inf

    @property
    def devsafety(self) -> float:
        """Mean over rounds and seeds of the worst protected class's change; minus infinity if a run diverged."""
        return fmean(o.devsafety for o in self.outcomes) if self.outcomes else -math.inf


class Tuning(Frozen):
    """The trials of a method on a scenario, in the order in which they were made."""

    scenario: str
    fingerprint: str
    method: str
    version: int
    code: str = ""
    base: BaseInfo
    seeds: tuple[int, ...]
    margin: float
    options: PlainDict = Field(default_factory=dict)  # of the stream, where they are not its defaults
    trials: tuple[Trial, ...] = ()

    @property
    def chosen(self) -> Trial:
        """The best trial; ties go to the first, so to the defaults before others. Without outcomes if all diverged."""
        return max(self.trials, key=lambda trial: rank(trial, self.margin))


def rank(trial: Trial, margin: float) -> tuple[float, float, float]:
    """The larger the better: first what is gained for losses that can be accepted, then safety, then the gain."""
    return forgiven_gain(trial, margin), min(trial.devsafety + margin, 0.0), trial.target_gain


def forgiven_gain(trial: Trial, margin: float) -> float:
    """The tolerant gain over rounds and seeds, were each loss ``margin`` less; in [0, 1], 0 if it diverged."""
    rounds = [(outcome.target_gain, outcome.devsafety + margin) for outcome in trial.outcomes]
    return max(tolerant_gain(rounds), 0.0) if rounds else 0.0


def noise_margin(images: int) -> float:
    """Two standard errors of a class's change of accuracy on ``images`` images, were nothing truly changed.

    Of such a class ``FLIPS`` of the predictions flip, as often for the better as for the worse.
    """
    return round(2 * math.sqrt(FLIPS / images), 4)


def candidates(defaults: Settings, budget: int, name: str) -> list[dict[str, Any]]:
    """The first ``budget`` trials of a method: its defaults, then points of its grid in an order fixed by its name.

    A larger budget goes on where a smaller one ended.
    """
    usual = {key: getattr(defaults, key) for key in defaults.GRID}
    points = [dict(zip(usual, values, strict=True)) for values in itertools.product(*defaults.GRID.values())]
    points = [point for point in points if point != usual]
    random.Random(f"tune {name}").shuffle(points)
    return [{key: value for key, value in point.items() if value != usual[key]} for point in [usual, *points]][:budget]


def path_of(results: Path, scenario: str, method: str) -> Path:
    """Where a search is kept."""
    return Path(results) / "tuning" / scenario / f"{re.sub(r'[^A-Za-z0-9._+-]+', '_', method)}.json"


def read(path: Path) -> Tuning:
    """A search that was kept.

    Raises:
        ValueError: if the file holds none; one line names it.
    """
    try:
        return Tuning.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ValueError(f"{path}: is no tuning file, delete it: {str(error).splitlines()[0]}") from None


def collect(results: Path) -> tuned.Chosen:
    """The settings that every search under ``results`` chose: {scenario: {method: {setting: value}}}, sorted.

    Raises:
        ValueError: if a search cannot be read, or was not of the stream as it is by default.
    """
    chosen: tuned.Chosen = {}
    for path, tuning in _searches(results):
        if tuning.options:
            raise ValueError(
                f"{path}: was a search on a stream of other sizes ({canonical(tuning.options)}), which says little "
                "about the stream by default: tune without --option, or give its settings with run --set"
            )
        if tuning.chosen.outcomes:  # else every trial diverged
            chosen.setdefault(tuning.scenario, {})[tuning.method] = tuning.chosen.settings
    return {scenario: dict(sorted(methods.items())) for scenario, methods in sorted(chosen.items())}


def _searches(results: Path) -> Iterator[tuple[Path, Tuning]]:
    for path in sorted((Path(results) / "tuning").glob("*/*.json")):
        if not (is_leftover(path.name) or path.name.startswith(".")):
            yield path, read(path)


def tuned_bytes(results: Path) -> bytes:
    """Content of a file of settings for the searches under ``results`` alone.

    Raises:
        ValueError: if there are none that chose settings, or one cannot be read or adopted.
    """
    chosen = collect(results)
    if not chosen:
        raise ValueError(
            f"{Path(results) / 'tuning'}: holds no searches that chose settings; make some with "
            "`python -m benchmark tune`"
        )
    return tuned.as_bytes(chosen)


def adopt(results: Path) -> None:
    """Let ``run`` start from the settings that the searches under ``results`` chose; those of others stay.

    Raises:
        ValueError: there is nothing to adopt, or a search cannot be read or adopted; nothing is.
    """
    tuned_bytes(results)  # raises where there is nothing to adopt
    for path, tuning in _searches(results):
        _check_method(path, tuning)
    print("\n".join(tuned.adopt(collect(results))))


def _check_method(path: Path, tuning: Tuning) -> None:
    """Refuse the search of a method that is another one by now, or none."""
    try:
        strategy = methods.load(known_method(tuning.method))
        if tuning.version != strategy.VERSION:
            raise ValueError(
                f"was a search of version {tuning.version} of {tuning.method}, which is at {strategy.VERSION} now"
            )
        validated(strategy.SETTINGS, tuning.chosen.settings, f"method {tuning.method}", "settings")
    except ValueError as error:
        raise ValueError(f"{path}: {error}; delete it and tune again") from None


def print_trials(tuning: Tuning, console: Console) -> None:
    """Show a search for hyper-parameters: every trial, and which one was chosen."""
    from rich.text import Text

    title = f"{tuning.method} on {tuning.scenario}, validation, seeds {', '.join(map(str, tuning.seeds))}"
    rows = [
        [
            ("* " if trial is tuning.chosen and trial.outcomes else "")
            + (canonical(trial.settings) if trial.settings else "defaults"),
            *_figures(trial, tuning.margin),
        ]
        for trial in tuning.trials
    ]
    print_rows(console, title, ("Settings", "Target gain", "DevSafety", "Forgiven gain"), rows)
    console.print(Text(_why_chosen(tuning.chosen, tuning.margin)))


def _figures(trial: Trial, margin: float) -> list[str]:
    if not trial.outcomes:
        return ["diverged", "", ""]
    return [points(value) for value in (trial.target_gain, trial.devsafety, forgiven_gain(trial, margin))]


def _why_chosen(chosen: Trial, margin: float) -> str:
    if not chosen.outcomes:
        return "none was chosen: every trial diverged"
    noise = f"{100 * margin:.1f} points of each loss forgiven as noise of validation"
    if forgiven_gain(chosen, margin) > 0:
        return f"* chosen: the greatest tolerant gain, {noise}"
    return f"* chosen: the safest, as none has a tolerant gain, {noise}"
