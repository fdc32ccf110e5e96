"""The release gate: whether a new model kept what the old one could do, class by class, from paired counts alone.

Each protected class is, first match first:

* **regressed** if it lost significantly: McNemar's exact one-sided test, Holm over all that is judged, level alpha.
  With a margin it must have lost significantly more than that. So it is if its accuracy is significantly below a floor;
* **kept** if it was shown to have lost less than ``margin`` (at level alpha), or if it lost no net prediction on these
  images *and* was shown to have lost less than ``drop``. No data can show that nothing at all was lost, so at margin 0
  this second way is the usual one, and ``drop`` keeps three images from passing. A floor must have been shown, too;
* **undecided** otherwise: too few images for its loss, or for the absence of one. So is, at any margin, a class of
  which neither model gets an image right: what was never there cannot be kept.

A class with fewer images than were asked for is undecided whatever it shows, and Holm's correction leaves it out.

The tests are those of ``evidence``, of images or of groups of them. A slice of the images is judged as a class is. The
verdict is *regressed* if one class is or a pinned image is wrong, else *undecided* if one class is, else *preserved*; a
waived class does not count. Two errors are bounded:

* a new model with which no class truly lost more than ``margin`` is *regressed* with probability alpha at most. Exactly
  so at margin 0, and at every margin for a model with which no class truly lost anything; else asymptotically;
* a new model with which some class truly lost max(margin, drop) or more is *preserved* with probability alpha at most,
  asymptotically. Every class must pass, so this needs no correction for their number.

A larger margin or drop never makes the verdict worse.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from benchmark.audit.evidence import Evidence
from benchmark.audit.names import shown
from benchmark.metrics import significance
from benchmark.metrics.counts import Counts, Scores
from benchmark.metrics.preservation import scored
from benchmark.metrics.significance import ALPHA
from scenarios.wording import known_names

DROP = 0.05
NAMED = 20  # known classes that an error message lists

Status = Literal["regressed", "undecided", "waived", "kept", "not protected"]
STATUSES: tuple[Status, ...] = get_args(Status)  # as they are shown
Verdict = Literal["regressed", "undecided", "preserved"]
EXIT_CODES: dict[Verdict, int] = {"preserved": 0, "regressed": 1, "undecided": 3}


class Level(NamedTuple):
    """The probability of either error: ``alpha``, between 0 and 0.5, times the ``share`` that one verdict may spend."""

    alpha: float = ALPHA
    share: float = 1.0


class Requirement(NamedTuple):
    """What is asked of a class or slice.

    Attributes:
        margin: loss of accuracy that would not matter, in [0, 1).
        drop: loss that must be ruled out where none was seen, between 0 and 1.
        floor: accuracy that the new model must be shown to have, between 0 and 1.
        images: the fewest test images with which it can be decided.
        groups: the fewest groups of them, likewise.
        waived: why its verdict does not count; empty where it does.
    """

    margin: float = 0.0
    drop: float = DROP
    floor: float | None = None
    images: int = 0
    groups: int = 0
    waived: str = ""


class Pinned(NamedTuple):
    """Images that the new model must get right, and which of them it does not."""

    ids: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()


ALONE, USUAL, NOTHING = Level(), Requirement(), Pinned()


@dataclass(frozen=True)
class ClassAudit:
    """One class or slice. The fields after ``asked`` are NaN for a class that is not protected.

    Attributes:
        finding: its status, were it not waived.
        p: that it did not get worse, in (0, 1]: McNemar's exact one-sided p-value.
        p_adjusted: that it lost no more than the margin, after Holm's correction over all that is judged; NaN with
            fewer images than were asked for.
        p_non_inferior: that it lost the margin or more.
        largest_loss: any greater loss of accuracy is ruled out, at level alpha, in [0, 1].
        detectable_drop: the smallest true loss that is found with probability ``POWER`` on so many images.
        p_above: that its accuracy is the floor or more, likewise; NaN without a floor, as the next.
        p_below: that its accuracy is the floor or less.
    """

    name: str
    evidence: Evidence
    status: Status
    finding: Status
    asked: Requirement = USUAL
    p: float = math.nan
    p_adjusted: float = math.nan
    p_non_inferior: float = math.nan
    largest_loss: float = math.nan
    detectable_drop: float = math.nan
    p_above: float = math.nan
    p_below: float = math.nan

    @property
    def counts(self) -> Counts | Scores:
        """Of its images, or scores of its answers."""
        return self.evidence.counts


@dataclass(frozen=True)
class Audit:
    """The verdict with the figures it rests on; ``classes`` in the order given, then slices."""

    classes: tuple[ClassAudit, ...]
    target: str | None
    alpha: float
    asked: Requirement
    pinned: Pinned = NOTHING
    notes: tuple[str, ...] = ()  # lines that every report shows
    by_policy: bool = False
    warnings: tuple[str, ...] = ()  # that something may be wrong with what was judged

    @property
    def protected(self) -> tuple[ClassAudit, ...]:
        """The classes and slices that must be kept, waived ones too."""
        return tuple(one for one in self.classes if one.status != "not protected")

    @property
    def graded(self) -> bool:
        """Whether answers have scores."""
        return any(isinstance(one.counts, Scores) for one in self.classes)

    @property
    def grouped(self) -> bool:
        """Whether images came in groups."""
        return any(one.evidence.grouped for one in self.classes)

    def of(self, status: Status) -> tuple[ClassAudit, ...]:
        """The classes with this status."""
        return tuple(one for one in self.classes if one.status == status)

    @property
    def strictly_preserved(self) -> bool:
        """Whether no protected class lost a net prediction."""
        return all(one.counts.new_correct >= one.counts.old_correct for one in self.protected)

    @property
    def verdict(self) -> Verdict:
        """See the module."""
        if self.of("regressed") or self.pinned.wrong:
            return "regressed"
        return "undecided" if self.of("undecided") else "preserved"

    @property
    def exit_code(self) -> int:
        """0 preserved, 1 regressed, 3 undecided."""
        return EXIT_CODES[self.verdict]


def audit(
    evidence: Mapping[str, Evidence],
    protected: Sequence[str] | None = None,
    target: str | None = None,
    level: Level = ALONE,
    asked: Requirement = USUAL,
    special: Mapping[str, Requirement] | None = None,
    slices: Mapping[str, Evidence] | None = None,
    pinned: Pinned = NOTHING,
) -> Audit:
    """Judge a new model by what paired test images say of it and the old one; the module has the rule.

    Args:
        evidence: of every class, in the order to be shown.
        protected: the classes that must be kept. Default: all but ``target``.
        target: the class that was developed, if one was; it is shown and not judged.
        level: probability of either error.
        asked: of every protected class.
        special: of some classes and slices, in its place.
        slices: of parts of the images, which are protected as classes are.
        pinned: images that must be right.

    Raises:
        ValueError: if an argument is out of its range, a name is unknown, or a protected class has no images.
    """
    _check_ranges(level.alpha, asked)
    chosen = protected_classes(evidence, protected, target)
    every = {**evidence, **(slices or {})}
    wanted = {name: (special or {}).get(name, asked) for name in (*chosen, *(slices or {}))}
    scored({name: own.counts for name, own in every.items()}, list(wanted))  # for its checks

    alpha = level.alpha * level.share
    found, adjusted = findings(every, wanted, alpha)

    def judge(name: str, own: Evidence) -> ClassAudit:
        if name not in wanted:
            return ClassAudit(name, own, "not protected", "not protected")
        want, finding = wanted[name], found[name]
        return ClassAudit(
            name,
            own,
            "waived" if want.waived else finding,
            finding,
            want,
            p=own.p_worse,
            p_adjusted=adjusted.get((name, "loss"), math.nan),
            p_non_inferior=own.p_lost_as_much(want.margin),
            largest_loss=own.largest_loss(alpha),
            detectable_drop=own.detectable_drop(alpha, max(1, len(adjusted))),
            p_above=adjusted.get((name, "floor"), math.nan),
            p_below=math.nan if want.floor is None else own.p_at_most(want.floor),
        )

    return Audit(tuple(judge(name, own) for name, own in every.items()), target, alpha, asked, pinned)


def protected_classes(known: Collection[str], protected: Sequence[str] | None, target: str | None) -> list[str]:
    """The classes that are judged: those ``protected``, or all that are ``known`` but the target.

    Raises:
        ValueError: a name is unknown, or the target is protected.
    """
    if target is not None:
        _check_known("--target", target, known)
    chosen = list(dict.fromkeys(protected if protected is not None else (name for name in known if name != target)))
    for name in chosen:
        _check_known("--protected", name, known)
    if target in chosen:
        raise ValueError(f"--protected: {target!r} is the target: take it out of the protected classes")
    return chosen


def findings(
    evidence: Mapping[str, Evidence], wanted: Mapping[str, Requirement], alpha: float
) -> tuple[dict[str, Status], dict[tuple[str, str], float]]:
    """The status of each class and slice in ``wanted``, were none waived, and Holm's p-values of losses and floors."""
    judged = {name: want for name, want in wanted.items() if is_enough(evidence[name], want)}
    p_values = {(name, "loss"): evidence[name].p_lost_no_more(want.margin) for name, want in judged.items()}
    for name, want in judged.items():
        if want.floor is not None:
            p_values[name, "floor"] = evidence[name].p_at_least(want.floor)
    adjusted = significance.holm(p_values)
    regressed = {name for (name, _), p in adjusted.items() if p <= alpha}
    found: dict[str, Status] = dict.fromkeys(wanted, "undecided")
    for name, want in judged.items():
        if name in regressed:
            found[name] = "regressed"
        elif _is_kept(evidence[name], want, alpha):
            found[name] = "kept"
    return found, adjusted


