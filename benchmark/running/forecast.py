"""What a command would run, and how long that takes by the records at hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmark.output.progress import Reporter
from benchmark.output.tables import console, duration, one_line, print_rows
from benchmark.records import files
from benchmark.records.schema import Record
from benchmark.running.request import Execution, Request
from scenarios.cores import available

if TYPE_CHECKING:
    from benchmark.running.runner import Run


def print_forecast(requests: Sequence[Request], execution: Execution, past: Sequence[Path], quiet: bool) -> None:
    """Print every run of ``requests``: whether its record is there, and else the time that past records predict.

    Args:
        requests: as for ``sweep.run``, which raises as this does.
        execution: its workers share the time.
        past: folders of results, which need not exist.
        quiet: no progress.
    """
    from benchmark.running.sweep import Sweep

    known = [record for folder in past if (folder / "records").is_dir() for record in files.read_all(folder)]
    rows, trainings, total, unknown = [], 0, 0.0, 0
    with Reporter(quiet) as reporter:
        sweep = Sweep(requests, reporter, Execution(workers=1), dry=True)
        for number, jobs in enumerate(sweep.jobs):
            for seed in jobs.request.seeds:
                runs = {run.method: run for run in jobs.of_seed(seed)}
                for group in jobs.groups():
                    missing = [name for name in group if not sweep.is_there(number, runs[name])]
                    times = {name: predicted(known, runs[name]) for name in missing}
                    told = [time for time in times.values() if time is not None]
                    total += max(told, default=0.0)  # one training serves all of the group
                    trainings += bool(missing)
                    unknown += bool(missing) and not told
                    rows += [
                        (jobs.request.scenario, one_line(name), str(seed), *_state(name in missing, times.get(name)))
                        for name in group
                    ]
    out = console()
    print_rows(out, "runs", ("Scenario", "Method", "Seed", "Record", "Time"), rows, left=2)
    workers = execution.workers or available()
    to_run = sum(row[3] == "missing" for row in rows)
    wall = duration(total / max(1, min(workers, trainings)))
    line = f"{to_run} of {len(rows)} to run: about {wall} with {workers} workers"
    out.print(f"{line}, and {unknown} of unknown length" if unknown else line, markup=False, highlight=False)


def predicted(past: Sequence[Record], run: Run) -> float | None:
    """Seconds of a run: the median of those of its method, scenario and architecture, by their steps; None without."""
    alike, times = (run.stream.name, run.method, run.base_info.model, "complete"), []
    for record in past:
        if (record.scenario.name, record.method.name, record.base.model, record.status) == alike:
            taken = record.method.settings.get("steps") or 0
            times.append(record.seconds * (run.steps / taken if run.steps and taken else 1.0))
    return median(times) if times else None


def _state(missing: bool, time: float | None) -> tuple[str, str]:
    return ("missing" if missing else "there"), (duration(time) if time is not None else "?" if missing else "")
