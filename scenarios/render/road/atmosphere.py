"""What the weather does to the finished scene: light, reflections, fog, rain and snow in the air."""

import torch
from torch import Tensor

from ..canvas import mix, root
from ..noise import digits, fractal, white
from .shot import Shot

DAMP = 0.08  # wetness below which a road only darkens
TUNNEL_LIGHT = (0.62, 0.55, 0.44)


def illuminate(shot: Shot) -> None:
    """Multiply surfaces by the light that falls on them; emissive ones keep their own."""
    light, weather = shot.light, shot.weather
    level: Tensor = light.ambient + light.sun * weather.sun
    level = level * mix(level.new_ones(1, 1, 1, 1), level.new_full((1, 1, 1, 1), 0.97), weather.grey)
    if shot.outside is not None:
        inside = shot.colour(TUNNEL_LIGHT) * shot.draws.uniform("light", 1, 0.75, 1.1)
        level = inside + (level - inside) * shot.outside
    if bool((light.night > 0).any()):
        level = level + _headlights(shot) * shot.colour((0.62, 0.58, 0.48))
    emission = shot.canvas[:, 4:5]
    rgb = shot.canvas[:, :3]
    rgb.mul_(level + (1.0 - level) * emission)


def _headlights(shot: Shot) -> Tensor:
    """The pool of light of the car's own lamps, fading with distance and to the sides."""
    d = shot.canvas[:, 3:4]
    sideways = (shot.x - shot.vanish) * 2.4
    drop = (shot.y - (shot.horizon + 0.22)) * 3.0
    pool = 1.05 / (1.0 + sideways * sideways + drop * drop * 4.0)
    near = (d * 3.5 - 0.2).clamp_(0.0, 1.0)
    return pool * near * shot.light.night


def reflect(shot: Shot) -> None:
    """Mirror the scene in a wet road, more at grazing angles and in puddles."""
    wet = shot.weather.wet
    if not bool((wet > DAMP).any()):
        return
    slab, d = shot.ground()
    size = shot.size
    rows = ((shot.horizon * 2.0 - slab.y) * size).floor().clamp(0, size - 1).to(torch.int64)  # (B, 1, h, 1)
    image = torch.arange(shot.batch, device=wet.device).reshape(-1, 1)
    flat = (image * size + rows.reshape(shot.batch, -1)).reshape(-1)
    lines = shot.canvas[:, :3].permute(0, 2, 1, 3).reshape(shot.batch * size, 3, size)
    mirrored = lines.index_select(0, flat).reshape(shot.batch, -1, 3, size).permute(0, 2, 1, 3)
    across = (slab.x - shot.vanish) / d
    puddle = fractal(across * 36.0 + shot.draws.uniform("ground", 8, 0.0, 512.0), 60.0 / d)
    puddle = ((puddle - 1.05 + wet) * 3.0).clamp_(0.0, 1.0)
    flatness = ((slab.pixels[:, 3:4] - d).abs_().mul_(-25.0)).add_(1.3).clamp_(0.0, 1.0)  # the ground, not things on it
    grazing = (1.0 - d).clamp(min=0.0) * 0.90 + 0.06
    alpha = (puddle * 0.75 + 0.25) * flatness * (grazing * (wet - DAMP).clamp(min=0.0))
    if shot.outside is not None:
        alpha = alpha * shot.outside[:, :, -alpha.shape[2] :]
    rgb = slab.pixels[:, :3]
    rgb.add_((mirrored * 1.05 - rgb).mul_(alpha))


def add_fog(shot: Shot) -> None:
    """Fade colours into the fog with transmittance (d / (d + k))^2, which needs no exponential."""
    haze = shot.weather.haze
    thickness: Tensor = haze if shot.outside is None else haze * shot.outside
    d = shot.canvas[:, 3:4].clamp(min=0.02)
    clear = d / (d + thickness)
    veil = 1.0 - clear * clear
    colour = mix(shot.light.sky_low, shot.light.fog, (shot.weather.grey * 1.4).clamp(max=1.0))
    rgb = shot.canvas[:, :3]
    rgb.add_((colour - rgb).mul_(veil))


def add_rain(shot: Shot) -> None:
    """Slanted streaks in the air and drops on the windscreen."""
    rain = shot.weather.rain
    if not bool((rain > 0).any()):
        return
    draws, light = shot.draws, shot.light
    slant = draws.uniform("precipitation", 0, -0.25, 0.25)
    column = (shot.x + shot.y * slant) * 70.0
    lane = column.floor()
    fall = shot.y * 5.0 + white(lane, lane * 0.0 + (draws.uniform("precipitation", 1) * 9999.0).floor(), 3) * 7.0
    drop = white(lane, fall.floor() + (draws.uniform("precipitation", 2) * 9999.0).floor(), 4)
    thin = 1.0 - ((column - lane) - 0.5).abs_() * 2.0
    alpha = ((drop - 1.0 + rain * 0.40) * 6.0).clamp_(0.0, 1.0) * thin * (rain * 0.22 + 0.10)
    bright = mix(light.fog, light.cloud_lit, 0.3) * 1.05
    _veil(shot, alpha, bright)
    cells = 11.0
    wobble = draws.uniform("precipitation", 3, 0.0, 300.0).floor()
    disc, shade = _specks(shot, cells, wobble, rain * 0.45, 0.13, 0.32)
    # A drop shows the scene upside down: bright sky at its foot, dark road at its head.
    _veil(shot, disc * 0.36, bright * (0.75 + shade * 0.35))


def add_snowflakes(shot: Shot) -> None:
    """Falling flakes, near and far."""
    flakes = shot.weather.flakes
    if not bool((flakes > 0).any()):
        return
    bright = mix(shot.light.cloud_lit, shot.light.fog, 0.75) * 1.16 + shot.light.night * 0.22
    for layer, (cells, radius, alpha) in enumerate(((26.0, 0.26, 0.70), (12.0, 0.17, 0.85))):
        shift = shot.draws.uniform("precipitation", 6 + layer, 0.0, 300.0).floor()
        disc, _ = _specks(shot, cells, shift, flakes * 0.6, radius * 0.55, radius)
        _veil(shot, disc * alpha, bright)


def _specks(shot: Shot, cells: float, salt: Tensor, share: Tensor, small: float, large: float) -> tuple[Tensor, Tensor]:
    """Round specks on a jittered grid: coverage, and the signed height of the pixel within its speck's cell."""
    u, v = shot.x * cells, shot.y * cells
    column, row = u.floor(), v.floor()
    value = white(column + salt, row, 5)
    there = (value < share).to(share)
    radius = digits(value, 1) * (large - small) + small
    dx = (u - column - 0.5) - (digits(value, 2) - 0.5) * (1.0 - 2.0 * large)
    dy = (v - row - 0.5) - (digits(value, 3) - 0.5) * (1.0 - 2.0 * large)
    disc = (radius - root(dx * dx + dy * dy)).mul_(shot.size / cells).add_(0.5).clamp_(0.0, 1.0)
    return disc * there, dy * 3.0


def _veil(shot: Shot, alpha: Tensor, colour: Tensor) -> None:
    if shot.outside is not None:
        alpha = alpha * shot.outside
    rgb = shot.canvas[:, :3]
    rgb.add_((colour - rgb).mul_(alpha))
