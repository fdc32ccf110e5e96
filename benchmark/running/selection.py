"""Which point of a training run is kept: one rule for every method, on validation images alone."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from torch import nn

from benchmark.metrics import preservation
from benchmark.metrics.counts import Counts, count_pairs
from benchmark.records.schema import Checkpoint
from benchmark.running.scores import Scores
from methods.clip import predict_logits
from methods.objectives import all_finite
from methods.strategy import RoundStrategy
from scenarios.stream import LabelledImages, Round

EVALUATIONS = 4  # evenly spaced over the steps of a round, the last one after the last step


class Selection(SupervisedPlugin):
    """Scores the model on validation at evenly spaced steps and leaves the best one's weights in it.

    A strategy that proposes models after the round has those scored in place of the points along its training.

    Best is the greatest ``preservation.merit``; ties go to the earliest.

    Args:
        images: validation images of the round.
        old: the old model's predictions on them, (N,).
        round_: target and protected classes.
        classes: of the stream.
        steps: of the round.
    """

    supports_distributed = False

    def __init__(
        self,
        images: LabelledImages,
        old: torch.Tensor,
        round_: Round,
        classes: tuple[str, ...],
        steps: int,
    ) -> None:
        super().__init__()
        self.images, self.old, self.round, self.classes = images, old, round_, classes
        self.points = {math.ceil(steps * k / EVALUATIONS) for k in range(1, EVALUATIONS + 1)} if steps else set()
        self.checkpoints: list[Checkpoint] = []
        self.counts: list[dict[str, Counts]] = []  # behind each of them, by class; empty where nothing was finite
        self.selected_step = 0
        self.selected = ""  # name of the proposed model that was kept, if one was
        self.predictions = old  # of the selected model, (N,)
        self.diverged_at: int | None = None
        self._step = 0
        self.scores: Scores | None = None  # shared with other selections on the same images
        self._best: tuple[float, float] | None = None
        self._weights: dict[str, torch.Tensor] = {}

    def after_training_iteration(self, strategy: RoundStrategy, **kwargs: Any) -> None:
        """Count the step; at an evaluation point, score, or where models will follow see that the loss is finite."""
        self._step += 1
        due = self._step in self.points and self.diverged_at is None
        if due and not (strategy.proposes and all_finite(strategy.losses[-1])):
            self._score(strategy)

    def after_training_exp(self, strategy: RoundStrategy, **kwargs: Any) -> None:
        """Score the models that the strategy proposes, if any, and go back to the best."""
        if strategy.proposes and self.diverged_at is None:
            strategy.propose(lambda name: self._score(strategy, name))
            if not self._weights:
                self.diverged_at = self._step
        self.load(strategy.model)

    def load(self, model: nn.Module) -> None:
        """Put the best weights into ``model``; nothing where the training diverged."""
        if self._weights:
            model.load_state_dict(self._weights)

    def _score(self, strategy: RoundStrategy, candidate: str = "") -> tuple[float, float]:
        """Score the model as it is now; its merit, the greater the better."""
        new, finite = self._answers(strategy.model)
        safety = accuracy = math.nan
        counts: dict[str, Counts] = {}
        if finite := finite and all(map(all_finite, strategy.losses[-1:])):
            counts = count_pairs(self.images.labels.numpy(), self.old.numpy(), new.numpy(), self.classes)
            safety = preservation.devsafety(counts, self.round.protected)
            accuracy = counts[self.round.target].new_accuracy
        point = Checkpoint(step=self._step, candidate=candidate, devsafety=safety, target_accuracy=accuracy)
        self.checkpoints.append(point)
        self.counts.append(counts)
        if finite and (self._best is None or point.merit > self._best):
            self._best, self.selected_step, self.selected, self.predictions = point.merit, self._step, candidate, new
            self._weights = copy.deepcopy(strategy.model.state_dict())
        elif not finite and not candidate:
            self.diverged_at = self._step
        return point.merit

    def _answers(self, model: nn.Module) -> tuple[torch.Tensor, bool]:
        """Predictions (N,), and whether all logits behind them are finite."""

        def answers(model: nn.Module) -> tuple[torch.Tensor, bool]:
            logits = predict_logits(model, self.images.images)
            return logits.argmax(dim=1), all_finite(logits)

        return answers(model) if self.scores is None else self.scores.of(model, "validation", answers)
