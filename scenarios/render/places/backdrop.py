"""Walls, floor and ceiling of a room, or ground and sky."""

import torch
from torch import Tensor

from ..canvas import fraction, mix, step
from ..noise import fractal, white
from .colours import COLOURS, SKIES, TEXTURES
from .model import Place, Surface
from .view import View

JOINT = 0.12  # width of the lines between planks or tiles, in planks or tiles


def tinted(view: View, purpose: str, slot: int, names: tuple[str, ...]) -> Tensor:
    """One of the named colours an image, jittered, as (B, 3, 1, 1); reads five draws from `slot`."""
    rgb = view.palette(purpose, slot, [COLOURS[name] for name in names])
    tone = view.draws.uniform(purpose, slot + 1, 1.0 - view.spread.tone, 1.0 + view.spread.tone)
    low, high = 1.0 - view.spread.tint, 1.0 + view.spread.tint
    channels = [view.draws.uniform(purpose, slot + 2 + c, low, high) for c in range(3)]
    return rgb * (torch.cat(channels, dim=1) * tone)


def draw_backdrop(view: View, place: Place) -> None:
    """Fill the canvas."""
    if place.layout.walled:
        _room(view, *place.surfaces)
    else:
        _land(view, *place.surfaces)


def _room(view: View, wall: Surface, floor: Surface, ceiling: Surface) -> None:
    """The inside of a box, seen from its open end; nearer surfaces are lighter."""
    size = view.size
    sideways, ahead = view.x - view.vanish, view.y - view.eye
    d_wall = sideways.abs() / view.wide  # (B, 1, 1, w)
    d_floor, d_ceil = ahead / view.floor, ahead / -view.ceil  # (B, 1, h, 1)
    d_level = torch.maximum(d_floor, d_ceil)
    rgb = view.canvas
    colour = tinted(view, "wall", 0, wall.colours)
    rgb.copy_(colour * texture(view, wall, sideways / view.back, ahead / view.back, view.back, view.back))
    d = torch.maximum(d_wall, view.back)
    on_side = step((d_wall - torch.maximum(d_level, view.back)) * view.wide, size)
    tone = texture(view, wall, 1.0 / d, ahead / d, d * d * view.wide, d)
    facing = torch.where(sideways > 0, 0.80, 0.90)
    rgb.add_((colour * (facing * tone) - rgb).mul_(on_side))
    for surface, purpose, depth, rise in (
        (floor, "floor", d_floor, view.floor),
        (ceiling, "ceiling", d_ceil, view.ceil),
    ):
        d = torch.maximum(depth, view.back)
        cover = step((depth - torch.maximum(d_wall, view.back)) * rise, size)
        tone = texture(view, surface, sideways / d, 1.0 / d, d, d * d * rise)
        level = tinted(view, purpose, 0, surface.colours) * (0.80 + 0.25 * d.clamp(max=1.0))
        rgb.add_((level * tone - rgb).mul_(cover))
    _corners(view, d_wall, d_floor, d_ceil)


def _corners(view: View, d_wall: Tensor, d_floor: Tensor, d_ceil: Tensor) -> None:
    """Edges of the back wall are a little dark: light does not reach into corners."""
    size, soft = view.size, view.back * 0.05
    gap = torch.maximum(d_wall, torch.maximum(d_floor, d_ceil)) - view.back
    dark = (1.0 - gap.abs() / soft).clamp_(min=0.0) * step(gap + soft, size)
    view.canvas.mul_(1.0 - dark * 0.25)


def _land(view: View, sky: Surface, ground: Surface) -> None:
    _sky(view, sky)
    slab = view.slab(top=float(view.eye.min()))
    if slab.y.numel() == 0:
        return
    d = ((slab.y - view.eye) / view.floor).clamp(min=0.02)  # (B, 1, h, 1)
    tone = texture(view, ground, (slab.x - view.vanish) / d, 1.0 / d, d, d * d * view.floor)
    colour = tinted(view, "floor", 0, ground.colours) * (0.82 + 0.22 * d.clamp(max=1.0))
    slab.paint(step(slab.y - view.eye, view.size).expand(-1, -1, -1, view.size), colour * tone)


