"""Regression checks: run the cells of a suite again and compare their outcomes with its baseline."""

from __future__ import annotations

import hashlib
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark.check import baselines, comparison
from benchmark.check.baselines import Cell, Outcome, RoundOutcome, Suite
from benchmark.check.rules import selection_faults
from benchmark.output import junit
from benchmark.output.files import check_file
from benchmark.output.progress import Reporter
from benchmark.output.tables import console, one_line, print_rows
from benchmark.records.environment import Platform
from benchmark.records.files import COLUMNS, recompute
from benchmark.records.schema import Record
from benchmark.running.jobs import Jobs
from benchmark.running.request import BaseChoice, Request
from benchmark.running.threads import torch_threads
from scenarios.wording import some

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.check.yardstick import Yardstick
    from benchmark.running.runner import Run

REPEATS = 2  # further measurements of a time that looks too long
SHOWN = 4  # differences of a cell in the table; JUnit has them all


@dataclass(frozen=True)
class Measured:
    """The runs of a cell, their time in yardsticks, and the faults that do not depend on the baseline."""

    outcomes: tuple[Outcome, ...]
    faults: tuple[str, ...]
    time: float
    seconds: float


def run_check(name: str, folder: Path, report: Path | None = None, update: bool = False, quiet: bool = False) -> bool:
    """Check a suite, print one line per cell, and say whether nothing has got worse.

    Args:
        name: of the suite.
        folder: where its file is.
        report: JUnit XML file to write.
        update: replace the baseline by the outcomes, and print how they differ.
        quiet: no progress.

    Raises:
        ValueError: the suite, a name, setting or option in it, or the folder of ``report`` is not usable; or the
            baseline is to be replaced by runs that fail.
    """
    path = baselines.suite_path(folder, name)
    suite = baselines.read(path)
    unknown = [cell.name for cell in suite.cells if not cell.known]
    if not update and (unknown or suite.platform is None):
        raise ValueError(
            f"{path}: {unknown[0] if unknown else 'it'} has no outcomes yet: run check --suite {name} --update"
        )
    if report is not None:
        if update:
            raise ValueError("--junit is for a check, not for --update: give one")
        check_file("--junit", report, inputs=[path])
    if update:
        check_file("--baselines", path)
    measured, platform = _measure_all(suite, path, quiet)
    if update:
        _update(suite, measured, platform, path)
        return True
    exact = platform == suite.platform
    found = [_regressions(suite, cell, now, exact) for cell, now in zip(suite.cells, measured, strict=True)]
    _print(f"check {name}: {_way(suite, platform)}", suite, measured, found, "regression")
    if report is not None:
        _write_junit(report, name, suite, measured, found)
    return not any(found)


def _regressions(suite: Suite, cell: Cell, now: Measured, exact: bool) -> list[str]:
    """Everything that is not as it should be."""
    lines = [*now.faults]
    if len(now.outcomes) == len(cell.seeds):
        lines += comparison.indistinct(cell, now.outcomes)
        lines += _exact(cell, now) if exact else comparison.coarse_differences(suite, cell, now.outcomes)
        lines += filter(None, [comparison.slower(cell, now.time, exact)])
    return lines


def _exact(cell: Cell, now: Measured) -> list[str]:
    pairs = zip(cell.outcomes, now.outcomes, strict=True)
    return [f"seed {got.seed}: {line}" for expected, got in pairs for line in comparison.differences(expected, got)]


def _update(suite: Suite, measured: list[Measured], platform: Platform, path: Path) -> None:
    """Replace the baseline, and print the differences from the old one."""
    for cell, now in zip(suite.cells, measured, strict=True):
        if now.faults:
            raise ValueError(f"{path} stays as it was: {cell.name}: {now.faults[0]}")
    cells = [
        cell.model_copy(update={"outcomes": now.outcomes, "time": round(now.time, 3)})
        for cell, now in zip(suite.cells, measured, strict=True)
    ]
    baselines.write(suite.model_copy(update={"platform": platform, "cells": tuple(cells)}), path)
    changes = [
        _exact(cell, now) if cell.known else ["no outcomes before"]
        for cell, now in zip(suite.cells, measured, strict=True)
    ]
    _print(f"wrote {path}", suite, measured, changes, "changed")


# Running


def _measure_all(suite: Suite, path: Path, quiet: bool) -> tuple[list[Measured], Platform]:
    """The cells' outcomes, one after the other, and the platform they were made on."""
    with tempfile.TemporaryDirectory() as scratch, Reporter(quiet) as reporter:
        jobs: list[Jobs] = []
        for number, cell in enumerate(suite.cells, 1):  # a bad name is refused at once; bases are shared
            try:
                jobs.append(Jobs(_request(cell, Path(scratch)), reporter, jobs[0].loaded if jobs else None))
            except ValueError as error:
                raise ValueError(f"{path}: cell {number}: {error}") from None

        # only now, as these take seconds to import
        from benchmark.check.yardstick import Yardstick
        from benchmark.records.environment import this_platform

        with torch_threads(suite.threads):  # which decide the last bits of sums
            yardstick, measured = Yardstick(), []
            for number, (cell, of_cell) in enumerate(zip(suite.cells, jobs, strict=True)):
                reporter.say(f"cell {number + 1} of {len(jobs)}: {one_line(cell.name)}")
                measured.append(_measure(cell, of_cell, yardstick))
            return measured, this_platform()


