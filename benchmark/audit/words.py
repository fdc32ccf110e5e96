"""An audit in words: the verdict with its reason and remedy, and cells of its table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from benchmark.audit.names import shown
from benchmark.audit.rule import STATUSES, Audit, ClassAudit
from benchmark.metrics.planning import MOST_IMAGES, approximate_images, images_needed
from benchmark.metrics.significance import POWER
from benchmark.output.tables import one_line, points
from scenarios.wording import some

LISTED = 3  # classes named in one line
HEADINGS = {  # and their meanings
    "Class": "those that regressed come first, then those undecided, kept, and not protected",
    "Verdict": "regressed, undecided, kept, or not protected",
    "n": "test images",
    "Old %": "accuracy of the old model",
    "New %": "accuracy of the new model",
    "Change": "of the accuracy, in points",
    "Both": "images that both models get right",
    "Lost": "right before and wrong now: negative flips",
    "Won": "wrong before and right now: positive flips",
    "Neither": "images that both models get wrong",
    "p": "p-value of having got no worse, by McNemar's exact one-sided test",
    "Holm p": "p-value of having lost no more than the margin, corrected by Holm's method: α or less is regressed",
    "NI p": "p-value of having lost the margin or more, by Tango's test of non-inferiority: α or less is kept",
    "At most": "the greatest true loss, in points, that is not ruled out at level α",
    "Visible": f"the smallest true loss, in points, that so many images show with probability {POWER:g}",
}


def summary(audit: Audit) -> list[str]:
    """Both verdicts, the second one with its reason and remedy, one line each."""
    return [
        strict_line(audit),
        f"{audit.verdict}: {reason(audit)}",
        *([f"next: {todo}"] if (todo := remedy(audit)) else []),
    ]


def strict_line(audit: Audit) -> str:
    """The strict verdict, with the classes that fail it, worst first."""
    if audit.strictly_preserved:
        return "strictly preserved: no protected class lost a net prediction"
    losing = [one for one in audit.protected if one.counts.change < 0]
    return f"not strictly preserved: {_count(audit, losing)} lost net predictions: {_named(losing, _with_change)}"


def reason(audit: Audit) -> str:
    """The reason for the verdict."""
    if regressed := audit.of("regressed"):
        beyond = f"lost significantly more than the margin of {size(audit.margin)}" if audit.margin else "got worse"
        named = _named(regressed, lambda one: f"{_with_change(one)} (Holm p {p_value(one.p_adjusted)})")
        return f"{_count(audit, regressed)} {beyond}, at α {audit.alpha:g} with Holm's correction: {named}"
    if audit.of("undecided"):
        return "; ".join(f"{text}: {_named(classes)}" for text, classes in _open_questions(audit))
    within = [one for one in audit.protected if audit.margin and one.p_non_inferior <= audit.alpha]
    small = f"lost less than the margin of {size(audit.margin)}"
    none = f"lost no net prediction, with a loss of {size(max(audit.margin, audit.drop))} ruled out"
    how = small if len(within) == len(audit.protected) else f"{small}, or {none}" if within else none
    worst = max(audit.protected, key=lambda one: one.largest_loss)
    return (
        f"each protected class {how} (α {audit.alpha:g}; {shown(worst.name)} may have lost most, "
        f"{size(worst.largest_loss, up=True)})"
    )


def remedy(audit: Audit) -> str:
    """The action that the verdict calls for; empty if it is *preserved*."""
    if audit.verdict == "regressed":
        return "do not release; look at what only the old model gets right in these classes, and develop again"
    if audit.verdict == "preserved":
        return ""
    open_ = _worst_first(audit.of("undecided"))
    needs = [f"{shown(one.name)} {images_to_decide(audit, one)}" for one in open_[:LISTED]]
    more = f" ({len(open_) - LISTED} more classes are undecided)" if len(open_) > LISTED else ""
    text = f"test on more images; about so many would decide with probability {POWER:g}: {', '.join(needs)}{more}"
    if open_[0].counts.change < 0:
        wider = "widen --margin to" if audit.margin else "name with --margin"
        text += f"; or {wider} a loss that is acceptable, before you look at the next model"
    return text


def images_to_decide(audit: Audit, one: ClassAudit) -> str:
    """How many test images of a class let the gate decide with probability ``POWER``, to two digits.

    For a class that seems to have lost, they tell the loss it seems to have had from the margin; for another, they tell
    the loss that is to be ruled out from none. Predictions are taken to flip as often as they did.
    """
    counts = one.counts
    if _is_unknown(one):
        return "no number (neither model gets an image right)"
    loss = -counts.change
    gap = abs(loss - audit.margin) if loss > 0 else max(audit.margin, audit.drop)
    if gap < 1e-9:
        return "no number (its loss is the margin)"
    flips = max((counts.lost + counts.won) / counts.n, gap)
    asked = (flips, gap, audit.alpha, POWER, len(audit.protected))
    if approximate_images(*asked) > MOST_IMAGES:
        return f"more than {MOST_IMAGES:,}"
    images = images_needed(*asked)
    digit = 10 ** max(len(str(images)) - 2, 0)
    return f"{math.ceil(images / digit) * digit:,}"


def _open_questions(audit: Audit) -> Iterator[tuple[str, list[ClassAudit]]]:
    losing = [one for one in audit.of("undecided") if one.counts.change < 0]
    others = [one for one in audit.of("undecided") if one.counts.change >= 0 and not _is_unknown(one)]
    unknown = [one for one in audit.of("undecided") if _is_unknown(one)]
    if losing and audit.margin:
        yield f"neither more nor less than the margin of {size(audit.margin)} is shown to be lost", losing
    elif losing:
        yield "net predictions were lost, which chance may explain", losing
    if others:
        yield f"too few images to rule out a loss of {size(max(audit.margin, audit.drop))}", others
    if unknown:
        yield "neither model gets an image right, so there is nothing to keep", unknown


def _is_unknown(one: ClassAudit) -> bool:
    return not one.counts.old_correct and not one.counts.new_correct


def rows(audit: Audit) -> Iterator[list[str]]:
    """The cells of the table under ``HEADINGS``, one row per class."""
    for status in STATUSES:
        for one in audit.of(status):
            counts = one.counts
            neither = counts.n - counts.both_correct - counts.lost - counts.won
            yield [
                one_line(one.name) + (" (target)" if one.name == audit.target else ""),
                one.status,
                str(counts.n),
                *(
                    "–" if math.isnan(share) else f"{100 * share:.1f}"
                    for share in (counts.old_accuracy, counts.new_accuracy)
                ),
                points(counts.change),
                *map(str, (counts.both_correct, counts.lost, counts.won, neither)),
                *map(p_value, (one.p, one.p_adjusted, one.p_non_inferior)),
                *(
                    "–" if math.isnan(share) else f"{100 * share:.1f}"
                    for share in (one.largest_loss, one.detectable_drop)
                ),
            ]


def p_value(value: float) -> str:
    """A p-value with three digits; "–" for NaN."""
    return "–" if math.isnan(value) else "<0.001" if value < 0.001 else f"{value:.3f}"


def size(share: float, up: bool = False) -> str:
    """A share of accuracy in words, such as "2 points"; rounded ``up`` to tenths where it is a bound."""
    value = math.ceil(1000 * share - 1e-6) / 10 if up else 100 * share
    return "1 point" if f"{value:.3g}" == "1" else f"{value:.3g} points"


def _count(audit: Audit, classes: Sequence[ClassAudit]) -> str:
    return f"{len(classes)} of {len(audit.protected)} protected classes"


def _with_change(one: ClassAudit) -> str:
    return f"{shown(one.name)} {points(one.counts.change)} points"


def _worst_first(classes: Sequence[ClassAudit]) -> list[ClassAudit]:
    return sorted(classes, key=lambda one: (one.counts.change, -one.largest_loss, one.name))


def _named(classes: Sequence[ClassAudit], text: Callable[[ClassAudit], str] | None = None) -> str:
    """The worst of ``classes``, and how many more there are."""
    show = text or (lambda one: f"{_with_change(one)} on {one.counts.n:,} images")
    return some(list(map(show, _worst_first(classes))), LISTED)
