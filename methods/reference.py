"""Reference rows: what doing nothing and what training on everything would give. They are not ranked."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from methods.batches import ImagePool
from methods.objectives import prompt_contrastive
from methods.strategy import RoundStrategy, Settings


class FrozenSettings(Settings):
    """No steps: the budget is left unspent."""

    steps: int = Field(0, ge=0, le=0, description="always 0")


class Frozen(RoundStrategy):
    """The old model, untouched."""

    SETTINGS: type[Settings] = FrozenSettings
    trains = False
    uses_protected = False


class JointSettings(Settings):
    """Hyper-parameters of joint training."""

    tau: float = Field(0.05, gt=0, description="temperature of the cross-entropy")


class Joint(RoundStrategy):
    """Cross-entropy on target and protected images together, all classes alike: how much room there is."""

    SETTINGS: type[Settings] = JointSettings

    @property
    def target_share(self) -> float:
        """That of one class among all."""
        return 1 / (1 + len(ImagePool(self.protected, self.device).classes))

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy over the batch."""
        return prompt_contrastive(logits * self.temperature, labels, self.settings.tau)
