"""What the test images of a class say of its loss: the p-values that the rule rests on.

Images may come in groups, of which whole ones were drawn. The tests then are those of images turned to groups, and
equal to them where every group is an image:

* that a class got worse: the signs of the groups' net changes are flipped (``groups.sign_flip``), where McNemar's test
  flips those of images;
* a margin: the tests are made with images, and with as many as would tell as much if they were independent: their
  number over the design effect (Rao & Scott, Journal of the American Statistical Association 76, 1981). That more than
  a margin was lost must also show in the groups' net changes plus the margin; and that less was lost, in a binomial
  test that counts groups, as one that was not drawn may be lost altogether.

Graded answers have scores in place of right and wrong: the signs of their changes are flipped, margins are tested in
the mean change, and the binomial test stays, as no scores from 0 to 1 vary more than right and wrong do.

Of several p-values for one claim the greatest counts.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from benchmark.metrics import significance
from benchmark.metrics.counts import Counts, Scores
from benchmark.metrics.groups import Groups, accuracy_effect, design_effect, effective, p_above, sign_flip
from benchmark.metrics.planning import MOST_IMAGES, approximate_images, images_needed
from benchmark.metrics.significance import POWER


class Evidence(ABC):
    """A class's images, or graded answers."""

    counts: Counts | Scores

    @property
    @abstractmethod
    def grouped(self) -> bool:
        """Whether they come in groups; else each stands for itself."""

    @property
    @abstractmethod
    def units(self) -> int:
        """Groups, or images where there are none."""

    @property
    @abstractmethod
    def p_worse(self) -> float:
        """One-sided p-value that the class got no worse, in (0, 1]: small if it did."""

    @abstractmethod
    def p_lost_no_more(self, margin: float) -> float:
        """One-sided p-value that the class lost no more than ``margin``, in [0, 1]: small if it truly lost more."""

    @abstractmethod
    def p_lost_as_much(self, margin: float) -> float:
        """One-sided p-value that the class lost ``margin`` or more, in [0, 1]: small if it truly lost less."""

    @abstractmethod
    def p_at_least(self, floor: float) -> float:
        """One-sided p-value that the new model's accuracy is ``floor`` or more, in [0, 1]."""

    @abstractmethod
    def p_at_most(self, floor: float) -> float:
        """One-sided p-value that the new model's accuracy is ``floor`` or less, in [0, 1]."""

    @abstractmethod
    def detectable_drop(self, alpha: float, classes: int) -> float:
        """The smallest true loss that so many images find with probability ``POWER`` among ``classes``; NaN if none."""

    @abstractmethod
    def units_to_decide(self, gap: float, alpha: float, classes: int) -> float:
        """About how many images, or groups, tell a loss from one that differs by ``gap``, with probability ``POWER``.

        They are taken to be as those that are there; infinite if they are more than ``MOST_IMAGES``.
        """

    def largest_loss(self, alpha: float) -> float:
        """The loss of accuracy above which all are ruled out at level alpha, in [0, 1]; 0 for a class that got better.

        Where ``p_lost_as_much`` meets alpha, to 1e-9: the upper end of an interval of the loss at confidence
        1 − 2 alpha.
        """
        low, high = 0.0, 1.0
        if self.p_lost_as_much(0.0) <= alpha:
            return 0.0
        while high - low > 1e-9:
            middle = (low + high) / 2
            low, high = (low, middle) if self.p_lost_as_much(middle) <= alpha else (middle, high)
        return high


