"""Weight-space methods that look at what linear layers are given for protected and for target images.

Names and conventions are those of ``methods.merging``: at c = 0 every merge is theta_old, and it is so at every c where
the round changed nothing, bit for bit. Layers are seen through ``methods.saliency.show``: all linear ones of both
towers, queries, keys and values of an attention as one. Texts are the prompts of the classes, up to their end token:
those of the protected classes on one side, the target's on the other.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from methods.saliency import Side, show, sides
from methods.state_arithmetic import interpolate
from methods.strategy import FEW, RoundStrategy
from methods.weight_space import State, WeightSpace, WeightSpaceSettings

TINY = 1e-12  # in place of the norm of a weight that is 0


class InputsSettings(WeightSpaceSettings):
    """Settings of methods that look at inputs."""

    calibration: int = Field(
        256,
        ge=1,
        description="images of either side that layers are looked at with, at the most",
        json_schema_extra=FEW,
    )


class RegMeanSettings(InputsSettings):
    """Hyper-parameters of RegMean.

    Weights go over to the new model at small coefficients wherever protected inputs are small, so these are spaced
    evenly in logarithm; 0.5 is the paper's.
    """

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = {"off_diagonal": (0.5, 0.9, 0.95)}

    coefficients: tuple[float, ...] = Field(
        (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
        min_length=1,
        description="tried on validation images; without any, the middle one is used",
    )
    off_diagonal: float = Field(
        0.9, ge=0, lt=1, description="alpha: factor on the inner products of different inputs; below 1, for an inverse"
    )


class RegMean(WeightSpace):
    """W^T = ((1 - c) G_old + c G_new)^-1 ((1 - c) G_old W_old^T + c G_new W_new^T) (regression mean, arXiv 2212.09849).

    G = X^T X / rows for the inputs X of a linear layer: G_old of the old model on protected images, G_new of the new
    one on target images, and off-diagonal entries are multiplied by alpha. With alpha = 1 the merged layer is the
    linear one that comes nearest, in squares, to what W_old makes of the protected inputs and W_new of the target's.
    All that is no linear layer's weight is interpolated at c, so at c = 1/2 averaged as in the paper.

    Deviations: the paper has no c, which is 1/2 there, and sums over rows where here G is a mean, so that c alone
    weighs the sides and not how many images and prompts each has. An input that neither side uses keeps its old
    weights. Between its ends the merge may be further from theta_old than theta_new is: it is near in outputs.
    """

    SETTINGS = RegMeanSettings
    settings: RegMeanSettings
    uses_protected = True

    def prepare(self, strategy: RoundStrategy) -> None:
        """Multiply inputs; the model holds other weights afterwards."""
        target, protected = sides(strategy, self.settings.calibration)
        model, alpha = strategy.model, self.settings.off_diagonal
        model.load_state_dict(self.old)
        self.old_products = inner_products(model, protected, alpha)
        model.load_state_dict(self.new)
        self.new_products = inner_products(model, target, alpha)

    def merge(self, coefficient: float) -> State:
        """The regression of each linear layer; the rest on the line from old to new."""
        merged = interpolate(self.old, self.new, coefficient)
        for name, old in self.old_products.items():
            merged[name] = regression_mean(self.old[name], self.new[name], old, self.new_products[name], coefficient)
        return merged


class SafeLayers(WeightSpace):
    """Takes back the update of whole layers, first of those that tell target from protected images and changed most.

    Of each linear layer, with unit vectors h(x) of its inputs in the old model, averaged over tokens:

        gap   = arccos(mean cos(h(protected), h(target))) - arccos(mean cos(h(protected), h(another protected)))
        drift = ||W_new - W_old|| / ||W_old||

    The coefficient is the share of the layers that keep their update; the others, of the greatest gap x drift, have
    their old weights. What is no linear layer's weight is interpolated at c.

    This is the suite's reading of an analysis, and no published algorithm. arXiv 2410.07571 compares layers before and
    after adaptation by their drift, and by the angular gap of hidden states that arXiv 2408.17003 finds "safety layers"
    with; normal and malicious texts are protected and target images here. That the two are multiplied, that layers are
    taken back by rank, and that inputs of linear layers stand for a block's hidden state are choices made here.
    """

    SETTINGS = InputsSettings
    settings: InputsSettings
    uses_protected = True

    def prepare(self, strategy: RoundStrategy) -> None:
        """Order the layers by gap x drift, the greatest first; the model holds the old weights afterwards."""
        target, protected = sides(strategy, self.settings.calibration)
        strategy.model.load_state_dict(self.old)
        gaps = angular_gaps(strategy.model, protected, target)
        scores = {name: gap * drift(self.old[name], self.new[name]) for name, gap in gaps.items()}
        self.order = sorted(scores, key=scores.__getitem__, reverse=True)

    def merge(self, coefficient: float) -> State:
        """The new weights of a share of the layers; the rest on the line from old to new."""
        merged = interpolate(self.old, self.new, coefficient)
        back = round((1 - coefficient) * len(self.order))
        for place, name in enumerate(self.order):
            merged[name] = (self.old if place < back else self.new)[name].clone()
        return merged


# What layers are given


def inner_products(model: nn.Module, side: Side, alpha: float) -> State:
    """G of each linear layer, (inputs, inputs), by the name of its weight: the mean over rows of x x^T.

    Args:
        model: is seen as it is.
        side: images and prompts.
        alpha: factor on all entries that are not on the diagonal.
    """
    sums: State = {}
    rows: dict[str, int] = defaultdict(int)

    def add(name: str, weight: Tensor, inputs: Tensor, real: Tensor | None) -> None:
        x = inputs.flatten(0, 1) if real is None else inputs[real]  # (rows, inputs)
        products = x.T @ x
        sums[name] = sums[name] + products if name in sums else products
        rows[name] += len(x)

    show(model, side, add)
    return {name: torch.lerp(total.diag().diag(), total, alpha) / rows[name] for name, total in sums.items()}


def regression_mean(a: Tensor, b: Tensor, products_a: Tensor, products_b: Tensor, coefficient: float) -> Tensor:
    """W with W^T = ((1 - c) G_a + c G_b)^-1 ((1 - c) G_a A^T + c G_b B^T), exactly A where c = 0 or A = B.

    Computed in float64 as the change from A, which is 0 for an input that has no products.

    Args:
        a: (outputs, inputs).
        b: (outputs, inputs).
        products_a: (inputs, inputs), positive definite but for rows and columns of zeros.
        products_b: likewise.
        coefficient: c.
    """
    old, products_b = a.double(), products_b.double()
    products = (1 - coefficient) * products_a.double() + coefficient * products_b
    products = products + (products.diagonal() == 0).diag()  # where nothing is known, any factor gives no change
    change = torch.linalg.solve(products, coefficient * products_b @ (b.double() - old).T)
    return (old + change.T).to(a.dtype)


def angular_gaps(model: nn.Module, protected: Side, target: Side) -> dict[str, float]:
    """By how much further protected inputs of each linear layer are from the target's than from each other, in rad."""
    one, other = directions(model, protected), directions(model, target)
    return {name: _angle(mean_cosine(h, other[name])) - _angle(mean_cosine(h)) for name, h in one.items()}


