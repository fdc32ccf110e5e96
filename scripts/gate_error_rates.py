"""How often the release gate is wrong about clips and about graded answers; prints the tables of docs/release-gate.md.

Whole clips are drawn, of one class, and judged at level 0.05: once as images, once as groups. *False alarm*: a model
that truly lost the margin, of 0 or 2 points, is called regressed. *Passed wrongly*: one that truly lost 5 or 10 points,
which is the margin, is called kept. *Floor*: one whose accuracy truly is the floor, 80 or 95 %, is shown to be below,
or above. Each rate is the greatest one over sizes of clips, over ways in which frames depend on each other and over
shares of flips. With graded answers each question is answered once or four times, always alike.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from benchmark.audit.answers import right_or_scores
from benchmark.audit.evidence import Evidence, ImageEvidence
from benchmark.audit.rows import Rows
from benchmark.metrics.counts import Counts
from benchmark.metrics.groups import Groups
from benchmark.metrics.significance import ALPHA
from benchmark.output.tables import markdown_table

Whole = NDArray[np.int64]
CLIPS = (5, 10, 20, 50, 100, 200)
FLIPS = (0.0, 0.01, 0.05, 0.1)  # true shares won, and lost beside the true loss
SIZES: dict[str, Callable[[np.random.Generator, int], Whole]] = {
    "30 frames": lambda rng, clips: np.full(clips, 30),
    "1 to 60 frames": lambda rng, clips: rng.integers(1, 61, clips),
    "6 or 60 frames": lambda rng, clips: np.where(rng.random(clips) < 0.2, 60, 6),
}


def whole_clips(rng: np.random.Generator, sizes: Whole, loss: float, flips: float) -> tuple[Whole, Whole]:
    """A clip is lost or won as a whole, or not at all."""
    drawn = rng.random(len(sizes))
    lost, won = drawn < loss + flips, (drawn >= loss + flips) & (drawn < loss + 2 * flips)
    return sizes * lost, sizes * won


def rates_of_clips(rng: np.random.Generator, sizes: Whole, loss: float, flips: float) -> tuple[Whole, Whole]:
    """Each clip has shares of its own that are lost and won, from Beta distributions whose clips correlate 0.23."""

    def share(mean: float) -> NDArray[np.float64]:
        return rng.beta(mean / 0.3, (1 - mean) / 0.3, len(sizes)) if mean else np.zeros(len(sizes))

    lost, won = share(loss + flips), share(flips)
    total = np.maximum(lost + won, 1)
    flipped = np.array(
        [
            rng.multinomial(n, [a, b, max(0.0, 1 - a - b)])
            for n, a, b in zip(sizes, lost / total, won / total, strict=True)
        ]
    )
    return flipped[:, 0], flipped[:, 1]


def rare_failures(rng: np.random.Generator, sizes: Whole, loss: float, flips: float) -> tuple[Whole, Whole]:
    """A few clips are lost as a whole, and of the others single frames flip, as often to right as to wrong."""
    failed = rng.random(len(sizes)) < loss
    flipped = rng.multinomial(sizes, [flips / 2, flips / 2, 1 - flips])
    return np.where(failed, sizes, flipped[:, 0]), np.where(failed, 0, flipped[:, 1])


DEPENDENCE = (whole_clips, rates_of_clips, rare_failures)
ACCURACIES = (0.8, 0.95)
RIGHT: tuple[Callable[[np.random.Generator, Whole, float], Whole], ...] = (  # frames that are right, likewise
    lambda rng, sizes, accuracy: sizes * (rng.random(len(sizes)) < accuracy),
    lambda rng, sizes, accuracy: rng.binomial(sizes, rng.beta(accuracy / 0.3, (1 - accuracy) / 0.3, len(sizes))),
    lambda rng, sizes, accuracy: rng.binomial(sizes, accuracy),
)


def evidence(sizes: Whole, lost: Whole, won: Whole) -> tuple[Evidence, Evidence]:
    """Of the same frames as images, and as groups."""
    n, kept = int(sizes.sum()), sizes - lost - won
    counts = Counts(n, int((lost + kept).sum()), int((won + kept).sum()), int(kept.sum()))
    return ImageEvidence(counts), ImageEvidence(counts, Groups(sizes, won - lost, won + kept))


def rates(clips: int, loss: float, repeats: int, wrong: Callable[[Evidence], bool]) -> tuple[float, float]:
    """The greatest share of wrong verdicts, as images and as groups."""
    found = []
    for number, (size, frames, flips) in enumerate(product(SIZES.values(), DEPENDENCE, FLIPS)):
        rng, wrongs = np.random.default_rng([clips, number]), np.zeros(2)
        for _ in range(repeats):
            sizes = size(rng, clips)
            wrongs += [wrong(one) for one in evidence(sizes, *frames(rng, sizes, loss, flips))]
        found.append(wrongs / repeats)
    images, groups = np.max(found, axis=0).tolist()
    return images, groups


def floor_rates(clips: int, repeats: int, wrong: Callable[[Evidence, float], bool]) -> tuple[float, float]:
    """The same of floors, which are the true accuracy."""
    found = []
    for number, (size, right, accuracy) in enumerate(product(SIZES.values(), RIGHT, ACCURACIES)):
        rng, wrongs = np.random.default_rng([clips, number]), np.zeros(2)
        for _ in range(repeats):
            sizes = size(rng, clips)
            kept = right(rng, sizes, accuracy)
            counts = Counts(int(sizes.sum()), *[int(kept.sum())] * 3)
            both = ImageEvidence(counts), ImageEvidence(counts, Groups(sizes, 0 * sizes, kept))
            wrongs += [wrong(one, accuracy) for one in both]
        found.append(wrongs / repeats)
    images, groups = np.max(found, axis=0).tolist()
    return images, groups


QUESTIONS = (20, 50, 200, 800)
Scored = tuple[NDArray[np.float64], NDArray[np.float64]]  # scores before and after, (N,)
GRADED: tuple[Callable[[np.random.Generator, int, float], Scored], ...] = (  # of which some true share is lost
    lambda rng, n, loss: (half := rng.choice([0.25, 0.5], n), half + rng.choice([-0.25, 0, 0.25], n) - loss),
    lambda rng, n, loss: (some := rng.uniform(0.4, 0.6, n), some + rng.uniform(-0.2, 0.2, n) - loss),
    lambda rng, n, loss: (np.ones(n), (rng.random(n) >= loss).astype(float)),
    lambda rng, n, loss: (
        first := (rng.random(n) < 0.6).astype(float),
        np.where(rng.random(n) < 0.9, first, (rng.random(n) < 0.6).astype(float)) * (rng.random(n) >= loss / 0.6),
    ),
)


def graded_rates(questions: int, loss: float, repeats: int, wrong: Callable[[Evidence], bool]) -> float:
    """The greatest share of wrong verdicts on graded answers."""
    found = []
    for number, (scores, times) in enumerate(product(GRADED, (1, 4))):
        rng, wrongs = np.random.default_rng([questions, number]), 0
        for _ in range(repeats):
            old, new = right_or_scores(*(np.repeat(part, times) for part in scores(rng, questions, loss)))
            groups = np.arange(len(old)) // times if times > 1 else None
            rows = Rows(("task",), np.zeros(len(old), dtype=np.int64), old, new, groups)
            wrongs += wrong(rows.of_classes()["task"])
        found.append(wrongs / repeats)
    return max(found)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1000, help="models of each kind")
    repeats = parser.parse_args(argv).repeats
    verdicts: dict[str, tuple[float, Callable[[Evidence], bool]]] = {
        "false alarm, margin 0": (0.0, lambda one: one.p_lost_no_more(0.0) <= ALPHA),
        "false alarm, margin 2": (0.02, lambda one: one.p_lost_no_more(0.02) <= ALPHA),
        "passed wrongly, 5 points": (0.05, lambda one: one.p_lost_as_much(0.05) <= ALPHA),
        "passed wrongly, 10 points": (0.1, lambda one: one.p_lost_as_much(0.1) <= ALPHA),
    }
    floors: dict[str, Callable[[Evidence, float], bool]] = {
        "below floor": lambda one, floor: one.p_at_least(floor) <= ALPHA,
        "above floor": lambda one, floor: one.p_at_most(floor) <= ALPHA,
    }
    table = []
    for clips in CLIPS:
        found = [rates(clips, loss, repeats, wrong) for loss, wrong in verdicts.values()]
        found += [floor_rates(clips, repeats, wrong) for wrong in floors.values()]
        table.append([str(clips), *(f"{100 * images:.1f} / {100 * groups:.1f}" for images, groups in found)])
    print(markdown_table(["clips", *(f"{name} (%)" for name in (*verdicts, *floors))], table) + "\n")
    table = []
    for questions in QUESTIONS:
        shares = [graded_rates(questions, loss, repeats, wrong) for loss, wrong in verdicts.values()]
        table.append([str(questions), *(f"{100 * share:.1f}" for share in shares)])
    print(markdown_table(["questions", *(f"{name} (%)" for name in verdicts)], table))


if __name__ == "__main__":
    main()