def _sky(view: View, sky: Surface) -> None:
    draws = view.draws
    top = view.palette("sky", 0, [SKIES[name][0] for name in sky.colours])
    low = view.palette("sky", 0, [SKIES[name][1] for name in sky.colours])
    clouds = view.palette("sky", 0, [(SKIES[name][2],) for name in sky.colours])
    tone = draws.uniform("sky", 1, 1.0 - 0.5 * view.spread.tone, 1.0 + 0.5 * view.spread.tone)
    elevation = ((view.eye - view.y) / view.eye).clamp(0.0, 1.0)  # (B, 1, h, 1)
    view.canvas.copy_((mix(low, top, elevation * (2.0 - elevation)) * tone).expand_as(view.canvas))
    reach = 1.0 / (elevation + 0.25)
    u = (view.x - view.vanish) * (reach * 60.0) + draws.uniform("sky", 2, 0.0, 512.0)
    noise = fractal(u, reach * 80.0 + draws.uniform("sky", 3, 0.0, 512.0))
    amount = clouds * draws.uniform("sky", 4, 0.5, 1.2)
    opacity = ((noise - 1.0 + amount) * 3.0).clamp_(0.0, 0.85)
    lit = mix(low, torch.ones_like(low), 0.6) * (1.15 - 0.4 * amount)
    view.canvas.add_((lit * tone - view.canvas).mul_(opacity))


def texture(view: View, surface: Surface, u: Tensor, v: Tensor, pu: Tensor, pv: Tensor) -> Tensor:
    """Factor of the colour at the plane coordinates (u, v), of which `pu` and `pv` image widths make a unit."""
    kind, wide, long, strength = TEXTURES[surface.texture]
    size = view.size
    if kind == "noise":
        noise = fractal(u * (1.6 / wide), v * (1.6 / long))
        fade = (pu * (wide * 8.0 * size)).clamp(max=1.0)
        return (noise - 0.5) * (strength * fade) + 1.0
    if kind == "check":
        odd = fraction((u * (1.0 / wide)).floor() * 0.5 + (v * (1.0 / long)).floor() * 0.5)  # 0 or 0.5
        fade = (torch.minimum(pu * wide, pv * long) * (0.5 * size) - 0.5).clamp(0.0, 1.0)
        return (odd - 0.25) * (strength * 2.0 * fade) + 1.0
    tone = torch.ones_like(u)
    course: Tensor | float = 0.0
    if kind != "bars":
        place = v * (1.0 / long)
        tone = _lines(tone, place, pv * long, strength, size)
        course = place.floor() * 0.5 if kind == "bricks" else 0.0
    if kind != "rungs":
        tone = _lines(tone, u * (1.0 / wide) + course, pu * wide, strength, size)
    return tone


def _lines(tone: Tensor, t: Tensor, period: Tensor, strength: float, size: int) -> Tensor:
    """Darken a tone by joints at the whole numbers of t, and make what lies between them uneven."""
    return (tone - _joints(t, period, size) * strength) * _uneven(t.floor(), period, strength, size)


def _joints(t: Tensor, period: Tensor, size: int) -> Tensor:
    """Coverage by lines at the whole numbers of t; `period` image widths to a unit."""
    pixels = period * size
    gap = (fraction(t + 0.5) - 0.5).abs()
    line = ((0.5 * JOINT - gap) * pixels + 0.5).clamp(0.0, 1.0)
    return mix(line.new_full((1, 1, 1, 1), JOINT), line, (pixels * 0.5 - 0.6).clamp(0.0, 1.0))


def _uneven(cell: Tensor, period: Tensor, strength: float, size: int) -> Tensor:
    fade = (period * (0.5 * size) - 0.6).clamp(0.0, 1.0)
    return (white(cell, cell * 0.0, 21) - 0.5) * (0.5 * strength * fade) + 1.0