def directions(model: nn.Module, side: Side) -> State:
    """Unit vectors (N, inputs) of each linear layer's inputs for a side's images or prompts, averaged over tokens."""
    found: dict[str, list[Tensor]] = defaultdict(list)

    def add(name: str, weight: Tensor, inputs: Tensor, real: Tensor | None) -> None:
        total = inputs.sum(dim=1) if real is None else (inputs * real[..., None]).sum(dim=1)
        found[name].append(F.normalize(total.double(), dim=-1))  # as the mean's

    show(model, side, add)
    return {name: torch.cat(parts) for name, parts in found.items()}


def mean_cosine(one: Tensor, other: Tensor | None = None) -> float:
    """Mean over all pairs of unit vectors, (N, D) and (M, D); over the pairs within one set, 1 if it has none."""
    if other is not None:
        return float(one.mean(dim=0) @ other.mean(dim=0))
    count = len(one)
    return float(one.sum(dim=0).square().sum() - count) / (count * (count - 1)) if count > 1 else 1.0


def drift(old: Tensor, new: Tensor) -> float:
    """||new - old|| / ||old||, of Frobenius norms."""
    return float((new - old).norm() / old.norm().clamp_min(TINY))


def _angle(cosine: float) -> float:
    return math.acos(max(-1.0, min(1.0, cosine)))


__all__ = ["RegMean", "RegMeanSettings", "SafeLayers"]
