"""What became of a method's constraints while it trained."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.plots.drawing import INK, Picture
from benchmark.plots.groups import Groups
from benchmark.schema import Record

MOST_CLASSES = 8  # of more protected classes, the extremes and the median are drawn
STEP, EXCESS = "step", "loss above the old model's"


def draw(scenario: str, groups: Groups) -> Picture | None:
    """Constraint values over steps, a panel a group and round, a line a class at the mean of the runs.

    Above the zero line a constraint is violated. None where no run has kept its constraints.
    """
    import pandas as pd
    import seaborn as sns

    rows = [row for name, runs in groups.items() for row in _rows(name, runs)]
    if not rows:
        return None
    frame = pd.DataFrame(rows, columns=["method", "round", "class", STEP, EXCESS])
    grid = sns.relplot(
        frame, x=STEP, y=EXCESS, hue="class", style="class", row="method", col="round", kind="line",
        errorbar=None, height=2.4, aspect=1.9, dashes=True, markers=False, palette="colorblind",
        facet_kws={"sharex": False, "margin_titles": False},
    )  # fmt: skip
    grid.set_titles("{row_name}, {col_name}")
    grid.refline(y=0, color=INK, linestyle="-", linewidth=1)
    sns.move_legend(grid, "center left", bbox_to_anchor=(1, 0.5), title="protected class", frameon=False)
    last = frame[frame[STEP] == frame.groupby(["method", "round"])[STEP].transform("max")]
    means = last.groupby(["method", "round", "class"], as_index=False, sort=False)[EXCESS].mean()
    told = "; ".join(f"{', '.join(key)}: {value:+.3f}" for *key, value in means.itertuples(index=False))
    return Picture(
        grid.figure,
        f"{scenario}: constraints while training",
        "Line charts over training steps of each protected class's loss above the old model's, violated above zero. "
        f"At the last step: {told}.",
    )


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
