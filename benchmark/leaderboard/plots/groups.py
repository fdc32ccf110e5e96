"""The runs of a stream by entry, each group with a name to show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from benchmark.leaderboard.entries import entries
from benchmark.leaderboard.families import REFERENCE, family
from benchmark.leaderboard.figures import merits
from benchmark.metrics.tolerance import gain_within, tolerant_gain
from benchmark.records.schema import Record, RoundResult

Groups = Mapping[str, Sequence[Record]]  # shown name: complete runs that differ only in their seed
LONGEST = 40  # letters of a shown name
MOST = 48  # groups in a plot that gives each a line: more can be neither read nor drawn in time


def named_groups(records: Iterable[Record]) -> Groups:
    """The complete runs of one stream by entry, in the order of the tables; reference rows last.

    They are named as in the tables. Diverged runs have nothing to draw.
    """
    named: dict[str, list[Record]] = {}
    for entry in entries(records):
        if complete := [run for run in entry.runs if run.status == "complete"]:
            named[_short(entry.name, named)] = complete
    return dict(sorted(named.items(), key=lambda item: _order(*item)))


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
    gain, safety = map(fmean, zip(*found, strict=True))
    return is_reference(runs), *merits(gain_within(found), tolerant_gain(found), safety, gain), name


def outcomes(runs: Iterable[Record]) -> list[tuple[float, float]]:
    """Target gain and DevSafety of every round, as the functions of ``metrics.tolerance`` take them."""
    return [(result.target_gain, result.devsafety) for result in rounds(runs)]


def rounds(runs: Iterable[Record]) -> list[RoundResult]:
    """All rounds of all runs."""
    return [result for record in runs for result in record.rounds]
