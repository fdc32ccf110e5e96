"""Outputs of the model before the round, for methods that compare with them or distil from them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from methods.batches import ImagePool
from methods.clip import ClipClassifier, Encoded, predict_logits

if TYPE_CHECKING:
    from methods.strategy import RoundStrategy

Model = TypeVar("Model", bound=nn.Module)


class OldOutputs:
    """Similarities of the model as it is when this is made, on the images of each later step.

    Where a step shows the images as they are, they are computed once per round, on the whole pools asked for. Where it
    shows random views, or images that the method alters, a frozen copy of the model sees the very same: one more
    forward pass per step.

    Args:
        strategy: a ``RoundStrategy`` whose batches are ready, so in ``prepare_round`` or later.
        target: whether outputs on target images are wanted.
        protected: whether outputs on protected images are wanted.
        altered: whether the strategy alters the images of a step.
    """

    def __init__(
        self, strategy: RoundStrategy, target: bool = False, protected: bool = False, altered: bool = False
    ) -> None:
        self.strategy = strategy
        self.wanted = {"target": target, "protected": protected}
        pools = {name: getattr(strategy.batches, name) for name, wanted in self.wanted.items() if wanted}
        self._copy: Callable[[Tensor], Tensor] | None = None
        self._kept: dict[str, Tensor] = {}
        if altered or any(pool.augment for pool in pools.values()):
            self._copy = self._frozen(strategy.model)
        else:
            self._kept = {name: self._on(pool) for name, pool in pools.items()}

    def of_step(self) -> Tensor:
        """(B', C) similarities, without gradient, for the step's target images, protected images, or both in order."""
        batches, x = self.strategy.batches, self.strategy.mb_x
        if self._copy is None:
            rows = {"target": batches.target_rows, "protected": batches.protected_rows}
            return torch.cat([kept[rows[name].to(kept.device)] for name, kept in self._kept.items()])
        targets = len(batches.target_rows)
        start, end = (0 if self.wanted["target"] else targets), (len(x) if self.wanted["protected"] else targets)
        return self._copy(x[start:end])

    def _frozen(self, model: nn.Module) -> Callable[[Tensor], Tensor]:
        return frozen_similarity(model)

    def _on(self, pool: ImagePool) -> Tensor:
        return (predict_logits(self.strategy.model, pool.images) * self.strategy.temperature).to(pool.device)


class OldFeatures(OldOutputs):
    """In place of similarities, the unit features (B', E) of the images, of a ``ClipClassifier``."""

    def _frozen(self, model: nn.Module) -> Callable[[Tensor], Tensor]:
        assert isinstance(model, ClipClassifier)
        return frozen_copy(model).encode_images

    def _on(self, pool: ImagePool) -> Tensor:
        encode = self._frozen(self.strategy.model)
        return torch.cat([encode(images.to(pool.device)) for images in pool.images.split(64)])


def frozen_similarity(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Images (B, 3, S, S) -> similarities (B, C) of ``model`` as it is now, whatever becomes of it: a frozen copy."""
    return Encoded(frozen_copy(model)).similarity


def frozen_copy(model: Model) -> Model:
    """``model`` as it is now, whatever becomes of it: in evaluation mode, without gradients."""
    return copy.deepcopy(model).eval().requires_grad_(False)