def is_enough(own: Evidence, want: Requirement) -> bool:
    """Whether there are as many images, and groups of them, as were asked for."""
    return own.counts.n >= want.images and own.units >= want.groups


def _is_kept(own: Evidence, want: Requirement, alpha: float) -> bool:
    counts = own.counts
    if not counts.old_correct and not counts.new_correct:
        return False
    if want.floor is not None and own.p_at_most(want.floor) > alpha:
        return False
    lost_nothing = counts.new_correct >= counts.old_correct
    return own.p_lost_as_much(max(want.margin, want.drop) if lost_nothing else want.margin) <= alpha


def _check_ranges(alpha: float, asked: Requirement) -> None:
    if not 0 < alpha < 0.5:
        raise ValueError(f"--alpha must lie between 0 and 0.5, not {alpha}")
    margin, drop = asked.margin, asked.drop
    if not 0 <= margin < 1:
        raise ValueError(f"--margin is a share of accuracy, 0 or more and below 1 (0.01 is a point), not {margin}")
    if not 0 < drop < 1:
        raise ValueError(f"--drop is a share of accuracy between 0 and 1 (0.01 is a point), not {drop}")


def _check_known(flag: str, name: str, known: Collection[str]) -> None:
    if name in known:
        return
    raise ValueError(f"{flag}: no test image has the label {name!r}: {known_names(name, known, NAMED, shown)}")
