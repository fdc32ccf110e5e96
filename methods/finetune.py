"""Fine-tuning on the target's data alone."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from methods.objectives import prompt_contrastive
from methods.strategy import RoundStrategy, Settings


class FinetuneSettings(Settings):
    """Hyper-parameters of fine-tuning."""

    t: float = Field(0.05, gt=0, description="temperature of the contrastive loss")


class Finetune(RoundStrategy):
    """Fine-tune like you pretrain (FLYP, arXiv 2212.00638): the contrastive loss with class prompts as texts.

    Every image of a round shows the target, so the text-to-image half has no negatives and is zero; the image-to-text
    half contrasts the target's prompt with those of the other classes. No protected image is used: the whole batch is
    target images.
    """

    SETTINGS: type[Settings] = FinetuneSettings
    uses_protected = False

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """FLYP's loss on the batch."""
        return prompt_contrastive(logits * self.temperature, labels, self.settings.t)
