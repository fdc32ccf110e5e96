"""Replay: protected images of the step are trained on together with the target's."""

from __future__ import annotations

from typing import Any, ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from methods.nonregression import kl_distance
from methods.old_model import OldOutputs
from methods.strategy import RoundStrategy, Settings


class ReplaySettings(Settings):
    """Hyper-parameters of replay."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = Settings.GRID | {"target_share": (0.25, 0.5, 0.75)}

    tau: float = Field(0.05, gt=0, description="temperature of the cross-entropy")
    target_share: float = Field(0.5, gt=0, lt=1, description="share of a batch that shows the target; published: half")


class DERppSettings(ReplaySettings):
    """Hyper-parameters of DER++; the authors search alpha and beta per data set, mostly in 0.1 to 0.5 and 0.5 to 1.

    The grid goes on to greater ones: on similarity / tau those keep little of the old model.
    """

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = Settings.GRID | {
        "alpha": (0.1, 0.5, 2.0, 5.0),
        "beta": (0.5, 1.0, 2.0),
    }

    alpha: float = Field(0.1, ge=0, description="weight of the distance to the old model's logits")
    beta: float = Field(0.5, ge=0, description="weight of the cross-entropy on protected images")


class LwFProtectedSettings(ReplaySettings):
    """Hyper-parameters of LwF on protected images."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = Settings.GRID | {"strength": (0.3, 1.0, 3.0, 10.0)}

    strength: float = Field(1.0, ge=0, description="lambda_o: weight of the distillation; 1 in the paper")
    distillation_temperature: float = Field(2.0, gt=0, description="T, which divides the logits of both models")


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


class Remembering(Replay):
    """Replay beside the old model's outputs on the step's protected images."""

    def prepare_round(self) -> None:
        """Keep the old model's outputs."""
        self.old: OldOutputs | None = OldOutputs(self, protected=True)

    def old_logits(self) -> Tensor:
        """The old model's logits on the step's protected images, similarity / tau."""
        assert self.old is not None
        return self.old.of_step() / self.settings.tau

    def _after_training_exp(self, **kwargs: Any) -> None:
        super()._after_training_exp(**kwargs)
        self.old = None  # frees the old model


class DERpp(Remembering):
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

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Equation 6."""
        s, targets = self.settings, len(self.batches.target_rows)
        logits = logits * self.temperature / s.tau
        target = F.cross_entropy(logits[:targets], labels[:targets])
        distance = F.mse_loss(logits[targets:], self.old_logits())
        protected = F.cross_entropy(logits[targets:], labels[targets:])
        return target + s.alpha * distance + s.beta * protected


class LwFProtected(Remembering):
    """The distillation of LwF (arXiv 1606.09282) on replayed protected images in place of the target's.

    L = CE(target) + strength T^2 KL(old || new), the divergence being that of softmax(logits / T) over all classes, a
    mean over the step's protected images. All terms work on the same logits, similarity / tau. No label of a protected
    image is used: what the old model said of it is kept, whether right or wrong.

    * ``lwf`` distils on target images, without the target's class, and without the factor T^2. Here the class stays in,
      for the new model is to give it no more of a protected image than the old one did.
    * ``der++`` asks for the logits themselves by their squared error, so also for their sum, which no probability
      depends on, and it trains on the labels. For a large T the divergence is half that error without the sum.
    * ``pct`` distils on target images as well, weighs by where the old model was right, and trains on the labels.

    T^2 keeps the gradient's size whatever T is (arXiv 1503.02531, section 2).
    """

    SETTINGS = LwFProtectedSettings
    settings: LwFProtectedSettings

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy on the target, distillation on the rest."""
        s, targets = self.settings, len(self.batches.target_rows)
        logits = logits * self.temperature / s.tau
        distance = kl_distance(logits[targets:], self.old_logits(), s.distillation_temperature)
        return F.cross_entropy(logits[:targets], labels[:targets]) + s.strength * distance.mean()


__all__ = ["DERpp", "DERppSettings", "LwFProtected", "LwFProtectedSettings", "Remembering", "Replay", "ReplaySettings"]
