"""What a command would run, and how long that takes by the records at hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmark.output.progress import Reporter
from benchmark.output.tables import console, one_line, print_rows
from benchmark.records import files
from benchmark.records.schema import Record
from benchmark.running.request import Execution, Request
from scenarios.cores import available


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
    rows, total, unknown = [], 0.0, 0
    with Reporter(quiet) as reporter:
        sweep = Sweep(requests, reporter, Execution(workers=1))
        for number, jobs in enumerate(sweep.jobs):
            for seed in jobs.request.seeds:
                runs = {run.method: run for run in jobs.of_seed(seed)}
                for group in jobs.groups():
                    missing = [name for name in group if not sweep.is_there(number, runs[name])]
                    times = {name: predicted(known, jobs.request.scenario, name, runs[name].steps) for name in missing}
                    told = [time for time in times.values() if time is not None]
                    total += max(told, default=0.0)  # one training serves all of the group
                    unknown += bool(times) and not told
                    rows += [
                        (jobs.request.scenario, one_line(name), str(seed), *_state(name in missing, times.get(name)))
                        for name in group
                    ]
    out = console()
    print_rows(out, "runs", ("Scenario", "Method", "Seed", "Record", "Time"), rows, left=2)
    workers = execution.workers or available()
    to_run = sum(row[3] == "missing" for row in rows)
    wall = _duration(total / min(workers, max(1, to_run)))
    line = f"{to_run} of {len(rows)} to run: about {wall} with {workers} workers"
    out.print(f"{line}, and {unknown} of unknown length" if unknown else line, markup=False, highlight=False)


def predicted(past: Sequence[Record], scenario: str, method: str, steps: int) -> float | None:
    """Seconds of a run: the median of those of this method and scenario, by their steps; None without any."""
    times = []
    for record in past:
        if (record.scenario.name, record.method.name, record.status) == (scenario, method, "complete"):
            taken = record.method.settings.get("steps") or 0
            times.append(record.seconds * (steps / taken if steps and taken else 1.0))
    return median(times) if times else None


def _state(missing: bool, time: float | None) -> tuple[str, str]:
    return ("missing" if missing else "there"), (_duration(time) if time is not None else "?" if missing else "")


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6_000 else f"{seconds / 3_600:.1f} h"
