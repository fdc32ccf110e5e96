"""Distillation from an ensemble that the round makes itself."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from methods.nonregression import NonRegressionSettings
from methods.old_model import OldOutputs
from methods.strategy import RoundStrategy, Settings
from methods.weight_space import State, snapshot


class ELODISettings(NonRegressionSettings):
    """Hyper-parameters of ELODI; ``alpha``, ``power`` and ``margin`` are those of the authors' example."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = Settings.GRID | {"alpha": (0.5, 0.8), "margin": (0.0, 0.2, 0.5)}

    members: int = Field(3, ge=1, description="M: models of the ensemble; 8 in the authors' example")
    first_share: float = Field(0.5, gt=0, lt=1, description="share of the steps that train the ensemble first")
    alpha: float = Field(0.8, ge=0, le=1, description="weight of the distillation; cross-entropy has the rest")
    margin: float = Field(0.0, ge=0, description="xi: difference of a logit that is free")
    power: float = Field(2.0, ge=1, description="p: power of the differences beyond it")
    top_classes: int = Field(0, ge=0, description="K: only the new model's K largest logits count; 0 for all")


class ELODI(RoundStrategy):
    """Ensemble logit difference inhibition (arXiv 2205.06265), in the style of the paper but within one budget.

    L = (1 - alpha) CE + alpha LDI(z, e), e the mean logits of an ensemble of M models that were trained alike, and
    LDI(z, e) = mean over images and classes c of max(|z_c - e_c| - xi, 0)^p, as in the authors' published code.
    The paper finds that ensembles flip fewer predictions than single models, and that one model can learn it from them.

    Differences from the paper, made knowingly:

    * The paper trains each of M = 8 members, and then the new model, with a budget of its own. Here all of them share
      the steps of a round: the first ``first_share`` in M equal parts, one after the other, and the rest for the new
      model. Each begins as the old model, with an optimizer and a schedule of its own. Where there are fewer steps than
      members, some members are the old model.
    * Members differ only in the images that they see, which are those of successive steps, and not in where they start.
      So they are far less diverse than the paper's, and tend to flip the same predictions.
    * The authors' example leaves the label's logit out of LDI. Here all count, or the ``top_classes`` of the new model.

    While members are trained there is no new model to score: points of the round that lie there are passed over.
    """

    SETTINGS = ELODISettings
    settings: ELODISettings

    @property
    def ends(self) -> list[int]:
        """After how many steps of the round each member is trained."""
        s = self.settings
        steps = int(s.first_share * s.steps)
        return [steps * (member + 1) // s.members for member in range(s.members)]

    @property
    def first_steps(self) -> int:
        """Those of the members."""
        return self.ends[-1]

    def prepare_round(self) -> None:
        """Keep the old weights; there are no members yet."""
        self.start: State = snapshot(self.model)
        self.ensemble: list[OldOutputs] = []

    def _before_training_iteration(self, **kwargs: Any) -> None:
        super()._before_training_iteration(**kwargs)
        step, ends = len(self.losses), self.ends
        self.ensemble += [OldOutputs(self, target=True, protected=True) for end in ends if end == step]
        if step in (0, *ends):
            self.model.load_state_dict(self.start)
            end = min(end for end in (*ends, self.settings.steps) if end > step)
            self.start_optimizer(self.settings.lr, end - step)

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of a member; with the distillation, once all are trained."""
        s = self.settings
        new = logits * self.temperature / s.tau
        cross_entropy = F.cross_entropy(new, labels)
        if len(self.ensemble) < s.members:
            return cross_entropy
        mean = torch.stack([member.of_step() for member in self.ensemble]).mean(dim=0) / s.tau
        distance = logit_difference_inhibition(new, mean, s.margin, s.power, s.top_classes)
        return (1 - s.alpha) * cross_entropy + s.alpha * distance

    def _after_training_exp(self, **kwargs: Any) -> None:
        super()._after_training_exp(**kwargs)
        self.start, self.ensemble = {}, []


def logit_difference_inhibition(
    new: Tensor, reference: Tensor, margin: float, power: float, top_classes: int = 0
) -> Tensor:
    """Mean over images and classes of max(|new - reference| - margin, 0) ** power, a scalar (arXiv 2205.06265).

    Args:
        new: (B, C) logits.
        reference: (B, C).
        margin: difference that costs nothing.
        power: 1 or more.
        top_classes: where not 0, so many classes of each image count, those of the largest ``new``.
    """
    excess = F.relu((new - reference).abs() - margin) ** power
    if top_classes:
        excess = excess.gather(1, new.topk(min(top_classes, new.shape[1]), dim=1).indices)
    return excess.mean()


__all__ = ["ELODI", "ELODISettings", "logit_difference_inhibition"]
