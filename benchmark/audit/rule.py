"""The release gate: whether a new model kept what the old one could do, class by class, from paired counts alone.

Each protected class is, first match first:

* **regressed** if it lost significantly: McNemar's exact one-sided test, Holm over the protected classes, level alpha.
  With a margin it must have lost significantly more than that (``p_lost_no_more``);
* **kept** if it was shown to have lost less than ``margin`` (``p_lost_as_much``, at level alpha), or if it lost no net
  prediction on these images *and* was shown to have lost less than ``drop``. No data can show that nothing at all was
  lost, so at margin 0 this second way is the usual one, and ``drop`` keeps three images from passing;
* **undecided** otherwise: too few images for its loss, or for the absence of one. So is, at any margin, a class of
  which neither model gets an image right: what was never there cannot be kept.

The verdict is *regressed* if one class is, else *undecided* if one class is, else *preserved*. Two errors are bounded:

* a new model with which no class truly lost more than ``margin`` is *regressed* with probability alpha at most. Exactly
  so at margin 0, and at every margin for a model with which no class truly lost anything; else asymptotically;
* a new model with which some class truly lost max(margin, drop) or more is *preserved* with probability alpha at most,
  asymptotically. Every class must pass, so this needs no correction for their number.

A larger margin or drop never makes the verdict worse. The tests take images for independent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

from benchmark.audit.names import shown
from benchmark.metrics import significance
from benchmark.metrics.counts import Counts
from benchmark.metrics.preservation import scored, strictly_preserved
from benchmark.metrics.significance import ALPHA, POWER
from scenarios.wording import known_names

DROP = 0.05
NAMED = 20  # known classes that an error message lists

Status = Literal["regressed", "undecided", "kept", "not protected"]
STATUSES: tuple[Status, ...] = get_args(Status)  # worst first
Verdict = Literal["regressed", "undecided", "preserved"]
EXIT_CODES: dict[Verdict, int] = {"preserved": 0, "regressed": 1, "undecided": 3}


@dataclass(frozen=True)
class ClassAudit:
    """One class. The fields after ``status`` are NaN for a class that is not protected.

    Attributes:
        p: that it did not get worse, in (0, 1]: McNemar's exact one-sided p-value.
        p_adjusted: that it lost no more than the margin, after Holm's correction over the protected classes.
        p_non_inferior: that it lost the margin or more.
        largest_loss: any greater loss of accuracy is ruled out, at level alpha, in [0, 1].
        detectable_drop: the smallest true loss that is found with probability ``POWER`` on so many images.
    """

    name: str
    counts: Counts
    status: Status
    p: float = math.nan
    p_adjusted: float = math.nan
    p_non_inferior: float = math.nan
    largest_loss: float = math.nan
    detectable_drop: float = math.nan


@dataclass(frozen=True)
class Audit:
    """The verdict with the figures it rests on; ``classes`` in the order given."""

    classes: tuple[ClassAudit, ...]
    target: str | None
    alpha: float
    margin: float
    drop: float

    @property
    def protected(self) -> tuple[ClassAudit, ...]:
        """The classes that must be kept."""
        return tuple(one for one in self.classes if one.status != "not protected")

    def of(self, status: Status) -> tuple[ClassAudit, ...]:
        """The classes with this status."""
        return tuple(one for one in self.classes if one.status == status)

    @property
    def strictly_preserved(self) -> bool:
        """Whether no protected class lost a net prediction."""
        return strictly_preserved({one.name: one.counts for one in self.classes}, [one.name for one in self.protected])

    @property
    def verdict(self) -> Verdict:
        """See the module."""
        if self.of("regressed"):
            return "regressed"
        return "undecided" if self.of("undecided") else "preserved"

    @property
    def exit_code(self) -> int:
        """0 preserved, 1 regressed, 3 undecided."""
        return EXIT_CODES[self.verdict]


def audit(
    counts: Mapping[str, Counts],
    protected: Sequence[str] | None = None,
    target: str | None = None,
    alpha: float = ALPHA,
    margin: float = 0.0,
    drop: float = DROP,
) -> Audit:
    """Judge a new model by its paired counts with the old one; the module has the rule.

    Args:
        counts: of every class, in the order to be shown.
        protected: the classes that must be kept. Default: all but ``target``.
        target: the class that was developed, if one was; it is shown and not judged.
        alpha: probability of either error, between 0 and 0.5.
        margin: loss of accuracy that would not matter, in [0, 1).
        drop: loss that must be ruled out where none was seen, between 0 and 1.

    Raises:
        ValueError: if an argument is out of its range, a name is unknown, or a protected class has no images.
    """
    if not 0 < alpha < 0.5:
        raise ValueError(f"--alpha must lie between 0 and 0.5, not {alpha}")
    if not 0 <= margin < 1:
        raise ValueError(f"--margin is a share of accuracy, 0 or more and below 1 (0.01 is a point), not {margin}")
    if not 0 < drop < 1:
        raise ValueError(f"--drop is a share of accuracy between 0 and 1 (0.01 is a point), not {drop}")
    if target is not None:
        _check_known("--target", target, counts)
    chosen = list(dict.fromkeys(protected if protected is not None else (n for n in counts if n != target)))
    for name in chosen:
        _check_known("--protected", name, counts)
    if target in chosen:
        raise ValueError(f"--protected: {target!r} is the target: take it out of the protected classes")
    own = dict(zip(chosen, scored(counts, chosen), strict=True))

    p_values = {name: p_lost_no_more(entry, margin) for name, entry in own.items()}
    adjusted = significance.holm(p_values)

    def judge(name: str, entry: Counts) -> ClassAudit:
        if name not in own:
            return ClassAudit(name, entry, "not protected")
        return ClassAudit(
            name,
            entry,
            "regressed" if adjusted[name] <= alpha else "kept" if _is_kept(entry, alpha, margin, drop) else "undecided",
            p=significance.mcnemar(entry),
            p_adjusted=adjusted[name],
            p_non_inferior=p_lost_as_much(entry, margin),
            largest_loss=largest_loss(entry, alpha),
            detectable_drop=_detectable_drop(entry.n, entry.lost + entry.won, alpha, len(own)),
        )

    return Audit(tuple(judge(name, entry) for name, entry in counts.items()), target, alpha, margin, drop)


def p_lost_no_more(counts: Counts, margin: float) -> float:
    """One-sided p-value that a class lost no more than ``margin``, in [0, 1]: small if it truly lost more.

    At margin 0 McNemar's exact test. Else the greatest one of that, of Tango's score test turned round, and of the
    binomial test that is exact where all flips are negative. Tango's is asymptotic, and too eager there: with 20
    classes and few flips it alone would raise three false alarms where one is allowed.
    """
    from scipy.special import bdtrc

    exact = significance.mcnemar(counts)
    net = counts.lost - counts.won
    if margin == 0 or net <= 0:  # at a net gain the other two are near 1
        return exact
    return max(exact, 1 - significance.non_inferiority(counts, margin), float(bdtrc(net - 1, counts.n, margin)))


def p_lost_as_much(counts: Counts, margin: float) -> float:
    """One-sided p-value that a class lost ``margin`` or more, in [0, 1]: small if it truly lost less.

    The greater one of Tango's score test of non-inferiority and of the binomial test that is exact where all flips are
    negative: without flips Tango's alone would rule out a loss of 1/2 after three images, where it takes five.
    """
    from scipy.special import bdtr

    net = counts.lost - counts.won
    all_negative = float(bdtr(net, counts.n, margin)) if net >= 0 else 0.0
    return max(significance.non_inferiority(counts, margin), all_negative)


def largest_loss(counts: Counts, alpha: float) -> float:
    """The loss of accuracy above which all are ruled out at level alpha, in [0, 1]; 0 for a class that got better.

    Where ``p_lost_as_much`` meets alpha, to 1e-9: the upper end of an interval of the loss at confidence 1 − 2 alpha.
    """
    low, high = 0.0, 1.0
    if p_lost_as_much(counts, 0.0) <= alpha:
        return 0.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (low, middle) if p_lost_as_much(counts, middle) <= alpha else (middle, high)
    return high


def _is_kept(counts: Counts, alpha: float, margin: float, drop: float) -> bool:
    if not counts.old_correct and not counts.new_correct:
        return False
    lost_nothing = counts.lost <= counts.won
    return p_lost_as_much(counts, max(margin, drop) if lost_nothing else margin) <= alpha


@cache  # many classes are alike
def _detectable_drop(images: int, flipped: int, alpha: float, classes: int) -> float:
    """As ``significance.detectable_drop`` with flips as observed, or as many more as a greater drop needs."""
    found = significance.detectable_drop(images, flipped / images, alpha, POWER, classes) if flipped else math.nan
    if not math.isnan(found):
        return found

    def lacking(drop: float) -> float:
        return POWER - significance.detection_power(images, drop, drop, alpha, classes)

    if lacking(1.0) > 0:  # not even if all images were lost
        return math.nan
    from scipy.optimize import brentq

    return float(brentq(lacking, flipped / images, 1.0, xtol=1e-9))


def _check_known(flag: str, name: str, counts: Mapping[str, Counts]) -> None:
    if name in counts:
        return
    raise ValueError(f"{flag}: no test image has the label {name!r}: {known_names(name, counts, NAMED, shown)}")
