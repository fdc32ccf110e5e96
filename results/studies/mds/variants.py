"""MDS with one thing changed at a time, which its settings do not offer: for the study in docs/mds.md alone."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from methods.mds import MDS


class ErrorProbability(MDS):
    """The constraints are on 1 - p(right class), which is nearer to accuracy than the cross-entropy is."""

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """As MDS, but for the protected losses."""
        targets = len(self.batches.target_rows)
        similarity = logits * self.temperature
        losses = self._losses(similarity[targets:], labels[targets:])
        return self.target_loss(similarity, labels) + self.protected_loss(losses)

    def old_losses(self) -> Tensor:
        """The old model's error probabilities."""
        return self._losses(self.old.of_step(), self.mb_y[len(self.batches.target_rows) :])

    def _losses(self, similarity: Tensor, labels: Tensor) -> Tensor:
        probabilities = F.softmax(similarity / self.settings.tau, dim=1)
        return 1 - probabilities.gather(1, labels[:, None])[:, 0]


class Views(MDS):
    """Protected images are shown as random views; the old model sees the very same ones."""

    def make_train_dataloader(self, **kwargs: Any) -> None:
        """Ask for views of the protected images."""
        super().make_train_dataloader(**kwargs)
        pool: Any = self.batches.protected
        pool.augment = True


class ViewsAgainstClean(Views):
    """Protected images are shown as random views and compared with the old model on clean images, as published."""

    def prepare_round(self) -> None:
        """The old model's outputs on the clean images."""
        pool: Any = self.batches.protected
        pool.augment = False
        super().prepare_round()
        pool.augment = True
