"""Certified: an update is accepted only if held-out images show that no protected class lost anything.

``docs/certified.md`` states what a certificate guarantees. The tests are in ``methods.certificate``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from methods.balanced import Answers, Balanced, BalancedSettings
from methods.batches import ImagePool, generator
from methods.certificate import certified_p_value, fixed_sequence, predicted_p_value
from methods.strategy import RoundStrategy
from methods.weight_space import State

NONE = "no update certified"


class CertifiedSettings(BalancedSettings):
    """Hyper-parameters of certified updates."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = BalancedSettings.GRID | {"held_out": (0.25, 0.5)}

    held_out: float = Field(
        0.5, gt=0, lt=1, description="share of each class's images that is kept from training, to fit biases and test"
    )
    fitted: float = Field(0.3, gt=0, lt=1, description="share of the held-out images that the biases are fitted on")
    alpha: float = Field(0.05, gt=0, lt=1, description="level: probability at most that a class was lost and it passed")
    margin_points: float = Field(0.0, ge=0, lt=100, description="loss of a class that does not matter, in points")
    fresh: int = Field(
        0, ge=0, description="certify that as many new images of a class would show no loss; 0: the truth"
    )


class Certified(Balanced):
    """The candidates of ``Balanced`` that pass an exact test on held-out images, or the old model.

    Part of the held-out images fits the biases, the rest tests what they make: class by class, whether more was lost
    than the margin; candidates in turn, those first that give up most of the target, until one fails (Learn then Test,
    arXiv 2110.01052); of images that belong together one is tested. Of those that passed, validation chooses; where
    none did, or a class has no image left to test, the old model stays.

    The level is that of a stream's first round. In later ones the same held-out images have helped to choose the old
    model, and a class that an earlier round taught may have been trained on images that are held out now.
    """

    SETTINGS = CertifiedSettings
    settings: CertifiedSettings

    def chosen(self, target: Answers, protected: Answers, strategy: RoundStrategy) -> list[tuple[str, State]]:
        """Those that pass, or the old model."""
        fitting = _drawn(protected, self.settings.fitted, strategy.seed)
        candidates = list(self.biases(target, protected.of(fitting)))
        tested, kept = protected.of(~fitting).one_each(), ImagePool(strategy.protected, strategy.device).classes
        p_values = self._p_values(tested, [bias for _, bias in candidates])
        passed = fixed_sequence(p_values, self._level) if tested.labels.unique().tolist() == kept else 0
        return [self.candidate(*one) for one in candidates[:passed]] or [(NONE, self.old)]

    def usual(self) -> tuple[str, State]:
        """The last one that passed, which gives up least of the target."""
        return self.candidates[-1]

    @property
    def _level(self) -> float:
        return self.settings.alpha / 2 if self.settings.fresh else self.settings.alpha

    def _p_values(self, tested: Answers, biases: list[Tensor]) -> Iterator[float]:
        for bias in biases:
            counts = flips(tested.labels, tested.old, tested.right(bias))
            if self.settings.fresh:
                yield predicted_p_value(counts, self.settings.fresh, self._level)
            else:
                yield certified_p_value(counts, self.settings.margin_points / 100)


def flips(labels: Tensor, before: Tensor, after: Tensor) -> list[tuple[int, int, int]]:
    """For each class: images lost, won, and all; of labels (N,) and whether each was and is right, (N,) bool."""
    found = []
    for label in labels.unique():
        own = labels == label
        found.append((int((own & before & ~after).sum()), int((own & ~before & after).sum()), int(own.sum())))
    return found


def _drawn(answers: Answers, share: float, seed: int) -> Tensor:
    """A share of the units of each class, neither none nor all where there are two or more, (N,) bool."""
    rng, drawn = generator(seed, "fitted images"), torch.zeros(len(answers.labels), dtype=torch.bool)
    for label in answers.labels.unique():
        units = answers.units[answers.labels == label].unique()
        count = min(max(1, round(share * len(units))), len(units) - 1)
        drawn |= torch.isin(answers.units, units[torch.randperm(len(units), generator=rng)[:count]])
    return drawn


__all__ = ["NONE", "Certified", "CertifiedSettings", "flips"]
