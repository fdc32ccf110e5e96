"""The search for settings at work: trials that differ after their training alone share it, as runs do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.metrics import preservation
from benchmark.metrics.counts import count_pairs
from benchmark.output.files import replace_file
from benchmark.output.progress import Reporter
from benchmark.output.tables import console
from benchmark.records.files import saving
from benchmark.running.engines import Result, Serial, Task, Tell
from benchmark.running.jobs import KEPT, Jobs, budget_of
from benchmark.running.request import Execution, Request
from benchmark.running.sweep import engine_of
from benchmark.running.threads import threads_of, torch_threads
from benchmark.running.tuning import Outcome, Trial, Tuning, candidates, noise_margin, path_of, print_trials, read
from scenarios import SCENARIOS, builder
from scenarios.options import changed_options

if TYPE_CHECKING:
    from benchmark.running.rounds import Developed
    from benchmark.running.runner import Run
    from methods.strategy import Settings
    from scenarios.stream import DevelopmentStream

Cell = tuple[str, int]  # method, number of the trial
RunOf = Callable[[str, int], "Run"]  # of a method and a seed; its settings do not matter


def tune(request: Request, budget: int, execution: Execution, quiet: bool = False) -> None:
    """Search for the settings of methods on a scenario; print the trials and which is best.

    Raises:
        ValueError: a name, option, folder or checkpoint is not usable, a method has nothing to tune, or another search
            is kept where its own would be.
    """
    with Reporter(quiet) as reporter:
        jobs = Jobs(request, reporter)
        for name, strategy in jobs.strategies.items():
            if not strategy.SETTINGS.GRID:
                raise ValueError(f"--method {name}: has nothing to tune: its settings have no GRID")
        search = Search(jobs.run, request.methods, request.seeds, budget, request.results, reporter.report)
        threads = threads_of(len(search.groups) * len(request.seeds))
        engine = engine_of(execution, len(search.groups) * len(request.seeds), threads, jobs.device, reporter)
        with torch_threads(threads), closing(engine.map(search.work, search.tasks(engine.inherits))) as results:
            for result in results:
                search.keep(result)
    for tuning in search.tunings.values():
        print_trials(tuning, console())


def search(
    runs: Sequence[Run],
    budget: int,
    results: Path,
    on_trial: Callable[[int, int], None] = lambda done, total: None,
) -> Tuning:
    """Make the trials of one method that are missing, in this process.

    Args:
        runs: of the method, one per tuning seed.
        budget: number of trials.
        results: folder to keep them in.
        on_trial: called with (trials done, trials of the budget).
    """
    by_seed, name = {run.stream.seed: run for run in runs}, runs[0].method
    found = Search(
        lambda _, seed: by_seed[seed], [name], tuple(by_seed), budget, results, lambda _, *done: on_trial(*done)
    )
    for result in Serial(Reporter(quiet=True)).map(found.work, found.tasks()):
        found.keep(result)
    return found.tunings[name]


class Search:
    """The trials of methods on a scenario, as tasks of an engine; those kept by an earlier search count.

    Args:
        run_of: a run of a method and a seed.
        names: of the methods.
        seeds: to tune on.
        budget: trials per method.
        results: folder to keep them in.
        report: called with (task, trials done, trials of the budget).

    Raises:
        ValueError: another search is kept where that of a method would be.
    """

    def __init__(
        self,
        run_of: RunOf,
        names: Sequence[str],
        seeds: Sequence[int],
        budget: int,
        results: Path,
        report: Callable[[str, int, int], None],
    ) -> None:
        self.run_of, self.seeds, self.results, self.report = run_of, tuple(seeds), results, report
        self.wanted: dict[str, list[dict[str, Any]]] = {}
        self.tunings: dict[str, Tuning] = {}
        for name in names:
            first = run_of(name, self.seeds[0])
            self.wanted[name] = candidates(_with(first, {}).settings, budget, first.strategy.SEARCHED_AS or name)
            self.tunings[name] = _started(first, self.seeds, results)
        _check_places(results, list(self.tunings.values()))
        self._outcomes: dict[Cell, dict[int, tuple[Outcome, ...]]] = {}
        self.groups = self._groups()

    def __getstate__(self) -> dict[str, Any]:
        """What ``work`` needs, in another process."""
        return {"run_of": self.run_of, "wanted": self.wanted}

    def _groups(self) -> list[tuple[Cell, ...]]:
        """The trials that are missing, those together that can share a training."""
        groups: dict[str, list[Cell]] = {}
        for name, wanted in self.wanted.items():
            tried = [trial.settings for trial in self.tunings[name].trials]
            run = self.run_of(name, self.seeds[0])
            for number, values in enumerate(wanted):
                if _plain(values) not in tried:
                    groups.setdefault(_with(run, values).training.key, []).append((name, number))
            self._tell(name)
        return [tuple(cells) for cells in groups.values()]

    def tasks(self, inherited: bool = False) -> Iterator[Task]:
        """A task for each training and seed; where these are inherited, streams and bases are measured here.

        A training is done on as many seeds as have their streams in memory before the next one, so that little is lost
        of a search that is interrupted.
        """
        at_hand = [self.seeds[start : start + KEPT] for start in range(0, len(self.seeds), KEPT)]
        for cells, seed in ((cells, seed) for seeds in at_hand for cells in self.groups for seed in seeds):
            if inherited:
                run = self.run_of(cells[0][0], seed)
                run.old(run.base, 0, "val")
            more = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
            yield Task(f"{cells[0][0]} trial {cells[0][1] + 1}{more} seed {seed}", 0, seed, cells)

    def work(self, task: Task, tell: Tell) -> Iterator[tuple[Cell, tuple[Outcome, ...]]]:
        """The outcomes of each trial of a task on its seed; none of one that diverged."""
        from benchmark.running.rounds import develop

        runs = {cell: _with(self.run_of(cell[0], task.seed), self.wanted[cell[0]][cell[1]]) for cell in task.cells}
        cell_of = {run: cell for cell, run in runs.items()}
        found: dict[Cell, list[Outcome]] = {cell: [] for cell in task.cells}
        for one in develop(list(runs.values()), on_step=tell):
            outcomes = found[cell := cell_of[one.run]]
            if one.diverged:
                yield cell, ()
                continue
            outcomes.append(_outcome(one))
            if len(outcomes) == len(one.run.stream.rounds):
                yield cell, tuple(outcomes)

    def keep(self, result: Result) -> None:
        """Write a trial once it is made on all seeds.

        Raises:
            OSError: the disk does not take it.
            Exception: the work failed.
        """
        if isinstance(result.value, Exception):
            raise result.value
        if result.cell is None:
            return
        by_seed = self._outcomes.setdefault(result.cell, {})
        by_seed[result.task.seed] = result.value
        if len(by_seed) < len(self.seeds):
            return
        name, number = result.cell
        complete = all(by_seed.values())
        outcomes = tuple(outcome for seed in self.seeds for outcome in by_seed[seed]) if complete else ()
        trials = (*self.tunings[name].trials, Trial(settings=self.wanted[name][number], outcomes=outcomes))
        order = [_plain(values) for values in self.wanted[name]]
        ordered = sorted(trials, key=lambda t: order.index(t.settings) if t.settings in order else len(order))
        self.tunings[name] = tuning = self.tunings[name].model_copy(update={"trials": tuple(ordered)})
        path = path_of(self.results, tuning.scenario, tuning.method)
        with saving(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, (tuning.model_dump_json(indent=1) + "\n").encode())
        self._tell(name)

    def _tell(self, name: str) -> None:
        tried = [trial.settings for trial in self.tunings[name].trials]
        done = sum(_plain(values) in tried for values in self.wanted[name])
        self.report(f"{name} trials", done, len(self.wanted[name]))


def _started(run: Run, seeds: tuple[int, ...], results: Path) -> Tuning:
    """The search of a method as it was kept; without trials where it was not.

    Raises:
        ValueError: another one is kept in its place.
    """
    images = min(int((data.val.labels == k).sum()) for data in run.stream.data for k in data.val.labels.unique())
    tuning = Tuning(
        scenario=run.stream.name,
        fingerprint=run.stream.fingerprint,
        method=run.method,
        version=run.strategy.VERSION,
        code=run.strategy.CODE,
        base=run.base_info,
        seeds=seeds,
        margin=noise_margin(images),
        options=_changed(run.stream),
    )
    path = path_of(results, tuning.scenario, tuning.method)
    kept = read(path) if path.is_file() else tuning
    if other := [name for name, value in tuning if name != "trials" and getattr(kept, name) != value]:
        raise ValueError(
            f"{path}: holds another search, which differs in {', '.join(other)}: delete it, or choose another folder "
            "with --results"
        )
    return kept


def _check_places(results: Path, tunings: Sequence[Tuning]) -> None:
    """Refuse methods whose names differ only in characters that a name of a file does not have."""
    places: dict[Path, str] = {}
    for tuning in tunings:
        path = path_of(results, tuning.scenario, tuning.method)
        if (other := places.setdefault(path, tuning.method)) != tuning.method:
            raise ValueError(
                f"--method {other}, {tuning.method}: both are kept in {path}: tune one with other --results"
            )


def _with(run: Run, values: dict[str, Any]) -> Run:
    """The run with the defaults of its stream's budget, but for ``values``."""
    settings: Settings = run.strategy.SETTINGS(**budget_of(run.strategy, run.stream.name) | values)
    return replace(run, settings=settings)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Settings as they are read back from a file."""
    return Trial(settings=values, outcomes=()).settings


def _outcome(one: Developed) -> Outcome:
    """A round on validation."""
    run, selection = one.run, one.selection
    round_, labels = run.stream.rounds[one.number], run.stream.data[one.number].val.labels
    counts = count_pairs(labels.numpy(), selection.old.numpy(), selection.predictions.numpy(), run.stream.classes)
    return Outcome(
        seed=run.stream.seed,
        round=one.number,
        target_gain=preservation.target_gain(counts, round_.target),
        devsafety=preservation.devsafety(counts, round_.protected),
    )


def _changed(stream: DevelopmentStream) -> dict[str, Any]:
    """The options of a stream, flags aside, that are not its defaults."""
    scenario = SCENARIOS.get(stream.name)
    return changed_options(builder(stream.name), stream.options, scenario.flags) if scenario else {}
