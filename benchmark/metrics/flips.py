"""Which predictions changed sides: flip rates and compatibility of two models, from a class's counts.

Flips are from Yan et al., "Positive-Congruent Training", CVPR 2021, those of robustness from RCAT (arXiv 2402.17390);
trust and error compatibility are those of the package BackwardCompatibilityML. All are fractions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.metrics.counts import Counts, share


class RobustFlips(NamedTuple):
    """How many of ``n`` images flip from right to wrong: as they are, under attack, and both."""

    n: int
    clean: int
    robust: int
    both: int

    @property
    def nfr(self) -> float:
        """Negative flip rate on the images as they are, in [0, 1]; NaN if n is 0."""
        return share(self.clean, self.n)

    @property
    def r_nfr(self) -> float:
        """R-NFR, the negative flip rate under attack, in [0, 1]; NaN if n is 0."""
        return share(self.robust, self.n)

    @property
    def b_nfr(self) -> float:
        """B-NFR, the share of images that flip both as they are and under attack, in [0, 1]; NaN if n is 0."""
        return share(self.both, self.n)

    @property
    def s_nfr(self) -> float:
        """S-NFR = NFR + R-NFR - B-NFR, the share of images with at least one flip, in [0, 1]; NaN if n is 0."""
        return share(self.clean + self.robust - self.both, self.n)


def robust_flips(
    old: NDArray[np.bool_], new: NDArray[np.bool_], old_robust: NDArray[np.bool_], new_robust: NDArray[np.bool_]
) -> RobustFlips:
    """Negative flips with and without an attack (arXiv 2402.17390), from what is right on the same images.

    Args:
        old: (N,) booleans, whether the old model is right on each image.
        new: (N,) of the new model.
        old_robust: (N,) of the old model under attack: on images that were made to mislead the old model.
        new_robust: (N,) of the new model on images that were made to mislead the new one.

    Raises:
        ValueError: if they are not booleans of one shape (N,).

    Example:
        >>> flips = robust_flips(*np.array([[1, 1, 1, 0], [0, 0, 1, 1], [1, 0, 1, 0], [0, 0, 0, 1]], dtype=bool))
        >>> flips
        RobustFlips(n=4, clean=2, robust=2, both=1)
        >>> flips.nfr, flips.r_nfr, flips.b_nfr, flips.s_nfr
        (0.5, 0.5, 0.25, 0.75)
    """
    rights: list[NDArray[Any]] = [np.asarray(right) for right in (old, new, old_robust, new_robust)]
    if any(right.dtype != np.bool_ or right.ndim != 1 or right.shape != rights[0].shape for right in rights):
        raise ValueError(f"all must be booleans (N,) alike, got {[f'{right.dtype} {right.shape}' for right in rights]}")
    clean, robust = rights[0] & ~rights[1], rights[2] & ~rights[3]
    return RobustFlips(len(clean), int(clean.sum()), int(robust.sum()), int((clean & robust).sum()))


def negative_flips(counts: Counts) -> float:
    """Negative flip rate: share right before and wrong now, in [0, 1] (Yan et al. 2021); NaN if n is 0.

    Example:
        >>> negative_flips(Counts(n=100, old_correct=80, new_correct=90, both_correct=75))
        0.05
    """
    return share(counts.lost, counts.n)


def positive_flips(counts: Counts) -> float:
    """Positive flip rate: share wrong before and right now, in [0, 1]; change = positive − negative; NaN if n is 0.

    Example:
        >>> positive_flips(Counts(n=100, old_correct=80, new_correct=90, both_correct=75))
        0.15
    """
    return share(counts.won, counts.n)


def relative_nfr(counts: Counts) -> float:
    """Negative flip rate over what two models with independent errors would have (Yan et al. 2021).

    NFR / (old accuracy × new error): 1 is no better than chance, below 1 the errors agree. NaN for 0 / 0.

    Example:
        >>> relative_nfr(Counts(n=100, old_correct=80, new_correct=90, both_correct=76))
        0.5
    """
    return share(counts.lost * counts.n, counts.old_correct * (counts.n - counts.new_correct))


def btc(counts: Counts) -> float:
    """Backward trust compatibility, in [0, 1]: share of the old model's right answers that the new one gets right, too.

    1 − NFR / old accuracy, as in BackwardCompatibilityML; NaN (there 0) if the old model got nothing right.

    Example:
        >>> btc(Counts(n=100, old_correct=80, new_correct=90, both_correct=75))
        0.9375
    """
    return share(counts.both_correct, counts.old_correct)


def bec(counts: Counts) -> float:
    """Backward error compatibility, in [0, 1]: share of the old model's wrong answers that the new one gets wrong, too.

    1 − PFR / old error, as in BackwardCompatibilityML; NaN (there 0) if the old model got everything right.

    Example:
        >>> bec(Counts(n=100, old_correct=80, new_correct=90, both_correct=75))
        0.25
    """
    wrong_before = counts.n - counts.old_correct
    return share(wrong_before - counts.won, wrong_before)
