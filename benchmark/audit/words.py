"""An audit in words: the verdict with its reason and remedy, and cells of its table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from benchmark.audit.names import shown
from benchmark.audit.needs import images_to_decide, is_unknown, unit
from benchmark.audit.rule import STATUSES, Audit, ClassAudit, is_enough
from benchmark.metrics.counts import Counts
from benchmark.metrics.significance import POWER
from benchmark.output.tables import one_line, points
from scenarios.wording import some

LISTED = 3  # classes named in one line
HEADINGS = {  # and their meanings
    "Class": "those that regressed come first, then those undecided, kept, and not protected",
    "Verdict": "regressed, undecided, kept, or not protected",
    "n": "test images",
    "Groups": "of images that belong together",
    "Old %": "accuracy of the old model",
    "New %": "accuracy of the new model",
    "Change": "of the accuracy, in points",
    "Both": "images that both models get right",
    "Lost": "right before and wrong now: negative flips",
    "Won": "wrong before and right now: positive flips",
    "Neither": "images that both models get wrong",
    "p": "p-value of having got no worse, by McNemar's exact one-sided test; of groups, by flipping their signs",
    "Holm p": "p-value of having lost no more than the margin, corrected by Holm's method: α or less is regressed",
    "NI p": "p-value of having lost the margin or more, by Tango's test of non-inferiority: α or less is kept",
    "At most": "the greatest true loss, in points, that is not ruled out at level α",
    "Margin": "loss that would not matter, in points",
    "Floor": "accuracy in % that must be shown",
    "Floor p": "p-value of reaching the floor, exact binomial, corrected by Holm's method: α or less is regressed",
    "Visible": f"the smallest true loss, in points, that so many images show with probability {POWER:g}",
}


def headings(audit: Audit) -> dict[str, str]:
    """Those of ``HEADINGS`` that tell something of this audit."""
    asked = [one.asked for one in audit.protected]
    useless = {
        "Groups": not audit.grouped,
        "Margin": all(want.margin == audit.asked.margin for want in asked),
        "Floor": all(want.floor is None for want in asked),
    }
    useless |= dict.fromkeys(("Both", "Neither"), audit.graded)
    useless["Floor p"] = useless["Floor"]
    return {name: meaning for name, meaning in HEADINGS.items() if not useless.get(name)}


def summary(audit: Audit) -> list[str]:
    """Both verdicts, the second one with its reason and remedy, and notes, one line each."""
    return [
        strict_line(audit),
        f"{audit.verdict}: {reason(audit)}",
        *([f"next: {todo}"] if (todo := remedy(audit)) else []),
        *audit.notes,
    ]


def strict_line(audit: Audit) -> str:
    """The strict verdict, with the classes that fail it, worst first."""
    if audit.strictly_preserved:
        return "strictly preserved: no protected class lost a net prediction"
    losing = [one for one in audit.protected if one.counts.change < 0]
    return f"not strictly preserved: {_count(audit, losing)} lost net predictions: {_named(losing, _with_change)}"


def reason(audit: Audit) -> str:
    """The reason for the verdict."""
    if audit.verdict == "regressed":
        return "; ".join(_failures(audit))
    if audit.of("undecided"):
        return "; ".join(f"{text}: {_named(classes)}" for text, classes in _open_questions(audit))
    return _how_kept(audit, audit.of("kept"))


def _failures(audit: Audit) -> Iterator[str]:
    lost = [one for one in audit.of("regressed") if one.p_adjusted <= audit.alpha]
    below = [one for one in audit.of("regressed") if one.p_above <= audit.alpha]
    level = f"at α {audit.alpha:.3g} with Holm's correction"
    if lost:
        beyond = f"lost significantly more than {_margins(lost)}" if _has_margin(lost) else "got worse"
        named = _named(lost, lambda one: f"{_with_change(one)} (Holm p {p_value(one.p_adjusted)})")
        yield f"{_count(audit, lost)} {beyond}, {level}: {named}"
    if below:
        yield f"{_count(audit, below)} are below their floor, {level}: {_named(below, _with_floor)}"
    if wrong := audit.pinned.wrong:
        yield f"{len(wrong)} of {len(audit.pinned.ids)} pinned images are wrong: {some(list(map(repr, wrong)), LISTED)}"


def why(audit: Audit, one: ClassAudit) -> str:
    """Why a class regressed, in short."""
    lost = f"Holm p {p_value(one.p_adjusted)}"
    return lost if one.p_adjusted <= audit.alpha else f"below its floor: {_with_floor(one)}"


def _how_kept(audit: Audit, kept: Sequence[ClassAudit]) -> str:
    if not kept:
        return "all that is judged is waived"
    within = [one for one in kept if one.asked.margin and one.p_non_inferior <= audit.alpha]
    ways = []
    if within:
        ways.append(f"lost less than {_margins(within)}")
    if others := [one for one in kept if one not in within]:
        ruled_out = max(max(one.asked.margin, one.asked.drop) for one in others)
        ways.append(f"lost no net prediction, with a loss of {size(ruled_out)} ruled out")
    worst = max(kept, key=lambda one: one.largest_loss)
    return (
        f"each protected class {', or '.join(ways)} (α {audit.alpha:.3g}; {shown(worst.name)} may have lost most, "
        f"{size(worst.largest_loss, up=True)})"
    )


def remedy(audit: Audit) -> str:
    """The action that the verdict calls for; empty if it is *preserved*."""
    if audit.verdict == "regressed":
        return "do not release; look at what only the old model gets right in these classes, and develop again"
    if audit.verdict == "preserved":
        return ""
    open_ = worst_first(audit.of("undecided"))
    needs = [f"{shown(one.name)} {images_to_decide(audit, one)}" for one in open_[:LISTED]]
    others = len(open_) - LISTED
    more = f" ({others} more {'class is' if others == 1 else 'classes are'} undecided)" if others > 0 else ""
    text = (
        f"test on more {unit(audit)}; about so many would decide with probability {POWER:g}: {', '.join(needs)}{more}"
    )
    if open_[0].counts.change < 0 and is_enough(open_[0].evidence, open_[0].asked):
        where = "margin in the policy" if audit.by_policy else "--margin"
        wider = f"widen {where} to" if open_[0].asked.margin else f"name with {where}"
        text += f"; or {wider} a loss that is acceptable, before you look at the next model"
    return text


def _open_questions(audit: Audit) -> Iterator[tuple[str, list[ClassAudit]]]:
    left = list(audit.of("undecided"))

    def take(holds: Callable[[ClassAudit], bool]) -> list[ClassAudit]:
        taken = [one for one in left if holds(one)]
        left[:] = [one for one in left if one not in taken]
        return taken

    if unknown := take(is_unknown):
        yield "neither model gets an image right, so there is nothing to keep", unknown
    if few := take(lambda one: not is_enough(one.evidence, one.asked)):
        yield "fewer images or groups than the policy asks for", few
    if losing := take(lambda one: one.counts.change < 0 and one.p_non_inferior > audit.alpha):
        if _has_margin(losing):
            yield f"neither more nor less than {_margins(losing)} is shown to be lost", losing
        else:
            yield "net predictions were lost, which chance may explain", losing
    if unseen := take(lambda one: one.evidence.p_lost_as_much(max(one.asked.margin, one.asked.drop)) > audit.alpha):
        drops = sorted({max(one.asked.margin, one.asked.drop) for one in unseen})
        yield f"too few {unit(audit)} to rule out a loss of {_sizes(drops)}", unseen
    if left:
        yield "not shown to reach their floor", left


def _has_margin(classes: Sequence[ClassAudit]) -> bool:
    return any(one.asked.margin for one in classes)


def _margins(classes: Sequence[ClassAudit]) -> str:
    margins = sorted({one.asked.margin for one in classes})
    return f"{'the margin' if len(margins) == 1 else 'the margins'} of {_sizes(margins)}"


def _sizes(shares: Sequence[float]) -> str:
    return size(shares[0]) if len(shares) == 1 else f"{100 * shares[0]:.3g} to {size(shares[-1])}"


def rows(audit: Audit) -> Iterator[list[str]]:
    """The cells of the table under ``headings``, one row per class."""
    names = list(headings(audit))
    for status in STATUSES:
        for one in audit.of(status):
            cells = _cells(audit, one)
            yield [cells[name] for name in names]


def _cells(audit: Audit, one: ClassAudit) -> dict[str, str]:
    counts, judged = one.counts, one.status != "not protected"
    both = counts.both_correct if isinstance(counts, Counts) else 0  # not shown where answers have scores
    status = f"waived ({one.finding})" if one.status == "waived" else one.status
    figures = [str(number) for number in (both, counts.lost, counts.won, counts.n - both - counts.lost - counts.won)]
    return {
        "Class": one_line(one.name) + (" (target)" if one.name == audit.target else ""),
        "Verdict": status,
        "n": str(counts.n),
        "Groups": str(one.evidence.units),
        "Old %": _percent(counts.old_accuracy),
        "New %": _percent(counts.new_accuracy),
        "Change": points(counts.change),
        **dict(zip(("Both", "Lost", "Won", "Neither"), figures, strict=True)),
        "p": p_value(one.p),
        "Holm p": p_value(one.p_adjusted),
        "NI p": p_value(one.p_non_inferior),
        "At most": _percent(one.largest_loss),
        "Margin": _percent(one.asked.margin if judged else math.nan),
        "Floor": _percent(one.asked.floor if one.asked.floor is not None else math.nan),
        "Floor p": p_value(one.p_above),
        "Visible": _percent(one.detectable_drop),
    }


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.1f}"


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


def _with_images(one: ClassAudit) -> str:
    of_groups = f" of {one.evidence.units:,} groups" if one.evidence.grouped else ""
    return f"{_with_change(one)} on {one.counts.n:,} images{of_groups}"


def _with_floor(one: ClassAudit) -> str:
    return f"{shown(one.name)} {_percent(one.counts.new_accuracy)} % of {_percent(one.asked.floor or 0.0)} %"


def worst_first(classes: Sequence[ClassAudit]) -> list[ClassAudit]:
    """In the order of their changes, then of what they may have lost."""
    return sorted(classes, key=lambda one: (one.counts.change, -one.largest_loss, one.name))


def _named(classes: Sequence[ClassAudit], text: Callable[[ClassAudit], str] | None = None) -> str:
    """The worst of ``classes``, and how many more there are."""
    show = text or _with_images
    return some(list(map(show, worst_first(classes))), LISTED)
