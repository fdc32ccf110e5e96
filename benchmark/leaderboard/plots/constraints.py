"""The values of a method's constraints while it trained."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, product

from benchmark.leaderboard.plots.drawing import INK, Picture
from benchmark.leaderboard.plots.groups import Groups, complete, leading
from benchmark.records.schema import Record

MOST_CLASSES = 8  # of more protected classes, the extremes and the median are drawn
MOST_ROWS = 8  # of panels, one per group
DASHES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 2)))
STEP, EXCESS = "step", "loss above the old model's"


def draw(scenario: str, groups: Groups) -> Picture | None:
    """Constraint values over steps, one panel per group and round, one line per class at the mean of the runs.

    Above the zero line a constraint is violated. None where no run has kept its constraints.
    """
    import matplotlib.pyplot as plt
    import pandas as pd
    import seaborn as sns

    groups, which = leading(
        {name: runs for name, runs in complete(groups).items() if any(map(_has_some, runs))}, MOST_ROWS
    )
    rows = [row for name, runs in groups.items() for row in _rows(name, runs)]
    if not rows:
        return None
    frame = pd.DataFrame(rows, columns=["method", "round", "class", STEP, EXCESS])
    means = frame.groupby(["method", "round", "class", STEP], as_index=False, sort=False)[EXCESS].mean()
    methods, rounds, classes = (list(dict.fromkeys(frame[key])) for key in ("method", "round", "class"))
    looks = dict(zip(classes, zip(cycle(sns.color_palette("colorblind")), cycle(DASHES)), strict=False))
    # seaborn's relplot does the same, and lays the whole figure out five times
    size = {"figsize": (4.5 * len(rounds), 2.4 * len(methods)), "gridspec_kw": {"hspace": 0.35, "wspace": 0.05}}
    figure, panels = plt.subplots(len(methods), len(rounds), sharex=True, sharey=True, squeeze=False, **size)
    for _, line in means.groupby(["method", "round", "class"], sort=False):
        name, place, of = line.iloc[0][["method", "round", "class"]]
        axes, (colour, dash) = panels[methods.index(name)][rounds.index(place)], looks[of]
        axes.plot(line[STEP], line[EXCESS], color=colour, linestyle=dash, linewidth=1.5, label=of)
    for axes, (name, place) in zip(panels.flat, product(methods, rounds), strict=True):
        axes.axhline(0, color=INK, linewidth=1)
        axes.set_title(f"{name}, {place}")
    for side in panels[:, 0]:
        side.set_ylabel(EXCESS)
    for foot in panels[-1]:
        foot.set_xlabel(STEP)
    drawn = {name: line for axes in panels.flat for line, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    names = [name for name in looks if name in drawn]  # a class may be kept in later rounds alone
    figure.legend(
        [drawn[name] for name in names],
        names,
        title="protected class",
        loc="center left",
        bbox_to_anchor=(0.92, 0.5),
        frameon=False,
    )
    sns.despine(figure, left=True, bottom=True)
    last = means[means[STEP] == means.groupby(["method", "round"])[STEP].transform("max")]
    told = "; ".join(f"{', '.join(key)}: {value:+.3f}" for *key, _, value in last.itertuples(index=False))
    return Picture(
        figure,
        f"{scenario}: constraints while training{which}",
        "Line charts over training steps of each protected class's loss above the old model's, violated above zero. "
        f"At the last step: {told}.",
    )


def _has_some(record: Record) -> bool:
    return any(result.constraints is not None for result in record.rounds)


def _rows(name: str, runs: Sequence[Record]) -> list[tuple[str, str, str, int, float]]:
    """The constraints of a group, one row for each run, round, class (or summary of many) and step."""
    import numpy as np

    rows = []
    for record in runs:
        for number, result in enumerate(record.rounds, 1):
            if (kept := result.constraints) is None:
                continue
            lines = {of: np.asarray(values) for of, values in kept.violations.items()}
            if len(lines) > MOST_CLASSES:
                every = np.stack(list(lines.values()))
                lines = {"highest": every.max(axis=0), "median": np.median(every, axis=0), "lowest": every.min(axis=0)}
            place = f"round {number}: {result.target}"
            rows += [
                (name, place, of, *at) for of, values in lines.items() for at in zip(kept.steps, values, strict=True)
            ]
    return rows
