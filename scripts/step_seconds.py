"""How long a training step takes here with a model of open_clip, such as ``--model MobileCLIP2-S0``.

Weights are random and images are noise, so nothing is downloaded; a step takes as long as with real ones.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import torch

import methods
from benchmark.running.memory import kept_memory
from benchmark.running.request import validated
from methods.checkpoints import create_classifier
from scenarios import mock

METHODS = ("finetune", "mds")


class Clock:
    """An Avalanche plugin that notes when each step ends."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        if strategy.device.type == "cuda":
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())


def seconds_per_step(model: str, method: str, steps: int, batch_size: int, device: str) -> float:
    """The median over the steps of a round but its first."""
    torch.manual_seed(0)
    classifier = create_classifier(mock.one_round().prompts, model)
    given = mock.one_round(side=classifier.image_size).experiences(0)
    strategy_class, clock = methods.load(method), Clock()
    settings = validated(strategy_class.SETTINGS, {"steps": steps, "batch_size": batch_size}, method)
    strategy = strategy_class(model=classifier, settings=settings, device=device, plugins=[clock])
    strategy.protect(given.protected)
    with kept_memory():  # as in runs
        strategy.train(given.train, eval_streams=[])
    return median(after - before for before, after in zip(clock.ends, clock.ends[1:], strict=False))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="open_clip architecture")
    parser.add_argument("--steps", type=int, default=4, help="timed are all but the first")
    parser.add_argument("--batch-size", type=int, default=96, help="images per step, target and protected together")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    asked = parser.parse_args(arguments)
    if asked.steps < 2:
        parser.error("--steps must be 2 or more, as the first is not timed")
    if asked.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: there is no CUDA device here")
    for method in METHODS:
        try:
            seconds = seconds_per_step(asked.model, method, asked.steps, asked.batch_size, asked.device)
        except ValueError as error:
            parser.error(str(error))
        print(f"{asked.model}, {method}: {seconds:.3g} s per step of {asked.batch_size}", flush=True)


if __name__ == "__main__":
    main()
