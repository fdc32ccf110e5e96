"""Tunnel: the weather shows only through the far opening."""

from torch import Tensor

from ..canvas import fraction, mix, span, step
from .ground import Layout, draw_ground
from .shot import Shot
from .sky import draw_skyline
from .vehicles import draw_traffic

WALL = 0.98  # lateral position of the walls
CEILING = 0.92  # height of the ceiling above the camera


def draw_tunnel(shot: Shot) -> None:
    """Paint the view out of a tunnel, then the tunnel around it."""
    opening = shot.draws.uniform("structure", 0, 0.14, 0.44)  # disparity of the portal
    draw_skyline(shot, 0.12, (0.26, 0.35, 0.24), 0, 1)
    draw_ground(shot, Layout(half=0.80, lanes=2, walk=0.16), shelter=opening)
    lining, depth, above = _lining(shot, opening)
    shot.outside = _outside(shot, opening, lining)
    _paint_lining(shot, lining, depth, above)
    draw_traffic(shot, lanes=2, pitch=0.7, chance=0.45, two_way=False)
    # A car inside the tunnel hides part of the opening.
    shot.outside.mul_(((opening - shot.canvas[:, 3:4]) * 60.0 + 1.0).clamp_(0.0, 1.0))


def _lining(shot: Shot, opening: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Coverage by walls and ceiling, their disparity (both (B, 1, h, w)), and the ceiling's disparity by row."""
    beside = (shot.x - shot.vanish).abs() * (1.0 / WALL)  # (B, 1, 1, w)
    above = (shot.horizon - shot.y) * (1.0 / CEILING)  # (B, 1, h, 1)
    depth = (beside.maximum(above)).maximum((beside + above) * 0.70)  # the corners are chamfered
    lining = step((depth - opening) * WALL, shot.size)
    floor = (shot.y - shot.horizon) / shot.height
    lining = lining * step((beside - floor) * WALL, shot.size)
    return lining, depth.clamp_(min=0.02), above


def _outside(shot: Shot, opening: Tensor, lining: Tensor) -> Tensor:
    floor = (shot.y - shot.horizon) / shot.height
    return (1.0 - lining) * step(opening - floor, shot.size)


def _paint_lining(shot: Shot, lining: Tensor, depth: Tensor, above: Tensor) -> None:
    slab, size = shot.slab(), shot.size
    tiles = shot.palette("structure", 1, ((0.62, 0.58, 0.50), (0.60, 0.62, 0.62), (0.66, 0.60, 0.44)))
    height = (shot.horizon - shot.y) / depth  # -shot.height at the floor, CEILING at the top
    on_wall = ((0.42 - height) * 12.0).clamp_(0.0, 1.0)
    rhythm = fraction(1.0 / depth * 0.8 + shot.draws.uniform("structure", 2))
    pools = 1.0 - (rhythm - 0.5).abs_() * 1.1 * (depth * 6.0).clamp(max=1.0)
    tone = (on_wall * 0.50 + 0.30) * pools
    slab.blend(lining, shot.material(shot.colour((0.0, 0.0, 0.0)), depth))
    slab.pixels[:, :3].add_(tiles * (tone * lining))
    stripe = ((0.05 - (height + 0.22).abs_()) * (depth * size) + 0.5).clamp_(0.0, 1.0) * lining
    slab.paint(stripe * 0.7, shot.colour((0.30, 0.32, 0.36)))
    _lights(shot, lining, above)


def _lights(shot: Shot, lining: Tensor, above: Tensor) -> None:
    """Two rows of lamps along the ceiling."""
    slab = shot.slab(bottom=0.5)
    rows = slab.pixels.shape[2]
    d = above[:, :, :rows].clamp(min=0.03)  # (B, 1, h, 1)
    beside = (slab.x - shot.vanish).abs()
    phase = (fraction(1.0 / d * 1.1 + shot.draws.uniform("structure", 2)) - 0.5).abs()
    pixels = d * d * (CEILING / 1.1 * shot.size)
    bar = ((0.28 - phase) * pixels + 0.5).clamp(0.0, 1.0)
    bar = mix(bar.new_full((1, 1, 1, 1), 0.55), bar, (pixels * 0.6).clamp(max=1.0))
    lamp = bar * span(beside, d * 0.30, d * 0.42, shot.size) * lining[:, :, :rows]
    warm = shot.palette("structure", 3, ((1.0, 0.80, 0.45), (1.0, 0.97, 0.88), (0.92, 0.97, 1.0)))
    slab.blend(lamp, shot.material(warm, d, 1.0))
    dx = (beside - d * 0.36) / d
    glow = 0.02 / (dx * dx + 0.02) * lining[:, :, :rows] * 0.22
    rgb = slab.pixels[:, :3]
    rgb.add_((warm - rgb).mul_(glow))
