"""Balanced: a bias for each class, fitted on images that no step saw, so that all protected classes change alike.

A training leaves some protected classes with a gain and others with a loss, and the worst of them decides whether a
round was strict. A bias on the logits moves accuracy from one class to another at no cost at inference; one on the
target's logit trades its gain for the safety of all others, or safety that is not needed for more gain.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import torch
from pydantic import Field, field_validator
from torch import Tensor

from methods.batches import ImagePool
from methods.class_bias import BIAS
from methods.clip import predict_logits
from methods.state_arithmetic import RunningMean, interpolate
from methods.strategy import Hyperparameters, RoundStrategy, Score
from methods.weight_space import State, WeightSpace, snapshot

ITERATIONS = 200  # of the search for biases
FEWEST = 30  # independent images that tell the change of a class
FEWEST_TARGETS = 10  # and those of which a share can be given up
SHARPNESS = 4.0  # of the logits where a model counts as right by its probability of an image's class
REACH = 3.0  # of its first iteration, in typical gaps between two classes for all of a class's accuracy


class BalancedSettings(Hyperparameters):
    """Hyper-parameters of balancing."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = {"average": (False, True), "coefficient": (0.7, 1.0)}

    held_out: float = Field(
        0.25, gt=0, lt=1, description="share of each class's images that is kept from training, to fit the biases on"
    )
    average: bool = Field(False, description="take the mean of the weights over the second half of the steps")
    coefficient: float = Field(1.0, gt=0, le=1, description="how far to go from the old weights to the new ones")
    shares: tuple[float, ...] = Field(
        (0.8, 0.85, 0.9, 0.95, 1.0, 1.025, 1.05, 1.075, 1.1, 1.125, 1.15, 1.175, 1.2),
        min_length=1,
        description="how many of the target's images candidates would know if the target's bias were the only one, for "
        "each that the new model knows",
    )
    standard_errors: float = Field(
        3.0,
        ge=0,
        description="by which every protected class must gain on held-out images where a share is above 1",
    )

    @field_validator("shares")
    @classmethod
    def _above_0(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < share < math.inf for share in shares):
            raise ValueError("shares must be above 0")
        return shares


class Answers(NamedTuple):
    """What two models say of labelled images."""

    logits: Tensor  # (N, C), the new model's
    labels: Tensor  # (N,)
    old_logits: Tensor  # (N, C), the old model's
    units: Tensor  # (N,), the same number for images that are no independent samples

    def of(self, rows: Tensor) -> Answers:
        """Those of some rows."""
        return Answers(*(part[rows] for part in self))

    def one_each(self) -> Answers:
        """Those of the first image of each unit."""
        return self.of(first_of_each(self.units))

    @property
    def old(self) -> Tensor:
        """Whether the old model was right, (N,) bool."""
        return self.old_logits.argmax(dim=1) == self.labels

    def right(self, bias: Tensor) -> Tensor:
        """Whether the new model is right with a bias (C,) on its logits, (N,) bool."""
        found: Tensor = (self.logits + bias).argmax(dim=1) == self.labels
        return found

    def changes(self, bias: Tensor) -> Tensor:
        """By how much each image's class became more probable with a bias (C,), (N,) in [-1, 1].

        At ``SHARPNESS`` times their logits, models give most images to one class alone, so that the means over a
        class are close to its change of accuracy; images near a boundary count in part, which lessens the noise.
        """
        return _probability(self.logits + bias, self.labels) - _probability(self.old_logits, self.labels)


