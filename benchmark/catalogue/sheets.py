"""Contact sheets: what a stream looks like."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.output.files import replace_file
from benchmark.output.progress import Reporter
from benchmark.running.streams import build

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from scenarios.counterfactual import Counterfactuals
    from scenarios.stream import DevelopmentStream

MARGIN, GAP = 110, 4  # px, for the names left of the rows and between pictures
WEBP_MOST = 16_383  # px of a side that the format holds
MOST_ROWS = 30  # more classes get one picture each
CAPTION_WIDTH, CAPTION_HEIGHT, CAPTION_LETTERS = 92, 14, 19  # px, px and letters of a name under a picture


def draw_sheet(scenario: str, options: dict[str, Any], out: Path, pair: str | None) -> None:
    """Write a contact sheet of a scenario to ``out``, or one of counterfactual pairs of two classes.

    Raises:
        ValueError: an option is not usable, or the scenario has no such pairs.
    """
    with Reporter() as reporter:
        stream = build(scenario, 0, options, reporter)
    if pair is None:
        contact_sheet(stream, out)
    else:
        if stream.counterfactuals is None:
            raise ValueError(f"--pair: scenario {scenario} has no counterfactuals, only rendered ones have")
        classes = [name.strip() for name in pair.split(",")]
        if len(classes) != 2:
            raise ValueError(f"--pair takes two classes with a comma between, not {pair!r}")
        pair_sheet(stream.counterfactuals(*classes, count=10, split="pairs"), out)
    print(f"sheet: {out}")


def contact_sheet(stream: DevelopmentStream, path: Path, columns: int = 10) -> None:
    """A PNG of test images with their classes' names: one row per class, or one image per class where they are many."""
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
    webp = path.suffix.lower() == ".webp"
    if webp and max(sheet.size) > WEBP_MOST:
        width, height = sheet.size
        raise ValueError(
            f"--out {path}: the sheet has {width} x {height} px, WebP holds {WEBP_MOST}: name a .png, or lower "
            "image_size"
        )
    buffer = io.BytesIO()
    sheet.save(buffer, format="WEBP" if webp else "PNG", optimize=True, quality=60)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, buffer.getvalue())
