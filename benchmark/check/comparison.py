"""How outcomes of a cell differ from its baseline: bit for bit on the same platform, else beyond chance.

On another platform a run of the same seed differs by rounding that training amplifies. At worst it is as far off as
another seed would be, and the baseline tells how far that is. See docs/regression-checks.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from statistics import fmean, variance

from benchmark.check.baselines import Cell, Outcome, RoundOutcome, Suite
from benchmark.check.rules import point
from benchmark.metrics.counts import Counts
from benchmark.output.tables import points

ALPHA = 0.01  # share of checks on other platforms that may fail without cause, if those were as far off as other seeds
NEAR_TIES = 2  # images of a class whose prediction rounding alone may turn
LOSS = 0.01  # relative; the first few losses follow from base and batches, before rounding is amplified much
SLOWER = {True: 1.5, False: 2.0}  # times the baseline's time that a run may take, on the same platform and on another
SPLITS = ("test", "val")


def indistinct(cell: Cell, got: Sequence[Outcome]) -> Iterator[str]:
    """Seeds whose runs are the same now and were not in the baseline."""
    then = {outcome.seed: outcome.digest for outcome in cell.outcomes}
    for one, other in combinations(got, 2):
        if one.digest == other.digest and then[one.seed] != then[other.seed]:
            yield f"seeds {one.seed} and {other.seed} give the same run"


def differences(expected: Outcome, got: Outcome) -> Iterator[str]:
    """Everything in which two runs of a seed differ; both are of one platform."""
    if expected.digest != got.digest:
        yield from _known_at_once(expected, got)
        for number, (old, new) in enumerate(zip(expected.rounds, got.rounds, strict=False)):
            yield from (f"{_round(number, got)}{line}" for line in _round_differences(old, new))
        if expected.model_dump(exclude={"digest"}) == got.model_dump(exclude={"digest"}):
            yield "same counts, but other losses or predictions in between"
    elif expected.run_id != got.run_id:
        yield from _known_at_once(expected, got)


def _round_differences(old: RoundOutcome, new: RoundOutcome) -> Iterator[str]:
    for split in SPLITS:
        before, after = getattr(old, split), getattr(new, split)
        changed = [
            f"{name} {_right(old_counts)} → {_right(after[name])}"
            for name, old_counts in before.items()
            if name in after and old_counts != after[name]
        ]
        if changed:
            yield f"{split} {', '.join(changed)}"
    for word, then, now in (("DevSafety", old.devsafety, new.devsafety), ("gain", old.target_gain, new.target_gain)):
        if then != now:
            yield f"{word} {points(then)} → {points(now)}"
    if (old.selected_step, old.selected) != (new.selected_step, new.selected):
        yield f"kept {_kept(old)} → {_kept(new)}"
    if old.last_loss != new.last_loss:
        yield f"last loss {old.last_loss} → {new.last_loss}"


def _known_at_once(expected: Outcome, got: Outcome) -> Iterator[str]:
    """Differences that no rounding explains."""
    if expected.run_id != got.run_id:
        yield f"run {expected.run_id} → {got.run_id}: data, base, a default or a version is another"
    if expected.status != got.status:
        yield f"{expected.status} → {got.status}"
    elif len(expected.rounds) != len(got.rounds):
        yield f"{len(expected.rounds)} → {len(got.rounds)} rounds"


def coarse_differences(suite: Suite, cell: Cell, got: Sequence[Outcome]) -> Iterator[str]:
    """Everything in which runs of a cell differ from those of another platform by more than the tolerances."""
    for expected, outcome in zip(cell.outcomes, got, strict=True):
        lines = [*_known_at_once(expected, outcome)]
        for number, (old, new) in enumerate(zip(expected.rounds, outcome.rounds, strict=False)):
            lines += [f"{_round(number, outcome)}{line}" for line in _coarse_round_differences(old, new)]
        yield from (f"seed {outcome.seed}: {line}" for line in lines)
    if comparable(cell.outcomes, got):
        for number in range(len(got[0].rounds)):
            for split in SPLITS:
                yield from _beyond_spread(suite, cell, got, number, split)


def _coarse_round_differences(old: RoundOutcome, new: RoundOutcome) -> Iterator[str]:
    early = list(zip(old.first_losses, new.first_losses, strict=False))
    if len(old.first_losses) != len(new.first_losses) or not all(
        math.isclose(then, now, rel_tol=LOSS, abs_tol=LOSS / 10) for then, now in early
    ):
        yield f"first losses {_numbers(old.first_losses)} → {_numbers(new.first_losses)}"
    for split in SPLITS:
        before, after = getattr(old, split), getattr(new, split)
        for name in before:
            if name not in after or before[name].n != after[name].n:
                yield f"{split} {name} has other images"
            elif abs(before[name].old_correct - after[name].old_correct) > NEAR_TIES:
                yield f"{split} {name}, old model: {before[name].old_correct} → {after[name].old_correct} right"


def comparable(expected: Sequence[Outcome], got: Sequence[Outcome]) -> bool:
    """Whether all runs have the same rounds, classes and sizes, so that their means can be compared."""
    return len({(tuple(_sizes(round_) for round_ in outcome.rounds)) for outcome in (*expected, *got)}) == 1


def _sizes(round_: RoundOutcome) -> tuple[tuple[str, str, int], ...]:
    return tuple((split, name, c.n) for split in SPLITS for name, c in getattr(round_, split).items())


def _beyond_spread(suite: Suite, cell: Cell, got: Sequence[Outcome], number: int, split: str) -> Iterator[str]:
    """Classes whose mean accuracy over the seeds is off by more than the tolerance."""
    then, now = (_accuracies(outcomes, number, split) for outcomes in (cell.outcomes, got))
    allowed = tolerance(then, comparisons(suite))
    for name in then:
        n = getattr(got[0].rounds[number], split)[name].n
        before, after, limit = fmean(then[name]), fmean(now[name]), max(allowed, NEAR_TIES / n)
        if abs(after - before) > limit:
            yield (
                f"{_round(number, got[0])}{split} {name} {100 * before:.1f} → {100 * after:.1f} % on average, "
                f"allowed ± {100 * limit:.1f}"
            )


def _accuracies(outcomes: Sequence[Outcome], number: int, split: str) -> dict[str, list[float]]:
    """The new model's accuracy per class, for each seed."""
    counts = [getattr(outcome.rounds[number], split) for outcome in outcomes]
    return {name: [of_run[name].new_accuracy for of_run in counts] for name in counts[0]}


