"""Replay: protected images of the step are trained on together with the target's."""

from __future__ import annotations

from typing import Any, ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from methods.old_model import OldOutputs
from methods.strategy import RoundStrategy, Settings


class ReplaySettings(Settings):
    """Hyper-parameters of replay."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = Settings.GRID | {"target_share": (0.25, 0.5, 0.75)}

    tau: float = Field(0.05, gt=0, description="temperature of the cross-entropy")
    target_share: float = Field(0.5, gt=0, lt=1, description="share of a batch that shows the target; published: half")


class DERppSettings(ReplaySettings):
    """Hyper-parameters of DER++; the authors search alpha and beta per data set, mostly in 0.1 to 0.5 and 0.5 to 1."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = Settings.GRID | {"alpha": (0.1, 0.2, 0.5), "beta": (0.5, 1.0)}

    alpha: float = Field(0.1, ge=0, description="weight of the distance to the old model's logits")
    beta: float = Field(0.5, ge=0, description="weight of the cross-entropy on protected images")


class Replay(RoundStrategy):
    """Experience replay with tiny episodic memories (arXiv 1902.10486, algorithm 1).

    The loss is the mean cross-entropy over the union of target and replayed images, as published, so a step's target
    share is also the target's weight. Avalanche's ``ReplayPlugin`` has the same loss but puts a loader of its own in
    place of the strategy's: it counts epochs, not steps, adds the replayed images to a full batch of target images and
    draws them from the global random numbers. Here they are part of the batch, so the budget is every method's.

    The memory is the protected data, balanced over its classes: it needs no update rule such as reservoir sampling.
    """

    SETTINGS = ReplaySettings
    settings: ReplaySettings

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy over the batch."""
        return F.cross_entropy(logits * self.temperature / self.settings.tau, labels)


class DERpp(Replay):
    """Dark experience replay with labels, DER++ (arXiv 2004.07211, equation 6).

    L = CE(target) + alpha MSE(logits, old logits) + beta CE(protected), each a mean over its images. All terms work on
    the same logits, similarity / tau. Differences from the paper and its code, made knowingly:

    * Both protected terms see the step's protected images; the paper draws two batches from its buffer. Avalanche's
      ``DER`` draws one, too.
    * The remembered logits are those of the model before the round, on the very views that the step shows. The paper
      keeps those met along the training of earlier tasks.
    * The squared error is averaged over the classes, as in the authors' code; equation 6 writes the sum.

    Avalanche's ``DER`` replaces the whole training loop to draw from a buffer and a loader of its own, from the global
    random numbers and on top of a full batch of target images, and it replays nothing before its second experience.
    """

    SETTINGS = DERppSettings
    settings: DERppSettings

    def prepare_round(self) -> None:
        """Keep the old model's logits."""
        self.old: OldOutputs | None = OldOutputs(self, protected=True)

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Equation 6."""
        assert self.old is not None
        s, targets = self.settings, len(self.batches.target_rows)
        logits = logits * self.temperature / s.tau
        target = F.cross_entropy(logits[:targets], labels[:targets])
        distance = F.mse_loss(logits[targets:], self.old.of_step() / s.tau)
        protected = F.cross_entropy(logits[targets:], labels[targets:])
        return target + s.alpha * distance + s.beta * protected

    def _after_training_exp(self, **kwargs: Any) -> None:
        super()._after_training_exp(**kwargs)
        self.old = None  # frees the old model


__all__ = ["DERpp", "DERppSettings", "Replay", "ReplaySettings"]
