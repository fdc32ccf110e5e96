"""Reference rows: what doing nothing and what training on everything would give. They are not ranked."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor

from methods.objectives import prompt_contrastive
from methods.strategy import RoundStrategy, Settings


class FrozenSettings(Settings):
    """No steps: the budget is left unspent."""

    steps: int = Field(0, ge=0, le=0, description="always 0")


class Frozen(RoundStrategy):
    """The old model, untouched."""

    SETTINGS: type[Settings] = FrozenSettings
    uses_protected = False


class JointSettings(Settings):
    """Hyper-parameters of joint training."""

    tau: float = Field(0.05, gt=0, description="temperature of the cross-entropy")


class Joint(RoundStrategy):
    """Cross-entropy on target and protected images together, all classes alike: how much room there is."""

    SETTINGS: type[Settings] = JointSettings

    def make_train_dataloader(self, **kwargs: Any) -> None:
        """Give the target the share of one class among all."""
        self.target_share = 1 / (1 + len(self.protected.labels.unique()))
        super().make_train_dataloader(**kwargs)

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy over the batch."""
        return prompt_contrastive(logits * self.temperature, labels, self.settings.tau)