@dataclass(frozen=True)
class ImageEvidence(Evidence):
    """Of images that are right or wrong; the tests are exact where they come alone, and ``groups`` is None."""

    counts: Counts
    groups: Groups | None = None

    @property
    def grouped(self) -> bool:
        return self.groups is not None

    @property
    def units(self) -> int:
        return self.counts.n if self.groups is None else len(self.groups.sizes)

    @cached_property
    def together(self) -> Groups | None:
        """The groups, if one has more than an image."""
        return self.groups if self.groups is not None and self.groups.sizes.max(initial=0) > 1 else None

    @cached_property
    def design_effect(self) -> float:
        """By what factor groups widen the variance of the change; 1 without."""
        return 1.0 if self.together is None else design_effect(self.counts, self.together)

    @cached_property
    def p_worse(self) -> float:
        """One-sided exact p-value that the class got no worse, in (0, 1]: small if it did."""
        return significance.mcnemar(self.counts) if self.together is None else sign_flip(self.together.net)

    def p_lost_no_more(self, margin: float) -> float:
        """One-sided p-value that the class lost no more than ``margin``, in [0, 1]: small if it truly lost more.

        At margin 0 it is ``p_worse``. Else the greatest one of that, of Tango's score test turned round, and of the
        binomial test that is exact where all flips are negative. Tango's is asymptotic, and too eager there: with 20
        classes and few flips it alone would raise three false alarms where one is allowed.
        """
        net = self.counts.lost - self.counts.won
        if margin == 0 or net <= 0:  # at a net gain the others are near 1
            return self.p_worse
        all_negative = max(_at_least(net / of, self.counts.n / of, margin) for of in {1.0, self.design_effect})
        groups = 0.0 if self.together is None else p_above(self.together.net, self.together.sizes, margin)
        return max(self.p_worse, 1 - min(self._tango(margin)), all_negative, groups)

    def p_lost_as_much(self, margin: float) -> float:
        """One-sided p-value that the class lost ``margin`` or more, in [0, 1]: small if it truly lost less.

        The greater one of Tango's score test of non-inferiority and of the binomial test that is exact where all flips
        are negative: without flips Tango's alone would rule out a loss of 1/2 after three images, where it takes five.
        """
        tango = max(self._tango(margin))
        if self.counts.lost < self.counts.won and self.together is None:
            return tango
        n, net = self.counts.n, max(self.counts.lost - self.counts.won, 0)
        drawn = {float(n), float(n) if self.together is None else self.together.effective}
        return max(tango, *(_at_most(net / n * units, units, margin) for units in drawn))

    def _tango(self, margin: float) -> list[float]:
        """The p-values of images, and with groups of as many as tell as much."""
        n, lost, won, effect = self.counts.n, self.counts.lost, self.counts.won, self.design_effect
        independent = significance.tango(n, lost, won, margin)
        if effect == 1:
            return [independent]
        return [independent, significance.tango(n / effect, lost / effect, won / effect, margin)]

    def p_at_least(self, floor: float) -> float:
        """One-sided p-value that the new model's accuracy is ``floor`` or more, in [0, 1]; exact without groups."""
        binomial = max(_at_most(k, n, floor) for n, k in self._right())
        if self.together is None:
            return binomial
        return max(binomial, p_above(self.together.right, self.together.sizes, -floor))

    def p_at_most(self, floor: float) -> float:
        """One-sided p-value that the new model's accuracy is ``floor`` or less, in [0, 1]; exact without groups.

        As for losses, the binomial test counts groups, too: one that was not drawn may be wrong altogether.
        """
        return max(_at_least(k, n, floor) for n, k in self._right())

    def _right(self) -> list[tuple[float, float]]:
        """Images and how many the new model gets right; with groups also as many as tell as much, and the groups."""
        n, right = self.counts.n, self.counts.new_correct
        if self.together is None:
            return [(n, right)]
        fewer = n / accuracy_effect(self.together)
        return [(units, right / n * units) for units in (n, fewer, self.together.effective)]

    def detectable_drop(self, alpha: float, classes: int) -> float:
        """The smallest true loss that so many images find with probability ``POWER`` among ``classes``; NaN if none."""
        n, flips = self.counts.n, self.counts.lost + self.counts.won
        return _detectable_drop(max(1, round(n / self.design_effect)), flips / n, alpha, classes)

    def units_to_decide(self, gap: float, alpha: float, classes: int) -> float:
        counts = self.counts
        asked = (max((counts.lost + counts.won) / counts.n, gap), gap, alpha, POWER, classes)
        each = self.design_effect * self.units / counts.n  # of them tells as much as an independent image
        if approximate_images(*asked) * each > MOST_IMAGES:
            return math.inf
        return images_needed(*asked) * each


