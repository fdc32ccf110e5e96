"""The sky: gradient, clouds, glow of a low sun, moon and stars."""

import torch
from torch import Tensor

from ..canvas import mix, root, smooth, span
from ..noise import digits, fractal, white
from .shot import HORIZON, SKY_DISPARITY, Shot


def sky_colour(shot: Shot, elevation: Tensor) -> Tensor:
    """Cloudless sky at an elevation in [0, 1] (horizon to top of the picture), greyed by the weather."""
    grey, light = shot.weather.grey, shot.light
    low = mix(light.sky_low, light.grey_low, grey)
    top = mix(light.sky_top, light.grey_top, grey)
    t = elevation * (2.0 - elevation)
    return mix(low, top, t)


def draw_sky(shot: Shot) -> None:
    """Fill the canvas above the horizon."""
    slab = shot.slab(bottom=HORIZON[1])
    elevation = ((shot.horizon - slab.y) / shot.horizon).clamp(min=0.0)  # (B, 1, h, 1)
    distance = torch.full_like(shot.horizon, SKY_DISPARITY)
    slab.pixels.copy_(shot.material(sky_colour(shot, elevation), distance, 1.0))
    if bool((shot.light.night > 0).any()):
        _stars_and_moon(shot)
    _low_sun(shot, elevation)
    _clouds(shot, elevation)


def _clouds(shot: Shot, elevation: Tensor) -> None:
    slab = shot.slab(bottom=HORIZON[1])
    draws, weather, light = shot.draws, shot.weather, shot.light
    reach = 1.0 / (elevation + 0.22)  # clouds lie on a plane overhead, so they flatten towards the horizon
    u = (slab.x - shot.vanish) * (reach * 75.0) + draws.uniform("sky", 0, 0.0, 512.0)
    v = reach * 90.0 + draws.uniform("sky", 1, 0.0, 512.0)
    n = fractal(u, v)  # (B, 1, h, w)
    edge = 1.0 - weather.cloud * 1.05
    opacity = ((n - edge) * 4.5).clamp_(0.0, 1.0)
    opacity = opacity * (2.0 - opacity) * smooth(weather.cloud * 12.0)
    shade = ((n - edge) * 1.6 + weather.grey * 0.6).clamp_(0.0, 1.0)  # thick parts are dark underneath
    lit = mix(light.cloud_lit, light.grey_low, weather.grey)
    dark = mix(light.cloud_dark, light.grey_top, weather.grey)
    colour = lit + (dark - lit) * shade
    rgb = slab.pixels[:, :3]
    rgb.add_((colour - rgb).mul_(opacity))


def _low_sun(shot: Shot, elevation: Tensor) -> None:
    slab = shot.slab(bottom=HORIZON[1])
    strength = shot.weather.sun * (1.0 - shot.light.night)
    across = (slab.x - shot.draws.uniform("sky", 2, 0.05, 0.95)) * 2.2
    up = (elevation - shot.draws.uniform("sky", 3, 0.1, 1.1)) * 1.6
    r2 = across * across + up * up
    glow = (0.05 / (r2 + 0.05)) * (strength * 0.55)
    rgb = slab.pixels[:, :3]
    rgb.add_((shot.colour((1.0, 0.95, 0.84)) * (1.0 - shot.light.lamps * 0.2) - rgb).mul_(glow))


def _stars_and_moon(shot: Shot) -> None:
    slab = shot.slab(bottom=HORIZON[1])
    draws, clear = shot.draws, shot.light.night * (1.0 - shot.weather.grey)
    cells = 26.0
    column, row = (slab.x * cells).floor(), (slab.y * cells).floor()
    offset = (draws.uniform("sky", 4) * 4096.0).floor()
    value = white(column + offset, row, 1)
    dx = slab.x * cells - column - digits(value, 1) * 0.8 - 0.1
    dy = slab.y * cells - row - digits(value, 2) * 0.8 - 0.1
    bright = (value - 0.72).clamp_(min=0.0) * 4.0
    star = ((0.14 - root(dx * dx + dy * dy)) * (shot.size / cells) + 0.3).clamp_(0.0, 1.0) * bright
    slab.pixels[:, :3].add_(star * (clear * 0.7))
    moon_x, moon_y = draws.uniform("sky", 5, 0.08, 0.92), draws.uniform("sky", 6, 0.06, 0.22)
    dx, dy = slab.x - moon_x, slab.y - moon_y
    radius = root(dx * dx + dy * dy)
    disc = ((0.022 - radius) * shot.size + 0.5).clamp_(0.0, 1.0)
    halo = 0.0006 / (radius * radius + 0.0006) * 0.35
    present = draws.chance("sky", 7, 0.5)
    slab.pixels[:, :3].add_((disc + halo) * (clear * present * 0.85))


def draw_skyline(shot: Shot, tall: float, colour: tuple[float, float, float], blocks: float, salt: int) -> None:
    """A distant row of things along the horizon: hills and woods (blocks 0) or buildings `blocks` to the picture."""
    slab = shot.slab(top=HORIZON[0] - tall, bottom=HORIZON[1])
    shift = shot.draws.uniform("skyline", salt, 0.0, 512.0)
    if blocks > 0:
        cell = (slab.x * blocks + shift).floor()
        profile = white(cell, torch.zeros_like(cell), salt)
        profile = profile * profile
    else:
        u = slab.x * 130.0 + shift
        profile = fractal(u, torch.zeros_like(u) + 16.0 * salt)
    top = shot.horizon - profile * tall  # (B, 1, 1, w)
    alpha = span(slab.y, top, shot.horizon + 0.01, shot.size)
    white_ground = shot.colour((0.86, 0.88, 0.91))
    rgb = mix(shot.colour(colour), white_ground, (shot.weather.snow * 0.75) if blocks == 0 else 0.0)
    slab.blend(alpha, shot.material(rgb, torch.full_like(shot.horizon, SKY_DISPARITY * 1.3)))
