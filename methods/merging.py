"""Weight-space methods that merge the weights before a round with those after it.

Each is a plugin on a method that trains, as in ``finetune+ties``. Below, theta_old, theta_new and theta_pre are the
weights before the round, after it, and before the stream; c is the coefficient, which validation images choose. At
c = 0 every merge is theta_old, and it is so at every c where the round changed nothing, bit for bit.
"""

from __future__ import annotations

import copy
import math
from typing import Any, ClassVar

from pydantic import Field

from methods.batches import ImagePool, generator
from methods.fisher import fisher_information
from methods.state_arithmetic import (
    add_task_vector,
    average,
    drop_and_rescale,
    fisher_average,
    interpolate,
    mean_one,
    task_vector,
    ties,
)
from methods.strategy import FEW, Hyperparameters, RoundStrategy, Score
from methods.weight_space import State, WeightSpace, WeightSpaceSettings, snapshot

INGREDIENTS = 4  # of a soup, as many as the points that are scored along a round's training


class TaskArithmeticSettings(WeightSpaceSettings):
    """Coefficients that also go beyond the trained model."""

    coefficients: tuple[float, ...] = Field(
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.5),
        min_length=1,
        description="tried on validation images; without any, the middle one is used",
    )


class TIESSettings(TaskArithmeticSettings):
    """Hyper-parameters of TIES."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = {"trim": (0.1, 0.2, 0.5)}

    trim: float = Field(0.2, gt=0, le=1, description="k: share of a task vector's entries that stays, the greatest")


class DARESettings(TaskArithmeticSettings):
    """Hyper-parameters of DARE."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = {"drop": (0.5, 0.9, 0.99)}

    drop: float = Field(0.9, ge=0, lt=1, description="p: share of the task vector's entries that is dropped")


