"""Reference rows: the results of doing nothing, training on everything or keeping every model. Not ranked."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from methods.batches import ImagePool
from methods.finetune import Finetune
from methods.objectives import prompt_contrastive
from methods.strategy import RoundStrategy, Score, Settings


class UntrainedSettings(Settings):
    """No steps: the budget is left unspent."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = {}

    steps: int = Field(0, ge=0, le=0, description="always 0")


class Frozen(RoundStrategy):
    """The old model, untouched."""

    SETTINGS = UntrainedSettings
    settings: UntrainedSettings
    trains = False
    uses_protected = False


class ZeroShot(Frozen):
    """The model before the stream, whatever the rounds made of it; where ``pretrained`` is None, the current one."""

    def prepare_model(self) -> None:
        """Go back, to its heads and offsets too."""
        if self.pretrained is not None:
            self.model = copy.deepcopy(self.pretrained).to(self.device)

    @property
    def proposes(self) -> bool:
        """Always: there are no steps at which it would be scored."""
        return True

    def propose(self, score: Score) -> None:
        """Score the one model there is."""
        score("pretrained")


class JointSettings(Settings):
    """Hyper-parameters of joint training."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = {}  # it shows how much room there is, and must not be tuned to be safe

    tau: float = Field(0.05, gt=0, description="temperature of the cross-entropy")


class Joint(RoundStrategy):
    """Cross-entropy on target and protected images together, all classes alike: how much room there is."""

    SETTINGS = JointSettings
    settings: JointSettings

    @property
    def target_share(self) -> float:
        """That of one class among all."""
        return 1 / (1 + len(ImagePool(self.protected, self.device).classes))

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy over the batch."""
        return prompt_contrastive(logits * self.temperature, labels, self.settings.tau)


class Averaged(nn.Module):
    """Answers with the mean of its members' logits, and trains the newest alone.

    In training mode its logits are those of the newest member; the others are frozen.

    Args:
        members: classifiers of the same images and classes, the newest last.
    """

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.members[:-1].requires_grad_(False)
        self.temperature = float(getattr(members[-1], "temperature", 1.0))

    def train(self, mode: bool = True) -> Averaged:
        """Set the mode of the newest member; the others stay in evaluation mode."""
        super().train(mode)
        self.members[:-1].eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, C) of images (B, 3, S, S)."""
        if self.training:
            return self.members[-1](images)
        return torch.stack([member(images) for member in self.members]).mean(dim=0)


class Ensemble(Finetune):
    """Fine-tunes a copy of the newest model on the target data and answers with the mean logits of all models so far.

    Inference and memory grow by one model per round.
    """

    model: nn.Module

    def prepare_model(self) -> None:
        """Add a member; without steps there is nothing to add."""
        if self.settings.steps:
            members = list(self.model.members) if isinstance(self.model, Averaged) else [self.model]
            self.model = Averaged([*members[:-1], copy.deepcopy(members[-1]), members[-1]]).train()
