"""Curves of a run for TensorBoard, written where its models are scored: no step waits for the device or the disk."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from benchmark.running.selection import Selection
from methods.strategy import RoundStrategy

PER_CLASS = 50_000  # values of a round's constraints, and as many of its multipliers; with more, of fewer steps

Curve = tuple[str, Sequence[int], Sequence[float]]  # name, steps, a value for each


class RoundLog(SupervisedPlugin):
    """Writes the curves of a round into a folder of its own; the round is what it would be without.

    * ``loss`` and ``learning rate`` of every step;
    * ``constraint/CLASS``, the violation h_k, and ``multiplier/CLASS``, what the penalty makes of it, of methods with a
      constraint for each protected class;
    * ``validation/CLASS``, the accuracy in [0, 1], and ``DevSafety/validation`` at each point along the training, or
      ``candidates/CLASS`` and ``DevSafety/candidates`` of the models proposed after it, numbered as in the record.

    A round that is resumed goes on in a second file; what the first one holds of later steps no longer counts.

    Args:
        folder: of the round, made where it is missing.
        selection: of the round; it comes before this plugin.
    """

    def __init__(self, folder: Path, selection: Selection) -> None:
        super().__init__()
        self.folder, self.selection = folder, selection
        self.protected = [name for name in selection.classes if name in selection.round.protected]
        self.rates: list[float] = []
        self.steps = self.points = 0  # written so far
        self._writer: SummaryWriter | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the open file, which is of one process."""
        return vars(self) | {"_writer": None}

    def before_update(self, strategy: RoundStrategy, **kwargs: Any) -> None:
        """Note the learning rate, which is a number on the host."""
        self.rates.append(float(strategy.optimizer.param_groups[0]["lr"]))

    def after_training_iteration(self, strategy: RoundStrategy, **kwargs: Any) -> None:
        """Write what is new, where the selection has waited for the device anyway."""
        if len(strategy.losses) in self.selection.points:
            self._write(strategy)

    def after_training_exp(self, strategy: RoundStrategy, **kwargs: Any) -> None:
        """Write the rest."""
        self._write(strategy).close()
        self._writer = None

    def _write(self, strategy: RoundStrategy) -> SummaryWriter:
        if self._writer is None:
            self._writer = SummaryWriter(str(self.folder), purge_step=self.steps + 1)
        for name, steps, values in (*self._of_steps(strategy), *self._of_points()):
            for step, value in zip(steps, values, strict=True):
                self._writer.add_scalar(name, value, step)
        self._writer.flush()
        self.steps, self.points = len(strategy.losses), len(self.selection.checkpoints)
        return self._writer

    def _of_steps(self, strategy: RoundStrategy) -> Iterator[Curve]:
        """What there is of every step."""
        steps = range(self.steps + 1, len(strategy.losses) + 1)
        if not steps:
            return
        yield "loss", steps, torch.stack(strategy.losses[self.steps :]).tolist()
        yield "learning rate", steps, self.rates[self.steps :]
        every = math.ceil(strategy.settings.steps * len(self.protected) / PER_CLASS)
        some = [step for step in steps if step % every == 0]
        if strategy.violations and some:
            violations = torch.stack([strategy.violations[step - 1] for step in some])  # (steps, K)
            yield from self._of_classes("constraint", some, violations)
            if hasattr(strategy, "multipliers"):
                yield from self._of_classes("multiplier", some, strategy.multipliers(some))

    def _of_classes(self, what: str, steps: Sequence[int], values: Tensor) -> Iterator[Curve]:
        for name, column in zip(self.protected, values.T.tolist(), strict=True):
            yield f"{what}/{name}", steps, column

    def _of_points(self) -> Iterator[Curve]:
        """What was measured of each model that was scored."""
        scored = list(zip(self.selection.checkpoints, self.selection.counts, strict=True))
        for number, (point, counts) in list(enumerate(scored, 1))[self.points :]:
            kind, step = ("candidates", number) if point.candidate else ("validation", point.step)
            yield f"DevSafety/{kind}", [step], [point.devsafety]
            for name, own in counts.items():
                yield f"{kind}/{name}", [step], [own.new_accuracy]
