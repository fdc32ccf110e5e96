"""Roadside things shared between scenes: trees, houses, lamp posts."""

from torch import Tensor

from ..canvas import Slab, mix, span, step
from ..noise import fractal
from .ground import SNOW
from .shot import Shot

WALLS = ((0.78, 0.73, 0.62), (0.66, 0.42, 0.33), (0.83, 0.83, 0.80), (0.55, 0.60, 0.64), (0.72, 0.64, 0.48))
ROOFS = ((0.36, 0.19, 0.15), (0.26, 0.25, 0.27), (0.42, 0.28, 0.19), (0.30, 0.22, 0.20))
LEAVES = ((0.16, 0.30, 0.10), (0.22, 0.34, 0.12), (0.30, 0.33, 0.11), (0.13, 0.25, 0.12))
WINDOW_LIT = (1.0, 0.82, 0.50)


def sunlit(shot: Shot, side: float) -> Tensor:
    """Brightness factor of faces on one side of the road (-1 left, 1 right): half of them face the sun."""
    facing = (shot.draws.chance("shadow", 0, 0.5) * 2.0 - 1.0) * side  # the shadow's side is the sun's side
    return 1.0 - shot.weather.sun * (1.0 - shot.light.night) * 0.22 * facing


def glass_colour(shot: Shot) -> Tensor:
    """Colour of an unlit window: dark, with some of the sky in it."""
    return mix(shot.colour((0.13, 0.16, 0.20)), shot.light.sky_low, 0.25)


def draw_house(shot: Shot, slab: Slab, centre: Tensor, d: Tensor, side: float, slot: int) -> None:
    """A house with a pitched roof standing at disparity `d`; uses four "prop" draws from `slot`."""
    size = shot.size
    w = d * shot.draws.uniform("prop", slot, 0.78, 1.0)
    h = d * shot.draws.uniform("prop", slot + 1, 0.50, 0.66)
    foot = shot.base(d)
    eaves = foot - h
    dx = (slab.x - centre).abs()
    walls = shot.palette("prop", slot + 2, WALLS) * sunlit(shot, side)
    slab.blend(slab.box(centre - w * 0.5, centre + w * 0.5, eaves, foot), shot.material(walls, d))
    peak = h * 0.72
    over = (eaves - slab.y) / peak  # 0 at the eaves, 1 at the ridge
    slope = step((w * 0.60 - dx) - over.clamp(min=0.0) * (w * 0.48), size)
    roof_rows = span(slab.y, eaves - peak, eaves + h * 0.04, size)
    snow = (shot.weather.snow * 1.6 - 0.1).clamp(0.0, 1.0)
    roof = mix(shot.palette("prop", slot + 3, ROOFS), shot.colour(SNOW), snow)
    slab.blend(slope * roof_rows, shot.material(roof, d))
    lit = (shot.light.lamps - 0.25).clamp(min=0.0) * 1.3
    pane = mix(glass_colour(shot), shot.colour(WINDOW_LIT), lit.clamp(max=1.0))
    sills = span(slab.y, foot - h * 0.82, foot - h * 0.42, size)
    windows = (step(w * 0.40 - dx, size) - step(w * 0.20 - dx, size)) * sills
    slab.blend(windows, shot.material(pane, d, lit.clamp(max=1.0)))
    door = step(w * 0.075 - dx, size) * span(slab.y, foot - h * 0.62, foot, size)
    slab.paint(door, shot.colour((0.30, 0.18, 0.12)))


def draw_tree(shot: Shot, slab: Slab, centre: Tensor, d: Tensor, present: Tensor, slot: int) -> None:
    """A broad-leaved tree; uses three "prop" draws from `slot`."""
    size = shot.size
    h = d * shot.draws.uniform("prop", slot, 0.8, 1.3)
    foot = shot.base(d)
    trunk = slab.box(centre - d * 0.03, centre + d * 0.03, foot - h * 0.5, foot) * present
    slab.blend(trunk, shot.material((0.22, 0.16, 0.11), d))
    shift = shot.draws.uniform("prop", slot + 1, 0.0, 512.0)
    dx = (slab.x - centre) / (h * 0.36)
    dy = (slab.y - (foot - h * 0.68)) / (h * 0.36)
    leaf = fractal(dx * 30.0 + shift, dy * 30.0 + shift)
    edge = 1.0 - (dx * dx + dy * dy) + (leaf - 0.5) * 1.1
    crown = (edge * (h * (0.18 * size)) + 0.5).clamp_(0.0, 1.0) * present
    green = shot.palette("prop", slot + 2, LEAVES)
    shade = (0.75 - dy * 0.28 + (leaf - 0.5) * 0.8).clamp_(0.3, 1.4)
    colour = green * shade
    if bool((shot.weather.snow > 0).any()):
        load = ((leaf - 0.35) * 3.0 - dy * 0.9).clamp_(0.0, 1.0) * (shot.weather.snow * 1.3).clamp(max=1.0)
        colour = colour + (shot.colour(SNOW) - colour) * load
    slab.blend(crown, shot.material(colour, d))


def draw_lamp(shot: Shot, d: float, place: float, side: float) -> None:
    """A street lamp at disparity `d`, standing `place` to one side; it glows at dusk and night."""
    disparity = shot.horizon * 0.0 + d
    tip = 1.05 * d
    slab = shot.slab(top=0.42 - tip - 0.06, bottom=0.52 + d * 0.6)
    pole = shot.vanish + side * place * d
    foot = shot.base(disparity)
    head = shot.horizon - tip
    steel = shot.material((0.30, 0.31, 0.32), disparity)
    slab.blend(slab.box(pole - 0.012 * d, pole + 0.012 * d, head, foot), steel)
    arm = pole - side * 0.22 * d
    low, high = (arm, pole) if side > 0 else (pole, arm)
    slab.blend(slab.box(low, high, head - 0.012 * d, head + 0.012 * d), steel)
    if bool((shot.light.lamps > 0).any()):
        dx, dy = (slab.x - arm) * (1.0 / d), (slab.y - head) * (1.0 / d)
        glow = (0.006 / (dx * dx + dy * dy + 0.006) - 0.02).clamp_(min=0.0) * shot.light.lamps
        slab.blend(glow, shot.material((1.0, 0.86, 0.60), disparity, 1.0))
