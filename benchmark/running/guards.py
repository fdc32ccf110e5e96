"""Guards that watch a method while it is tried: whose batches it takes, which images it reads, and from which line."""

from __future__ import annotations

import random
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from avalanche.core import SupervisedPlugin

from benchmark.running.selection import Selection
from methods.batches import StepBatches
from methods.strategy import RoundStrategy
from scenarios.stream import LabelledImages

HERE = Path(__file__).parent  # frames in it say nothing of the method


class Watch(SupervisedPlugin):
    """Notes how many images each step shows, and whose batches they are."""

    supports_distributed = False

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.own_batches = True

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self.sizes.append(len(strategy.mb_x))
        self.own_batches &= isinstance(strategy.batches, StepBatches)


class Guard:
    """Notes which guarded images are read, and from which line of the method."""

    def __init__(self, strategy: type[RoundStrategy]) -> None:
        self.strategy, self.on = strategy, False
        self.seen: list[str] = []

    def note(self, split: str) -> None:
        if self.on:
            self.seen.append(f"{split} data{place(traceback.extract_stack(), self.strategy)}")

    @contextmanager
    def watching(self, on: bool) -> Iterator[None]:
        before, self.on = self.on, on
        try:
            yield
        finally:
            self.on = before


class Guarded(LabelledImages):
    """Labelled images that tell their guard when they are read."""

    def __init__(self, data: LabelledImages, split: str, guard: Guard) -> None:
        self._split, self._guard = split, guard
        super().__init__(data.images, data.labels)

    def __getattribute__(self, name: str) -> Any:
        if name in ("images", "labels", "targets"):
            self._guard.note(self._split)
        return super().__getattribute__(name)


class GuardedSelection(Selection):
    """The runner's selection, which alone may read validation images."""

    guard: Guard

    def _score(self, strategy: Any, candidate: str = "") -> tuple[float, float]:
        with self.guard.watching(False):
            return super()._score(strategy, candidate)


@contextmanager
def global_seeds(seed: int) -> Iterator[None]:
    """Seed the global random numbers of Python, NumPy and torch, and put them back afterwards."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def place(frames: Iterable[traceback.FrameSummary], strategy: type[RoundStrategy]) -> str:
    """`` (file:line)`` of the innermost frame in the method's own file; of the innermost one where none is there."""
    inwards = [frame for frame in frames if Path(frame.filename).parent != HERE]
    own = [frame for frame in inwards if frame.filename in _files(strategy)]
    return "".join(f" ({Path(frame.filename).name}:{frame.lineno})" for frame in (own or inwards)[-1:])


def _files(strategy: type[RoundStrategy]) -> set[str]:
    """Where the functions of the class are written, or of its nearest base that has any."""
    for cls in strategy.__mro__:
        functions = [getattr(value, "fget", value) for value in vars(cls).values()]
        if files := {f.__code__.co_filename for f in functions if hasattr(f, "__code__")}:
            return files
    return set()
