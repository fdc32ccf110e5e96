"""A road scene being drawn: camera geometry, and a canvas of materials.

A point's disparity d is 1 on the ground at the bottom edge of the picture and 0 at infinity; an object of width w at
disparity d is w * d wide in the image.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..canvas import Canvas, Slab
from ..draws import Draws, Purposes
from .light import Light
from .weather import Weather

PURPOSES = Purposes(
    {
        "horizon": 1,
        "vanish": 1,
        "severity": 1,
        "weather": 8,
        "light": 4,
        "sky": 8,
        "ground": 16,
        "shadow": 4,
        "vehicle": 32,
        "skyline": 8,
        "structure": 64,
        "prop": 88,
        "precipitation": 12,
        "sensor": 8,
    }
)
HORIZON = (0.42, 0.50)  # range of the horizon's height v
SKY_DISPARITY = 0.05
CHANNELS = 5  # red, green, blue, disparity, emission (1: shines by itself, whatever the light)


class Shot(Canvas):
    """A chunk of B pictures of one scene."""

    def __init__(self, draws: Draws, weather: Weather, light: Light, size: int) -> None:
        super().__init__(draws, size, CHANNELS)
        self.weather, self.light = weather, light
        self.horizon = draws.uniform("horizon", 0, *HORIZON)  # (B, 1, 1, 1)
        self.vanish = draws.uniform("vanish", 0, 0.44, 0.56)
        self.height = 1.0 - self.horizon  # image distance from the horizon to ground at disparity 1
        self.outside: Tensor | None = None  # (B, 1, size, size): 0 where a tunnel shelters the view

    def ground(self) -> tuple[Slab, Tensor]:
        """Everything from the highest possible horizon down, and its rows' disparity (B, 1, h, 1), at least 0.01."""
        slab = self.slab(top=HORIZON[0])
        return slab, ((slab.y - self.horizon) / self.height).clamp(min=0.01)

    def base(self, disparity: Tensor) -> Tensor:
        """The height v at which things of a disparity stand on the ground."""
        return self.horizon + disparity * self.height

    def material(self, rgb: Tensor | Sequence[float], disparity: Tensor, emission: float | Tensor = 0.0) -> Tensor:
        """A (B, CHANNELS, h or 1, w or 1) material for blending."""
        colour = rgb if isinstance(rgb, Tensor) else self.colour(rgb)
        glow = emission if isinstance(emission, Tensor) else torch.full_like(disparity, emission)
        height = max(t.shape[2] for t in (colour, disparity, glow))
        width = max(t.shape[3] for t in (colour, disparity, glow))
        parts = [t.expand(self.batch, t.shape[1], height, width) for t in (colour, disparity, glow)]
        return torch.cat(parts, dim=1)
