"""Measurements of a row's runs: their rounds, reduced to the figures behind the columns of tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmark.leaderboard.entries import Entry, entries
from benchmark.metrics import luck, preservation, significance
from benchmark.records.schema import Record


@dataclass(frozen=True)
class Figures:
    """An entry and the measurements of its runs; fractions. A diverged run fails every round and measures nothing.

    Attributes:
        entry: whose figures they are.
        runs: for each run its rounds: target gain, NaN where it diverged, and whether strictly preserved.
        devsafety: for each round of complete runs, as the next two.
        luck: the luck rate.
        harmless: whether no class got significantly worse.
    """

    entry: Entry
    runs: list[list[tuple[float, bool]]]
    devsafety: list[float]
    luck: list[luck.LuckRate]
    harmless: list[bool]

    @property
    def outcomes(self) -> list[tuple[float, bool]]:
        """The rounds of all runs."""
        return [outcome for run in self.runs for outcome in run]

    @property
    def complete(self) -> list[Record]:
        """The runs that did not diverge."""
        return [run for run in self.entry.runs if run.status == "complete"]

    @property
    def gains(self) -> list[float]:
        """The target gain of each round of complete runs."""
        return [gain for gain, _ in self.outcomes if not math.isnan(gain)]


def figures(records: Sequence[Record]) -> Iterator[Figures]:
    """Those of every entry."""
    for entry in entries(records):
        runs, safety, lucky, harmless = [], [], [], []
        for record in entry.runs:
            if record.status == "diverged":
                runs.append([(math.nan, False)] * record.scenario.rounds)
                continue
            run = []
            for result in record.rounds:
                counts, protected = result.test_counts, result.protected
                kept = preservation.strictly_preserved(counts, protected)
                run.append((preservation.target_gain(counts, result.target), kept))
                safety.append(preservation.devsafety(counts, protected))
                lucky.append(luck.luck_rate(counts, protected))
                harmless.append(not significance.regressions(counts, protected))
            runs.append(run)
        yield Figures(entry, runs, safety, lucky, harmless)
