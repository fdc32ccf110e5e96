"""Photos decoded into square RGB bytes, as CLIP evaluates."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from PIL import __version__ as pillow_version
from torch import Tensor

from scenarios.cores import available
from scenarios.photo_kinds import use_plugin
from scenarios.wording import some

# Names all that the pixels depend on: raise the number whenever another line of this file would give other pixels.
TRANSFORM = f"short side and centre 2, Pillow {pillow_version}"

Box = tuple[int, int, int, int]  # left, top, right, bottom in px
Part = tuple[int, int, int, int, int, int]  # the same, then width and height of the file in px, 0 where not known

WINDOWS_PPM = re.compile(rb"P6\s+(\d+)\s+(\d+)\s+255\r\n")

AT_ONCE, DRAFT = 1_024, 32  # files between two reports of progress; a small side in px makes a full decode fast


class UnreadablePhotos(ValueError):
    """Files that cannot be decoded in full: the message has the first few and their number.

    Args:
        reports: one line per such file.
        total: how many photos were asked for.
    """

    def __init__(self, reports: list[str], total: int) -> None:
        super().__init__(
            f"data: {len(reports)} of {total} photos cannot be read: {some(reports)}: delete or repair them"
        )
        self.reports = reports


def decode(paths: Sequence[Path], image_size: int, boxes: np.ndarray | None = None) -> Tensor:
    """The photos as (N, 3, image_size, image_size) uint8 RGB, decoded by all cores.

    The short side is resized to ``image_size`` (bicubic, antialiased) and the centre cut out, as CLIP evaluates. The
    EXIF orientation is honoured, transparency is laid over white, 16 bits are scaled to 8, gray is repeated, and of
    several frames or pages the first one counts.

    Args:
        paths: the files.
        image_size: side in px.
        boxes: the part of each photo to be taken in place of the whole, (N, 6): left, top, right, bottom in px of the
            file, all 0 for the whole; then width and height that the file should have, 0 where they are not known.

    Raises:
        UnreadablePhotos: files cannot be decoded in full.
    """
    use_plugin()
    block = torch.empty(len(paths), 3, image_size, image_size, dtype=torch.uint8)

    def read(number: int) -> str | None:
        try:
            box = None if boxes is None or not boxes[number, :4].any() else tuple(boxes[number].tolist())
            block[number] = torch.from_numpy(_pixels(paths[number], image_size, box)).permute(2, 0, 1)
        except Image.DecompressionBombError:
            return f"{paths[number]} (more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels: make it smaller)"
        except Exception as error:  # Pillow raises nearly anything on a broken file
            return f"{paths[number]} ({error or type(error).__name__})"
        return None

    with ThreadPoolExecutor(available()) as pool:  # Pillow decodes and resizes without the GIL
        broken = [report for report in pool.map(read, range(len(paths))) if report]
    if broken:
        raise UnreadablePhotos(broken, len(paths))
    return block


def unreadable(
    files: Sequence[str],
    progress: Callable[[str, int, int], None] | None = None,
    boxes: np.ndarray | None = None,
) -> Iterator[str]:
    """One line per file that cannot be decoded in full; ``progress`` is called with the task, files done and total."""
    for start in range(0, len(files), AT_ONCE):
        some_files = [Path(file) for file in files[start : start + AT_ONCE]]
        try:
            decode(some_files, DRAFT, None if boxes is None else boxes[start : start + AT_ONCE])
        except UnreadablePhotos as error:
            yield from error.reports
        if progress is not None:
            progress("pictures", start + len(some_files), len(files))


def _pixels(path: Path, side: int, box: Part | None = None) -> np.ndarray:
    """(side, side, 3) uint8."""
    with Image.open(path) as image:
        upright = (_from_windows(path) if image.format == "PPM" else None) or image
        if box is not None:
            if any(box[4:]) and box[4:] != image.size:
                size, told = (f"{width} x {height}" for width, height in (image.size, box[4:]))
                raise ValueError(f"it has {size} px, and the table with its box says {told}")
            upright = upright.crop(_within(box[:4], image.size))
        if upright is not image:
            return np.array(_resized_centre(_eight_bit(upright), side).convert("RGB"))
        full, orientation = image.size, _orientation(image)
        drafted = image.draft(None, (-(-8 * side // 5),) * 2)  # see _shrunk_centre
        image.load()
        if orientation != 1:
            ImageOps.exif_transpose(image, in_place=True)
        if drafted is None or drafted[1][2:] == full:
            centre = _resized_centre(_eight_bit(image), side)
        else:
            centre = _shrunk_centre(_eight_bit(image), side, full, full[0] / drafted[1][2], orientation)
        return np.array(centre.convert("RGB"))


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; upright where it is none of these or cannot be read."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow raises nearly anything on broken EXIF, and the pixels may be whole
        return 1
    return orientation if orientation in range(1, 9) else 1


def _from_windows(path: Path) -> Image.Image | None:
    """The picture in a PPM file whose header has line ends of Windows; None for all others.

    By its definition one blank ends the header, so readers take the line feed after it for the first value: red is seen
    as green, green as blue, and blue as the red of the next pixel.
    """
    content = path.read_bytes()
    header = WINDOWS_PPM.match(content)
    if header is None or len(content) != header.end() + 3 * int(header[1]) * int(header[2]):
        return None
    return Image.frombytes("RGB", (int(header[1]), int(header[2])), content[header.end() :])


def _within(box: Box, size: tuple[int, int]) -> Box:
    """A box that lies in an image of a size in part or in full, as far as it does.

    Raises:
        ValueError: no part of it does.
    """
    left, top, right, bottom = max(0, box[0]), max(0, box[1]), min(size[0], box[2]), min(size[1], box[3])
    if left >= right or top >= bottom:
        raise ValueError(f"the box {box} is not within its {size[0]} x {size[1]} px")
    return left, top, right, bottom


def _eight_bit(image: Image.Image) -> Image.Image:
    """The image in a mode that can be resized smoothly: L, RGB or CMYK."""
    if image.mode == "F":
        raise ValueError("pixels are floating-point numbers of unknown range")
    if image.mode.startswith("I"):  # Pillow's own conversion cuts off at 255 instead of scaling
        values = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert("RGB")
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("L" if image.mode == "1" else "RGB")


def _resized_centre(image: Image.Image, side: int) -> Image.Image:
    """The same pixels as torchvision's ``Resize(side, BICUBIC)`` and ``CenterCrop(side)``."""
    width, height, left, top = _geometry(image.size, side)
    return image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + side, top + side))


