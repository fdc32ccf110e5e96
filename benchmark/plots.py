"""Pictures: what a stream looks like, and what methods gained against what they lost."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.records import Record, record_path, replace_file
from methods import METHODS

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image
    from torch import Tensor

    from scenarios.counterfactual import Counterfactuals
    from scenarios.stream import DevelopmentStream

SAFETY, GAIN = "DevSafety (points)", "target gain (points)"
FAMILIES = tuple(dict.fromkeys(method.family for method in METHODS.values()))
MARGIN, GAP = 110, 4  # px, for the names left of the rows and between pictures
MOST_ROWS = 30  # more classes get one picture each
CAPTION_WIDTH, CAPTION_HEIGHT, CAPTION_LETTERS = 92, 14, 19  # px, px and letters of a name under a picture


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

    Colours are families. Names stand at the means of reference rows, and of those other methods that none beats in
    both. The same records give the same SVG bytes. Diverged rounds have nothing to draw.
    """
    import matplotlib as mpl
    import matplotlib.pyplot as plt
    import pandas as pd
    import seaborn as sns

    frame = pd.DataFrame(
        [
            (family(r.method.name), r.method.name, str(r.method.settings), 100 * x.devsafety, 100 * x.target_gain)
            for r in sorted(records, key=lambda r: (r.method.name, r.seed, str(r.method.settings)))
            for x in r.rounds
        ],
        columns=["family", "method", "settings", SAFETY, GAIN],
    )
    families = [name for name in dict.fromkeys([*FAMILIES, *frame["family"]]) if name in set(frame["family"])]
    with mpl.rc_context({"svg.hashsalt": "mds-bench", "svg.fonttype": "none", "figure.dpi": 100}):
        sns.set_theme(style="whitegrid", palette="colorblind")
        figure, axes = plt.subplots(figsize=(8, 5))
        sns.scatterplot(
            frame,
            x=SAFETY,
            y=GAIN,
            hue="family",
            style="family",
            hue_order=families,
            style_order=families,
            s=45,
            alpha=0.6,
            ax=axes,
        )
        axes.axvline(0, color="black", linewidth=1)
        axes.set_xscale("symlog", linthresh=10)  # a method that forgets all must not squeeze the others together
        low, high = axes.get_xlim()
        axes.set_xticks([x for x in (-100, -50, -20, -10, -5, 0, 5, 10) if low <= x <= high], minor=False)
        axes.set_xticks([], minor=True)
        axes.xaxis.set_major_formatter("{x:g}")
        means = frame.groupby(["family", "method", "settings"], as_index=False)[[SAFETY, GAIN]].mean()
        reference = means["family"] == "reference"
        for row in pd.concat([means[reference], unbeaten(means[~reference])]).to_dict("records"):
            axes.annotate(
                row["method"], (row[SAFETY], row[GAIN]), xytext=(4, 3), textcoords="offset points", fontsize=8
            )
        axes.set_title(f"{records[0].scenario.name}: preserved is on or right of the line", fontsize=11)
        sns.move_legend(axes, "upper left", bbox_to_anchor=(1, 1), title=None, frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches="tight")
        plt.close(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, buffer.getvalue())


def family(method: str) -> str:
    """The family that a method is drawn as; that of the plugin where there is one."""
    last = method if method in METHODS else method.rpartition("+")[2]
    return METHODS[last].family if last in METHODS else "other"


def unbeaten(means: pd.DataFrame) -> pd.DataFrame:
    """The rows that no other row beats in both ``SAFETY`` and ``GAIN``."""
    ordered = means.sort_values([SAFETY, GAIN], ascending=False)
    return ordered[ordered[GAIN] > ordered[GAIN].cummax().shift(fill_value=-math.inf)]


def contact_sheet(stream: DevelopmentStream, path: Path, columns: int = 10) -> None:
    """A PNG of test images with the names of their classes: a row a class, or one image a class where they are many."""
    round_, test = stream.rounds[-1], stream.data[-1].test
    of_class = {
        name: test.images[test.labels == stream.classes.index(name)]
        for name in stream.classes
        if name in round_.classes
    }
    if len(of_class) <= MOST_ROWS:
        _save(_rows({name: images[:columns] for name, images in of_class.items()}), path)
    else:
        _save(_grid({name: images[0] for name, images in of_class.items()}, 2 * columns), path)


def pair_sheet(pairs: Counterfactuals, path: Path) -> None:
    """A PNG of counterfactual pairs: the scenes under class A above the same under class B."""
    _save(_rows({pairs.class_a: pairs.images_a, pairs.class_b: pairs.images_b}), path)


def _rows(images: Mapping[str, Tensor]) -> Image.Image:
    """A row of pictures for each name."""
    from PIL import Image, ImageDraw

    side, columns = next(iter(images.values())).shape[-1], max(map(len, images.values()))
    sheet = Image.new("RGB", (MARGIN + columns * (side + GAP), len(images) * (side + GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (name, pictures) in enumerate(images.items()):
        draw.text((6, row * (side + GAP) + side // 2 - 6), name, fill="black")
        for column, picture in enumerate(pictures):
            place = (MARGIN + column * (side + GAP), row * (side + GAP))
            sheet.paste(Image.fromarray(picture.permute(1, 2, 0).numpy()), place)
    return sheet


def _grid(images: Mapping[str, Tensor], columns: int) -> Image.Image:
    """One picture for each name, the name below it."""
    from PIL import Image, ImageDraw

    side = next(iter(images.values())).shape[-1]
    width, height = max(side, CAPTION_WIDTH) + GAP, side + CAPTION_HEIGHT
    sheet = Image.new("RGB", (columns * width, -(-len(images) // columns) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (name, picture) in enumerate(images.items()):
        left, top = number % columns * width, number // columns * height
        sheet.paste(Image.fromarray(picture.permute(1, 2, 0).numpy()), (left, top))
        draw.text((left, top + side), name[:CAPTION_LETTERS], fill="black", font_size=9)
    return sheet.quantize(256, dither=Image.Dither.NONE)  # a third of the bytes, and nobody can tell


def _save(sheet: Image.Image, path: Path) -> None:
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG", optimize=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, buffer.getvalue())
