"""Every method on a real stream for a few steps, and everything that methods promise, by name."""

from __future__ import annotations

from functools import cache

import pytest
import torch

import methods
import scenarios
from benchmark.records.files import recompute
from benchmark.running.bases import Bases
from benchmark.running.request import BaseChoice
from benchmark.running.runner import Run
from benchmark.running.trial import run_trial
from tests.methods.developing import RUNNABLE

SMALL = {"steps": 3, "batch_size": 48}
SIZES = {"target_images": 24, "protected_per_class": 4, "val_per_class": 4, "test_per_class": 4}


@cache
def stream_and_base(seed: int):
    """A small places-mini of 20 classes, with its shipped base."""
    stream = scenarios.build("places-mini", seed, **SIZES)
    return stream, *Bases().load(stream, BaseChoice(), "cpu", lambda *_: None)


def run(name: str, seed: int, device: str = "cpu"):
    """Record and predictions of a few steps."""
    strategy = methods.load(name)
    settings = strategy.SETTINGS(**strategy.SETTINGS.quick() | (SMALL if strategy.trains else {}))
    stream, base, info = stream_and_base(seed)
    return Run(stream, base, info, name, strategy, settings, device).execute()


@pytest.mark.parametrize("name", RUNNABLE)
def test_it_develops_twenty_classes(name):
    record, predictions = run(name, 0)
    assert record.status == "complete" and recompute(record, predictions) == []
    steps = SMALL["steps"] if methods.load(name).trains else 0
    assert len(record.rounds[0].losses) == steps and all(map(torch.isfinite, torch.tensor(record.rounds[0].losses)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", RUNNABLE)
def test_it_develops_on_a_gpu(name):
    on_gpu, on_cpu = (run(name, 0, device)[0] for device in ("cuda", "cpu"))
    assert on_gpu.status == "complete"
    if name == "mds-l1":  # at first h = 0 up to rounding, which decides whether a class has any weight
        return
    assert on_gpu.rounds[0].losses[:1] == pytest.approx(on_cpu.rounds[0].losses[:1], rel=0.05, abs=0.02)  # bf16


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNNABLE)
def test_it_passes_the_trial(name):
    lines: list[str] = []
    assert run_trial(methods.load(name), name, lines.append), "\n".join(lines)
