"""The rule that holds for every run, own or submitted: the model that was kept is the one that validation picks."""

from __future__ import annotations

import math
from collections.abc import Iterator

from benchmark.metrics.preservation import devsafety
from benchmark.records.schema import RoundResult


def selection_faults(result: RoundResult) -> Iterator[str]:
    """Where the kept model of a round is not the one that the rule picks, or validation counts are not those of it."""
    counts = result.val_counts
    kept = result.selected_step, result.selected
    best = result.best_checkpoint
    if best is None:
        if kept != (0, "") or any(own.lost or own.won for own in counts.values()):
            yield "no checkpoint was scored, so nothing but the old model can have been kept"
        return
    if kept != (best.step, best.candidate):
        yield (
            f"selected is {point(*kept)}, but by validation (highest min(DevSafety, 0), then target accuracy) it is "
            f"{point(best.step, best.candidate)}"
        )
    try:
        figures = devsafety(counts, result.protected), counts[result.target].new_accuracy
    except (ValueError, KeyError):
        yield "validation counts of some classes are missing"
        return
    own = [one for one in result.checkpoints if (one.step, one.candidate) == kept]
    if not own:
        yield f"selected is {point(*kept)}, which is no checkpoint"
        return
    scored = own[0].devsafety, own[0].target_accuracy
    if not all(math.isclose(*pair, abs_tol=1e-9) for pair in zip(scored, figures, strict=True)):
        yield (
            f"validation counts give DevSafety {figures[0]:.6f} and target accuracy {figures[1]:.6f}, "
            f"the selected checkpoint has {scored[0]:.6f} and {scored[1]:.6f}"
        )


def point(step: int, candidate: str) -> str:
    """A checkpoint's name in messages."""
    return f"step {step}" + (f" {candidate!r}" if candidate else "")
