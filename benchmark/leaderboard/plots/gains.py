"""Gains of methods against their losses, one dot per round."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmark.leaderboard.families import family
from benchmark.leaderboard.plots.drawing import GAIN, INK, SAFETY, Picture, families_legend, look, name_column
from benchmark.leaderboard.plots.groups import Groups, complete, rounds
from benchmark.metrics import preservation
from benchmark.output.tables import points

if TYPE_CHECKING:
    import pandas as pd

MOST_NAMES = 48  # of more groups, only those are named that none beats in both, and reference rows
MOST_DOTS = 2000  # more are one image in the file
TICKS = (-100, -50, -20, -10, -5, -2, 0, 2, 5, 10, 20, 50, 100)


def draw(scenario: str, groups: Groups) -> Picture | None:
    """Target gain against DevSafety of every round, in points; on or right of the zero line nothing was lost."""
    import matplotlib.pyplot as plt
    import pandas as pd
    import seaborn as sns

    groups = complete(groups)
    if not groups:
        return None
    frame = pd.DataFrame(
        [
            (name, family(runs[0].method.name), 100 * result.devsafety, 100 * result.target_gain)
            for name, runs in groups.items()
            for result in rounds(runs)
        ],
        columns=["name", "family", SAFETY, GAIN],
    )
    means = frame.groupby(["name", "family"], as_index=False, sort=False)[[SAFETY, GAIN]].mean()
    named = means
    if len(means) > MOST_NAMES:
        reference = means["family"] == "reference"
        named = pd.concat([means[reference], unbeaten(means[~reference])])

    figure, axes = plt.subplots(figsize=(7, max(4.0, 0.2 * len(named))))
    for name, dots in frame.groupby("family", sort=False):
        axes.scatter(dots[SAFETY], dots[GAIN], s=30, alpha=0.75, rasterized=len(frame) > MOST_DOTS, **look(str(name)))
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_xscale("symlog", linthresh=5)  # a method that forgets all must not squeeze the others together
    low, high = axes.get_xlim()
    axes.set_xticks([x for x in TICKS if low <= x <= high], minor=False)
    axes.set_xticks([], minor=True)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(xlabel=SAFETY, ylabel=GAIN, title=f"{scenario}: right of the line, no protected class lost anything")
    sns.despine(figure, left=True, bottom=True)
    name_column(axes, [tuple(row) for row in named[[SAFETY, GAIN, "name", "family"]].itertuples(index=False)])
    families_legend(axes, list(frame["family"]))
    told = "; ".join(
        f"{row['name']} {points(row[GAIN] / 100)} at {points(row[SAFETY] / 100)}" for row in means.to_dict("records")
    )
    return Picture(
        figure,
        f"{scenario}: target gain against DevSafety",
        f"Scatter plot, a dot for each round of each run. Mean target gain, at mean DevSafety, in points: {told}.",
    )


def unbeaten(means: pd.DataFrame) -> pd.DataFrame:
    """The rows that no other row beats in both ``SAFETY`` and ``GAIN``."""
    front = preservation.front(zip(means[GAIN], means[SAFETY], strict=True))
    return means[[pair in front for pair in zip(means[GAIN], means[SAFETY], strict=True)]]