@dataclass(frozen=True)
class GradedEvidence(Evidence):
    """Of answers with scores from 0 to 1.

    Attributes:
        net: (U,) change of each unit's total score: of each group, or answer.
        sizes: (U,) answers of each.
        right: (U,) total score of each by the new model.
        in_groups: whether units are groups.
    """

    counts: Scores
    net: NDArray[np.float64]
    sizes: NDArray[np.int64]
    right: NDArray[np.float64]
    in_groups: bool

    @property
    def grouped(self) -> bool:
        return self.in_groups

    @property
    def units(self) -> int:
        return len(self.sizes)

    @cached_property
    def p_worse(self) -> float:
        return sign_flip(self.net)

    def p_lost_no_more(self, margin: float) -> float:
        if margin == 0 or self.counts.change >= 0:
            return self.p_worse
        return max(self.p_worse, p_above(self.net, self.sizes, margin))

    def p_lost_as_much(self, margin: float) -> float:
        """As of images: the test of the mean, and the binomial one, whose variance is the greatest for this mean."""
        below = 1 - p_above(self.net, self.sizes, margin)
        return max(below, _at_most(max(-self.counts.change, 0.0) * self._effective, self._effective, margin))

    def p_at_least(self, floor: float) -> float:
        return _at_most(self.counts.new_accuracy * self._effective, self._effective, floor)

    def p_at_most(self, floor: float) -> float:
        return _at_least(self.counts.new_accuracy * self._effective, self._effective, floor)

    @cached_property
    def _effective(self) -> float:
        return effective(self.sizes)

    @cached_property
    def _deviation(self) -> float:
        """Of one unit's change, as a share of its answers; were the mean 0."""
        return math.sqrt(float((self.net**2).sum()) * len(self.net)) / self.counts.n

    def detectable_drop(self, alpha: float, classes: int) -> float:
        if not self._deviation:
            return math.nan
        found = _deviations(alpha, classes) * self._deviation / math.sqrt(len(self.net))
        return found if found <= 1 else math.nan

    def units_to_decide(self, gap: float, alpha: float, classes: int) -> float:
        units = (_deviations(alpha, classes) * max(self._deviation, math.sqrt(gap)) / gap) ** 2
        return units if units <= MOST_IMAGES else math.inf


def _deviations(alpha: float, classes: int) -> float:
    from scipy.special import ndtri

    return float(ndtri(POWER) - ndtri(alpha / classes))


def _at_most(k: float, n: float, p: float) -> float:
    """P(Binomial(n, p) <= k), continued to numbers that are not whole."""
    from scipy.special import betainc

    return float(betainc(n - k, k + 1, 1 - p)) if k < n else 1.0


def _at_least(k: float, n: float, p: float) -> float:
    """P(Binomial(n, p) >= k), continued to numbers that are not whole."""
    from scipy.special import betainc

    return float(betainc(k, n - k + 1, p)) if k > 0 else 1.0


@cache  # many classes are alike
def _detectable_drop(images: int, flips: float, alpha: float, classes: int) -> float:
    """As ``significance.detectable_drop`` with flips as observed, or as many more as a greater drop needs."""
    found = significance.detectable_drop(images, flips, alpha, POWER, classes) if flips else math.nan
    if not math.isnan(found):
        return found

    def lacking(drop: float) -> float:
        return POWER - significance.detection_power(images, drop, drop, alpha, classes)

    if lacking(1.0) > 0:  # not even if all images were lost
        return math.nan
    from scipy.optimize import brentq

    return float(brentq(lacking, flips, 1.0, xtol=1e-9))
