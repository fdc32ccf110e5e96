"""The ground plane: verge, pavement, road, markings, cast shadow, snow cover and wetness."""

from dataclasses import dataclass

from torch import Tensor

from ..canvas import Slab, fraction, mix, smooth, span, step
from ..noise import fractal
from .shot import Shot

Rgb = tuple[float, float, float]
SNOW: Rgb = (0.93, 0.95, 0.98)
GRASS: Rgb = (0.30, 0.40, 0.17)
CONCRETE: Rgb = (0.55, 0.54, 0.52)
ASPHALT: Rgb = (0.335, 0.335, 0.345)


@dataclass(frozen=True)
class Layout:
    """Cross-section of the road, in image widths at disparity 1."""

    half: float  # half the carriageway
    lanes: int = 2
    walk: float = 0.0  # width of the pavement beside it
    verge: Rgb = GRASS
    road: Rgb = ASPHALT
    centre: Rgb = (0.92, 0.92, 0.90)  # colour of the lane lines
    marked: bool = True


def draw_ground(shot: Shot, layout: Layout, shelter: Tensor | None = None) -> None:
    """Paint everything below the horizon; `shelter` (B, 1, 1, 1) is the disparity from which a tunnel keeps it dry."""
    slab, d = shot.ground()
    sideways = slab.x - shot.vanish  # (B, 1, 1, w)
    across = sideways / d  # lateral position X on the ground, (B, 1, h, w)
    far = shot.draws.uniform("ground", 1, 0.0, 512.0)
    grain = fractal(across * 42.0 + shot.draws.uniform("ground", 0, 0.0, 512.0), 55.0 / d + far)
    detail = (d * 6.0).clamp(max=1.0)  # distant texture is below a pixel: fade it
    grain = (grain - 0.5) * detail
    below = step(slab.y - shot.horizon, shot.size)  # (B, 1, h, 1)
    slab.blend(below, shot.material(shot.colour(layout.verge), d))
    rgb = slab.pixels[:, :3]
    beside = sideways.abs()
    on_road = step(d * layout.half - beside, shot.size) * below
    tone = shot.draws.uniform("ground", 2, 0.85, 1.15)
    if layout.walk > 0:
        on_walk = step(d * (layout.half + layout.walk) - beside, shot.size) * below
        rgb.add_((shot.colour(CONCRETE) - rgb).mul_(on_walk))
        kerb = (on_walk - on_road) * step(d * (layout.half + 0.05) - beside, shot.size)
        rgb.add_((shot.colour((0.70, 0.69, 0.66)) - rgb).mul_(kerb))
    rgb.add_((shot.colour(layout.road) * tone - rgb).mul_(on_road))
    rgb.mul_((grain * below).mul_(0.45).add_(1.0))
    if layout.marked:
        _lane_lines(shot, slab, d, across, on_road, layout)
    exposed = below if shelter is None else below * step(shelter - d, shot.size)
    _cast_shadow(shot, slab, d, sideways, exposed)
    if bool((shot.weather.wet > 0).any()):
        rgb.mul_((on_road * exposed).mul_(shot.weather.wet * -0.55).add_(1.0))
    if bool((shot.weather.snow > 0).any()):
        _snow_cover(shot, slab, grain, across, on_road, exposed, layout)


def _lane_lines(shot: Shot, slab: Slab, d: Tensor, across: Tensor, on_road: Tensor, layout: Layout) -> None:
    pitch = 2.0 * layout.half / layout.lanes
    lane = across * (1.0 / pitch) + (0.5 * layout.lanes - 0.04)
    gap = (lane - (lane + 0.5).floor()).abs_().mul_(d * pitch)  # image distance to the nearest line
    width = d * 0.020
    line = ((width - gap) * shot.size).add_(0.5).clamp_(0.0, 1.0) * (width * (2 * shot.size)).clamp(max=1.0)
    z = 1.0 / d
    phase = fraction(z * 0.55 + shot.draws.uniform("ground", 3))
    soft = (d * d * (1.2 * shot.size)).clamp(1.0, 40.0)  # rows per dash set how crisp its ends are
    dash = ((0.22 - (phase - 0.5).abs()) * soft + 0.5).clamp(0.0, 1.0)
    dash = mix(dash.new_full((1, 1, 1, 1), 0.45), dash, (d * 7.0 - 0.4).clamp(0.0, 1.0))
    outer = ((across.abs() - (layout.half - 0.35 * pitch)) * 50.0).clamp_(0.0, 1.0)
    alpha = line * (dash + (1.0 - dash) * outer) * on_road * shot.draws.uniform("ground", 4, 0.6, 0.95)
    rgb = slab.pixels[:, :3]
    rgb.add_((shot.colour(layout.centre) - rgb).mul_(alpha))


def _cast_shadow(shot: Shot, slab: Slab, d: Tensor, sideways: Tensor, exposed: Tensor) -> None:
    """The shadow that things beside the road throw over one side of it, as hard and dark as the sun is strong."""
    side = shot.draws.chance("shadow", 0, 0.5) * 2.0 - 1.0
    z = 1.0 / d
    wobble = fractal(z * 26.0 + shot.draws.uniform("shadow", 1, 0.0, 512.0), z * 0.0 + 7.0) - 0.5  # (B, 1, h, 1)
    edge = d * (shot.draws.uniform("shadow", 2, 0.0, 0.7) + wobble * 0.8)
    alpha = step(sideways * side - edge, shot.size) * exposed
    strength = shot.weather.sun * (1.0 - shot.light.night) * -0.42
    slab.pixels[:, :3].mul_((alpha * strength).add_(1.0))


def _snow_cover(
    shot: Shot, slab: Slab, grain: Tensor, across: Tensor, on_road: Tensor, exposed: Tensor, layout: Layout
) -> None:
    """Snow settles on the verge first, on the road last, and least of all in the wheel tracks."""
    snow = shot.weather.snow
    lane = across * (layout.lanes / (2.0 * layout.half)) + 0.5 * layout.lanes
    track = (((lane - lane.floor()) - 0.5).abs_() - 0.22).abs_()  # distance to a wheel track, in lanes
    bare = (1.0 - (track * 7.0).clamp_(0.0, 1.0)) * 0.55 + 0.45
    level = snow * 1.7 - 0.25 - on_road * bare * 0.62  # how far the cover reaches here
    alpha = smooth((level + grain * 1.1) * 3.0 + 0.3) * smooth(snow * 10.0) * exposed
    rgb = slab.pixels[:, :3]
    rgb.add_((shot.colour(SNOW) * shot.draws.uniform("ground", 5, 0.88, 1.0) - rgb).mul_(alpha * 0.94))


def draw_stripes(shot: Shot, near: float, far: float, period: float, duty: float, reach: float) -> None:
    """White bars along the road between two disparities (a zebra crossing), out to `reach` either side."""
    slab, d = shot.ground()
    sideways = slab.x - shot.vanish
    shift = shot.draws.uniform("ground", 6, 0.9, 1.2)
    rows = span(d, shift * far, shift * near, shot.size)
    bar = (fraction(sideways / (d * period)) - 0.5).abs_()
    alpha = ((duty * 0.5 - bar) * (d * (period * shot.size)) + 0.5).clamp_(0.0, 1.0)
    alpha = alpha * rows * step(d * reach - sideways.abs(), shot.size) * (1.0 - shot.weather.snow * 0.8)
    rgb = slab.pixels[:, :3]
    rgb.add_((shot.colour((0.86, 0.86, 0.84)) - rgb).mul_(alpha * 0.85))