def _shrunk_centre(
    image: Image.Image, side: int, full: tuple[int, int], factor: float, orientation: int
) -> Image.Image:
    """Near the same pixels, from a JPEG that was decoded straight to a half, a quarter or an eighth of its size.

    Of these the smallest is taken whose short side is 1.6 times ``side`` or more: from there on real photos differ by
    one or two of 255 levels from those decoded in full, and take a third of the time.

    Args:
        image: the decoded one, turned upright.
        side: in px.
        full: width and height in the file.
        factor: 2, 4 or 8.
        orientation: the EXIF orientation in the file, 1 to 8.
    """
    if orientation in (5, 6, 7, 8):
        full = full[::-1]
    width, height, left, top = _geometry(full, side)
    # The decoder rounds sizes up, which must not stretch the picture: where it does not fill its last column or row,
    # and after turning the first, the filled part is a fraction of it.
    across, down = full[0] / factor, full[1] / factor
    x = image.width - across if orientation in (2, 3, 6, 7) else 0.0
    y = image.height - down if orientation in (3, 4, 7, 8) else 0.0
    across, down = across / width, down / height
    box = (x + left * across, y + top * down, x + (left + side) * across, y + (top + side) * down)
    return image.resize((side, side), Image.Resampling.BICUBIC, box)


def _geometry(size: tuple[int, int], side: int) -> tuple[int, int, int, int]:
    """Width and height with ``side`` as the short side, and the left and top of the centre then."""
    width, height = (side * length // min(size) for length in size)
    return width, height, round((width - side) / 2), round((height - side) / 2)
