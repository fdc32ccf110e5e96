"""Co2L: image features by contrast, held by their relations to each other; the prompts learn to classify them."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from methods.clip import ClipClassifier
from methods.objectives import class_losses
from methods.old_model import OldFeatures
from methods.strategy import RoundStrategy, Settings


class Co2LSettings(Settings):
    """Hyper-parameters of Co2L; temperatures and weight are those of the authors' run on CIFAR-10."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = Settings.GRID | {
        "temperature": (0.07, 0.5),
        "strength": (0.3, 1.0, 3.0),
    }

    tau: float = Field(0.05, gt=0, description="temperature of the classifier's cross-entropy")
    target_share: float = Field(0.5, gt=0, lt=1, description="share of a batch that shows the target")
    temperature: float = Field(0.5, gt=0, description="of the supervised contrast")
    strength: float = Field(1.0, ge=0, description="lambda: weight of the relation distillation")
    new_temperature: float = Field(0.2, gt=0, description="kappa*: of the new model's relations")
    old_temperature: float = Field(0.01, gt=0, description="kappa: of the old model's relations, sharper")


class Co2L(RoundStrategy):
    """Contrastive continual learning (Co2L, arXiv 2106.14413) of the image features; the text prompts classify them.

    The image tower is trained by L = asymmetric SupCon + strength IRD on unit features z of the step's images:

    * supervised contrast whose anchors are the target images alone, -mean_i mean_(j in P(i)) log softmax_j(z_i z_j /
      temperature), over all other images j; P(i) are the other images of the target;
    * instance-wise relation distillation, mean_i CE(softmax_j(old z_i old z_j / old_temperature), softmax_j(z_i z_j /
      new_temperature)), over all images i and all others j.

    The classifier is trained by cross-entropy on these features, of which it gets no gradient: the text tower with its
    prompts takes the place of the paper's linear classifier on a frozen encoder, and every class of the step has the
    same weight, as in the authors' class-balanced sampling. So no label of a protected image reaches the image tower,
    but that it is none of the target's.

    Differences from the paper, made knowingly:

    * The classifier learns along with the features, not afterwards, which would take steps of its own.
    * There is no projection head: the features that are contrasted are those that the prompts classify. A head that is
      thrown away would leave nothing by which the text tower could follow.
    * A step shows one view of each image, augmented where the stream asks for it, not two: two would be twice the
      budget's images. All target images are of one class, so every anchor has positives without a second view.
    * The contrast is a mean over the anchors, as the paper's sum but for its scale; the authors' code divides by the
      number of all images and has a factor temperature / 0.07.

    Raises:
        ValueError: the model is not a ``ClipClassifier``.
    """

    SETTINGS = Co2LSettings
    settings: Co2LSettings

    def prepare_model(self) -> None:
        """Refuse a model without image features of its own."""
        if not isinstance(self.model, ClipClassifier):
            raise ValueError(f"co2l needs a ClipClassifier, and {type(self.model).__name__} is none: use der++")

    def prepare_round(self) -> None:
        """Keep the old model's features."""
        self.old: OldFeatures | None = OldFeatures(self, target=True, protected=True)

    def forward(self) -> Tensor:
        """Logits (B, C) by which the texts learn; the images' features are kept for the loss."""
        assert isinstance(self.model, ClipClassifier)
        self.features: Tensor | None = self.model.encode_images(self.mb_x)
        return self.model.compare(self.features.detach(), self.model.encode_classes()) / self.temperature

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Contrast and relations for the image tower, cross-entropy for the text tower."""
        assert self.features is not None and self.old is not None
        s, targets, features = self.settings, len(self.batches.target_rows), self.features
        self.features = None  # nothing of a step's graph is kept
        contrast = asymmetric_contrast(features, labels, targets, s.temperature)
        relations = relation_distillation(features, self.old.of_step(), s.new_temperature, s.old_temperature)
        losses = class_losses(logits * self.temperature, labels, s.tau)
        by_class = torch.cat([losses[:targets].mean()[None], self.batches.class_means(losses[targets:])])
        return contrast + s.strength * relations + by_class.mean()

    def _after_training_exp(self, **kwargs: Any) -> None:
        super()._after_training_exp(**kwargs)
        self.old = None  # frees the old model


# Features are (B, E) of unit length, labels (B,)


def asymmetric_contrast(features: Tensor, labels: Tensor, anchors: int, temperature: float) -> Tensor:
    """Supervised contrast of the first ``anchors`` images with all others, a scalar; 0 for an anchor without positives.

    Args:
        features: of all images.
        labels: of all images; those of an anchor's own are its positives, all others its negatives.
        anchors: how many images, the first, are anchors.
        temperature: that cosines are divided by.
    """
    itself = torch.eye(anchors, len(features), dtype=torch.bool, device=features.device)
    cosines = features[:anchors] @ features.T
    log_p = (cosines / temperature).masked_fill(itself, -torch.inf).log_softmax(dim=1)
    positive = (labels[:anchors, None] == labels) & ~itself
    return -(log_p.masked_fill(~positive, 0).sum(dim=1) / positive.sum(dim=1).clamp_min(1)).mean()


def relation_distillation(new: Tensor, old: Tensor, new_temperature: float, old_temperature: float) -> Tensor:
    """Cross-entropy of each image's similarities to all others, the old model's as the truth, a scalar."""
    return F.cross_entropy(relations(new) / new_temperature, (relations(old) / old_temperature).softmax(dim=1))


def relations(features: Tensor) -> Tensor:
    """Cosines of each image with all others, (B, B - 1)."""
    count, cosines = len(features), features @ features.T
    # without the diagonal, which starts every row of count + 1 entries
    return cosines.flatten()[1:].view(count - 1, count + 1)[:, :-1].reshape(count, count - 1)


__all__ = ["Co2L", "Co2LSettings", "asymmetric_contrast", "relation_distillation", "relations"]
