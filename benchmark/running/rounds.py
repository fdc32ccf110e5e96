"""The rounds of runs, one after the other; runs that differ after the first training alone share it."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

import methods
from benchmark.running.development import Branch, Branches, develop_round
from benchmark.running.memory import kept_memory
from benchmark.running.selection import Selection
from methods.strategy import RoundStrategy, Settings
from methods.weight_space import held_out_share

if TYPE_CHECKING:
    from benchmark.running.checkpoints import Checkpoints, Kept
    from benchmark.running.runner import Run

OnStep = Callable[[int, int], None]  # steps done, steps in all
Measure = Callable[["Run", nn.Module, int, Tensor], Any]  # of the model before a round


def silent(done: int, total: int) -> None:
    """Tell nobody of a step."""


@dataclass(frozen=True)
class Training:
    """What trains in a run: its method, or the one before the ``+`` of a weight-space method."""

    method: str
    strategy: type[RoundStrategy]
    settings: Settings
    held_out: float = 0.0  # share of the images that it does not see

    @staticmethod
    def of(method: str, strategy: type[RoundStrategy], settings: Settings) -> Training:
        """The training of a method with its settings."""
        trainer: type[RoundStrategy] = getattr(strategy, "TRAINER", strategy)
        if trainer is strategy:
            return Training(method, strategy, settings, held_out_share(strategy, settings))
        own = {name: getattr(settings, name) for name in trainer.SETTINGS.model_fields}
        return Training(
            methods.trainer_of(method), trainer, trainer.SETTINGS(**own), held_out_share(strategy, settings)
        )

    @property
    def key(self) -> str:
        """Equal for trainings that are the same on the same stream, base and seed."""
        decisive = [self.method, self.strategy.VERSION, self.strategy.CODE, self.settings.model_dump()]
        return json.dumps([*decisive, *([self.held_out] if self.held_out else [])], sort_keys=True)


class Past(NamedTuple):
    """What is known of a run when a round begins; a method is not given it, as it tells of test images."""

    before: Any  # what was measured of the model before the round
    results: list[Any]  # of the rounds before


@dataclass(frozen=True)
class Developed:
    """A round of a run that is over.

    Attributes:
        run: whose round it is.
        number: of the round, from 0.
        model: the new one; that of ``selection`` where the training diverged, which is of no use.
        selection: which model was kept, with its predictions on validation and those of the model before.
        losses: one per step.
        violations: (K,) per step, of a method with constraints.
        before: what was measured of the model before the round.
        seconds: since the round began.
    """

    run: Run
    number: int
    model: nn.Module
    selection: Selection
    losses: tuple[float, ...]
    violations: tuple[Tensor, ...]
    before: Any
    seconds: float

    @property
    def diverged(self) -> str:
        """What went wrong; empty where nothing did."""
        if self.selection.diverged_at is None:
            return ""
        return f"round {self.number + 1}: the loss or the logits were not finite at step {self.selection.diverged_at}"


def develop(
    runs: Sequence[Run],
    measure: Measure = lambda run, model, number, old: None,
    on_step: OnStep = silent,
    checkpoints: Checkpoints | None = None,
    results: Mapping[Run, list[Any]] | None = None,
    logs: Path | None = None,
) -> Iterator[Developed]:
    """Develop the base by each run, round after round until one diverges; no test image is looked at.

    Args:
        runs: of one stream, base, seed and ``training``.
        measure: (run, model, number, its predictions on validation) -> ``Developed.before``, called before it changes.
        on_step: called after each step.
        checkpoints: of trainings, to go on from and to keep; None for none.
        results: of each run's rounds, for its checkpoints to hold: the caller adds to them, a checkpoint fills them.
        logs: folder for curves of each run and round; None for none.
    """
    results = {run: [] for run in runs} if results is None else results
    rounds, steps, done = len(runs[0].stream.rounds), runs[0].steps, 0
    later = {run: kept for run in runs if checkpoints is not None and (kept := checkpoints.later(run)) is not None}
    first = [run for run in runs if run not in later]
    total = steps * (bool(first) + (rounds - 1) * len(runs))

    def tell(position: int) -> None:
        on_step(done + position, total)

    def round_of(runs: list[Run], number: int, model: nn.Module, kept: Kept | None) -> Iterator[Developed]:
        nonlocal done
        yield from _round(runs, number, model, measure, tell, checkpoints, results, logs, kept)
        done += steps

    def rest(run: Run, number: int, model: nn.Module, kept: Kept | None = None) -> Iterator[Developed]:
        while number < rounds:
            (one,) = round_of([run], number, model, kept)
            yield one
            if one.diverged:
                return
            number, model, kept = number + 1, one.model, None

    for run, kept in later.items():
        yield from rest(run, kept.number, run.base, kept)
    if first:
        model = copy.deepcopy(first[0].base).to(first[0].device)
        shared = checkpoints.first(first) if checkpoints is not None else None
        for one in round_of(first, 0, model, shared):
            yield one
            if not one.diverged:
                yield from rest(one.run, 1, one.model)


def _round(
    runs: Sequence[Run],
    number: int,
    model: nn.Module,
    measure: Measure,
    on_step: Callable[[int], None],
    checkpoints: Checkpoints | None,
    results: Mapping[Run, list[Any]],
    logs: Path | None,
    kept: Kept | None,
) -> Iterator[Developed]:
    """One training of ``model``, which changes, or one that was kept on its way; and how each run ends it."""
    start, one = time.perf_counter(), runs[0]
    if kept is None:
        old = one.old(model, number, "val")
        before = {run: measure(run, model, number, old) for run in runs}
    else:
        before = {run: kept.past[run.run_id].before for run in runs}
        for run in runs:
            results[run][:] = kept.past[run.run_id].results
    between = None
    if checkpoints is not None:
        between = checkpoints.between_steps(number, {run: Past(before[run], results[run]) for run in runs})
    if kept is None:
        branches = Branches([_branch(run, number, old, logs) for run in runs], on_step)
        training = one.training
        strategy = develop_round(
            training.strategy,
            model,
            one.base,
            one.stream,
            number,
            training.settings,
            methods.access(training.method),
            one.device,
            [branches],
            between,
            training.held_out,
        )
    else:
        strategy, branches = kept.strategy, kept.branches
        branches.on_step, strategy.between_steps = on_step, between
        with kept_memory():
            strategy.resume()
    losses = tuple(torch.stack(strategy.losses).tolist()) if strategy.losses else ()
    violations, seconds = tuple(strategy.violations), time.perf_counter() - start
    for run, branch, new in zip(runs, branches.branches, branches.models(strategy), strict=True):
        yield Developed(run, number, new, branch.selection, losses, violations, before[run], seconds)


def _branch(run: Run, number: int, old: Tensor, logs: Path | None) -> Branch:
    stream, access = run.stream, methods.access(run.method)
    given = {"pretrained": run.base} if "pretrained model" in access else {}
    protected = stream.experiences(number, run.training.held_out).protected
    given |= {"protected": protected} if "protected data" in access else {}
    alone, weight_space = run.strategy is run.training.strategy, run.strategy.WEIGHT_SPACE
    plugin = None if alone or weight_space is None else weight_space(run.settings)
    selection = Selection(stream.data[number].val, old, stream.rounds[number], stream.classes, run.steps)
    log = None
    if logs is not None:
        from benchmark.running.logs import RoundLog  # imports TensorBoard

        log = RoundLog(logs / run.file_name / f"round-{number + 1}", selection)
    return Branch(run.run_id, plugin, selection, log, given)
