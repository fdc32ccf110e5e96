"""Selective: the old model answers, unless the new one is sure that it sees the target."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from methods.balanced import first_of_each, lead
from methods.batches import ImagePool
from methods.certificate import certified_p_value, fixed_sequence
from methods.certified import NONE, flips
from methods.clip import predict_logits
from methods.replay import Replay, ReplaySettings
from methods.strategy import Score

NEVER = torch.finfo(torch.float32).max


class SelectiveSettings(ReplaySettings):
    """Hyper-parameters of selective updates."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = ReplaySettings.GRID

    held_out: float = Field(0.25, gt=0, lt=1, description="share of each class's images that is kept from training")
    alpha: float = Field(0.05, gt=0, lt=1, description="level: probability at most that a class was lost and it passed")
    margin_points: float = Field(0.5, gt=0, lt=100, description="loss of a class that does not matter, in points")
    shares: tuple[float, ...] = Field(
        (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
        min_length=1,
        description="of the target's images that the new model knows, the shares that it is to answer",
    )


class Selected(nn.Module):
    """Answers with the old model's logits, or with the new one's where the target leads there by a threshold.

    In training mode the new model answers alone. Inference costs two passes, and one more with every round.

    Args:
        old: stays as it is.
        new: is trained.
        target: label of the class that the new model may answer.
    """

    threshold: Tensor  # of the target's lead over the other logits

    def __init__(self, old: nn.Module, new: nn.Module, target: int) -> None:
        super().__init__()
        self.old, self.new, self.target = old.eval().requires_grad_(False), new, target
        self.temperature = float(getattr(new, "temperature", 1.0))
        self.register_buffer("threshold", torch.tensor(NEVER, device=next(new.parameters()).device))

    def train(self, mode: bool = True) -> Selected:
        """Set the mode of the new model; the old one stays in evaluation mode."""
        super().train(mode)
        self.old.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, C) of images (B, 3, S, S)."""
        new = self.new(images)
        if self.training:
            return new
        sure = lead(new, self.target) > self.threshold
        return torch.where(sure[:, None], new, self.old(images))


class Selective(Replay):
    """Trains by replay; afterwards the old model answers, unless the new one says the target by more than a threshold.

    Candidates are thresholds, the highest first. Those are proposed that held-out images certify, class by class, to
    lose no more than the margin (``methods.certificate``); protected classes can only lose, so that no margin of 0 is
    ever certified, and a margin m only by log(alpha) / log(1 - m) images of every class: some 600 at the defaults, so
    of 2,400 protected ones. Where none is, the old model answers alone. As for ``certified``, the level is that of a
    stream's first round.
    """

    SETTINGS = SelectiveSettings
    settings: SelectiveSettings
    model: Any  # a Selected, once a round has begun
    holds_out = True

    def prepare_model(self) -> None:
        """Keep the old model for good; what it grew into in earlier rounds is trained on."""
        target = int(ImagePool(self.experience, self.device).labels[0])
        newest = self.model.new if isinstance(self.model, Selected) else self.model
        self.model = Selected(copy.deepcopy(self.model), copy.deepcopy(newest), target).train()

    @property
    def proposes(self) -> bool:
        """Always."""
        return True

    def _after_training_exp(self, **kwargs: Any) -> None:
        self.candidates = self.certified() or [(NONE, NEVER)]
        self.model.threshold.fill_(self.candidates[-1][1])  # unless somebody scores them
        super()._after_training_exp(**kwargs)

    def propose(self, score: Score) -> None:
        """Score every threshold that is certified, or none."""
        for name, threshold in self.candidates:
            self.model.threshold.fill_(threshold)
            score(name)

    def certified(self) -> list[tuple[str, float]]:
        """Names and thresholds of the candidates that pass."""
        assert self.held_out is not None and isinstance(self.model, Selected)
        target, protected = (ImagePool(part, self.device) for part in self.held_out)
        known = lead(predict_logits(self.model.new, target.images), self.model.target)
        known = known[known > 0].sort(descending=True).values
        if not len(known) or protected.classes != ImagePool(self.protected, self.device).classes:
            return []
        shares = self.settings.shares
        candidates = [(f"target share {s:g}", float(known[round(s * (len(known) - 1))])) for s in shares]
        new, old = (predict_logits(model, protected.images) for model in (self.model.new, self.model.old))
        independent = first_of_each(protected.units)
        sure, labels = lead(new, self.model.target)[independent], protected.labels.cpu()[independent]
        before = old.argmax(dim=1)[independent] == labels

        def p_values() -> Iterator[float]:
            for _, threshold in candidates:
                counts = flips(labels, before, before & (sure <= threshold))
                yield certified_p_value(counts, self.settings.margin_points / 100)

        return candidates[: fixed_sequence(p_values(), self.settings.alpha)]


__all__ = ["Selected", "Selective", "SelectiveSettings"]
