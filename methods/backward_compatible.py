"""Training whose image features still work with the classifier of the model before the round."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from methods.clip import ClipClassifier
from methods.nonregression import NonRegressionSettings
from methods.strategy import RoundStrategy, Settings


class BCTSettings(NonRegressionSettings):
    """Hyper-parameters of BCT."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = Settings.GRID | {"influence": (0.3, 1.0, 3.0)}

    influence: float = Field(1.0, ge=0, description="lambda: weight of the old classifier's loss on the new features")


class BCT(RoundStrategy):
    """Backward-compatible training (arXiv 2003.11942): the old classifier must be right on new image features, too.

    L = CE(new classifier on new features) + lambda CE(old classifier on new features), both on target and protected
    images. A classifier here is the features of all class prompts, with the bias of the classes where there is one:
    the old ones are those of the model before the round and fixed, the new ones follow from the text tower. So the
    second loss trains the image tower alone.

    Differences from the paper, made knowingly:

    * The paper's new model is another network; here it starts as the old one, so both losses are equal at first.
    * The paper makes up classifier weights for classes that the old model does not know. Here it knows all prompts, the
      target's too, as well or badly as it does.
    * Both losses are the cross-entropy of cosines / tau. Their weights are equal by default, which is our choice.

    Raises:
        ValueError: the model is not a ``ClipClassifier``.
    """

    SETTINGS = BCTSettings
    settings: BCTSettings
    model: ClipClassifier
    by_old_classes: Tensor | None = None  # similarities (B, C) of the step's new features and the old classes

    def prepare_model(self) -> None:
        """See that there are features to be had."""
        if not isinstance(self.model, ClipClassifier):
            raise ValueError(f"bct needs a ClipClassifier, and {type(self.model).__name__} is none: use pct")

    @torch.no_grad()
    def prepare_round(self) -> None:
        """Keep the old classifier."""
        self.old_classes = self.model.encode_classes()

    def forward(self) -> Tensor:
        """Logits (B, C); in training, both classifiers see the same features."""
        if not self.is_training:
            return super().forward()
        features = self.model.encode_images(self.mb_x)
        self.by_old_classes = self.model.compare(features, self.old_classes)
        return self.model.compare(features, self.model.encode_classes()) / self.temperature

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss above."""
        old, self.by_old_classes = self.by_old_classes, None  # nothing of the step's graph is held
        assert old is not None
        tau, influence = self.settings.tau, self.settings.influence
        return F.cross_entropy(logits * self.temperature / tau, labels) + influence * F.cross_entropy(old / tau, labels)

    def _after_training_exp(self, **kwargs: Any) -> None:
        super()._after_training_exp(**kwargs)
        del self.old_classes


__all__ = ["BCT", "BCTSettings"]
