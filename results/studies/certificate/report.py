"""How often a certificate is wrong on real runs, as a table from the ``updates.csv`` that ``run`` makes.

    python -m results.studies.certificate.report

prints it. The truth is the change on the fresh images: of 8,000 of a class, it has a standard error of 0.3 points where
6 % of the predictions flip, so an update that is told apart by less may be counted on either side.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from benchmark.metrics.intervals import rate_interval
from benchmark.output.tables import markdown_table, percent
from methods.certificate import certified_p_value, fixed_sequence
from results.studies.certificate.run import FILE

ALPHA = 0.05
MARGINS = (0.0, 0.01, 0.02, 0.03)
HEADINGS = ("loss that matters", "runs", "with updates that lose as much", "that certify one of them", "95 % interval")
MORE = ("updates that lose less", "of them certified")


def main() -> None:
    """Print the table, and what the updates lose."""
    updates = pd.read_csv(FILE)
    print(table(updates), worst(updates), sep="\n\n")


def table(updates: pd.DataFrame) -> str:
    """A row for each margin."""
    return markdown_table([*HEADINGS, *MORE], [_row(updates, margin) for margin in MARGINS])


def worst(updates: pd.DataFrame) -> str:
    """How much the worst class truly lost, of the update that loses least and of the one that loses most."""
    change = (updates["fresh_won"] - updates["fresh_lost"]) / updates["fresh_n"]
    losses = -100 * change.groupby([updates["seed"], updates["coefficient"]]).min()
    return f"({losses.min():.1f} to {losses.max():.1f} points in the worst)"


def _row(updates: pd.DataFrame, margin: float) -> list[str]:
    runs = [list(_updates(one, margin)) for _, one in updates.groupby("seed")]
    refusable = [run for run in runs if not all(good for good, _ in run)]
    wrong = sum(any(certified and not good for good, certified in run) for run in runs)
    low, high = rate_interval(wrong, len(runs))
    good = [certified for run in runs for good, certified in run if good]
    told = [len(runs), len(refusable), wrong, f"{percent(low)} to {percent(high)}", len(good), sum(good)]
    return [_loss(margin), *map(str, told)]


def _loss(margin: float) -> str:
    if not margin:
        return "any, or no gain"
    return f"{100 * margin:g} {'point' if margin == 0.01 else 'points'}"


def _updates(run: pd.DataFrame, margin: float) -> Iterator[tuple[bool, bool]]:
    """Of each update of a seed, in order, whether no class truly lost ``margin``, and whether it is certified."""
    counts = [one[["held_lost", "held_won", "held_n"]].to_numpy().tolist() for _, one in run.groupby("coefficient")]
    passed = fixed_sequence((certified_p_value(one, margin) for one in counts), ALPHA)
    for number, (_, one) in enumerate(run.groupby("coefficient")):
        yield bool(((one["fresh_won"] - one["fresh_lost"]) / one["fresh_n"] > -margin).all()), number < passed


if __name__ == "__main__":
    main()
