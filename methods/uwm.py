"""Unsafe Weights Manipulation (UWM, arXiv 2503.11742): find the weights that matter for one set of images and not for
another, without a gradient; then forget by them, or keep them out of an update.

Weights are scored as in ``methods.saliency``, and taken layer by layer: those that carry the largest share of the
layer's sum of Phi (Eq. 11).

Differences from the published code, made knowingly:

* Target and protected images are no pairs, so Phi is a ratio of means and not a mean of ratios.
* Texts are the prompts of the classes: the target's on one side, those of the protected classes on the other.
* 1e-8 is added to the standard deviation in both towers, not in the vision tower alone.
* A weight on whose input one of the sets gives nothing has no ratio: it scores 0 and is taken last.
* Images of the sets are drawn without regard to their class, up to ``calibration`` per side and not 8192.

A classifier that is not a ``ClipClassifier`` is scored on its linear layers. Where their inputs have no tokens, the
standard deviation drops out of the ratio.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn

from methods.clip import ClipClassifier
from methods.saliency import carries, in_text_tower, rank, saliencies, sides
from methods.strategy import FEW, RoundStrategy, Score, Settings
from methods.weight_space import State, WeightSpace, WeightSpaceSettings

CALIBRATION = Field(
    512,
    ge=1,
    description="images of either side that the weights are scored on, at the most",
    json_schema_extra=FEW,
)


class UWMSettings(Settings):
    """No steps: the weights are manipulated, not trained."""

    steps: int = Field(0, ge=0, le=0, description="always 0")
    shares: tuple[float, ...] = Field(
        (0.005, 0.01, 0.02, 0.05), min_length=1, description="tau: shares of the mass of Phi, tried on validation"
    )
    factors: tuple[float, ...] = Field(
        (-1.0, -0.5, 0.0, 0.5), min_length=1, description="alpha: factors on the weights, tried likewise"
    )
    forget: Literal["target", "protected"] = Field("target", description="the side whose weights are manipulated")
    calibration: int = CALIBRATION


class UWM(RoundStrategy):
    """UWM as published, on a round: forgets the target (or, as set, the protected classes); trains nothing.

    Scored are the layers of the published CLIP runs: out_proj of the text tower's attention, the second linear layer
    of the vision tower's MLPs; of a plain classifier, every linear layer. The weights that matter most are multiplied
    by alpha; biases stay. ``train`` leaves the published tau = 0.02 and alpha = -1; asked to ``propose``, it tries
    every pair of ``shares`` and ``factors``.
    """

    SETTINGS = UWMSettings
    settings: UWMSettings
    trains = False
    SHARE, FACTOR = 0.02, -1.0

    def prepare_round(self) -> None:
        """Rank the weights of the old model."""
        target, protected = sides(self, self.settings.calibration)
        of, against = (target, protected) if self.settings.forget == "target" else (protected, target)
        saliency, reference = (saliencies(self.model, side, published) for side in (of, against))
        self.old = {name: self.model.get_parameter(name).detach().clone() for name in saliency}
        self.mass_above = rank(self.model, saliency, reference, self.old)

    def _after_training_exp(self, **kwargs: Any) -> None:
        self.manipulate(self.SHARE, self.FACTOR)  # before the plugins, which may ask for proposals
        super()._after_training_exp(**kwargs)

    @property
    def proposes(self) -> bool:
        """Always."""
        return True

    def propose(self, score: Score) -> None:
        """Score every share with every factor."""
        for share in self.settings.shares:
            for factor in self.settings.factors:
                self.manipulate(share, factor)
                score(f"share {share:g} factor {factor:g}")

    @torch.no_grad()
    def manipulate(self, share: float, factor: float) -> None:
        """Multiply the old weights that carry ``share`` of the mass of each layer's scores by ``factor``."""
        for name, old in self.old.items():
            taken = carries(self.mass_above[name], share)
            self.model.get_parameter(name).copy_(torch.where(taken, factor * old, old))


class UWMKeepSettings(WeightSpaceSettings):
    """Coefficients are shares of mass, dense where few weights are left to change: Phi is heavy-tailed."""

    coefficients: tuple[float, ...] = Field(
        (0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995),
        min_length=1,
        description="shares of the mass of Phi that keep their old weights, tried on validation images; without any, "
        "the middle one is used",
    )
    calibration: int = CALIBRATION


class UWMProtect(WeightSpace):
    """theta = theta_old + (1 - M) (theta_new - theta_old): weights that protected images need take no update.

    M marks the weights that carry a share of Phi = phi(protected) / phi(target), both of the old model: UWM's score
    with its sides swapped. The share is the coefficient: 0 gives the new model and 1 the old one.

    UWM's own layers hold few of the weights, and a mask on them would let the rest of the update pass; so all linear
    layers of both towers are scored, queries, keys and values of an attention as one. Parameters that are no linear
    layer's weight have no score (biases, normalisations, embeddings, the projections into the shared space): there M
    is the share itself.

    This use of the score is this project's, not the paper's.
    """

    SETTINGS = UWMKeepSettings
    settings: UWMKeepSettings
    uses_protected = True

    def prepare(self, strategy: RoundStrategy) -> None:
        """Draw images and rank the weights by them; the model holds other ones afterwards."""
        self.target, self.protected = sides(strategy, self.settings.calibration)
        model = strategy.model
        model.load_state_dict(self.old)
        saliency = saliencies(model, self.protected)
        model.load_state_dict(self.target_weights())
        self.mass_above = rank(model, saliency, saliencies(model, self.target), self.old)

    def target_weights(self) -> State:
        """The weights that say what the target needs."""
        return self.old

    def merge(self, coefficient: float) -> State:
        """The new weights, with the old ones where they carry the share ``coefficient`` of their layer's scores."""
        merged = {
            key: torch.lerp(new, self.old[key], coefficient) if new.is_floating_point() else new
            for key, new in self.new.items()
        }
        for name, above in self.mass_above.items():
            merged[name] = torch.where(carries(above, coefficient), self.old[name], self.new[name])
        return merged


class UWMRepair(UWMProtect):
    """Puts the old weights back where protected images needed them more than the target needs the new ones.

    As ``UWMProtect``, but phi(target) is that of the trained model: a weight that the update made important for the
    target is spared, whatever it was before.

    This use of the score is this project's, not the paper's.
    """

    def target_weights(self) -> State:
        """The trained ones."""
        return self.new


def published(model: nn.Module, name: str) -> bool:
    """Whether the paper's CLIP runs manipulate the weight ``name``; of a plain classifier, any."""
    if in_text_tower(model, name):
        return name.endswith(".out_proj.weight")
    return not isinstance(model, ClipClassifier) or name.endswith((".mlp.c_proj.weight", ".mlp.fc2.weight"))
