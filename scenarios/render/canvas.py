"""The picture being drawn: a canvas that layers are blended onto, and the coverage of pixels by shapes.

Image coordinates are u (right) and v (down), both in [0, 1].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .draws import Draws


def step(distance: Tensor, size: int) -> Tensor:
    """Coverage in [0, 1] of a half-plane at a signed image distance; the edge is one pixel wide."""
    return (distance * size).add_(0.5).clamp_(0.0, 1.0)


def span(x: Tensor, low: Tensor, high: Tensor, size: int) -> Tensor:
    """Coverage of pixels at `x` by the interval [low, high]: the exact area, also for intervals below a pixel."""
    return step(x - low, size) - step(x - high, size)


def smooth(t: Tensor) -> Tensor:
    """Smoothstep polynomial of `t` clamped to [0, 1]."""
    t = t.clamp(0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def fraction(t: Tensor) -> Tensor:
    """t - floor(t)."""
    return t - t.floor()


def root(squares: Tensor) -> Tensor:
    """Square roots, in place, correctly rounded: torch's may be MKL's, whose last bit depends on the processor."""
    if squares.device.type == "cpu":
        np.sqrt(squares.numpy(), out=squares.numpy())
        return squares
    return squares.sqrt_()


def mix(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """a + (b - a) * t, spelled out because a fused lerp rounds differently between devices."""
    return a + (b - a) * t


@dataclass
class Slab:
    """A rectangle of the canvas with the coordinates of its pixels; `pixels` is a view, drawn on in place."""

    pixels: Tensor  # (B, channels, h, w)
    x: Tensor  # (1, 1, 1, w)
    y: Tensor  # (1, 1, h, 1)
    size: int

    def blend(self, alpha: Tensor, material: Tensor) -> None:
        """Cover the slab with a material by `alpha` (B, 1, h, w); alpha 0 leaves a pixel bit for bit as it was."""
        self.pixels.add_((material - self.pixels).mul_(alpha))

    def paint(self, alpha: Tensor, rgb: Tensor) -> None:
        """As `blend`, for a colour on a surface already there: channels beyond the third stay."""
        below = self.pixels[:, :3]
        below.add_((rgb - below).mul_(alpha))

    def tint(self, alpha: Tensor, factor: float | Tensor) -> None:
        """Multiply colour by `factor` where `alpha` is 1."""
        self.pixels[:, :3].mul_((alpha * (factor - 1.0)).add_(1.0))

    def box(self, left: Tensor, right: Tensor, top: Tensor, bottom: Tensor) -> Tensor:
        """Coverage by an axis-aligned box with (B, 1, 1, 1) sides, or sides varying along rows or columns."""
        return span(self.x, left, right, self.size) * span(self.y, top, bottom, self.size)


class Canvas:
    """B pictures drawn together; `canvas` is (B, channels, size, size), red, green and blue first."""

    def __init__(self, draws: Draws, size: int, channels: int = 3) -> None:
        device = draws.table.device
        self.draws, self.size, self.batch = draws, size, len(draws.table)
        self.centres = (torch.arange(size, device=device).to(torch.float32) + 0.5) * (1.0 / size)
        self.x = self.centres.reshape(1, 1, 1, -1)
        self.y = self.centres.reshape(1, 1, -1, 1)
        self.canvas = torch.zeros(self.batch, channels, size, size, device=device)

    def slab(self, top: float = 0.0, bottom: float = 1.0, left: float = 0.0, right: float = 1.0) -> Slab:
        """The part of the canvas that holds the given image rectangle."""
        rows, columns = self._pixels(top, bottom), self._pixels(left, right)
        return Slab(self.canvas[:, :, rows, columns], self.x[:, :, :, columns], self.y[:, :, rows, :], self.size)

    def _pixels(self, low: float, high: float) -> slice:
        return slice(max(0, int(low * self.size) - 1), min(self.size, int(high * self.size) + 2))

    def colour(self, rgb: Sequence[float]) -> Tensor:
        """A constant colour as (1, 3, 1, 1)."""
        return torch.tensor(rgb, dtype=torch.float32, device=self.canvas.device).reshape(1, 3, 1, 1)

    def palette(self, purpose: str, slot: int, colours: Sequence[Sequence[float]]) -> Tensor:
        """One of the colours per image, as (B, 3, 1, 1)."""
        return self.draws.choice(purpose, slot, torch.tensor(colours, dtype=torch.float32))
