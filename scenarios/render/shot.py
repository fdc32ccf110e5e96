"""The picture being drawn: camera geometry, and a canvas of materials that layers are blended onto.

Image coordinates are u (right) and v (down), both in [0, 1]. A point's disparity d is 1 on the ground at the bottom
edge of the picture and 0 at infinity; an object of width w at disparity d is w * d wide in the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .draws import Draws
from .light import Light
from .weather import Weather

HORIZON = (0.42, 0.50)  # range of the horizon's height v
SKY_DISPARITY = 0.05
CHANNELS = 5  # red, green, blue, disparity, emission (1: shines by itself, whatever the light)


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


@dataclass
class Slab:
    """A rectangle of the canvas with the coordinates of its pixels; `pixels` is a view, drawn on in place."""

    pixels: Tensor  # (B, CHANNELS, h, w)
    x: Tensor  # (1, 1, 1, w)
    y: Tensor  # (1, 1, h, 1)
    size: int

    def blend(self, alpha: Tensor, material: Tensor) -> None:
        """Cover the slab with a material by `alpha` (B, 1, h, w); alpha 0 leaves a pixel bit for bit as it was."""
        self.pixels.add_((material - self.pixels).mul_(alpha))

    def paint(self, alpha: Tensor, rgb: Tensor) -> None:
        """As `blend`, for a colour on a surface already there: its disparity and emission stay."""
        below = self.pixels[:, :3]
        below.add_((rgb - below).mul_(alpha))

    def tint(self, alpha: Tensor, factor: float | Tensor) -> None:
        """Multiply colour by `factor` where `alpha` is 1."""
        self.pixels[:, :3].mul_((alpha * (factor - 1.0)).add_(1.0))

    def box(self, left: Tensor, right: Tensor, top: Tensor, bottom: Tensor) -> Tensor:
        """Coverage by an axis-aligned box with (B, 1, 1, 1) sides, or sides varying along rows or columns."""
        return span(self.x, left, right, self.size) * span(self.y, top, bottom, self.size)


class Shot:
    """A chunk of B pictures of one scene."""

    def __init__(self, draws: Draws, weather: Weather, light: Light, size: int) -> None:
        device = draws.table.device
        self.draws, self.weather, self.light, self.size = draws, weather, light, size
        self.batch = len(draws.table)
        self.centres = (torch.arange(size, device=device).to(torch.float32) + 0.5) * (1.0 / size)
        self.x = self.centres.reshape(1, 1, 1, -1)
        self.y = self.centres.reshape(1, 1, -1, 1)
        self.horizon = draws.uniform("horizon", 0, *HORIZON)  # (B, 1, 1, 1)
        self.vanish = draws.uniform("vanish", 0, 0.44, 0.56)
        self.height = 1.0 - self.horizon  # image distance from the horizon to ground at disparity 1
        self.canvas = torch.zeros(self.batch, CHANNELS, size, size, device=device)
        self.outside: Tensor | None = None  # (B, 1, size, size): 0 where a tunnel shelters the view

    def slab(self, top: float = 0.0, bottom: float = 1.0, left: float = 0.0, right: float = 1.0) -> Slab:
        """The part of the canvas that holds the given image rectangle."""
        rows = slice(max(0, int(top * self.size) - 1), min(self.size, int(bottom * self.size) + 2))
        columns = slice(max(0, int(left * self.size) - 1), min(self.size, int(right * self.size) + 2))
        return Slab(
            self.canvas[:, :, rows, columns],
            self.x[:, :, :, columns],
            self.y[:, :, rows, :],
            self.size,
        )

    def ground(self) -> tuple[Slab, Tensor]:
        """Everything from the highest possible horizon down, and its rows' disparity (B, 1, h, 1), at least 0.01."""
        slab = self.slab(top=HORIZON[0])
        return slab, ((slab.y - self.horizon) / self.height).clamp(min=0.01)

    def base(self, disparity: Tensor) -> Tensor:
        """The height v at which things of a disparity stand on the ground."""
        return self.horizon + disparity * self.height

    def colour(self, rgb: Sequence[float]) -> Tensor:
        """A constant colour as (1, 3, 1, 1)."""
        return torch.tensor(rgb, dtype=torch.float32, device=self.canvas.device).reshape(1, 3, 1, 1)

    def palette(self, purpose: str, slot: int, colours: Sequence[Sequence[float]]) -> Tensor:
        """One of the colours per image, as (B, 3, 1, 1)."""
        return self.draws.choice(purpose, slot, torch.tensor(colours, dtype=torch.float32))

    def material(self, rgb: Tensor | Sequence[float], disparity: Tensor, emission: float | Tensor = 0.0) -> Tensor:
        """A (B, CHANNELS, h or 1, w or 1) material for blending."""
        colour = rgb if isinstance(rgb, Tensor) else self.colour(rgb)
        glow = emission if isinstance(emission, Tensor) else torch.full_like(disparity, emission)
        height = max(t.shape[2] for t in (colour, disparity, glow))
        width = max(t.shape[3] for t in (colour, disparity, glow))
        parts = [t.expand(self.batch, t.shape[1], height, width) for t in (colour, disparity, glow)]
        return torch.cat(parts, dim=1)


def mix(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """a + (b - a) * t, spelled out because a fused lerp rounds differently between devices."""
    return a + (b - a) * t
