"""The camera: exposure, colour cast, noise and quantisation."""

import torch
from torch import Tensor

from .canvas import Canvas
from .noise import WHITE, white_table


def develop(picture: Canvas, grain: float | Tensor = 0.0) -> Tensor:
    """The canvas as (B, 3, size, size) uint8 RGB, with `grain` more noise than by day; reads the draws "sensor"."""
    draws, size = picture.draws, picture.size
    exposure = draws.uniform("sensor", 0, 0.90, 1.12)
    cast = torch.cat([draws.uniform("sensor", 1 + c, 0.97, 1.03) for c in range(3)], dim=1) * exposure
    rgb = picture.canvas[:, :3] * cast
    grain = draws.uniform("sensor", 4, 0.003, 0.011) + grain
    rgb.add_((_noise(picture) - 0.5) * (grain * 3.4))
    return rgb.mul_(255.0).add_(0.5).clamp_(0.0, 255.0).to(torch.uint8).reshape(picture.batch, 3, size, size)


def _noise(picture: Canvas) -> Tensor:
    """White noise in [0, 1) as (B, 1, size, size), read from the table at a stride and start of each image's own."""
    size = picture.size
    start = (picture.draws.uniform("sensor", 5) * WHITE).floor().to(torch.int32)
    stride = (picture.draws.uniform("sensor", 6) * 512.0).floor().to(torch.int32) * 2 + 1
    pixel = torch.arange(size * size, dtype=torch.int32, device=start.device).reshape(1, 1, size, size)
    index = (pixel * stride + start) & (WHITE - 1)
    table = white_table(str(start.device))
    return table.index_select(0, index.reshape(-1)).reshape(index.shape)
