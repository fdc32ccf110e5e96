"""A narrower view: part of a picture at full size, in integers, so that it is the same everywhere."""

import torch
from torch import Tensor


def crop(pictures: Tensor, left: Tensor, top: Tensor, scale: Tensor) -> Tensor:
    """Enlarge a square part of each picture to the size of the whole, bilinearly.

    Args:
        pictures: (B, 3, S, S) uint8.
        left: (B,) where the part begins, as a share of the width, in [0, 1 - scale].
        top: (B,) the same for the height.
        scale: (B,) side of the part over that of the picture, in (0, 1].

    Returns:
        (B, 3, S, S) uint8.
    """
    side = pictures.shape[-1]
    row, row_weight = _positions(top, scale, side)
    column, column_weight = _positions(left, scale, side)
    row, row_weight = row[:, None, :, None], row_weight[:, None, :, None]
    column, column_weight = column[:, None, None, :], column_weight[:, None, None, :]
    image = torch.arange(len(pictures))[:, None, None, None]
    channel = torch.arange(3)[None, :, None, None]

    def line(offset: int) -> Tensor:
        first, second = (pictures[image, channel, row + offset, column + step].long() for step in (0, 1))
        return first * (256 - column_weight) + second * column_weight

    return (line(0) * (256 - row_weight) + line(1) * row_weight >> 16).to(torch.uint8)


def _positions(start: Tensor, scale: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """For each pixel of a line: the source pixel before it, and the next one's weight of 256; both (B, side)."""
    offsets = torch.arange(side, dtype=torch.float64) / side
    place = (start.double()[:, None] + scale.double()[:, None] * offsets) * (side - 1)
    before = place.floor().clamp(0, side - 2)
    return before.long(), ((place - before) * 256).floor().long()