def _request(cell: Cell, scratch: Path) -> Request:
    """Settings are those of the cell and the code's defaults, so that tuning a method is no regression of it."""
    return Request(
        method=cell.method,
        scenario=cell.scenario,
        seeds=cell.seeds,
        options=cell.options,
        settings=cell.settings,
        device="cpu",
        results=scratch,
        tuned=False,
        base=BaseChoice(file=Path(cell.base) if cell.base is not None else None),
    )


def _measure(cell: Cell, jobs: Jobs, yardstick: Yardstick) -> Measured:
    """Run a cell's seeds; an exception in a run is a fault of the cell. Its time is the best of its runs."""
    outcomes: list[Outcome] = []
    faults: list[str] = []
    times: list[float] = []
    seconds = 0.0
    for seed in cell.seeds:
        for run in jobs.of_seed(seed):
            try:
                (record, predictions), yardsticks = _timed(run, yardstick)
                times.append(yardsticks)
                seconds += record.seconds
                outcomes.append(_outcome(record, predictions))
                faults += [f"seed {seed}: {line}" for line in _faults(record, predictions)]
            except Exception as error:  # whatever a method raises
                faults.append(f"seed {seed}: {type(error).__name__}: {one_line(str(error))}")
    usual = min(comparison.SLOWER.values()) * (cell.time or math.inf)
    for _ in range(REPEATS):  # a machine can be busy for a while
        if not faults and min(times) > usual:
            times.append(_timed(run, yardstick)[1])
    return Measured(tuple(outcomes), tuple(faults), min(times, default=0.0), seconds)


def _timed(run: Run, yardstick: Yardstick) -> tuple[tuple[Record, pd.DataFrame], float]:
    """A run, and its wall time in yardsticks laid before and after it."""
    before, start = yardstick.seconds(), time.perf_counter()
    result = run.execute()
    seconds = time.perf_counter() - start
    return result, 2 * seconds / (before + yardstick.seconds())


def _faults(record: Record, predictions: pd.DataFrame) -> Iterator[str]:
    yield from recompute(record, predictions)
    for result in record.rounds:
        yield from selection_faults(result)


def _outcome(record: Record, predictions: pd.DataFrame) -> Outcome:
    losses = np.array([loss for result in record.rounds for loss in result.losses])
    table = predictions[COLUMNS].to_csv(index=False, lineterminator="\n")
    return Outcome(
        seed=record.seed,
        run_id=record.run_id,
        status=record.status,
        rounds=tuple(
            RoundOutcome(
                target=result.target,
                test={name: entry.counts for name, entry in result.test.items()},
                val={name: entry.counts for name, entry in result.val.items()},
                selected_step=result.selected_step,
                selected=result.selected,
                first_losses=result.losses[: baselines.EARLY],
                last_loss=next(reversed(result.losses), None),
            )
            for result in record.rounds
        ),
        digest=hashlib.sha256(table.encode() + losses.tobytes()).hexdigest()[:16],
    )


# Telling


def _way(suite: Suite, here: Platform) -> str:
    """How this check compares, and why."""
    assert suite.platform is not None
    then, now = suite.platform.model_dump(), here.model_dump()
    other = [f"{key} {then[key]} → {now[key]}" for key in then if then[key] != now[key]]
    return f"within tolerances, on another platform ({', '.join(other)})" if other else "exactly, on the same platform"


def _print(title: str, suite: Suite, measured: list[Measured], found: list[list[str]], bad: str) -> None:
    def row(cell: Cell, now: Measured, lines: list[str]) -> tuple[str, ...]:
        before = "" if cell.time is None else f"{cell.time:.2f} → "
        told = some(list(map(one_line, lines)), SHOWN, between="\n")
        return one_line(cell.name), bad if lines else "ok", told, f"{before}{now.time:.2f}"

    rows = [row(*entry) for entry in zip(suite.cells, measured, found, strict=True)]
    print_rows(console(), title, ("Cell", "Result", "Differs: expected → got", "Time"), rows, left=3)


def _write_junit(report: Path, name: str, suite: Suite, measured: list[Measured], found: list[list[str]]) -> None:
    cases = [
        junit.Case(cell.name, failure="; ".join(lines), seconds=now.seconds)
        for cell, now, lines in zip(suite.cells, measured, found, strict=True)
    ]
    junit.write(report, f"check {name}", cases)
