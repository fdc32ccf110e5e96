"""The changes that methods made to every class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmark.leaderboard.plots.drawing import PAPER, Picture
from benchmark.leaderboard.plots.groups import Groups, complete, leading, rounds
from benchmark.output.tables import points
from benchmark.records.schema import RoundResult

if TYPE_CHECKING:
    import pandas as pd

MOST_CLASSES = 40  # of more protected classes, quantiles are shown
QUANTILES = {"worst": 0.0, "5 %": 0.05, "25 %": 0.25, "median": 0.5, "75 %": 0.75, "95 %": 0.95, "best": 1.0}


def draw(scenario: str, groups: Groups) -> Picture | None:
    """Mean change of accuracy of every class as a heat map, in points: first as a target, then as a protected class."""
    import matplotlib.pyplot as plt
    import seaborn as sns
    from matplotlib.colors import SymLogNorm

    groups = complete(groups)
    if not groups:
        return None
    groups, which = leading(groups)
    frame = changes(groups)
    most = max(1.0, float(np.nanmax(np.abs(frame.to_numpy()))))
    width, height = 1.8 + 0.46 * len(frame.columns), 0.9 + 0.21 * len(frame)
    figure, axes = plt.subplots(figsize=(width, height))
    sns.heatmap(
        frame,
        cmap=sns.color_palette("PuOr", as_cmap=True),
        norm=SymLogNorm(linthresh=2, vmin=-most, vmax=most),  # one catastrophe must not pale all other losses
        annot=frame.map(lambda change: "" if np.isnan(change) else points(change / 100)).to_numpy(),
        fmt="",
        annot_kws={"fontsize": 6.5},
        linewidths=0.8,
        linecolor=PAPER,
        cbar=False,
        ax=axes,
    )
    targets = sum(column.startswith("learned") for column in frame.columns)
    axes.axvline(targets, color=PAPER, linewidth=5)
    axes.tick_params(top=False, labeltop=True, bottom=False, labelbottom=False, left=False)
    axes.set_xticks(axes.get_xticks(), frame.columns, rotation=40, ha="left", rotation_mode="anchor")
    axes.set(xlabel="", ylabel="")
    axes.set_title(f"{scenario}: change of accuracy{which}\n(points; orange lost, purple gained)", pad=10)
    told = "; ".join(
        f"{name}: " + ", ".join(f"{of} {points(x / 100)}" for of, x in row.items() if not np.isnan(x))
        for name, row in frame.to_dict("index").items()
    )
    return Picture(
        figure,
        f"{scenario}: change of accuracy per class{which}",
        f"Heat map, a row for each method. Mean change of accuracy over rounds, in points: {told}.",
    )


def changes(groups: Groups) -> pd.DataFrame:
    """Mean change over the rounds of each group (rows) of each class (columns), in points.

    Columns are first classes that were learned, then kept ones; of more than ``MOST_CLASSES`` kept ones, quantiles over
    the classes of a round. NaN where a group has no such round.
    """
    import pandas as pd

    every = [result for runs in groups.values() for result in rounds(runs)]
    learned = dict.fromkeys(result.target for result in every)
    kept = dict.fromkeys(name for result in every for name in result.protected)
    many = len(kept) > MOST_CLASSES
    rows = {}
    for name, runs in groups.items():
        results = rounds(runs)
        row = {f"learned: {c}": _mean([r.target_gain for r in results if r.target == c]) for c in learned}
        if many:
            quantiles = np.mean([np.quantile(_protected(r), list(QUANTILES.values())) for r in results], axis=0)
            row |= dict(zip((f"{q} of {len(kept)} kept" for q in QUANTILES), 100 * quantiles, strict=True))
        else:
            row |= {c: _mean([r.test[c].counts.change for r in results if c in r.protected]) for c in kept}
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def _protected(result: RoundResult) -> list[float]:
    return [result.test[name].counts.change for name in result.protected]


def _mean(shares: Sequence[float]) -> float:
    return 100 * float(np.mean(shares)) if shares else float("nan")
