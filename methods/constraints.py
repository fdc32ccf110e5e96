"""Constraints h_k(w) = L_k(w) - L_k(w_old) <= -margin, one for each protected class (arXiv 2410.03955).

For any objective: the mix-ins add to a method that shows protected images what ``Constrained`` measures of h_k, and, as
``Penalised``, a penalty on it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from methods.estimators import MovingAverage
from methods.objectives import class_losses, squared_hinge_penalty
from methods.old_model import OldOutputs
from methods.strategy import RoundStrategy, Settings


class ConstraintSettings(Settings):
    """What decides the estimates of h_k."""

    tau: float = Field(0.05, gt=0, description="temperature of the protected cross-entropy")
    gamma_protected: float = Field(
        0.8, gt=0, le=1, description="gamma_2: weight of the new batch in the averages of h_k"
    )


class PenaltySettings(ConstraintSettings):
    """Hyper-parameters of the penalty."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = Settings.GRID | {"beta": (100.0, 300.0, 600.0, 2000.0)}

    beta: float = Field(600.0, ge=0, description="penalty weight; the effective quadratic weight is beta * tau")


class Constrained(RoundStrategy):
    """A moving average u_k of every h_k; a method says in ``constraint_loss`` what follows from it.

    h_k compares new and old loss on the very same views of the very same images.
    """

    SETTINGS = ConstraintSettings
    settings: ConstraintSettings

    def prepare_round(self) -> None:
        """Keep the old model's outputs; start the averages of h."""
        super().prepare_round()
        assert self.batches.protected is not None  # or there would be no batches
        self.violation = MovingAverage(len(self.batches.protected.classes), self.settings.gamma_protected).to(
            self.device
        )
        self.old = OldOutputs(self, protected=True)

    def protected_loss(self, losses: Tensor) -> Tensor:
        """The term on the constraints, of the protected images' losses, (K * b,)."""
        u = self.track(losses.detach())
        self.violations.append(self.violation.value.clone())
        return self.constraint_loss(self.batches.class_means(losses), u)

    def track(self, losses: Tensor) -> Tensor:
        """u_k of the step's classes, (K,), once the protected images' losses, (K * b,), are in it."""
        change = self.batches.class_means(losses - self.old_losses())
        return self.violation.update(self.positions, change)

    def constraint_loss(self, losses: Tensor, violations: Tensor) -> Tensor:
        """The term on the step's L_k, (K,), with ``violations`` u_k, (K,), for h_k."""
        raise NotImplementedError

    @property
    def positions(self) -> Tensor:
        """Which classes the step shows, as positions among the protected ones, (K,)."""
        return self.batches.class_positions.to(self.device)

    def old_losses(self) -> Tensor:
        """The old model's losses on the step's views of the protected images, (K * b,)."""
        labels = self.mb_y[len(self.batches.target_rows) :]
        return class_losses(self.old.of_step(), labels, self.settings.tau)

    def _after_training_exp(self, **kwargs: Any) -> None:
        super()._after_training_exp(**kwargs)
        del self.old  # frees the old model


class Penalised(Constrained):
    """The penalty (beta tau / 2) mean_k [h_k + margin]_+^2, with u_k for h_k."""

    SETTINGS = PenaltySettings
    settings: PenaltySettings

    def constraint_loss(self, losses: Tensor, violations: Tensor) -> Tensor:
        """The penalty, with the weight of the step."""
        return self.penalty(losses, violations + self.margin, self.weight(len(self.losses) + 1))

    def penalty(self, losses: Tensor, violations: Tensor, beta: float) -> Tensor:
        """A surrogate of the penalty, linear in beta and in the L_k; the margin is in ``violations``."""
        return squared_hinge_penalty(losses, violations, beta, self.settings.tau)

    def weight(self, step: int) -> float:
        """beta at a step, from 1."""
        return self.settings.beta

    @property
    def margin(self) -> float:
        """By how much every h_k must lie below 0."""
        return 0.0

    def multipliers(self, steps: Sequence[int]) -> Tensor:
        """What the penalty multiplied each class's loss by, before the mean over the classes.

        Takes the place of a Lagrange multiplier: beta tau [u + margin]_+ for the squared hinge, beta tau
        [u + margin > 0] for the hinge.

        Args:
            steps: numbers of steps, from 1, of those in ``self.violations``.

        Returns:
            (steps, K), at least 0.
        """
        beyond = torch.stack([self.violations[step - 1] for step in steps]) + self.margin
        slope = torch.func.grad(self.penalty)(torch.zeros_like(beyond), beyond, 1.0)
        weights = torch.tensor([self.weight(step) for step in steps], dtype=beyond.dtype, device=beyond.device)
        return weights[:, None] * beyond.numel() * slope


class CosineWeight(Penalised):
    """A penalty, of any kind, whose weight rises over the round: beta_t = beta (1 - cos(pi t / T)) / 2 at step t of T.

    The published code of arXiv 2410.03955 has it as an option, --cosine, that none of its scripts uses. There t counts
    epochs; a round has none here, so t counts steps.
    """

    def weight(self, step: int) -> float:
        """beta_t."""
        return self.settings.beta * (1 - math.cos(math.pi * step / self.settings.steps)) / 2


__all__ = ["Constrained", "ConstraintSettings", "CosineWeight", "Penalised", "PenaltySettings"]
