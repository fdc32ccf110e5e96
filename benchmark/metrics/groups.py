"""Test images that belong together, such as the frames of one clip: whole groups are drawn, not images.

Ten clips of 30 frames are ten observations. Tests that take them for 300 raise false alarms: McNemar's at level 0.05
then calls up to four in ten unchanged models worse (docs/release-gate.md has the figures).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.metrics.counts import Counts
from benchmark.metrics.significance import p_of_flips

MOST = 4_000_000  # terms of a sum over signs: about a tenth of a second
FEW = 20  # changes whose signs are all tried
STEPS = 20_000  # in which others are counted, at the least: as many kinds of change as add up to these make MOST terms


class Groups(NamedTuple):
    """The groups of a class's images: three arrays (G,) of integers.

    Attributes:
        sizes: images of each group, 1 or more.
        net: how many more of them the new model gets right than the old one, in [-size, size].
        right: how many of them the new model gets right.
    """

    sizes: NDArray[np.int64]
    net: NDArray[np.int64]
    right: NDArray[np.int64]

    @property
    def effective(self) -> float:
        """``effective`` of their sizes."""
        return effective(self.sizes)


def effective(sizes: NDArray[np.int64]) -> float:
    """As many groups of equal size tell as much as these, in [1, G] (Kish, "Survey Sampling", 1965).

    Example:
        >>> effective(np.array([5, 5, 5])), effective(np.array([10, 1, 1]))
        (3.0, 1.411764705882353)
    """
    return float(sizes.sum()) ** 2 / float((sizes.astype(float) ** 2).sum())


def group_rows(names: NDArray[np.int64], old_right: NDArray[np.bool_], new_right: NDArray[np.bool_]) -> Groups:
    """The groups of some images, in the order of their numbers.

    Args:
        names: (N,) the group of each image, as a number.
        old_right: (N,) whether the old model is right.
        new_right: (N,) whether the new one is.

    Example:
        >>> groups = group_rows(np.array([7, 7, 3]), np.array([True, True, False]), np.array([False, True, False]))
        >>> groups.sizes.tolist(), groups.net.tolist(), groups.right.tolist()
        ([1, 2], [0, -1], [0, 1])
    """
    _, place = np.unique(names, return_inverse=True)
    new = np.bincount(place[new_right], minlength=place.max(initial=-1) + 1)
    old = np.bincount(place[old_right], minlength=len(new))
    return Groups(np.bincount(place, minlength=len(new)), new - old, new)


def sign_flip(net: NDArray[Any]) -> float:
    """One-sided p-value that a class got worse, in (0, 1]: the share of all signs of the groups' net changes with which
    their sum is as low as it is.

    It holds for any dependence within groups, if a group that lost so much was as likely to win it. Where every group
    is an image, it is McNemar's exact test. 1 where nothing changed.

    The sum of what is won is a sum of independent |net| × Bernoulli(1/2), whose distribution is the inverse Fourier
    transform of the product of theirs; exact to about 1e-13, and to all digits where all that changed are alike. So it
    is for whole numbers, and for scores in halves, quarters, tenths or hundredths, where it takes ``MOST`` terms or
    fewer. Of other changes all signs are tried, if they are ``FEW``; more are counted in ``STEPS`` steps or more, and
    what is left of them, less than half a step each, has a normal sum: p is then right to about 0.001.

    Args:
        net: (G,) changes of the number of right images, or of total scores.

    Example:
        >>> sign_flip(np.array([-3, -2, -2, 1, 0]))  # of 16 sums two are -6 or less: this one, and -8
        0.125
    """
    net = _whole(net)
    net = net[net != 0]
    sizes = np.abs(net)
    kinds = np.unique(sizes)
    if not len(net):
        return 1.0
    if len(kinds) == 1:
        return p_of_flips(int((net < 0).sum()), int((net > 0).sum()))
    if net.dtype.kind != "f" and len(kinds) * int(sizes.sum()) <= MOST:
        won = int(sizes.sum() + net.sum()) // 2
        p = _of_sums(sizes)[: won + 1].sum()
    elif len(net) <= FEW:
        p = _of_all_signs(net.astype(float))
    else:
        p = _of_steps(net.astype(float))
    return float(np.clip(p, 0.5 ** len(net), 1.0))  # at least the signs as they are


def _whole(net: NDArray[Any]) -> NDArray[Any]:
    """Changes of scores in halves, quarters, tenths or hundredths as whole numbers; others as they are."""
    for number in (1, 2, 4, 10, 100):
        if np.allclose(net * number, np.rint(net * number), rtol=0, atol=1e-9):
            return np.rint(net * number).astype(np.int64)
    return net


def _of_sums(sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Probabilities (total + 1,) of the sums from 0 on, of sizes (G,) that a coin each puts in or not.

    The transform of one coin is (1 + exp(-2i size angle)) / 2 = cos(size angle) exp(-i size angle).
    """
    total = int(sizes.sum())
    angle = np.pi * np.arange(total // 2 + 1) / (total + 1)
    cosines = np.ones(len(angle))
    kinds, times = np.unique(sizes, return_counts=True)
    for often in np.unique(times):  # powers take longer than cosines
        cosines *= math.prod(np.cos(size * angle) for size in kinds[times == often]) ** often
    return np.fft.irfft(cosines * np.exp(-1j * total * angle), total + 1)


def _of_all_signs(net: NDArray[np.float64]) -> float:
    """The share of all signs, each tried, with which the sum is as low as it is."""
    sums = np.zeros(1)
    for change in net:
        sums = np.concatenate([sums - change, sums + change])
    return float((sums <= net.sum() + 1e-9 * np.abs(net).sum()).mean())


def _of_steps(net: NDArray[np.float64]) -> float:
    """The same, of changes in whole steps and a normal sum of what is left of them."""
    from scipy.special import ndtr

    sizes, count = np.abs(net), STEPS
    while 2 * count * len(np.unique(np.rint(sizes * (2 * count / sizes.sum())))) <= MOST:
        count *= 2  # a few great changes among small ones are of few kinds
    step, least = sizes.sum() / count, 1e-9 * sizes.sum()
    steps = np.rint(sizes / step).astype(np.int64)
    probabilities = _of_sums(steps)
    sums = step * (2 * np.arange(len(probabilities)) - int(steps.sum()))
    rest = max(np.sqrt(((sizes - step * steps) ** 2).sum()), least / 10)  # where all are whole, equal sums count
    return float(probabilities @ ndtr((net.sum() + least - sums) / rest))


def p_above(net: NDArray[Any], sizes: NDArray[np.int64], margin: float) -> float:
    """One-sided p-value that a class lost no more than ``margin``, in [0, 1], asymptotic.

    That of the sum of the groups' net changes plus the margin, over its deviation if its mean were 0: the normal
    approximation of flipping their signs. 1/2 where nothing changed and there is no margin.

    Args:
        net: (G,) changes of the number of right images, or of total scores.
        sizes: (G,) images of each group.
        margin: a share of accuracy.

    Example:
        >>> round(p_above(np.array([-3, -2, 0, 0]), np.array([9, 9, 9, 9]), margin=0.02), 3)
        0.102
    """
    from scipy.special import ndtr

    shifted = net + margin * sizes
    if not shifted.any():
        return 0.5
    return float(ndtr(shifted.sum() / np.sqrt((shifted**2).sum())))


def design_effect(counts: Counts, groups: Groups) -> float:
    """By what factor groups widen the variance of a class's change of accuracy, 1 or more (Rao & Scott 1981).

    The variance of the groups' net changes over that of independent images with as many flips. Without a flip nothing
    tells it, and it is that of groups whose images all flip together.

    Example:
        >>> lost = Groups(np.array([3, 3, 3, 3]), np.array([-3, 0, 0, 3]), np.array([0, 2, 2, 3]))
        >>> design_effect(Counts(n=12, old_correct=7, new_correct=7, both_correct=4), lost)  # three flip at once
        3.0
    """
    change = (counts.won - counts.lost) / counts.n
    independent = counts.won + counts.lost - counts.n * change * change
    return _effect(groups.net, groups, change, independent)


def accuracy_effect(groups: Groups) -> float:
    """As ``design_effect``, of the new model's accuracy.

    Example:
        >>> round(accuracy_effect(Groups(np.array([3, 3]), np.array([0, 0]), np.array([0, 3]))), 6)
        3.0
    """
    images = int(groups.sizes.sum())
    accuracy = int(groups.right.sum()) / images
    return _effect(groups.right, groups, accuracy, images * accuracy * (1 - accuracy))


def _effect(totals: NDArray[np.int64], groups: Groups, mean: float, independent: float) -> float:
    if independent <= 0:
        return float(groups.sizes.sum()) / groups.effective
    return max(1.0, float(((totals - groups.sizes * mean) ** 2).sum()) / independent)
