"""MDS-Replay: every class goes on learning, while a constraint with a margin watches the slowest; and MDS-Strict."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor

from methods.balanced import Balanced, BalancedSettings
from methods.constraints import Penalised, PenaltySettings
from methods.objectives import class_losses
from methods.replay import Replay, ReplaySettings


class MDSReplaySettings(ReplaySettings, PenaltySettings):
    """Hyper-parameters of MDS-Replay."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = PenaltySettings.GRID | {
        "beta": (5.0, 20.0, 60.0, 200.0),
        "margin": (0.1, 0.3, 0.6),
    }

    target_share: float = Field(0.25, gt=0, lt=1, description="share of a batch that shows the target")
    beta: float = Field(20.0, ge=0, description="penalty weight; the effective quadratic weight is beta * tau")
    margin: float = Field(0.3, ge=0, description="by how much every protected loss must fall")


class MDSStrictSettings(MDSReplaySettings, BalancedSettings):
    """Hyper-parameters of MDS-Strict."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = MDSReplaySettings.GRID


class MDSReplay(Penalised, Replay):
    """Replay's loss with the constraints of MDS, each with a margin, h_k <= -margin; no heads.

        CE(batch) + (beta tau / 2) mean_k [h_k + margin]_+^2

    Why each part is there. A constraint that holds has no weight in MDS, so its protected classes learn nothing more
    and end at the boundary, where noise makes half of them worse on new images: here they are trained on throughout,
    as by replay. Replay leaves some of them with a large gain and others with next to none, and the worst decides
    whether a round was strict: the penalty weighs those up whose loss has not yet fallen by the margin. It is a
    mild one: where some class cannot fall by the margin, the weight that MDS gives its constraints leaves no room for
    the target.
    """

    SETTINGS = MDSReplaySettings
    settings: MDSReplaySettings

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Replay's loss + the penalty."""
        targets = len(self.batches.target_rows)
        losses = class_losses(logits[targets:] * self.temperature, labels[targets:], self.settings.tau)  # (K * b,)
        return super().round_loss(logits, labels) + self.protected_loss(losses)

    @property
    def margin(self) -> float:
        """As set."""
        return self.settings.margin


class MDSStrict(MDSReplay):
    """MDS-Replay on part of the protected images; ``Balanced`` takes what inequality is left from the logits."""

    SETTINGS = MDSStrictSettings
    settings: MDSStrictSettings
    WEIGHT_SPACE = Balanced


__all__ = ["MDSReplay", "MDSReplaySettings", "MDSStrict", "MDSStrictSettings"]
