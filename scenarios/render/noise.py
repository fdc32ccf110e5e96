"""Fixed noise tables and their look-ups. The tables are made once, on the CPU, and copied to the device."""

from functools import lru_cache

import torch
from torch import Tensor

from .draws import mix64, unit_interval

SIDE = 512  # texels along a side of the periodic fractal texture; a power of two, so wrapping is a mask
WHITE = 1 << 16  # entries of the white-noise table


@lru_cache(maxsize=4)
def fractal_table(device: str) -> Tensor:
    """Periodic fractal value noise as a flat (SIDE * SIDE,) float32 table in [0, 1]; its longest period is SIDE / 8."""
    total = torch.zeros(SIDE, SIDE)
    texel = torch.arange(SIDE)
    for octave, weight in enumerate((0.5, 0.27, 0.15, 0.08)):
        cells = 8 << octave
        step = SIDE // cells
        lattice = unit_interval(mix64(torch.arange(cells * cells) + (octave << 32))).reshape(cells, cells)
        low, high = texel // step, (texel // step + 1) % cells
        t = (texel % step).to(torch.float32) * (1.0 / step)
        t = t * t * (3.0 - 2.0 * t)
        rows = lattice[low] + (lattice[high] - lattice[low]) * t[:, None]
        total = total + (rows[:, low] + (rows[:, high] - rows[:, low]) * t[None, :]) * weight
    stretched = ((total - 0.5) * 1.7 + 0.5).clamp(0.0, 1.0)  # value noise bunches around its mean
    return stretched.reshape(-1).to(device)


@lru_cache(maxsize=4)
def white_table(device: str) -> Tensor:
    """White noise as a flat (WHITE,) float32 table, uniform in [0, 1)."""
    return unit_interval(mix64(torch.arange(WHITE) + (99 << 40))).to(device)


def fractal(u: Tensor, v: Tensor) -> Tensor:
    """Fractal noise at the texel coordinates (u, v), which broadcast and must stay within +-1e6."""
    column = u.floor().to(torch.int32) & (SIDE - 1)
    row = (v.floor().to(torch.int32) & (SIDE - 1)) * SIDE
    return _select(fractal_table(str(u.device)), row + column)


def white(cell_a: Tensor, cell_b: Tensor, salt: int = 0) -> Tensor:
    """A hash of integer-valued float cells (broadcasting) to uniform [0, 1)."""
    a = cell_a.to(torch.int32) * 7919
    b = cell_b.to(torch.int32) * 30529 + salt * 12347
    return _select(white_table(str(a.device)), (a + b) & (WHITE - 1))


def digits(value: Tensor, place: int) -> Tensor:
    """A further uniform from the bits of a white-noise value below its leading 6 * `place` (24 bits in all)."""
    scaled = value * float(1 << (6 * place))
    return scaled - scaled.floor()


def _select(table: Tensor, index: Tensor) -> Tensor:
    return table.index_select(0, index.reshape(-1)).reshape(index.shape)
