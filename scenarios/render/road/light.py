"""Time of day: colours of the sky, of the light and of the fog, and the strength of lamps."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ..draws import Draws

TIMES = ("daytime", "dawn/dusk", "night")

# Rows follow TIMES.
SKY_TOP = ((0.20, 0.43, 0.80), (0.24, 0.29, 0.50), (0.012, 0.018, 0.050))
SKY_LOW = ((0.68, 0.81, 0.93), (1.00, 0.63, 0.33), (0.055, 0.055, 0.085))
GREY_TOP = ((0.60, 0.63, 0.67), (0.36, 0.37, 0.43), (0.055, 0.055, 0.065))
GREY_LOW = ((0.79, 0.81, 0.83), (0.62, 0.54, 0.50), (0.120, 0.112, 0.110))
CLOUD_LIT = ((0.97, 0.97, 0.98), (1.00, 0.72, 0.56), (0.130, 0.130, 0.150))
CLOUD_DARK = ((0.62, 0.65, 0.70), (0.42, 0.36, 0.42), (0.060, 0.060, 0.075))
FOG = ((0.77, 0.79, 0.81), (0.62, 0.54, 0.51), (0.135, 0.132, 0.135))
AMBIENT = ((0.80, 0.82, 0.86), (0.52, 0.47, 0.50), (0.115, 0.120, 0.160))
SUN = ((0.36, 0.32, 0.22), (0.30, 0.16, 0.05), (0.0, 0.0, 0.0))
LAMPS = (0.0, 0.55, 1.0)  # how many lit windows and lamps, and how strong the car's own headlights


@dataclass
class Light:
    """Light of a chunk of B images: colours (B, 3, 1, 1) and strengths (B, 1, 1, 1) in [0, 1]."""

    sky_top: Tensor
    sky_low: Tensor
    grey_top: Tensor
    grey_low: Tensor
    cloud_lit: Tensor
    cloud_dark: Tensor
    fog: Tensor
    ambient: Tensor
    sun: Tensor
    lamps: Tensor
    night: Tensor


def sample_light(code: Tensor, draws: Draws) -> Light:
    """Light at the times `code` (B,) int64, its brightness jittered by up to a tenth."""
    tables = (SKY_TOP, SKY_LOW, GREY_TOP, GREY_LOW, CLOUD_LIT, CLOUD_DARK, FOG, AMBIENT, SUN)
    jitter = draws.uniform("light", 0, 0.9, 1.1)
    colours = [torch.tensor(t).to(draws.table)[code].reshape(-1, 3, 1, 1) * jitter for t in tables]
    lamps = torch.tensor(LAMPS).to(draws.table)[code].reshape(-1, 1, 1, 1)
    night = (code == TIMES.index("night")).to(draws.table).reshape(-1, 1, 1, 1)
    names = [f.name for f in fields(Light)]
    return Light(**dict(zip(names, [*colours, lamps, night], strict=True)))
