"""Many runs, each kept as soon as it is finished."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.output.files import check_writable
from benchmark.output.progress import Reporter
from benchmark.output.tables import one_line
from benchmark.records import files
from benchmark.records.schema import Record
from benchmark.running.engines import Engine, Result, Serial, Task, Tell
from benchmark.running.jobs import Jobs
from benchmark.running.request import Execution, Request
from benchmark.running.threads import threads_of, torch_threads
from scenarios.cores import available

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.running.checkpoints import Checkpoints
    from benchmark.running.runner import Run

USUAL = Execution()
CHECKPOINTS, LOGS = "checkpoints", "logs"  # folders beside that of the records


def run(requests: Request | Sequence[Request], execution: Execution = USUAL, quiet: bool = False) -> list[Record]:
    """``make_records`` with progress on standard error, unless ``quiet``."""
    with Reporter(quiet or not first_rank()) as reporter:
        return make_records(requests, reporter, execution)


def make_records(
    requests: Request | Sequence[Request], reporter: Reporter, execution: Execution = USUAL
) -> list[Record]:
    """Run every method and seed that has no record yet; all records, by request, method and seed.

    Raises:
        ValueError: a name, setting, option, folder or checkpoint is not usable; or, once all else is done, a run could
            not be made, or another process has made it with another outcome meanwhile.
        OSError: the disk does not take a record or a checkpoint; those before it are kept.
    """
    sweep = Sweep([requests] if isinstance(requests, Request) else requests, reporter, execution)
    from methods.distributed import group

    results = sweep.engine.map(sweep.work, sweep.tasks())
    with group(sweep.device), torch_threads(sweep.threads), closing(results):
        for result in results:
            sweep.keep(result)
    return sweep.finish()


class Sweep:
    """The runs of several requests, as tasks of an engine; arguments and errors as of ``make_records``.

    Where it is ``dry``, nothing is to be written.
    """

    def __init__(
        self, requests: Sequence[Request], reporter: Reporter, execution: Execution, dry: bool = False
    ) -> None:
        first = Jobs(requests[0], reporter, dry=dry)
        self.jobs = [first, *(Jobs(request, reporter, first.loaded, dry) for request in requests[1:])]
        self.reporter, self.execution = reporter, execution
        for folder in () if dry else (CHECKPOINTS, *([LOGS] if execution.log is not None else [])):
            check_writable(requests[0].results / folder)
        trainings = sum(len(jobs.groups()) * len(jobs.request.seeds) for jobs in self.jobs)
        self.threads, self.device = threads_of(trainings), first.device
        self.engine = engine_of(execution, trainings, self.threads, self.device, reporter)
        self._records: dict[tuple[int, str, int], Record] = {}
        self._errors: list[Exception] = []

    def __getstate__(self) -> dict[str, Any]:
        """What ``work`` needs, in another process."""
        return {"jobs": self.jobs, "execution": self.execution}

    def tasks(self) -> Iterator[Task]:
        """The trainings that are missing. Streams, bases and what is measured of these are made here, once."""
        for number, jobs in enumerate(self.jobs):
            request = jobs.request
            for seed in request.seeds:
                with torch_threads(threads_of(1)):  # for pictures, and for bases that are trained first
                    runs = {run.method: run for run in jobs.of_seed(seed)}
                for group in jobs.groups():
                    missing = [name for name in group if not self.is_there(number, runs[name])]
                    if missing:
                        self.reporter.report("runs", len(self._records), self.total)
                    if missing and self.engine.inherits:
                        run = runs[missing[0]]
                        run.before(run.base, 0, run.old(run.base, 0, "val"))
                    names = self._checkpoints([runs[name] for name in group]).names
                    if missing:
                        yield Task(self._label(jobs, missing, seed), number, seed, tuple(missing), names)
                    else:  # an earlier command may have been killed just before this
                        _drop(request.results / CHECKPOINTS, names)

    def work(self, task: Task, tell: Tell) -> Iterator[tuple[str, tuple[Record, pd.DataFrame]]]:
        """Make the runs of a task; each method with its record and predictions."""
        from benchmark.running.runner import execute

        jobs = self.jobs[task.job]
        group = next(group for group in jobs.groups() if task.cells[0] in group)
        runs = {name: jobs.run(name, task.seed) for name in group}
        checkpoints = None if distributed() else self._checkpoints(list(runs.values()))
        logs = jobs.request.results / LOGS if self.execution.log is not None else None
        for run, record, predictions in execute([runs[name] for name in task.cells], tell, checkpoints, logs):
            yield run.method, (record, predictions)

    def keep(self, result: Result) -> None:
        """Write the record of a run.

        Raises:
            OSError: the disk does not take it.
        """
        task, name, value = result
        request = self.jobs[task.job].request
        if not first_rank():
            return
        if isinstance(value, Exception):
            self._refuse(value, f"{task.label}: ")
        elif name is None:
            _drop(request.results / CHECKPOINTS, task.names)
        else:
            try:
                record, predictions = value
                path = files.write(record, predictions, request.results, overwrite=request.force)
            except ValueError as error:  # another process was faster, with another outcome: the others still count
                self._refuse(error)
                return
            self._records[task.job, name, task.seed] = files.read(path)
            self.reporter.report("runs", len(self._records), self.total)

    def finish(self) -> list[Record]:
        """All records, by request, method and seed; raises as ``make_records`` where some could not be made.

        Of several processes that share each run, the first alone has any.
        """
        if not first_rank():
            return []
        with suppress(OSError):
            (self.jobs[0].request.results / CHECKPOINTS).rmdir()  # stays while it holds any
        if self._errors:
            raise _worst(self._errors)
        return [
            self._records[number, name, seed]
            for number, jobs in enumerate(self.jobs)
            for name in jobs.request.methods
            for seed in jobs.request.seeds
        ]

    @property
    def total(self) -> int:
        """How many runs are asked for."""
        return sum(len(jobs.request.methods) * len(jobs.request.seeds) for jobs in self.jobs)

    def is_there(self, number: int, run: Run) -> bool:
        """Whether the record of a run is kept already and not asked for again; one that cannot be read is refused."""
        from methods.distributed import agreed

        request, seed = self.jobs[number].request, run.stream.seed
        path = files.record_path(request.results, run.stream.name, run.method, seed, run.run_id)
        if request.force or not agreed(path.is_file()):
            return False
        try:
            self._records[number, run.method, seed] = files.read(path)
            self.reporter.say(f"{run.method} seed {seed}: already in {path}; --force runs it again")
        except ValueError as error:  # the others still count
            self._refuse(ValueError(f"{error}; delete it, or give --force to run it again"))
        return True

    def _checkpoints(self, runs: Sequence[Run]) -> Checkpoints:
        from benchmark.running.checkpoints import Checkpoints

        folder = self.jobs[0].request.results / CHECKPOINTS
        return Checkpoints(folder, runs, self.execution.checkpoint_every, warn)

    def _label(self, jobs: Jobs, names: Sequence[str], seed: int) -> str:
        scenario = f"{jobs.request.scenario} " if len(self.jobs) > 1 else ""
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return f"{scenario}{names[0]}{more} seed {seed}"

    def _refuse(self, error: Exception, what: str = "") -> None:
        self._errors.append(error)
        self.reporter.say(f"{what}{one_line(str(error))}")


def engine_of(execution: Execution, trainings: int, threads: int, device: str, reporter: Reporter) -> Engine:
    """Who works on so many trainings."""
    workers = min(execution.workers or available(), trainings)
    if distributed() and execution not in (Execution(log=execution.log), Execution(workers=1, log=execution.log)):
        raise ValueError(
            "torchrun shares each run among its processes: leave out --workers, --engine, --checkpoint-every"
        )
    if execution.engine == "ray":
        from benchmark.running.cluster import Cluster

        return Cluster(execution.workers, execution.address, threads, reporter, device)
    if workers <= 1 or distributed():
        return Serial(reporter)
    from benchmark.running.gpu import Room
    from benchmark.running.processes import Processes

    room = Room() if device == "cuda" and execution.workers is None else None
    return Processes(workers, threads, reporter, device, room)


def distributed() -> bool:
    """Whether ``torchrun`` has started this process as one of several that share each run.

    Raises:
        ValueError: something else has set its variable.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if not re.fullmatch("[1-9][0-9]{0,5}", size):
        raise ValueError(f"WORLD_SIZE must be a whole number from 1, as torchrun sets it, not {size!r}: unset it")
    return int(size) > 1


def first_rank() -> bool:
    """Whether this process, of those that share each run, is the one that writes and prints."""
    return not distributed() or os.environ.get("RANK") == "0"


def _drop(folder: Path, names: Sequence[str]) -> None:
    """Delete the checkpoints of these names, as their runs are finished; also those of other code or half-written."""
    for name in names:
        for path in (*folder.glob(f"{name}-*"), *folder.glob(f".{name}-*.tmp")):
            path.unlink(missing_ok=True)


def warn(line: str) -> None:
    """Tell a line from a process that works for another, which has no display of its own."""
    print(line, file=sys.stderr, flush=True)


def _worst(errors: Sequence[Exception]) -> Exception:
    """What to raise: a fault of the code before what a user can mend, of which one line tells."""
    faults = [error for error in errors if not isinstance(error, ValueError | OSError)]
    if faults or len(errors) == 1:
        return (faults or errors)[0]
    return ValueError(f"{errors[0]} (and {len(errors) - 1} more)")
