"""Costs of methods beside plain fine-tuning: times measured side by side, so that a slow machine is no excuse."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

import methods
from benchmark.output.files import replace_file
from benchmark.output.progress import Reporter
from benchmark.running.development import develop_round
from benchmark.running.jobs import Jobs
from benchmark.running.request import Request
from benchmark.running.runner import Run

STEPS = 16  # of a timed round; the first two are left out
REPEATS = 3
REFERENCE = "finetune"


def measure_costs(scenario: str, device: str, out: Path) -> None:
    """Time all methods side by side and write the figures to ``out``."""
    request = Request(",".join(methods.run_as(name) for name in methods.METHODS), scenario, (0,), device=device)
    with Reporter() as reporter:
        runs = list(Jobs(request, reporter).of_seed(0))
        found = measure(runs, partial(reporter.report, "rounds timed"))
    replace_file(out, (json.dumps(found, indent=1) + "\n").encode())
    print(f"costs: {out}")


class _Clock:
    """An Avalanche plugin that notes when each step ends."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.ends: list[float] = []

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self.ends.append(_now(self.device))


def measure(runs: Sequence[Run], on_round: Callable[[int, int], None] = lambda done, total: None) -> dict[str, Any]:
    """Time one round of every run ``REPEATS`` times, in turn.

    Args:
        runs: of the same stream, ``REFERENCE`` among them; methods that do not train have no steps.
        on_round: called with (rounds timed, rounds in all).

    Returns:
        ``steps``: time of a step relative to that of ``REFERENCE``, both the median over repeats of medians over steps.
        ``rounds``: seconds a round takes beside its steps, median over repeats; validation is not included.
        ``reference_seconds``: a step of ``REFERENCE``.
    """
    steps: dict[str, list[float]] = {run.method: [] for run in runs}
    rest: dict[str, list[float]] = {run.method: [] for run in runs}
    for repeat in range(REPEATS):
        for number, run in enumerate(runs):
            step, other = _time(run)
            if step is not None:
                steps[run.method].append(step)
            rest[run.method].append(other)
            on_round(repeat * len(runs) + number + 1, REPEATS * len(runs))
    reference = median(steps[REFERENCE])
    return {
        "scenario": runs[0].stream.name,
        "device": torch.cuda.get_device_name() if runs[0].device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "reference_seconds": round(reference, 4),
        "steps": {name: round(median(times) / reference, 2) for name, times in steps.items() if times},
        "rounds": {name: round(median(times), 2) for name, times in rest.items()},
    }


def _time(run: Run) -> tuple[float | None, float]:
    """Seconds of a step, None where there are none, and of the rest of a round."""
    clock, steps = _Clock(run.device), STEPS if run.strategy.trains else 0
    settings = run.settings.model_copy(update={"steps": steps})
    model = copy.deepcopy(run.base).to(run.device)
    start = _now(run.device)
    access = methods.access(run.method)
    develop_round(run.strategy, model, run.base, run.stream, 0, settings, access, run.device, [clock])
    total = _now(run.device) - start
    if not clock.ends:
        return None, total
    step = median(after - before for before, after in zip(clock.ends[1:], clock.ends[2:], strict=False))
    return step, max(0.0, total - steps * step)


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
