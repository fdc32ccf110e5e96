"""Arithmetic on weights: pure functions of state dicts, which they never write to and whose tensors they never return.

A vector is a difference of weights; it has their floating-point tensors alone. Every function here is exact where its
result should be one of its arguments, so that a model that did not change stays the same bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from methods.weight_space import State

PARALLEL = 0.9995  # |cosine| of two tensors above which an arc is as good as its chord, and is hard to compute
FISHER_FLOOR = 1e-6  # of the mean: where neither model's Fisher information says anything, plain interpolation


def interpolate(a: State, b: State, coefficient: float) -> State:
    """(1 - c) a + c b; beyond b where c > 1. Tensors that are not floating-point come from the nearer of the two.

    Args:
        a: weights at 0.
        b: weights at 1, with the keys of ``a``.
        coefficient: c.
    """
    return _interpolated(a, b, coefficient, {})


def fisher_average(
    a: State, b: State, fisher_a: Mapping[str, Tensor], fisher_b: Mapping[str, Tensor], coefficient: float
) -> State:
    """((1 - c) F_a a + c F_b b) / ((1 - c) F_a + c F_b), entry by entry (arXiv 2111.09832, eq. 4).

    Args:
        a: weights at 0.
        b: weights at 1, with the keys of ``a``.
        fisher_a: importance of the entries of ``a``, of a mean of about 1; floored at ``FISHER_FLOOR``. Tensors without
            one are interpolated.
        fisher_b: likewise of ``b``, with the keys of ``fisher_a``.
        coefficient: c in [0, 1].
    """
    shares = {}
    for key, importance in fisher_a.items():
        of_a = (1 - coefficient) * importance.clamp_min(FISHER_FLOOR)
        of_b = coefficient * fisher_b[key].clamp_min(FISHER_FLOOR)
        shares[key] = of_b / (of_a + of_b)
    return _interpolated(a, b, coefficient, shares)


def slerp(a: State, b: State, coefficient: float) -> State:
    """sin((1 - c) w) / sin w a + sin(c w) / sin w b, tensor by tensor, with w the angle between the two.

    Plain interpolation where |cos w| > ``PARALLEL``, or where one of the two is 0 and there is no angle.

    Args:
        a: weights at 0.
        b: weights at 1, with the keys of ``a``.
        coefficient: c.
    """
    merged = interpolate(a, b, coefficient)
    for key, value in a.items():
        if value.is_floating_point() and abs(cosine := _cosine(value, b[key])) <= PARALLEL:
            angle = math.acos(cosine)
            of_a, of_b = (math.sin(share * angle) / math.sin(angle) for share in (1 - coefficient, coefficient))
            merged[key] = of_a * value + of_b * b[key]
    return merged


class RunningMean:
    """The mean of the states added so far, kept as one; tensors that are not floating-point come from the first.

    Attributes:
        state: the mean; empty before any was added.
    """

    def __init__(self) -> None:
        self.state: State = {}
        self._count = 0

    def add(self, state: State) -> None:
        """Take one more state in, with the keys of the first."""
        self._count += 1
        if self._count == 1:
            self.state = {key: value.detach().clone() for key, value in state.items()}
            return
        for key, value in self.state.items():
            if value.is_floating_point():
                value.lerp_(state[key].detach(), 1 / self._count)


def average(states: Sequence[State]) -> State:
    """The mean of one or more states; tensors that are not floating-point come from the first."""
    mean = RunningMean()
    for state in states:
        mean.add(state)
    return mean.state


def task_vector(start: State, end: State) -> State:
    """end - start (arXiv 2212.04089, section 2), of the floating-point tensors."""
    return {key: end[key] - value for key, value in start.items() if value.is_floating_point()}


def add_task_vector(base: State, vector: State, coefficient: float) -> State:
    """base + c vector; tensors that the vector lacks are those of ``base``."""
    return {
        key: torch.add(value, vector[key], alpha=coefficient) if key in vector else value.clone()
        for key, value in base.items()
    }


def drop_and_rescale(vector: State, rate: float, generator: torch.Generator) -> State:
    """Each entry is 0 with probability p, else divided by 1 - p: the expectation stays (DARE, arXiv 2311.03099, eq. 2).

    Args:
        vector: a difference of weights.
        rate: p in [0, 1).
        generator: on the CPU, so that every device drops the same entries.
    """
    dropped = {}
    for key, value in vector.items():
        kept = torch.rand(value.shape, generator=generator) >= rate
        dropped[key] = torch.where(kept.to(value.device), value / (1 - rate), 0.0)
    return dropped


def ties(vectors: Sequence[State], keep: float) -> State:
    """Trim, elect signs, merge (TIES, arXiv 2306.01708, algorithm 1).

    Of each vector only the entries of greatest magnitude stay. Each entry's sign is that of the vectors' sum, and the
    result is the mean of those that have it. Where they cancel exactly, it is 0.

    Magnitudes are compared across the whole vector, as in the published code; several libraries trim each tensor by
    itself. Tensors that changed in no vector are left out of the comparison: a frozen tower would use up the share.

    Args:
        vectors: one or more, with the same keys.
        keep: share of the entries of each that stay, in (0, 1]; at least one does, and all that equal the least.
    """
    changed = [key for key in vectors[0] if any(vector[key].any() for vector in vectors)]
    thresholds = [_least_kept(vector, changed, keep) for vector in vectors] if changed else []
    merged = {key: torch.zeros_like(value) for key, value in vectors[0].items() if key not in changed}
    for key in changed:
        trimmed = torch.stack([_trimmed(v[key], least) for v, least in zip(vectors, thresholds, strict=True)])
        elected = trimmed.sum(dim=0).sign()
        agrees = (trimmed.sign() == elected) & (trimmed != 0)
        merged[key] = (trimmed * agrees).sum(dim=0) / agrees.sum(dim=0).clamp_min(1)
    return merged


def magmax(vectors: Sequence[State]) -> State:
    """Of each entry the vectors' value of greatest magnitude, the last one of a tie (MagMax, arXiv 2407.06322).

    Args:
        vectors: one or more, with the same keys.
    """
    greatest = {key: value.clone() for key, value in vectors[0].items()}
    for vector in vectors[1:]:
        for key, value in greatest.items():
            greatest[key] = torch.where(vector[key].abs() >= value.abs(), vector[key], value)
    return greatest


def mean_one(importance: Mapping[str, Tensor]) -> State:
    """``importance`` divided by the mean of all its entries; zeros where all are zero."""
    if not importance:
        return {}
    total = torch.stack([value.sum() for value in importance.values()]).sum()
    mean = total / sum(value.numel() for value in importance.values())
    return {key: torch.where(mean > 0, value / mean, 0.0) for key, value in importance.items()}


def _cosine(a: Tensor, b: Tensor) -> float:
    """Of two tensors of one shape; 1 where one of them is 0."""
    a, b = a.double(), b.double()
    lengths = float(a.norm() * b.norm())
    return float((a * b).sum()) / lengths if lengths else 1.0


def _interpolated(a: State, b: State, coefficient: float, shares: Mapping[str, Tensor]) -> State:
    nearer = a if coefficient < 0.5 else b
    return {
        key: torch.lerp(value, b[key], shares.get(key, coefficient))
        if value.is_floating_point()
        else nearer[key].clone()
        for key, value in a.items()
    }


def _least_kept(vector: State, keys: Sequence[str], keep: float) -> Tensor:
    magnitudes = torch.cat([vector[key].abs().flatten() for key in keys])
    kept = max(1, round(keep * len(magnitudes)))
    return magnitudes.kthvalue(len(magnitudes) - kept + 1).values


def _trimmed(value: Tensor, least: Tensor) -> Tensor:
    return torch.where(value.abs() >= least, value, 0.0)
