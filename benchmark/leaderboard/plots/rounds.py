"""How methods fare from round to round."""

from __future__ import annotations

from benchmark.leaderboard.families import family
from benchmark.leaderboard.plots.drawing import GAIN, INK, SAFETY, Picture, look, name_column
from benchmark.leaderboard.plots.groups import Groups, complete, leading
from benchmark.output.tables import points


def draw(scenario: str, groups: Groups) -> Picture | None:
    """Target gain and DevSafety by round, one line per group at the mean of its runs; None for streams of one round."""
    import matplotlib.pyplot as plt
    import numpy as np
    import seaborn as sns

    groups, which = leading({name: runs for name, runs in complete(groups).items() if len(runs[0].rounds) > 1})
    if not groups:
        return None
    longest = max((runs[0].rounds for runs in groups.values()), key=len)
    figure, panels = plt.subplots(2, 1, figsize=(7, max(5.0, 0.36 * len(groups))), sharex=True)
    told = []
    for axes, measure, of in zip(panels, (GAIN, SAFETY), ("target_gain", "devsafety"), strict=True):
        ends = []
        for name, runs in groups.items():
            means = 100 * np.mean([[getattr(r, of) for r in record.rounds] for record in runs], axis=0)
            own = look(family(runs[0].method.name))
            numbers = np.arange(1, len(means) + 1)
            axes.plot(numbers, means, color=own["color"], linewidth=1.5)
            axes.scatter(numbers, means, s=28, zorder=3, **own)
            ends.append((len(means), means[-1], name, family(runs[0].method.name)))
            told.append(f"{name}, {measure}: {', '.join(points(x / 100) for x in means)}")
        axes.axhline(0, color=INK, linewidth=1)
        axes.set(ylabel=measure, xticks=range(1, len(longest) + 1))
        axes.grid(axis="x", visible=False)
        name_column(axes, ends)
    panels[1].set_xticklabels([f"{number}\n{result.target}" for number, result in enumerate(longest, 1)])
    panels[1].set_xlabel("round, and the class it teaches")
    panels[0].set_title(f"{scenario}: each round starts from the model of the one before{which}")
    sns.despine(figure, left=True, bottom=True)
    return Picture(
        figure,
        f"{scenario}: target gain and DevSafety by round{which}",
        f"Two line charts over the rounds. Means over runs, in points, round by round: {'; '.join(told)}.",
    )
