"""Pictures: what a stream looks like, and what methods gained against what they lost."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.records import Record, record_path, replace_file

if TYPE_CHECKING:
    from scenarios.stream import DevelopmentStream


def write_all(records: Sequence[Record], results: Path) -> list[Path]:
    """Draw every scenario's plot into ``results/plots``; return their paths."""
    paths = []
    for scenario in sorted({r.scenario.name for r in records}):
        name = record_path(results, scenario, "", 0, "").parent.name  # safe for a file system
        paths.append(Path(results) / "plots" / f"{name}.svg")
        gain_against_devsafety([r for r in records if r.scenario.name == scenario], paths[-1])
    return paths


def gain_against_devsafety(records: Sequence[Record], path: Path) -> None:
    """One dot a round: target gain against DevSafety, in points; on or above the zero line nothing was lost.

    The same records give the same SVG bytes. Diverged rounds have nothing to draw.
    """
    import matplotlib as mpl
    import matplotlib.pyplot as plt
    import pandas as pd
    import seaborn as sns

    rows = [
        {"method": r.method.name, "DevSafety (points)": 100 * x.devsafety, "target gain (points)": 100 * x.target_gain}
        for r in sorted(records, key=lambda r: (r.method.name, r.seed))
        for x in r.rounds
    ]
    with mpl.rc_context({"svg.hashsalt": "mds-bench", "svg.fonttype": "none", "figure.dpi": 100}):
        sns.set_theme(style="whitegrid", palette="colorblind")
        figure, axes = plt.subplots(figsize=(7, 4.2))
        frame = pd.DataFrame(rows, columns=["method", "DevSafety (points)", "target gain (points)"])
        sns.scatterplot(
            frame,
            x="DevSafety (points)",
            y="target gain (points)",
            hue="method",
            style="method",
            s=70,
            alpha=0.8,
            ax=axes,
        )
        axes.axvline(0, color="black", linewidth=1)
        axes.set_xscale("symlog", linthresh=10)  # a method that forgets all must not squeeze the others together
        low, high = axes.get_xlim()
        axes.set_xticks([x for x in (-100, -50, -20, -10, -5, 0, 5, 10) if low <= x <= high], minor=False)
        axes.set_xticks([], minor=True)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_title(f"{records[0].scenario.name}: preserved is on or right of the line", fontsize=11)
        sns.move_legend(axes, "upper left", bbox_to_anchor=(1, 1), title=None, frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches="tight")
        plt.close(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, buffer.getvalue())


def contact_sheet(stream: DevelopmentStream, path: Path, columns: int = 10) -> None:
    """A PNG with one row a class: the first test images of each, with the class's name."""
    from PIL import Image, ImageDraw

    test = stream.data[0].test
    side, margin = test.images.shape[-1], 110
    names = [name for name in stream.classes if name in stream.rounds[0].classes]
    sheet = Image.new("RGB", (margin + columns * (side + 4), len(names) * (side + 4)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, name in enumerate(names):
        draw.text((6, row * (side + 4) + side // 2 - 6), name, fill="black")
        chosen = test.images[test.labels == stream.classes.index(name)][:columns]
        for column, image in enumerate(chosen):
            picture = Image.fromarray(image.permute(1, 2, 0).numpy())
            sheet.paste(picture, (margin + column * (side + 4), row * (side + 4)))
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG", optimize=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, buffer.getvalue())
