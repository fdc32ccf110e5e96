"""Synaptic Intelligence: a weight matters by what its way has taken off the loss of the protected images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from methods.batches import ImagePool, InTurn, StepBatches
from methods.regularization import L2SP, L2SPSettings
from methods.strategy import Settings
from methods.weight_space import State, snapshot


class SISettings(L2SPSettings):
    """Hyper-parameters of SI."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = Settings.GRID | {"strength": (100.0, 300.0, 1000.0, 3000.0)}

    strength: float = Field(1000.0, ge=0, description="weight of the penalty, twice the paper's c")
    xi: float = Field(1e-6, gt=0, description="damping: what is added to a weight's squared displacement")
    first_share: float = Field(
        0.2, gt=0, lt=0.25, description="share of the steps on protected images, whose way is measured and taken back"
    )


class SI(L2SP):
    """Synaptic intelligence (arXiv 1703.04200, section 3): strength / 2 sum_i Omega_i (w_i - w_old_i)^2.

    Omega_i = [omega_i]_+ / (Delta_i^2 + xi): omega_i is the path integral -sum g_i dw_i over the steps of a training, g
    the gradient of its loss on each batch, and Delta_i the displacement that it ends with. Where the loss is quadratic
    without mixed terms, steps are small and the training ends at the minimum, that is half the curvature.

    The paper integrates along the training that made the old model. That is over: a deployed model comes without its
    gradients. Here the round makes a training to integrate along: the first ``first_share`` of its steps train on
    protected images alone. Then the old weights come back, with a fresh AdamW, and the rest of the steps train on the
    target. Both parts together are the budget of any method, so the target has fewer steps than in ``ewc``.

    What else differs, made knowingly:

    * The way is short and starts at the old model, so Omega tells of its surroundings and not of how it was found. By
      the noise of batches, which a step follows, omega is greater than what the loss really falls by.
    * xi is far below the authors' 0.1 and 0.001, at the size of Delta^2 after some tens of AdamW's steps: were it
      greater, Omega would be omega alone.
    * c = strength / 2 is far above that of the authors' runs on images, 1 and less: way, loss and xi are others, so
      Omega has another scale.
    * No sum over earlier tasks is kept: the protected data of a round covers all that must be kept.
    * The learning rate's schedule goes on over both parts, so the way is gone while it rises.

    Not Avalanche's ``SynapticIntelligencePlugin``: on a deployed model it does nothing, as it has seen no training
    before its first experience; on the CPU it never does, as it keeps views of the weights and not copies, so that no
    step has a length; it cuts Omega off above 0.001, and lets it be negative. With copies, and where the rest does not
    matter, the two agree.
    """

    SETTINGS = SISettings
    settings: SISettings
    uses_protected = True

    def make_batches(self, target: ImagePool, protected: ImagePool | None) -> StepBatches:
        """Protected images for the way, then the target's alone."""
        assert protected is not None  # or it would have been asked for
        s = self.settings
        return InTurn(target, protected, self.first, s.steps, s.batch_size, self.seed, self._after_step)

    @property
    def first(self) -> int:
        """How many steps the way has."""
        return math.ceil(self.settings.first_share * self.settings.steps)

    def prepare_round(self) -> None:
        """Set out on the way."""
        super().prepare_round()
        self.start: State = snapshot(self.model)
        self.path: PathIntegral | None = PathIntegral(self.weights)

    def measure_importance(self) -> list[Tensor] | None:
        """None of any weight: there is no penalty on the way."""
        return [torch.zeros_like(w) for w in self.weights]

    def optimizer_step(self) -> None:
        """Take the step; on the way, measure it, and go back from the last one."""
        super().optimizer_step()
        if self.path is not None:
            self.path.add_step()
            if len(self.losses) == self.first:
                self._go_back()

    def _go_back(self) -> None:
        assert self.path is not None
        self.importance = self.path.importance(self.old_weights, self.settings.xi)
        self.model.load_state_dict(self.start)  # running statistics too
        self.optimizer.state.clear()
        self.start, self.path = {}, None

    def _after_training_exp(self, **kwargs: Any) -> None:
        super()._after_training_exp(**kwargs)
        self.start, self.path = {}, None


class PathIntegral:
    """omega_i = -sum g_i dw_i over the steps of a training: what each weight's way has taken off the loss.

    Args:
        weights: where the way begins; their gradients are those of the loss alone, without penalties.
    """

    def __init__(self, weights: Sequence[Tensor]) -> None:
        self.weights = list(weights)
        self.last = [w.detach().clone() for w in weights]
        self.omega = [torch.zeros_like(w) for w in self.last]

    @torch.no_grad()
    def add_step(self) -> None:
        """Take in the step just made, down the gradients that the weights still have; one without any did not move."""
        moved = [i for i, w in enumerate(self.weights) if w.grad is not None]
        weights, last, omega = ([part[i] for i in moved] for part in (self.weights, self.last, self.omega))
        gradients: list[Any] = [w.grad for w in weights]
        torch._foreach_addcmul_(omega, gradients, torch._foreach_sub(weights, last), value=-1)
        torch._foreach_copy_(last, weights)

    def importance(self, start: Sequence[Tensor], xi: float) -> list[Tensor]:
        """Omega_i = [omega_i]_+ / (Delta_i^2 + xi), Delta the displacement from ``start``, of each weight's shape."""
        return [
            omega.clamp_min(0) / ((last - before).square() + xi)
            for omega, last, before in zip(self.omega, self.last, start, strict=True)
        ]


__all__ = ["SI", "PathIntegral", "SISettings"]
