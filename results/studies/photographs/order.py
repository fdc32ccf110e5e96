"""Whether methods stand in the same order on rendered pictures and on photographs; the table of docs/real-data.md.

    python -m results.studies.photographs.order

prints it. Compared are the means of the tables' usual rows, by Kendall's tau-b (Biometrika 33, 1945), with a
percentile bootstrap interval over runs. Reference methods stand apart in tables and are left out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from benchmark.leaderboard.entries import entries
from benchmark.output.tables import markdown_table
from benchmark.records import files
from benchmark.records.schema import Record

RESULTS = Path(__file__).parents[2]
RENDERED, PEDESTRIANS, ROUNDS = "driving-foggy-full", "gtsrb-pedestrians", "gtsrb-rounds"
PAIRS = ((RENDERED, PEDESTRIANS), (RENDERED, ROUNDS), (PEDESTRIANS, ROUNDS))
MEASURES = {
    "gain": "target gain",
    "kept": "mean change of protected classes",
    "share": "share of protected classes kept",
}
FEWEST = 4  # methods that make an order
RESAMPLES = 2_000


def main() -> None:
    """Print the table."""
    runs, rows = {name: measured(name) for name in (RENDERED, PEDESTRIANS, ROUNDS)}, []
    for pair in PAIRS:
        common = set.intersection(*(set(runs[name]["method"]) for name in pair))
        if len(common) < FEWEST:
            continue
        one, other = (runs[name][runs[name]["method"].isin(common)] for name in pair)
        row = [", ".join(f"`{name}`" for name in pair), str(len(common))]
        for measure in MEASURES:
            low, high = interval(one, other, measure)
            row.append(f"{tau(one, other, measure):.2f} [{low:.2f}, {high:.2f}]".replace("-", "−"))
        rows.append(row)
    print(markdown_table(["order on", "methods", *(f"by {name}" for name in MEASURES.values())], rows))


def measured(scenario: str) -> pd.DataFrame:
    """A row for each run: method, seed, and what ``MEASURES`` names, as shares."""
    folder = RESULTS if scenario == RENDERED else RESULTS / "photographs"
    records = [record for record in files.read_all(folder) if record.scenario.name == scenario]
    rows = [
        (entry.method, record.seed, *figures(record))
        for entry in entries(records)
        if not (entry.variant or entry.reference)
        for record in entry.runs
    ]
    return pd.DataFrame(rows, columns=["method", "seed", *MEASURES])


def figures(record: Record) -> tuple[float, float, float]:
    """Means over the rounds of a run."""
    found = []
    for round_ in record.rounds:
        changes = [
            (own.new_correct - own.old_correct) / own.n for name, own in round_.test.items() if name in round_.protected
        ]
        target = round_.test[round_.target]
        gain = (target.new_correct - target.old_correct) / target.n
        found.append((gain, float(np.mean(changes)), float(np.mean(np.array(changes) >= 0))))
    gain, kept, share = np.mean(found, axis=0).tolist()
    return gain, kept, share


def tau(one: pd.DataFrame, other: pd.DataFrame, measure: str) -> float:
    """Of the methods' means."""
    means = [part.groupby("method")[measure].mean() for part in (one, other)]
    return float(kendalltau(means[0], means[1].loc[means[0].index]).statistic)


def interval(one: pd.DataFrame, other: pd.DataFrame, measure: str) -> tuple[float, float]:
    """95 % of resamples, in each of which every method has as many runs, drawn with replacement."""
    rng = np.random.default_rng(0)
    means = []
    for part in (one, other):
        runs = [np.asarray(values) for _, values in part.groupby("method")[measure]]
        means.append(np.stack([rng.choice(values, (RESAMPLES, len(values))).mean(axis=1) for values in runs], axis=1))
    drawn = [kendalltau(a, b).statistic for a, b in zip(*means, strict=True)]
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    return float(low), float(high)


if __name__ == "__main__":
    main()