class Balanced(WeightSpace):
    """Biases on the classes' logits that make the smallest change of a protected class as great as can be.

    They are fitted on held-out protected images, anew for each of several biases of the target: those models are
    proposed, the one that gives up most of the target first. The target's logit is raised only as far as every
    protected class gains so much that chance does not explain it: the target has what others gain beyond need. The
    biases are part of the classifier and stay for the rounds to come.
    """

    SETTINGS = BalancedSettings
    settings: BalancedSettings
    uses_protected = True
    holds_out = True

    def before_training_exp(self, strategy: RoundStrategy, **kwargs: Any) -> None:
        """Keep the old weights; ask for held-out images before any step is taken."""
        if strategy.held_out is None:
            raise ValueError(f"{type(self).__name__} needs held-out images: call hold_out(target, protected)")
        super().before_training_exp(strategy, **kwargs)
        self.target = int(strategy.batches.target.labels[0])
        self.mean = RunningMean()

    def after_training_iteration(self, strategy: RoundStrategy, **kwargs: Any) -> None:
        """Average the weights of the second half."""
        half = len(strategy.losses) > strategy.settings.steps // 2
        if self.settings.average and half and strategy.trains_candidate:
            self.mean.add(strategy.model.state_dict())

    def after_training_exp(self, strategy: RoundStrategy, **kwargs: Any) -> None:
        """Make the candidates, once, and take the usual one."""
        self.new = interpolate(self.old, self.mean.state or snapshot(strategy.model), self.settings.coefficient)
        self.candidates = self.chosen(*self.answers(strategy), strategy)
        strategy.model.load_state_dict(self.usual()[1])

    def propose(self, strategy: RoundStrategy, score: Score) -> None:
        """Score every candidate."""
        for name, state in self.candidates:
            strategy.model.load_state_dict(state)
            score(name)

    def chosen(self, target: Answers, protected: Answers, strategy: RoundStrategy) -> list[tuple[str, State]]:
        """Names and weights of the candidates, the one that gives up most of the target first."""
        return [self.candidate(share, bias) for share, bias in self.biases(target, protected)]

    def usual(self) -> tuple[str, State]:
        """The candidate to take where nobody scores them: the middle one."""
        return self.candidates[(len(self.candidates) - 1) // 2]

    def candidate(self, share: float, bias: Tensor) -> tuple[str, State]:
        """Name and weights of the model with biases (C,), of which the target's alone would leave it a share of it."""
        return f"target share {share:g}", self.new | {BIAS: self.new[BIAS] + bias.to(self.new[BIAS].device)}

    def answers(self, strategy: RoundStrategy) -> tuple[Answers, Answers]:
        """Old and new model on the held-out images of the target and of the protected classes."""
        assert strategy.held_out is not None
        pools = [ImagePool(part, strategy.device) for part in strategy.held_out]
        found = []
        for state in (self.old, self.new):
            strategy.model.load_state_dict(state)
            found.append([predict_logits(strategy.model, pool.images) for pool in pools])
        target, protected = (
            Answers(new, pool.labels.cpu(), old, pool.units) for old, new, pool in zip(*found, pools, strict=True)
        )
        return target, protected

    def biases(self, target: Answers, protected: Answers) -> Iterator[tuple[float, Tensor]]:
        """For each of the settings' shares the biases (C,) of all classes.

        Where the target has fewer than ``FEWEST_TARGETS`` independent images, its own bias is 0. The other biases,
        fitted after it, change its share once more: a rival that had got worse is raised, and takes images of it.
        Shares above 1 end with the first that costs too much.
        """
        label, independent = self.target, len(target.one_each().labels)
        leads = lead(target.logits, label).sort(descending=True).values
        last = highest = int((leads > 0).sum()) - 1  # row of the least sure one that the model knows
        for share in sorted(self.settings.shares) if independent >= FEWEST_TARGETS else (1.0,):
            if share <= 1:
                lowered = float(leads[round(share * last)]) if last >= 0 and share < 1 else 0.0
                yield share, balanced(protected, label, -lowered)
            elif last >= 0 and highest < (row := round(share * last)) < len(leads):
                bias, highest = balanced(protected, label, -float(leads[row])), row
                if not surely_gained(protected, bias, self.settings.standard_errors):
                    return
                yield share, bias


def balanced(answers: Answers, target: int, target_bias: float) -> Tensor:
    """Biases (C,) with which the smallest change over the protected classes is greatest, as far as found.

    The change of a class is the mean of ``answers.changes``, a smooth estimate of its change of accuracy.

    From no bias on, those of classes that changed more than the mean are lowered and the others raised, by less and
    less, until they stand still; if the smallest change is then no greater than it was, none are taken. Classes of
    fewer than ``FEWEST`` independent images have none: it would suit these few, or the frames of one drive, alone.

    Args:
        answers: on images of the protected classes.
        target: label of the target.
        target_bias: its bias; those of the other classes that have one have mean 0.
    """
    units = torch.bincount(answers.one_each().labels, minlength=answers.logits.shape[1])
    answers = answers.of(units[answers.labels] >= FEWEST)
    labels, classes = answers.labels, answers.labels.unique()
    bias = torch.zeros(answers.logits.shape[1])
    bias[target] = target_bias
    if not len(classes):
        return bias
    start = bias.clone()
    counts = torch.bincount(labels, minlength=answers.logits.shape[1])[classes]
    top = answers.logits.topk(2, dim=1).values
    reach = REACH * float((top[:, 0] - top[:, 1]).median())
    smallest = []
    for iteration in range(ITERATIONS + 1):
        changes = torch.bincount(labels, answers.changes(bias), len(bias))[classes] / counts
        smallest.append(float(changes.min()))
        bias[classes] += reach * (1 - iteration / ITERATIONS) * (changes.mean() - changes)
        bias[classes] -= bias[classes].mean()
    return bias if smallest[-1] >= smallest[0] else start


def surely_gained(answers: Answers, bias: Tensor, standard_errors: float) -> bool:
    """Whether every class gained with a bias (C,), by more than so many standard errors of its mean change.

    The change of an image is that of ``Answers.changes``; of images that belong together the first counts, and of fewer
    than ``FEWEST`` nothing is sure.
    """
    independent = answers.one_each()
    changes = independent.changes(bias)
    for label in independent.labels.unique():
        own = changes[independent.labels == label]
        if len(own) < FEWEST or float(own.mean()) <= standard_errors * float(own.std()) / math.sqrt(len(own)):
            return False
    return True


def _probability(logits: Tensor, labels: Tensor) -> Tensor:
    return (SHARPNESS * logits).softmax(dim=1).gather(1, labels[:, None])[:, 0]


def first_of_each(units: Tensor) -> Tensor:
    """Rows of the first image of each unit, (n,), of the units (N,) of all."""
    _, number = units.unique(return_inverse=True)
    rows = torch.full((int(number.max()) + 1,) if len(number) else (0,), len(units))
    return rows.scatter_reduce(0, number, torch.arange(len(units)), "amin").sort().values


def lead(logits: Tensor, label: int) -> Tensor:
    """By how much the logit of ``label`` is above all others, (N,)."""
    others = logits.clone()
    others[:, label] = -torch.inf
    return logits[:, label] - others.max(dim=1).values


__all__ = ["Answers", "Balanced", "BalancedSettings", "balanced", "first_of_each", "lead", "surely_gained"]
