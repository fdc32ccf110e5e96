"""The figures of docs/mds.md, in points of accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.leaderboard.plots.drawing import GAIN, INK, SAFETY, Picture, style
from benchmark.output.files import replace_file


def write(runs: pd.DataFrame, path: pd.DataFrame, effects: pd.DataFrame, scores: pd.DataFrame, folder: Path) -> None:
    """Draw all; the same tables give the same SVG bytes."""
    with style():
        pictures = {"line": _line(runs, path), "effects": _effects(effects), "slack": _slack(scores)}
        for name, picture in pictures.items():
            replace_file(folder / f"{name}.svg", picture.svg())


def _line(runs: pd.DataFrame, path: pd.DataFrame) -> Picture:
    """Gain against DevSafety: the line from the old weights on, averages of weights, and the study's cells."""
    import matplotlib.pyplot as plt
    import seaborn as sns

    figure, axes = plt.subplots(figsize=(8, 5))
    models = 100 * path.groupby("model", sort=False)[["gain", "devsafety", "coefficient"]].mean()
    line = models.dropna().sort_values("coefficient")
    axes.plot([0, *line["devsafety"]], [0, *line["gain"]], color=INK, linewidth=1, marker="o", markersize=3)
    for row in line.itertuples():
        if row.coefficient in (20, 50, 100, 140, 200):
            _name(axes, f"{row.coefficient / 100:g}", row.devsafety, row.gain, INK)
    means = runs.groupby(["factor", "level"], sort=False)[["gain", "devsafety"]].mean()
    cells = (100 * means).reset_index()
    sns.scatterplot(cells, x="devsafety", y="gain", hue="factor", style="factor", s=55, ax=axes)
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_xscale("symlog", linthresh=4)
    axes.set_xticks([-20, -10, -4, -3, -2, -1, 0], labels=["−20", "−10", "−4", "−3", "−2", "−1", "0"])
    axes.set(xlabel=SAFETY, ylabel=GAIN)
    axes.set_title("Line: from the old weights (0) through those of MDS (1) and beyond", fontsize=11)
    sns.move_legend(axes, "upper left", bbox_to_anchor=(1, 1), title=None, frameon=False, fontsize=8)
    return Picture(
        figure,
        "Gain against DevSafety: every cell of the study, and stepping back from the trained weights",
        "A black line leads from the old weights at zero through the trained ones; each cell of the study is a dot.",
    )


def _name(axes: Any, text: str, x: float, y: float, color: str) -> None:
    axes.annotate(text, (x, y), xytext=(-5, 4), textcoords="offset points", fontsize=8, color=color, ha="right")


def _effects(effects: pd.DataFrame) -> Picture:
    """Effect of every level on DevSafety, as it is and at equal gain, with 95 % intervals."""
    import matplotlib.pyplot as plt
    import seaborn as sns

    table = effects[effects["factor"] != "reference"][::-1].reset_index(drop=True)
    figure, axes = plt.subplots(figsize=(8, 0.5 + 0.26 * len(table)))
    colors = sns.color_palette("colorblind")
    for name, shift, color, label in (
        ("devsafety", -0.15, colors[7], "as it is"),
        ("devsafety_above", 0.15, colors[0], "at equal gain"),
    ):
        effect, half = 100 * table[f"{name}_effect"], 100 * table[f"{name}_half"]
        axes.errorbar(effect, table.index + shift, xerr=half, fmt="o", markersize=4, color=color, label=label)
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_xscale("symlog", linthresh=4)
    axes.set_xticks([-20, -10, -4, -2, 0, 2, 4], labels=["−20", "−10", "−4", "−2", "0", "2", "4"])
    axes.set_yticks(table.index, labels=(table["factor"] + ": " + table["level"]), fontsize=8)
    axes.set_xlabel("change of DevSafety against the reference (points)")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=8)
    return Picture(
        figure,
        "What each change does to DevSafety",
        "Effect of every level on DevSafety with its 95 percent interval, as it is and at equal gain.",
    )


def _slack(scores: pd.DataFrame) -> Picture:
    """Change of accuracy against change of loss, a dot a protected class and seed, on own and on test images."""
    import seaborn as sns

    chosen = scores[(scores["model"] == "coefficient 1") & (scores["class"] != "foggy") & (scores["split"] != "val")]
    named = chosen.assign(
        images=chosen["split"].map({"protected": "its protected images", "test": "test images"}),
        accuracy=100 * chosen["change"],
    )
    grid = sns.relplot(
        named,
        x="loss_change",
        y="accuracy",
        hue="class",
        style="class",
        col="images",
        col_order=["its protected images", "test images"],
        height=4,
        s=45,
    )
    for axes in grid.axes.flat:
        axes.axhline(0, color=INK, linewidth=1)
        axes.axvline(0, color=INK, linewidth=1)
    grid.set_titles("{col_name}")
    grid.set_axis_labels("change of cross-entropy (constraint: not above 0)", "change of accuracy (points)")
    return Picture(
        grid.figure,
        "Change of accuracy against change of loss",
        "A dot a protected class and seed, on the images that the method was given and on test images.",
    )
