"""How often methods preserved everything, and how often luck would have."""

from __future__ import annotations

from benchmark.leaderboard.families import family
from benchmark.leaderboard.plots.drawing import INK, Picture, look
from benchmark.leaderboard.plots.groups import Groups, leading, outcomes, rounds
from benchmark.leaderboard.verdicts import mean_luck_rate
from benchmark.metrics import intervals
from benchmark.output.tables import percent, percent_interval

LUCK = "luck rate"


def draw(scenario: str, groups: Groups) -> Picture | None:
    """The strict preservation rate of every group with its exact 95 % interval, and its luck rate, in percent."""
    import matplotlib.pyplot as plt
    import seaborn as sns

    if not groups:
        return None
    groups, which = leading(groups)
    figure, axes = plt.subplots(figsize=(7, 0.9 + 0.21 * len(groups)))
    told = []
    for place, (name, runs) in enumerate(groups.items()):
        results, number = rounds(runs), len(outcomes(runs))
        kept = sum(result.strictly_preserved for result in results)
        rate, luck, interval = kept / number, mean_luck_rate(results), intervals.rate_interval(kept, number)
        own = look(family(runs[0].method.name))
        axes.plot(
            [100 * end for end in interval], [place, place], color=own["color"], linewidth=2, solid_capstyle="butt"
        )
        axes.scatter(100 * rate, place, s=34, zorder=3, clip_on=False, **own)
        axes.scatter(100 * luck, place, s=60, zorder=4, marker="|", color=INK, label=None if place else LUCK)
        told.append(f"{name} {percent(rate)} {percent_interval(*interval)}, by luck {percent(luck)}")
    axes.set_yticks(range(len(groups)), list(groups))
    axes.set(xlim=(-1, 101), ylim=(len(groups) - 0.4, -0.6), xlabel="rounds strictly preserved (%), with 95 % interval")
    axes.set_title(f"{scenario}: a rate is earned where its whole interval lies right of luck{which}")
    axes.grid(axis="y", visible=False)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    sns.despine(figure, left=True, bottom=True)
    return Picture(
        figure,
        f"{scenario}: strict preservation rate and luck rate{which}",
        f"Dot plot, a line for each method. Strict preservation rate with its exact interval: {'; '.join(told)}.",
    )
