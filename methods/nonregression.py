"""Training that avoids negative flips: images that the old model gets right and the new one wrong.

These methods distil where a model was right. Here they train on target and protected images together, cross-entropy and
distances alike on z = similarity / tau, so on cosines times 20 by default, the size of ordinary logits; on a plain
classifier ``tau`` is usually 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor

from methods.old_model import OldOutputs, frozen_similarity
from methods.strategy import RoundStrategy, Settings


class NonRegressionSettings(Settings):
    """Settings that the methods share."""

    tau: float = Field(0.05, gt=0, description="temperature of the cross-entropy and of the distilled logits")
    target_share: float = Field(0.25, gt=0, lt=1, description="share of a batch that shows the target")


class PCTSettings(NonRegressionSettings):
    """Hyper-parameters of PCT: those in common use with the KL divergence."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = Settings.GRID | {"alpha": (0.0, 1.0), "beta": (1.0, 5.0)}

    alpha: float = Field(1.0, ge=0, description="weight of the distance on every image")
    beta: float = Field(5.0, ge=0, description="further weight of it where the old model is right")
    distance: Literal["kl", "l2"] = Field("kl", description="KL divergence, or half the squared distance of the logits")
    temperature: float = Field(100.0, gt=0, description="T of the KL divergence, which is multiplied by its square")


class FineTunedFirstSettings(NonRegressionSettings):
    """Settings of methods that also distil a fine-tuned model."""

    first_share: float = Field(
        0.5, ge=0, lt=1, description="share of the steps that fine-tune first, without distances"
    )


class RCATSettings(FineTunedFirstSettings):
    """Hyper-parameters of RCAT; weights and their grid are the authors'."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = Settings.GRID | {
        "weights": ((0.75, 0.2), (0.7, 0.2), (0.5, 0.4), (0.3, 0.6))
    }

    weights: tuple[float, float] = Field(
        (0.5, 0.4), description="alpha, beta: of the distances to the fine-tuned and to the old model"
    )

    @field_validator("weights")
    @classmethod
    def _leave_room(cls, weights: tuple[float, float]) -> tuple[float, float]:
        if min(weights) < 0 or sum(weights) > 1:
            raise ValueError("weights must not be negative, nor exceed 1 together: cross-entropy has the rest")
        return weights


class MPTSettings(FineTunedFirstSettings):
    """Hyper-parameters of MPT; defaults and the biases' grid are the authors'."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = Settings.GRID | {"bias": (0.0, 1.0, 2.0, 4.0)}

    bias: float = Field(4.0, ge=0, description="b, added to the target's logit in the cross-entropy")
    alpha: float = Field(1.0, ge=0, description="weight of the distances on every image")
    beta: float = Field(5.0, ge=0, description="further weight of each where its model is right")
    temperature: float = Field(5.0, gt=0, description="T of the KL divergences")


class NonRegression(RoundStrategy):
    """Cross-entropy on target and protected images, beside the old model's outputs on both."""

    alters_images = False  # whether steps show other images than the batches hold

    def prepare_round(self) -> None:
        """Keep the old model's outputs."""
        self.old = OldOutputs(self, target=True, protected=True, altered=self.alters_images)

    def _after_training_exp(self, **kwargs: Any) -> None:
        super()._after_training_exp(**kwargs)
        del self.old


class PCT(NonRegression):
    """Positive-congruent training by focal distillation (arXiv 2011.09161).

    L = CE + mean_i (alpha + beta [old model right on i]) D_i, with D the divergence from the old to the new model. The
    paper's weight of the second term is part of alpha and beta. The authors' example weighs the two terms 0.1 and 0.9,
    so that it distils nine times as much beside the cross-entropy as the defaults here.

    The paper's new model is another network; here it starts as the old one, so every D is 0 at first. The old model is
    wrong on most target images, and alpha asks the new one to stay as wrong there: the grid has 0 beside the usual 1.
    """

    SETTINGS = PCTSettings
    settings: PCTSettings

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy + focal distillation."""
        s = self.settings
        new, old = logits * self.temperature / s.tau, self.old.of_step() / s.tau
        distance = kl_distance(new, old, s.temperature) if s.distance == "kl" else squared_distance(new, old).sum(dim=1)
        return F.cross_entropy(new, labels) + focal_distillation(distance, right(old, labels), s.alpha, s.beta)


class FineTunedFirst(NonRegression):
    """Fine-tunes in the first ``first_share`` of the steps; in the others this model is at hand beside the old one.

    Papers are given the fine-tuned model. Here the round makes it, so that both phases together cost the budget of any
    method. Weights, optimizer and learning rate go on across the phases. No point of the first phase is a candidate.
    """

    VERSION = 2
    settings: FineTunedFirstSettings
    tuned: Callable[[Tensor], Tensor] | None  # the model's similarities; None in the first phase

    @property
    def first_steps(self) -> int:
        """Those of the fine-tuning."""
        return int(self.settings.first_share * self.settings.steps)

    def prepare_round(self) -> None:
        """Keep the old model's outputs; nothing is fine-tuned yet."""
        super().prepare_round()
        self.tuned = None

    def _before_training_iteration(self, **kwargs: Any) -> None:
        super()._before_training_iteration(**kwargs)
        if len(self.losses) == self.first_steps:
            self.tuned = frozen_similarity(self.model)

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy in the first phase."""
        new, tau = logits * self.temperature / self.settings.tau, self.settings.tau
        if self.tuned is None:
            return F.cross_entropy(new, labels)
        return self.distilling_loss(new, self.old.of_step() / tau, self.tuned(self.mb_x) / tau, labels)

    def distilling_loss(self, new: Tensor, old: Tensor, tuned: Tensor, labels: Tensor) -> Tensor:
        """The loss of the other phase, of logits (B, C)."""
        raise NotImplementedError

    def _after_training_exp(self, **kwargs: Any) -> None:
        super()._after_training_exp(**kwargs)
        self.tuned = None


class RCAT(FineTunedFirst):
    """Robustness-congruent training (arXiv 2402.17390) on the images as training shows them, without an attack.

    L = (1 - alpha - beta) CE + alpha D(z, z_n) + beta D(z, z_o), each D averaged over the images that its model gets
    right: the old model o, and n, the new model as plain fine-tuning leaves it.

    Differences from the paper, made knowingly:

    * There is no adversary: congruence is asked on the training images themselves.
    * The paper is given a better model n. Here the first steps of the round make it, see ``FineTunedFirst``.
    * The authors choose by S-NFR, which counts images that either flip or lose their robustness; here all methods are
      chosen by the suite's one rule.
    """

    SETTINGS = RCATSettings
    settings: RCATSettings

    def distilling_loss(self, new: Tensor, old: Tensor, tuned: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy and the distances."""
        alpha, beta = self.settings.weights
        cross_entropy = F.cross_entropy(new, labels)
        return (
            (1 - alpha - beta) * cross_entropy
            + alpha * congruence(new, tuned, labels)
            + beta * congruence(new, old, labels)
        )


