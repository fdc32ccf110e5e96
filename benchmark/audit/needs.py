"""How many more test images would decide about a class."""

from __future__ import annotations

import math

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
    large and as much alike; no fewer than were asked for.
    """
    counts, asked = one.counts, one.asked
    if is_unknown(one):
        return "no number (neither model gets an image right)"
    if (for_floor := _units_for_floor(audit, one)) is not None:
        return _rounded_up(for_floor) if for_floor <= MOST_IMAGES else "no number (its accuracy is not above the floor)"
    loss = -counts.change
    gap = abs(loss - asked.margin) if loss > 0 else max(asked.margin, asked.drop)
    if gap < 1e-9:
        return "no number (its loss is the margin)"
    found = one.evidence.units_to_decide(gap, audit.alpha, len(audit.protected))
    if math.isinf(found):
        return f"more than {MOST_IMAGES:,}"
    needed = max(math.ceil(found), asked.groups if audit.grouped else asked.images)
    if audit.grouped:  # as many as rule out that one which was not drawn is lost altogether
        rare = max(asked.margin, asked.drop)
        needed = max(needed, math.ceil(math.log(audit.alpha) / math.log1p(-rare)))
    return _rounded_up(needed)


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
