"""The least that can be trained: how ready a classifier is to answer with the target."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from methods.class_bias import BIAS
from methods.finetune import PartSettings, PartStrategy


class TargetBiasSettings(PartSettings):
    """Hyper-parameters of the target's bias, a number in units of the logits."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = PartSettings.GRID | {"lr": (3e-2, 1e-1, 3e-1)}

    lr: float = Field(1e-1, ge=0, le=1, description="peak learning rate of AdamW")


class TargetBias(PartStrategy):
    """A bias on the target's logit and nothing else, by the cross-entropy on target and protected images.

    No paper's method but a yardstick: what a round gains with no change to any feature. The cross-entropy is least
    where the target's mean probability over the batch is the target's share of it, so ``target_share`` decides how much
    of the protected classes is given up. Weight decay pulls to the bias before the round. What a round adds stays for
    the rounds to come.
    """

    SETTINGS = TargetBiasSettings
    settings: TargetBiasSettings

    def trained_part(self) -> list[nn.Parameter]:
        """No parameter of the model: a class bias is a buffer, and others than the target's stay as they are."""
        self.add_class_bias()
        self.target = int(self.batches.target.labels[0])
        self.before = self.bias_of_target.clone()
        self.change = nn.Parameter(torch.zeros_like(self.before))
        return []

    def trained_weights(self) -> list[nn.Parameter]:
        """What the round adds to the target's bias."""
        return [self.change]

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The cross-entropy, with a gradient by the change, which the model's logits have already."""
        is_target = torch.arange(logits.shape[1], device=logits.device) == self.target
        return super().round_loss(logits + (self.change - self.change.detach()) * is_target, labels)

    def optimizer_step(self) -> None:
        """A step of the change, and with it of the model's bias."""
        super().optimizer_step()
        self.bias_of_target.copy_(self.before + self.change.detach())

    @property
    def bias_of_target(self) -> Tensor:
        """The model's, a view of it, ()."""
        bias: Tensor = getattr(self.model, BIAS)
        return bias[self.target]


__all__ = ["TargetBias", "TargetBiasSettings"]
