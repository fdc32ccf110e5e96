"""City street: tall fronts with window grids on both sides, pavements and a zebra crossing."""

from torch import Tensor

from ..canvas import fraction, mix, span
from ..noise import white
from .ground import Layout, draw_ground, draw_stripes
from .props import WINDOW_LIT, draw_lamp, glass_colour, sunlit
from .shot import Shot
from .sky import draw_skyline
from .vehicles import Car, draw_car, draw_traffic

WALL = 1.12  # lateral position of the fronts
FLOORS = 4.2  # floors per unit of height
BAYS = 2.6  # windows per unit of depth


def draw_city(shot: Shot) -> None:
    """Paint a city street."""
    draw_skyline(shot, 0.22, (0.42, 0.44, 0.48), 34.0, 3)
    draw_ground(shot, Layout(half=0.82, lanes=3, walk=0.3, verge=(0.45, 0.44, 0.43)))
    draw_stripes(shot, near=0.62, far=0.42, period=0.16, duty=0.55, reach=0.82)
    _fronts(shot)
    draw_lamp(shot, 0.22, 0.92, -1.0)
    draw_lamp(shot, 0.42, 0.92, 1.0)
    _kerbside_cars(shot)
    draw_traffic(shot, lanes=2, pitch=0.5, chance=0.5, two_way=True)


def _fronts(shot: Shot) -> None:
    slab = shot.slab(bottom=0.97)
    size, draws = shot.size, shot.draws
    sideways = slab.x - shot.vanish  # (B, 1, 1, w)
    side = (sideways > 0).to(sideways)
    d = (sideways.abs() * (1.0 / WALL)).clamp(min=0.03)
    z = 1.0 / d
    length = z * 0.55 + side * 31.0 + (draws.uniform("structure", 0, 0.0, 2000.0))
    block = length.floor()
    tall = white(block, side, 11) * 1.9 + 0.75  # (B, 1, 1, w)
    tone = white(block, side, 12)
    warm = white(block, side, 13)
    wall = mix(shot.colour((0.50, 0.52, 0.55)), shot.colour((0.66, 0.50, 0.38)), warm) * (tone * 0.6 + 0.65)
    wall = wall * mix(sunlit(shot, -1.0), sunlit(shot, 1.0), side)
    top = shot.horizon - d * tall
    near_enough = ((sideways.abs() - 0.035) * size + 0.5).clamp(0.0, 1.0)
    alpha = span(slab.y, top, shot.base(d), size) * near_enough
    roofline = fraction(length)
    seam = ((0.03 - (roofline - 0.5).abs() + 0.47) * 40.0).clamp(0.0, 1.0)  # dark joint between neighbours
    slab.blend(alpha, shot.material(wall * (seam * 0.35 + 0.65), d))
    _windows(shot, alpha, d, z, tall, block + side * 57.0)


def _windows(shot: Shot, alpha: Tensor, d: Tensor, z: Tensor, tall: Tensor, building: Tensor) -> None:
    slab = shot.slab(bottom=0.97)
    size = shot.size
    height = (shot.horizon - slab.y) * z  # above the camera, (B, 1, h, w)
    storey = height * FLOORS
    floor_id = storey.floor()
    up = (storey - floor_id).sub_(0.5).abs_()
    crisp = (d * (size / FLOORS)).clamp(max=30.0)  # pixels per storey
    panes = ((0.27 - up) * crisp).add_(0.5).clamp_(0.0, 1.0)
    bay = z * BAYS
    bay_id = bay.floor()
    along = (bay - bay_id - 0.5).abs()
    wide = (d * d * (size * WALL / BAYS)).clamp(max=30.0)  # pixels per bay
    panes = panes * ((0.29 - along) * wide + 0.5).clamp(0.0, 1.0)
    legible = ((crisp - 1.2) * 0.7).clamp(0.0, 1.0) * 0.9
    wall_part = ((height - 0.02) * (d * size)).clamp_(0.0, 1.0) * ((tall - 0.08 - height) * (d * size)).clamp_(0.0, 1.0)
    lit = (white(floor_id, bay_id + building, 14) < 0.42).to(d) * (shot.light.lamps * 1.1).clamp(max=1.0)
    colour = mix(glass_colour(shot), shot.colour(WINDOW_LIT), lit)
    slab.blend(panes * wall_part * alpha * legible, shot.material(colour, d, lit))
    # Shop fronts at street level: a glass band under a coloured fascia.
    shop = ((0.16 - (height + 0.26).abs()) * (d * size) + 0.5).clamp_(0.0, 1.0) * alpha * legible
    shop = shop * ((0.42 - along) * wide + 0.5).clamp(0.0, 1.0)
    pane = mix(glass_colour(shot), shot.colour(WINDOW_LIT), shot.light.lamps)
    slab.blend(shop, shot.material(pane, d, shot.light.lamps))
    sign = ((0.045 - (height + 0.04).abs()) * (d * size) + 0.5).clamp_(0.0, 1.0) * alpha * legible
    hue = white(building, building * 0.0, 15)
    fascia = shot.colour((0.75, 0.18, 0.14)) * (hue < 0.3).to(d) + shot.colour((0.14, 0.32, 0.56)) * (hue > 0.65).to(d)
    fascia = fascia + shot.colour((0.16, 0.40, 0.24)) * ((hue >= 0.3) & (hue <= 0.65)).to(d)
    slab.blend(sign, shot.material(fascia, d, shot.light.lamps * 0.7))


def _kerbside_cars(shot: Shot) -> None:
    """Cars parked along the kerb, far to near."""
    for slot, (near, side) in enumerate(((0.16, 1.0), (0.24, -1.0), (0.30, 1.0))):
        d = shot.draws.uniform("structure", 10 + slot, near * 0.85, near)
        present = shot.draws.chance("structure", 14 + slot, 0.7)
        left, right = (0.0, 0.6) if side < 0 else (0.4, 1.0)
        centre = shot.vanish + d * (side * 0.70)
        draw_car(shot, Car(centre, d, present, (d < 0).to(d)), near, 4 + slot, left, right)
