"""ZSCL: contrastive distillation on reference images, and the average of the weights along the training."""

from __future__ import annotations

from typing import Any, ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from methods.nonregression import kl_distance
from methods.replay import Remembering, ReplaySettings
from methods.state_arithmetic import RunningMean
from methods.strategy import Score, Settings


class ZSCLSettings(ReplaySettings):
    """Hyper-parameters of ZSCL; its defaults but for ``tau`` are those of the authors' code."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = Settings.GRID | {"strength": (0.3, 1.0, 3.0, 10.0)}

    target_share: float = Field(
        0.5, gt=0, lt=1, description="share of a batch that shows the target; the rest are reference images"
    )
    strength: float = Field(1.0, ge=0, description="weight of the distillation, from images to texts and back alike")
    distillation_temperature: float = Field(2.0, gt=0, description="T, which divides the logits of both models")
    interval: float = Field(
        0.1, gt=0, le=1, description="share of the steps from one model of the average to the next; 100 of 1000 there"
    )


class ZSCL(Remembering):
    """Preventing zero-shot transfer degradation (ZSCL, arXiv 2303.06628): distillation and weight ensemble.

    L = CE(target) + strength T^2 (mean_i KL_j(old || new) + mean_j KL_i(old || new)), where s_ij = similarity of
    reference image i and reference text j / (tau T): one divergence is over the texts of each image, softmax_j(s_ij),
    the other over the images of each text, softmax_i(s_ij). The new model is the mean of the old weights and of those
    after every ``interval`` of the steps, each of the same weight.

    Differences from the paper and its code, made knowingly:

    * Reference images and texts are the stream's own: the step's protected images, of which no label is used, and the
      prompts of all classes. The authors take images and captions of other data sets, ImageNet and Conceptual Captions,
      so that what the model was never asked is kept as well.
    * The teacher is the model before the round, which is to be kept; theirs is the pretrained one.
    * Both towers are in s_ij of the new model, as the texts are also its classifier. In their code the texts of the new
      s_ij are the teacher's, so that of the distillation nothing holds the text tower.
    * Their scripts also have a label smoothing of 0.2, as for plain fine-tuning, and the squared distance to the old
      weights, which is ``l2-sp`` here.

    The average is the one model that the round proposes: no point along the training is a candidate. Of a plain
    classifier similarities are its logits, and texts its classes.
    """

    SETTINGS = ZSCLSettings
    settings: ZSCLSettings

    def prepare_round(self) -> None:
        """Keep the old model's outputs, and start the average with its weights."""
        super().prepare_round()
        self.average = RunningMean()
        self.average.add(self.model.state_dict())

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy on the target, distillation on the reference images."""
        s, targets = self.settings, len(self.batches.target_rows)
        logits = logits * self.temperature / s.tau
        distillation = contrastive_distillation(logits[targets:], self.old_logits(), s.distillation_temperature)
        return F.cross_entropy(logits[:targets], labels[:targets]) + s.strength * distillation

    def optimizer_step(self) -> None:
        """Take the step, and the weights of some steps into the average."""
        super().optimizer_step()
        if len(self.losses) % max(1, round(self.settings.interval * self.settings.steps)) == 0:
            self.average.add(self.model.state_dict())

    def _after_training_exp(self, **kwargs: Any) -> None:
        self.model.load_state_dict(self.average.state)  # before plugins look at what the round has made
        self.average = RunningMean()
        super()._after_training_exp(**kwargs)

    @property
    def proposes(self) -> bool:
        """Always: the average, or what a weight-space method makes of it."""
        return True

    def propose(self, score: Score) -> None:
        """Score the average, which is in the model already."""
        if self.weight_space is not None:
            super().propose(score)
        else:
            score("weight ensemble")


def contrastive_distillation(new: Tensor, old: Tensor, temperature: float) -> Tensor:
    """T^2 (mean_i KL_j + mean_j KL_i) of softmax(old / T) from softmax(new / T), logits (N, C), a scalar >= 0."""
    return kl_distance(new, old, temperature).mean() + kl_distance(new.T, old.T, temperature).mean()


__all__ = ["ZSCL", "ZSCLSettings", "contrastive_distillation"]
