"""Which predictions changed sides: flip rates and compatibility of two models, from a class's counts.

Flips are from Yan et al., "Positive-Congruent Training", CVPR 2021; trust and error compatibility are those of the
package BackwardCompatibilityML. All are fractions.
"""

from __future__ import annotations

from benchmark.metrics.counts import Counts, share


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
