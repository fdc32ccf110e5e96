"""What the test images of a class say of its loss: the p-values that the rule rests on.

Images may come in groups, of which whole ones were drawn. The tests then are those of images turned to groups, and
equal to them where every group is an image:

* that a class got worse: the signs of the groups' net changes are flipped (``groups.sign_flip``), where McNemar's test
  flips those of images;
* a margin: the tests are made with images, and with as many as would tell as much if they were independent: their
  number over the design effect (Rao & Scott, Journal of the American Statistical Association 76, 1981). That more than
  a margin was lost must also show in the groups' net changes plus the margin; and that less was lost, in a binomial
  test that counts groups, as one that was not drawn may be lost altogether.

Of several p-values for one claim the greatest counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property

from benchmark.metrics import significance
from benchmark.metrics.counts import Counts
from benchmark.metrics.groups import Groups, accuracy_effect, design_effect, p_above, sign_flip
from benchmark.metrics.significance import POWER


@dataclass(frozen=True)
class Evidence:
    """A class's images; ``groups`` is None where each stands for itself."""

    counts: Counts
    groups: Groups | None = None

    @cached_property
    def together(self) -> Groups | None:
        """The groups, if one has more than an image."""
        return self.groups if self.groups is not None and self.groups.sizes.max(initial=0) > 1 else None

    @cached_property
    def design_effect(self) -> float:
        """By what factor groups widen the variance of the change; 1 without."""
        return 1.0 if self.together is None else design_effect(self.counts, self.together)

    @property
    def units(self) -> int:
        """Groups, or images where there are none."""
        return self.counts.n if self.groups is None else len(self.groups.sizes)

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
        return max(_at_most(k, n, floor) for n, k in self._right())

    def p_at_most(self, floor: float) -> float:
        """One-sided p-value that the new model's accuracy is ``floor`` or less, in [0, 1]; exact without groups."""
        return max(_at_least(k, n, floor) for n, k in self._right())

    def _right(self) -> list[tuple[float, float]]:
        """Images and how many of them the new model gets right; with groups also as many as tell as much."""
        n, right = self.counts.n, self.counts.new_correct
        if self.together is None:
            return [(n, right)]
        effect = accuracy_effect(self.together)
        return [(n, right), (n / effect, right / effect)]

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

    def detectable_drop(self, alpha: float, classes: int) -> float:
        """The smallest true loss that so many images find with probability ``POWER`` among ``classes``; NaN if none."""
        n, flips = self.counts.n, self.counts.lost + self.counts.won
        return _detectable_drop(max(1, round(n / self.design_effect)), flips / n, alpha, classes)


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
