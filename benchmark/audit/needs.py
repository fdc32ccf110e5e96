"""How many more test images would decide about a class."""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import cache

from benchmark.audit.rule import Audit, ClassAudit
from benchmark.metrics.planning import MOST_IMAGES
from benchmark.metrics.significance import POWER


def unit(audit: Audit) -> str:
    """What is drawn: "images" or graded "answers", or "groups" of them."""
    return "groups" if audit.grouped else "answers" if audit.graded else "images"


def images_to_decide(audit: Audit, one: ClassAudit) -> str:
    """How many test images of a class, or groups, let the gate decide with probability ``POWER``, to two digits.

    For a class that seems to have lost, they tell the loss it seems to have had from the margin; for another, they tell
    the loss that is to be ruled out from none. Predictions are taken to flip as often as they did, and groups to be as
    large and as much alike; no fewer than were asked for, and more than there are.
    """
    counts, asked, units = one.counts, one.asked, one.evidence.units
    if is_unknown(one):
        return "no number (neither model gets an image right)"
    least = max(units + 1, asked.groups if audit.grouped else asked.images)
    if (for_floor := _units_for_floor(audit, one)) is not None:
        if for_floor > MOST_IMAGES:
            return "no number (its accuracy is not above the floor)"
        return _rounded_up(max(for_floor, least))
    loss = -counts.change
    gap = abs(loss - asked.margin) if loss > 0 else max(asked.margin, asked.drop)
    if gap < 1e-9:
        return "no number (its loss is the margin)"
    found = one.evidence.units_to_decide(gap, audit.alpha, len(audit.protected))
    if audit.grouped:  # as many as rule out that those which were not drawn are lost altogether
        within = 0 < loss < asked.margin
        bound = asked.margin if within else max(asked.margin, asked.drop)
        found = max(found, units_to_show(loss if within else 0.0, bound, audit.alpha))
    if found > MOST_IMAGES:
        return f"more than {MOST_IMAGES:,}"
    return _rounded_up(max(found, least))


@cache  # many classes are alike
def units_to_show(share: float, bound: float, alpha: float, power: float = POWER) -> float:
    """About how many units show, with this power, that a ``share`` of them is below ``bound``, by a binomial test.

    The least number, but for the steps back that the power of an exact test takes; infinite if it is more than
    ``MOST_IMAGES``, as where the share is no less than the bound.

    Args:
        share: of what is lost, or wrong, in [0, 1].
        bound: between 0 and 1.
        alpha: level of the test, between 0 and 1.
        power: wanted probability, between 0 and 1.

    Example:
        >>> units_to_show(share=0.0, bound=0.05, alpha=0.05), units_to_show(share=0.05, bound=0.05, alpha=0.05)
        (59, inf)
    """
    from scipy.stats import binom

    def shows(units: int) -> bool:
        most = binom.ppf(alpha, units, bound)
        most -= binom.cdf(most, units, bound) > alpha
        return bool(binom.cdf(most, units, share) >= power)

    if share >= bound:
        return math.inf
    fewest = 1 + bisect_left(range(1, MOST_IMAGES + 1), True, key=shows)
    return fewest if fewest <= MOST_IMAGES else math.inf


def _units_for_floor(audit: Audit, one: ClassAudit) -> float | None:
    """As many units as show that a class reaches its floor, if that is all that is not shown; else None."""
    counts, asked = one.counts, one.asked
    margin = asked.margin if counts.change < 0 else max(asked.margin, asked.drop)
    if asked.floor is None or one.p_below <= audit.alpha or one.evidence.p_lost_as_much(margin) > audit.alpha:
        return None
    from scipy.special import ndtri

    deviations = -float(ndtri(one.p_below))  # of them so many units show, and they grow with the root of the units
    wanted = float(ndtri(POWER) - ndtri(audit.alpha))
    return one.evidence.units * (wanted / deviations) ** 2 if deviations > 0 else math.inf


def _rounded_up(number: float) -> str:
    """To two digits."""
    digit = 10 ** max(len(str(math.ceil(number))) - 2, 0)
    return f"{math.ceil(number / digit) * digit:,}"


def is_unknown(one: ClassAudit) -> bool:
    """Whether neither model gets an image right, so that there is nothing to keep."""
    return not one.counts.old_correct and not one.counts.new_correct
