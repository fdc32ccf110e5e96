"""Constraints h_k(w) = L_k(w) - L_k(w_old) <= -margin, one for each protected class, as a penalty (arXiv 2410.03955).

For any objective: the mix-in adds what the penalty needs to a method that shows protected images.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from methods.estimators import MovingAverage
from methods.objectives import class_losses, squared_hinge_penalty
from methods.old_model import OldOutputs
from methods.strategy import RoundStrategy, Settings


class PenaltySettings(Settings):
    """Hyper-parameters of the penalty, of a method that has the temperature ``tau``."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = Settings.GRID | {"beta": (100.0, 300.0, 600.0, 2000.0)}

    tau: float = Field(0.05, gt=0, description="temperature of the protected cross-entropy")
    beta: float = Field(600.0, ge=0, description="penalty weight; the effective quadratic weight is beta * tau")
    gamma_protected: float = Field(
        0.8, gt=0, le=1, description="gamma_2: weight of the new batch in the averages of h_k"
    )


class Constrained(RoundStrategy):
    """The penalty (beta tau / 2) mean_k [h_k + margin]_+^2, with a moving average u_k of every h_k.

    h_k compares new and old loss on the very same views of the very same images.
    """

    SETTINGS = PenaltySettings
    settings: PenaltySettings
    penalty = staticmethod(squared_hinge_penalty)

    def prepare_round(self) -> None:
        """Keep the old model's outputs; start the averages of h."""
        super().prepare_round()
        assert self.batches.protected is not None  # or there would be no batches
        self.violation = MovingAverage(len(self.batches.protected.classes), self.settings.gamma_protected).to(
            self.device
        )
        self.old = OldOutputs(self, protected=True)

    def protected_loss(self, losses: Tensor) -> Tensor:
        """The penalty on L_k, with u_k for the violations; of the protected images' losses, (K * b,)."""
        change = self.batches.class_means(losses.detach() - self.old_losses())
        u = self.violation.update(self.batches.class_positions.to(self.device), change)
        self.violations.append(self.violation.value.clone())
        return self.penalty(self.batches.class_means(losses), u + self.margin, self.settings.beta, self.settings.tau)

    @property
    def margin(self) -> float:
        """By how much every h_k must lie below 0."""
        return 0.0

    def multipliers(self, violations: Tensor) -> Tensor:
        """What the penalty multiplies each class's loss by, before the mean over the classes, for ``violations``.

        Takes the place of a Lagrange multiplier: beta tau [u + margin]_+ for the squared hinge, beta tau
        [u + margin > 0] for the hinge.

        Args:
            violations: (..., K) as in ``self.violations``: the h_k, without the margin.

        Returns:
            (..., K), at least 0.
        """
        slope = torch.func.grad(self.penalty)  # by the losses, in which the penalty is linear
        losses = torch.zeros_like(violations)
        beyond = violations + self.margin
        return violations.numel() * slope(losses, beyond, self.settings.beta, self.settings.tau)

    def old_losses(self) -> Tensor:
        """The old model's losses on the step's views of the protected images, (K * b,)."""
        labels = self.mb_y[len(self.batches.target_rows) :]
        return class_losses(self.old.of_step(), labels, self.settings.tau)

    def _after_training_exp(self, **kwargs: Any) -> None:
        super()._after_training_exp(**kwargs)
        del self.old  # frees the old model


__all__ = ["Constrained", "PenaltySettings"]
