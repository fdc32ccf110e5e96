"""Measurements of a row's runs: their rounds, reduced to the figures behind the columns of tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmark.leaderboard.entries import Entry, entries
from benchmark.metrics import luck, preservation, significance
from benchmark.records.schema import Record, RoundResult


class Scores(NamedTuple):
    """Of one round, fractions: target gain, DevSafety, luck rate, second verdict and share of classes preserved."""

    gain: float
    devsafety: float
    luck: luck.LuckRate
    harmless: bool
    kept: float


FAILED = Scores(math.nan, math.nan, luck.LuckRate(math.nan, math.nan), False, math.nan)  # of a diverged run


@dataclass(frozen=True)
class Figures:
    """An entry and the scores of its runs, round by round. A diverged run fails every round and measures nothing."""

    entry: Entry
    runs: list[list[Scores]]

    @property
    def rounds(self) -> list[Scores]:
        """Those of all runs."""
        return [scores for run in self.runs for scores in run]

    @property
    def measured(self) -> list[Scores]:
        """Those of the runs that did not diverge."""
        return [scores for scores in self.rounds if scores is not FAILED]

    @property
    def complete(self) -> list[Record]:
        """The runs that did not diverge."""
        return [run for run in self.entry.runs if run.status == "complete"]


def figures(records: Sequence[Record]) -> Iterator[Figures]:
    """Those of every entry."""
    for entry in entries(records):
        yield Figures(entry, [_scores(run) for run in entry.runs])


def merits(
    preserved_gain: float, tolerant_gain: float, devsafety: float, target_gain: float = 0.0
) -> tuple[float, ...]:
    """Sort key of a row, for tables and plots alike: best first, and last those of which nothing was scored."""
    found = (preserved_gain, tolerant_gain, devsafety, target_gain)
    return math.isnan(devsafety), *(math.inf if math.isnan(value) else -value for value in found)


def _scores(record: Record) -> list[Scores]:
    if record.status == "diverged":
        return [FAILED] * record.scenario.rounds
    return [_of_round(result) for result in record.rounds]


def _of_round(result: RoundResult) -> Scores:
    counts, protected = result.test_counts, result.protected
    return Scores(
        preservation.target_gain(counts, result.target),
        preservation.devsafety(counts, protected),
        luck.luck_rate(counts, protected),
        not significance.regressions(counts, protected),
        preservation.preserved_share(counts, protected),
    )
