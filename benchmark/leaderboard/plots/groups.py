"""The runs of a stream by entry, each group with a name to show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from benchmark.leaderboard.entries import entries
from benchmark.leaderboard.families import REFERENCE, family
from benchmark.leaderboard.figures import merits
from benchmark.metrics.tolerance import gain_within, tolerant_gain
from benchmark.records.schema import Record, RoundResult

Groups = Mapping[str, Sequence[Record]]  # shown name: runs that differ only in their seed
FAILED = (math.nan, math.nan)
LONGEST = 40  # letters of a shown name
MOST = 48  # groups in a plot that gives each a line: more can be neither read nor drawn in time


def named_groups(records: Iterable[Record]) -> Groups:
    """The runs of one stream by entry, named and in the order of the tables; reference rows last."""
    named: dict[str, Sequence[Record]] = {}
    for entry in entries(records):
        named[_short(entry.name, named)] = entry.runs
    return dict(sorted(named.items(), key=lambda item: _order(*item)))


def complete(groups: Groups) -> Groups:
    """The groups without their diverged runs, which measure nothing: for plots of what was measured."""
    kept = {name: [run for run in runs if run.status == "complete"] for name, runs in groups.items()}
    return {name: runs for name, runs in kept.items() if runs}


def leading(groups: Groups, most: int = MOST) -> tuple[Groups, str]:
    """The first ``most`` groups and all reference rows, and words for a title where that leaves some out."""
    own = [name for name, runs in groups.items() if not is_reference(runs)]
    if len(own) <= most:
        return groups, ""
    chosen = set(own[:most])
    kept = {name: runs for name, runs in groups.items() if name in chosen or is_reference(runs)}
    return kept, f", the best {most} of {len(own)}"


def is_reference(runs: Sequence[Record]) -> bool:
    """Whether a group is for orientation only."""
    return family(runs[0].method.name) == REFERENCE


def _short(name: str, taken: Iterable[str]) -> str:
    """A name of ``LONGEST`` letters at most, with a number where it is another group's already."""
    short = name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
    number = sum(other.startswith(short) for other in taken)
    return f"{short} #{number + 1}" if short in taken else short


def _order(name: str, runs: Sequence[Record]) -> tuple[Any, ...]:
    found = outcomes(runs)
    measured = [pair for pair in found if pair != FAILED]
    gain, safety = map(fmean, zip(*measured, strict=True)) if measured else FAILED
    return is_reference(runs), *merits(gain_within(found), tolerant_gain(found), safety, gain), name


def outcomes(runs: Iterable[Record]) -> list[tuple[float, float]]:
    """Target gain and DevSafety of every round, as the functions of ``metrics.tolerance`` take them."""
    return [pair for record in runs for pair in _outcomes(record)]


def _outcomes(record: Record) -> list[tuple[float, float]]:
    if record.status == "diverged":  # it fails all its rounds
        return [FAILED] * record.scenario.rounds
    return [(result.target_gain, result.devsafety) for result in record.rounds]


def rounds(runs: Iterable[Record]) -> list[RoundResult]:
    """All rounds of the complete runs."""
    return [result for record in runs if record.status == "complete" for result in record.rounds]