def comparisons(suite: Suite) -> int:
    """How many means are compared in a check: classes of all cells, rounds and splits."""
    runs = [cell.outcomes[0] for cell in suite.cells]
    return sum(len(getattr(round_, split)) for run in runs for round_ in run.rounds for split in SPLITS)


def tolerance(accuracies: dict[str, list[float]], compared: int) -> float:
    """How far the mean accuracy of a class over k seeds may be from the baseline's, as a fraction.

    t √(2 / k) s: s is the seed-to-seed standard deviation, pooled over the classes; t is Student's quantile that makes
    ``ALPHA`` the chance of any false alarm among all means ``compared`` (Bonferroni), if a mean on another platform
    were that of k other seeds.

    Args:
        accuracies: for each class the baseline's, one per seed, two or more.
        compared: number of means compared in the whole check.
    """
    from scipy.stats import t  # a second of imports

    seeds = len(next(iter(accuracies.values())))
    spread = math.sqrt(fmean(variance(values) for values in accuracies.values()))
    freedom = len(accuracies) * (seeds - 1)
    return float(t.isf(ALPHA / (2 * compared), freedom)) * math.sqrt(2 / seeds) * spread


def slower(cell: Cell, time: float, exact: bool) -> str:
    """Why a run takes too long, if it does. ``time`` is in multiples of the yardstick."""
    assert cell.time is not None
    limit = SLOWER[exact] * cell.time
    return f"takes {cell.time:.2f} → {time:.2f} yardsticks, allowed {limit:.2f}" if time > limit else ""


def _round(number: int, outcome: Outcome) -> str:
    return f"round {number + 1}: " if len(outcome.rounds) > 1 else ""


def _kept(round_: RoundOutcome) -> str:
    return point(round_.selected_step, round_.selected)


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values) or "none"


def _right(counts: Counts) -> str:
    return f"{counts.new_correct}/{counts.n} (old {counts.old_correct})"