class FisherSettings(WeightSpaceSettings):
    """Hyper-parameters of merges by Fisher information.

    It is so uneven that most weights go over to the new model at small coefficients, so these are spaced evenly in
    logarithm.
    """

    coefficients: tuple[float, ...] = Field(
        (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
        min_length=1,
        description="tried on validation images; without any, the middle one is used",
    )
    fisher_samples: int = Field(
        256, ge=1, description="images that a model's Fisher information is measured on", json_schema_extra=FEW
    )


class WiSEFT(WeightSpace):
    """theta = (1 - c) theta_old + c theta_new, all weights of both towers (WiSE-FT, arXiv 2109.01903, eq. 1).

    The paper's theta_old is the zero-shot model; here it is the model before the round.
    """

    def merge(self, coefficient: float) -> State:
        """On the line from old to new."""
        return interpolate(self.old, self.new, coefficient)


class TaskArithmetic(WeightSpace):
    """theta = theta_old + c (theta_new - theta_old) (arXiv 2212.04089, section 2).

    With a single vector this is WiSE-FT's line, gone beyond theta_new as well. The paper's vectors all start from the
    pretrained model; here each round's starts from the model it is added to. ``PTM`` starts from the pretrained one.
    """

    SETTINGS = TaskArithmeticSettings
    settings: TaskArithmeticSettings

    def merge(self, coefficient: float) -> State:
        """On the line from old to new and beyond, exactly theta_new at 1."""
        return interpolate(self.old, self.new, coefficient)


class TIES(WeightSpace):
    """theta = theta_old + c (TIES(tau_old, tau_new) - tau_old) (arXiv 2306.01708, algorithm 1).

    tau_old = theta_old - theta_pre is the change of earlier rounds, tau_new = theta_new - theta_old that of this one.
    At c = 1 this is theta_pre + TIES(tau_old, tau_new), the paper's merge at lambda = 1, which trims tau_old as well.

    In a first round, or where no pretrained model is given, tau_new is the only vector: no sign is contested, and
    trimming is all that is left. Deviations: the paper's vectors are of tasks learned apart from theta_pre, and its
    lambda scales all of them, so that 0 would return to theta_pre and undo earlier rounds; c goes back to theta_old.
    """

    SETTINGS = TIESSettings
    settings: TIESSettings

    def prepare(self, strategy: RoundStrategy) -> None:
        """Merge the task vectors; nothing is trimmed where the round changed nothing."""
        before, vector = task_vector(before_stream(strategy, self.old), self.old), task_vector(self.old, self.new)
        self.change: State = {}
        if _changes(vector):
            vectors = [before, vector] if _changes(before) else [vector]
            self.change = task_vector(before, ties(vectors, self.settings.trim))

    def merge(self, coefficient: float) -> State:
        """On the line from old to the merge of all vectors."""
        return add_task_vector(self.old, self.change, coefficient)


class DARE(WeightSpace):
    """theta = theta_old + c m (theta_new - theta_old) / (1 - p), where m drops entries at random (arXiv 2311.03099).

    The mask depends on the seed and the round. The paper's theta_old is the pretrained model.
    """

    SETTINGS = DARESettings
    settings: DARESettings

    def prepare(self, strategy: RoundStrategy) -> None:
        """Draw the mask."""
        rng = generator(strategy.seed, f"dare round {strategy.experience.current_experience}")
        self.vector = drop_and_rescale(task_vector(self.old, self.new), self.settings.drop, rng)

    def merge(self, coefficient: float) -> State:
        """Along the kept part of the task vector."""
        return add_task_vector(self.old, self.vector, coefficient)


class FisherMerge(WeightSpace):
    """theta = ((1 - c) F_old theta_old + c F_new theta_new) / ((1 - c) F_old + c F_new) (arXiv 2111.09832, eq. 4).

    F_old is the diagonal Fisher information of theta_old on protected images, F_new that of theta_new on target images,
    each divided by its mean and floored at 1e-6. The division is a deviation: the scale of Fisher information says how
    sure a model is on its images, not which weights matter to it. A small CLIP model fitted to one class had 1e-8 of
    the old one's, so that unscaled the old weights would win nearly everywhere at nearly every c.
    """

    SETTINGS = FisherSettings
    settings: FisherSettings
    uses_protected = True

    def prepare(self, strategy: RoundStrategy) -> None:
        """Measure both models' Fisher information."""
        self.old_fisher = self.fisher(strategy, self.old, strategy.protected)
        self.new_fisher = self.fisher(strategy, self.new, strategy.experience)

    def merge(self, coefficient: float) -> State:
        """Entry by entry between old and new."""
        return fisher_average(self.old, self.new, self.old_fisher, self.new_fisher, coefficient)

    def fisher(self, strategy: RoundStrategy, weights: State, experience: Any) -> State:
        """Fisher information of ``weights`` on the images of ``experience``, with mean 1."""
        model = copy.deepcopy(strategy.model)
        model.load_state_dict(weights)
        images = ImagePool(experience, strategy.device).images
        return mean_one(fisher_information(model, images, max_samples=self.settings.fisher_samples, seed=strategy.seed))


class BCWI(FisherMerge):
    """theta = (alpha f theta_old + (1 - alpha) theta_new) / (alpha f + 1 - alpha), alpha = 1 - c: FisherBCWI.

    Backward-compatible weight interpolation (arXiv 2301.10546) is WiSE-FT's line, with theta_old the deployed model;
    this is its variant weighted by f, the Fisher information of theta_old scaled to mean 1. Formula and scale are those
    of the authors' published code. Deviations: f is measured on protected images with labels drawn from the model
    (there: on training and development data, the predicted labels), and floored at 1e-6, where theirs may divide by 0.
    """

    def prepare(self, strategy: RoundStrategy) -> None:
        """Measure the old model's Fisher information; the new weights all count alike."""
        self.old_fisher = self.fisher(strategy, self.old, strategy.protected)
        self.new_fisher = {key: value.new_ones(()) for key, value in self.old_fisher.items()}


class PTM(WeightSpace):
    """theta = theta_old + c (theta_new - theta_pre), trained from theta_pre (Merge to Learn, arXiv 2410.12937).

    The round's skill is learned apart from the changes of earlier rounds, then added to them. The method that trains
    takes theta_pre for its old model. Weights that theta_pre lacks, such as heads added since, start from theta_old.
    Where no pretrained model is given, and in a first round, theta_pre = theta_old and this is ``TaskArithmetic``.
    """

    def before_training_exp(self, strategy: RoundStrategy, **kwargs: Any) -> None:
        """Keep the old weights and go back to the pretrained ones."""
        super().before_training_exp(strategy, **kwargs)
        self.start = before_stream(strategy, self.old)
        strategy.model.load_state_dict(self.start)

    def prepare(self, strategy: RoundStrategy) -> None:
        """Take the learned vector."""
        self.vector = task_vector(self.start, self.new)

    def merge(self, coefficient: float) -> State:
        """Old weights and a share of the learned vector."""
        return add_task_vector(self.old, self.vector, coefficient)


class Soup(WeightSpace):
    """Greedy soup (arXiv 2203.05482, recipe 1): average the best weights, and add others while the score does not drop.

    Deviation: the paper's ingredients are runs with different hyper-parameters, which would cost as many times the
    budget. Here they are the weights at evenly spaced points of a single run, where those are the new model's, and not
    for example a teacher's. Without validation the soup is uniform.
    A caller that keeps the first of the scores that tie keeps the soup of fewer ingredients.
    """

    SETTINGS = Hyperparameters
    settings: Hyperparameters

    def before_training_exp(self, strategy: RoundStrategy, **kwargs: Any) -> None:
        """An empty pot."""
        steps = len(strategy.dataloader)
        self.points = {math.ceil(steps * k / INGREDIENTS) for k in range(1, INGREDIENTS + 1)}
        self.step = 0
        self.ingredients: list[State] = []

    def after_training_iteration(self, strategy: RoundStrategy, **kwargs: Any) -> None:
        """Keep the weights of some steps."""
        self.step += 1
        if self.step in self.points and strategy.trains_candidate:
            self.ingredients.append(snapshot(strategy.model))

    def after_training_exp(self, strategy: RoundStrategy, **kwargs: Any) -> None:
        """The uniform soup."""
        if self.ingredients:
            strategy.model.load_state_dict(average(self.ingredients))

    def propose(self, strategy: RoundStrategy, score: Score) -> None:
        """Score each ingredient, then the soups that add one more."""

        def taste(numbers: list[int]) -> Any:
            strategy.model.load_state_dict(average([self.ingredients[number - 1] for number in numbers]))
            return score("soup of " + ", ".join(map(str, numbers)))

        scores = {number: taste([number]) for number in range(1, len(self.ingredients) + 1)}
        if not scores:
            score("no ingredients")
            return
        first, *others = sorted(scores, key=scores.__getitem__, reverse=True)
        soup, best = [first], scores[first]
        for number in others:
            tasted = taste([*soup, number])
            if tasted >= best:
                soup, best = [*soup, number], tasted


def before_stream(strategy: RoundStrategy, old: State) -> State:
    """Pretrained weights on the devices of ``old``; those of ``old`` where there are none.

    Raises:
        ValueError: the models have no weight in common, as where the old one is an ensemble.
    """
    known = strategy.pretrained.state_dict() if strategy.pretrained is not None else {}
    if known and not known.keys() & old.keys():
        raise ValueError(
            f"{type(strategy).__name__} keeps several models, so no weight has its counterpart in the pretrained one: "
            "take a plugin that does not go back to it"
        )
    return {key: known[key].to(value.device) if key in known else value for key, value in old.items()}


def _changes(vector: State) -> bool:
    return any(bool(value.any()) for value in vector.values())
