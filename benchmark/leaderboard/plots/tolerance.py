"""Preserved gain as a function of what may be lost."""

from __future__ import annotations

from collections import Counter

from benchmark.leaderboard.families import family
from benchmark.leaderboard.plots.drawing import Picture, families_legend, look, name_column
from benchmark.leaderboard.plots.groups import Groups, is_reference, outcomes
from benchmark.metrics.tolerance import MOST, WIDEST, curve, gain_within, tolerant_gain
from benchmark.output.tables import points

TOLERANCE, GAIN = "loss accepted in any protected class (points)", "preserved gain (points)"
BEST = 5  # groups that are drawn whatever their families, besides the best of every family
TOLD = (0, 1, 2, 3, 5)  # points at which the description gives figures


def draw(scenario: str, groups: Groups) -> Picture | None:
    """Preserved gain against the loss that is accepted, one line a group: 0 is the strict rule, the headline."""
    import matplotlib.pyplot as plt
    import seaborn as sns

    if not groups:
        return None
    shown = chosen(groups)
    figure, axes = plt.subplots(figsize=(7, max(4.2, 0.2 * len(shown))))
    ends, told, seen = [], [], Counter[str]()
    for name, runs in shown.items():
        of_family, found = family(runs[0].method.name), outcomes(runs)
        steps = [*curve(found), (WIDEST, gain_within(found, WIDEST))]
        x, y = ([100 * value for value in values] for values in zip(*steps, strict=True))
        dash = ("-", "--", ":")[min(seen[of_family], 2)]
        seen[of_family] += 1
        axes.plot(x, y, drawstyle="steps-post", linewidth=1.6, linestyle=dash, color=look(of_family)["color"])
        ends.append((x[-1], y[-1], name, of_family))
        figures = ", ".join(points(gain_within(found, at / 100)) for at in TOLD)
        told.append(f"{name} {figures}, on average {points(tolerant_gain(found))}")
    axes.set(xlim=(0, 100 * WIDEST), xlabel=TOLERANCE, ylabel=GAIN)
    axes.set_title(f"{scenario}: what a method gains if so much may be lost")
    sns.despine(figure, left=True, bottom=True)
    name_column(axes, ends)
    families_legend(axes, list(seen))
    return Picture(
        figure,
        f"{scenario}: preserved gain against tolerance",
        f"Step chart, a line for each of the best methods. Preserved gain if {', '.join(map(str, TOLD))} points may be "
        f"lost in any protected class, and its average from 0 to {100 * MOST:g}: {'; '.join(told)}.",
    )


def chosen(groups: Groups) -> Groups:
    """The best of every family by tolerant gain, the ``BEST`` of all, and all reference groups; best first."""
    ranked = sorted(groups, key=lambda name: -tolerant_gain(outcomes(groups[name])))
    own = [name for name in ranked if not is_reference(groups[name])]
    first = {family(groups[name][0].method.name): name for name in reversed(own)}
    kept = {*first.values(), *own[:BEST], *(name for name in ranked if is_reference(groups[name]))}
    return {name: groups[name] for name in ranked if name in kept}