class MPT(FineTunedFirst):
    """Margin-preserving training (arXiv 2511.08322), with the KL divergence as its authors' code has it.

    L = CE(z + b [new class]) + FD(z, z_o) + FD(z, z_n), with FD = mean_i (alpha + beta [model right on i]) D_i, and D
    the KL divergence of softmax(z / T) from a model's: the old one's, o, and n's, which is trained by cross-entropy
    alone. The new class is the target. The bias b is in the training alone: without it, the other classes have wider
    margins. The old model has no new class, so the distance to it leaves that logit out.

    Differences from the paper, made knowingly:

    * Its model and n are trained from random weights, n to the end. Here both start from the old model, and the first
      steps of the round make n, see ``FineTunedFirst``.
    * Its old model has the old classes alone; here a classifier has a logit of the target before, which goes unused.
    """

    SETTINGS = MPTSettings
    settings: MPTSettings

    def prepare_round(self) -> None:
        """Look which class is new."""
        super().prepare_round()
        self.target = int(self.batches.target.labels[0])

    def distilling_loss(self, new: Tensor, old: Tensor, tuned: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy with the bias, and the distances without."""
        s, is_target = self.settings, torch.arange(new.shape[1], device=new.device) == self.target
        to_old = self.distance(new[:, ~is_target], old[:, ~is_target])
        old_right = right(old.masked_fill(is_target, -torch.inf), labels)
        return (
            F.cross_entropy(new + s.bias * is_target, labels)
            + focal_distillation(to_old, old_right, s.alpha, s.beta)
            + focal_distillation(self.distance(new, tuned), right(tuned, labels), s.alpha, s.beta)
        )

    def distance(self, new: Tensor, model: Tensor) -> Tensor:
        """KL(softmax(model / T), softmax(new / T)) of each image, (B,); as in the authors' code, not times T^2."""
        temperature = self.settings.temperature
        return kl_distance(new, model, temperature) / temperature**2


# Logits are (B, C), labels and distances (B,)


def right(logits: Tensor, labels: Tensor) -> Tensor:
    """Where the largest logit is the label's, (B,) booleans."""
    return logits.argmax(dim=1) == labels


def kl_distance(new: Tensor, old: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(old / T), softmax(new / T)) of each image, (B,), at least 0 up to rounding.

    For a large T it is half the variance over classes of new - old.
    """
    log_new, log_old = (F.log_softmax(logits / temperature, dim=1) for logits in (new, old))
    return F.kl_div(log_new, log_old, reduction="none", log_target=True).sum(dim=1) * temperature**2


def squared_distance(new: Tensor, old: Tensor) -> Tensor:
    """Half the squared difference of each logit, (B, C)."""
    return (new - old).square() / 2


def focal_distillation(distance: Tensor, focus: Tensor, alpha: float, beta: float) -> Tensor:
    """mean_i (alpha + beta focus_i) distance_i (arXiv 2011.09161), a scalar; focus (B,) booleans.

    Weights and distances are both (B,): weights of shape (B, 1) would multiply every distance by every weight.
    """
    return ((alpha + beta * focus.to(distance)) * distance).mean()


def congruence(new: Tensor, reference: Tensor, labels: Tensor) -> Tensor:
    """Mean distance to ``reference`` over the images that it gets right, a scalar; 0 where it gets none right.

    The distance of an image is half the mean squared difference of its logits (arXiv 2402.17390, as its authors'
    code has it).
    """
    mask = right(reference, labels)
    return (squared_distance(new, reference).mean(dim=1) * mask).sum() / mask.sum().clamp_min(1)


__all__ = ["MPT", "PCT", "RCAT", "MPTSettings", "PCTSettings", "RCATSettings"]
