"""How far the order of a stream's rows rests on their seeds."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import fmean

from benchmark.leaderboard.figures import Figures, Scores, merits
from benchmark.metrics.stability import Stability, split_half
from benchmark.metrics.tolerance import gain_within, tolerant_gain


def stabilities(found: Sequence[Figures]) -> dict[str, Stability]:
    """That of each stream with rows enough: of usual rows on the seeds that most of them have, references apart."""
    streams: defaultdict[str, list[Figures]] = defaultdict(list)
    for one in found:
        if not one.entry.variant and not one.entry.reference:
            streams[one.entry.stream].append(one)
    made = {stream: split_half([one.runs for one in _alike(rows)], _merit) for stream, rows in streams.items()}
    return {stream: stability for stream, stability in made.items() if stability}


def told(stability: Stability) -> str:
    """It in a sentence."""
    divisions = f"{stability.divisions} ways" if stability.divisions > 1 else "one way"
    mean, lowest = (f"{value:.2f}".replace("-", "−") for value in (stability.mean, stability.lowest))
    return (
        f"Would other seeds order the rows alike? Between one half of the seeds and the other Kendall's τ of the order "
        f"of the {stability.rows} usual rows is {mean}, mean of {divisions} to divide the seeds (lowest {lowest})."
    )


def _alike(rows: Sequence[Figures]) -> list[Figures]:
    """Those on the seeds that most rows have; of equally many the longest list."""
    seeds = [tuple(run.seed for run in one.entry.runs) for one in rows]
    times = Counter(seeds)
    most = max(times, key=lambda one: (times[one], len(one), one))
    return [one for one, own in zip(rows, seeds, strict=True) if own == most]


def _merit(runs: Sequence[Sequence[Scores]]) -> tuple[float, ...]:
    """That by which tables order, best first."""
    rounds = [(scores.gain, scores.devsafety) for run in runs for scores in run]
    measured = [figures for figures in rounds if not math.isnan(figures[1])]
    gain, devsafety = map(fmean, zip(*measured, strict=True)) if measured else (math.nan, math.nan)
    return merits(gain_within(rounds), tolerant_gain(rounds), devsafety, gain)
