"""Parking lot and gas station: open paved ground with things standing on it."""

from torch import Tensor

from ..canvas import fraction, mix, span, step
from .ground import CONCRETE, SNOW, Layout, draw_ground
from .props import WINDOW_LIT, draw_lamp, glass_colour
from .shot import Shot
from .sky import draw_skyline
from .vehicles import Car, draw_car, draw_car_row, draw_traffic

BRANDS = ((0.80, 0.10, 0.10), (0.06, 0.28, 0.62), (0.05, 0.45, 0.24), (0.92, 0.68, 0.06), (0.90, 0.38, 0.06))


def draw_parking(shot: Shot) -> None:
    """A parking lot: a low store, rows of parked cars ahead and on both sides, stall lines."""
    draw_skyline(shot, 0.05, (0.22, 0.30, 0.16), 0, 1)
    draw_ground(shot, Layout(half=4.0, lanes=8, marked=False))
    _stall_lines(shot)
    _store(shot, 0.075, 0.9)
    draw_car_row(shot, shot.draws.uniform("structure", 6, 0.10, 0.12), 0.12, 0.48, 10)
    draw_car_row(shot, shot.draws.uniform("structure", 7, 0.15, 0.18), 0.18, 0.48, 11)
    draw_lamp(shot, 0.2, 0.75, -1.0)
    _side_rows(shot)


def _stall_lines(shot: Shot) -> None:
    """Lines across both sides of the aisle, one car length long."""
    slab, d = shot.ground()
    beside = (slab.x - shot.vanish).abs()
    z = 1.0 / d
    phase = (fraction(z * 0.9 + shot.draws.uniform("ground", 3)) - 0.5).abs()
    pixels = d * d * (0.61 * shot.size)  # rows per stall
    line = ((0.06 - phase) * pixels + 0.5).clamp(0.0, 1.0) * (pixels * 0.3).clamp(max=1.0)
    alpha = line * span(beside, d * 0.45, d * 1.15, shot.size)
    edge = span(beside, d * 0.43, d * 0.47, shot.size) * (d < 0.9).to(d)
    worn = (1.0 - shot.weather.snow * 1.1).clamp(min=0.05) * shot.draws.uniform("ground", 4, 0.65, 0.95)
    alpha = (alpha + edge).clamp_(max=1.0) * worn
    rgb = slab.pixels[:, :3]
    rgb.add_((shot.colour((0.90, 0.90, 0.86)) - rgb).mul_(alpha))


def _store(shot: Shot, d_value: float, half: float) -> None:
    """A low flat-roofed store across the far end."""
    d = shot.horizon * 0.0 + d_value
    slab = shot.slab(top=0.28, bottom=0.58)
    centre = shot.vanish + shot.draws.uniform("structure", 0, -0.22, 0.22)
    width = shot.draws.uniform("structure", 1, 0.6, 1.0) * (half * 0.42)
    roof = shot.horizon - shot.draws.uniform("structure", 2, 0.055, 0.085)
    foot = shot.base(d)
    dx = (slab.x - centre).abs()
    body = step(width - dx, shot.size)
    walls = shot.palette("structure", 3, ((0.76, 0.72, 0.64), (0.66, 0.67, 0.68), (0.62, 0.50, 0.42)))
    slab.blend(body * span(slab.y, roof, foot, shot.size), shot.material(walls, d))
    sign = shot.palette("structure", 4, BRANDS)
    glow = shot.light.lamps
    slab.blend(body * span(slab.y, roof + 0.008, roof + 0.03, shot.size), shot.material(sign, d, glow * 0.8))
    pane = mix(glass_colour(shot), shot.colour(WINDOW_LIT), glow)
    glass = step(width * 0.85 - dx, shot.size) * span(slab.y, foot - 0.045, foot - 0.012, shot.size)
    slab.blend(glass, shot.material(pane, d, glow))
    cap = body * span(slab.y, roof - 0.012, roof, shot.size) * (shot.weather.snow * 1.5).clamp(max=1.0)
    slab.blend(cap, shot.material(SNOW, d))


def _side_rows(shot: Shot) -> None:
    """Cars parked on both sides of the aisle, far to near."""
    slot = 0
    for near in (0.24, 0.33, 0.47, 0.66):
        for side in (-1.0, 1.0):
            d = shot.horizon * 0.0 + near
            present = shot.draws.chance("structure", 10 + slot, 0.85)
            centre = shot.vanish + d * (side * shot.draws.uniform("structure", 20 + slot, 0.74, 0.80))
            left, right = (0.0, 0.58) if side < 0 else (0.42, 1.0)
            draw_car(shot, Car(centre, d, present, d * 0.0), near, slot, left, right)
            slot += 1


def draw_gas_station(shot: Shot) -> None:
    """A forecourt: canopy on pillars over pumps, a shop behind, a price sign at the roadside."""
    draw_skyline(shot, 0.06, (0.24, 0.31, 0.18), 0, 1)
    draw_ground(shot, Layout(half=4.0, lanes=8, road=CONCRETE, marked=False))
    _store(shot, 0.11, 0.65)
    brand = shot.palette("structure", 8, BRANDS)
    middle = shot.vanish + shot.draws.uniform("structure", 9, -0.12, 0.12)
    near = shot.draws.uniform("structure", 10, 0.34, 0.44)
    _canopy(shot, middle, near, brand)
    _price_sign(shot, brand)
    _pumps(shot, middle, near, brand)
    draw_traffic(shot, lanes=2, pitch=0.75, chance=0.4, two_way=False)


def _canopy(shot: Shot, middle: Tensor, near: Tensor, brand: Tensor) -> None:
    slab = shot.slab(bottom=0.8)
    size, lamps = shot.size, shot.light.lamps
    clear, half = 0.78, shot.draws.uniform("structure", 11, 0.92, 1.12)
    far = near * 0.5
    dx = (slab.x - middle).abs()
    # Pillars of the far row, then the underside, then the near row and the fascia.
    pillar = shot.material((0.80, 0.80, 0.80), near)
    for d, shade in ((far, 0.8), (near, 1.0)):
        spot = (dx - d * 0.58).abs()
        rows = span(slab.y, shot.horizon - d * clear, shot.base(d), size)
        slab.blend(step(d * 0.045 - spot, size) * rows, pillar * shade)
    plane = (shot.horizon - slab.y) * (1.0 / clear)  # disparity of the underside, (B, 1, h, 1)
    under = span(plane, far, near, size) * step(plane * half - dx, size)
    soffit = mix(shot.colour((0.52, 0.53, 0.55)), shot.colour((0.95, 0.95, 0.90)), lamps)
    slab.blend(under, shot.material(soffit, near, lamps * 0.85))
    spots = (fraction(dx / (plane.clamp(min=0.05) * 0.4)) - 0.5).abs()
    lights = ((0.16 - spots) * (plane * (0.4 * size)) + 0.5).clamp_(0.0, 1.0)
    bands = span((plane / near - 0.74).abs(), near * 0.0 - 1.0, near * 0.0 + 0.07, size)
    slab.blend(under * lights * bands, shot.material((1.0, 1.0, 0.94), near, lamps * 0.8 + 0.2))
    low = shot.horizon - near * clear
    high = low - near * 0.30
    face = step(near * half - dx, size)
    slab.blend(face * span(slab.y, high, low, size), shot.material((0.90, 0.90, 0.90), near, lamps * 0.7))
    stripe = face * span(slab.y, high + near * 0.02, low - near * 0.12, size)
    slab.paint(stripe, brand)
    logo = step(near * 0.22 - dx, size) * span(slab.y, high + near * 0.05, low - near * 0.15, size)
    slab.paint(logo, shot.colour((0.96, 0.95, 0.90)))
    cap = face * span(slab.y, high - near * 0.05, high, size) * (shot.weather.snow * 1.5).clamp(max=1.0)
    slab.blend(cap, shot.material(SNOW, near))


def _pumps(shot: Shot, middle: Tensor, near: Tensor, brand: Tensor) -> None:
    slab = shot.slab(top=0.35, bottom=0.8)
    size = shot.size
    dx = (slab.x - middle).abs()
    for scale in (0.62, 1.0):
        d = near * scale
        foot = shot.base(d)
        for place in (0.36, 0.80):
            spot = (dx - d * place).abs()
            wide = step(d * 0.085 - spot, size)
            kerb = step(d * 0.13 - spot, size) * span(slab.y, foot - d * 0.05, foot + d * 0.02, size)
            slab.blend(kerb, shot.material((0.72, 0.71, 0.66), d))
            slab.blend(
                wide * span(slab.y, foot - d * 0.46, foot - d * 0.03, size), shot.material((0.86, 0.86, 0.86), d)
            )
            slab.blend(wide * span(slab.y, foot - d * 0.50, foot - d * 0.38, size), shot.material(brand, d, 0.1))
            panel = step(d * 0.055 - spot, size) * span(slab.y, foot - d * 0.34, foot - d * 0.22, size)
            slab.paint(panel, shot.colour((0.10, 0.11, 0.13)))
            slab.paint(wide * span(slab.y, foot - d * 0.14, foot - d * 0.03, size), brand * 0.7)


def _price_sign(shot: Shot, brand: Tensor) -> None:
    side = shot.draws.chance("structure", 12, 0.5) * 2.0 - 1.0
    d = shot.draws.uniform("structure", 13, 0.26, 0.34)
    present = shot.draws.chance("structure", 14, 0.8)
    slab = shot.slab(top=0.0, bottom=0.75)
    centre = shot.vanish + side * d * 1.33
    dx = (slab.x - centre).abs()
    top = shot.horizon - d * 1.0
    lamps = shot.light.lamps
    post = step(d * 0.03 - dx, shot.size) * span(slab.y, top, shot.base(d), shot.size) * present
    slab.blend(post, shot.material((0.5, 0.5, 0.5), d))
    board = step(d * 0.15 - dx, shot.size) * present
    slab.blend(board * span(slab.y, top, top + d * 0.26, shot.size), shot.material(brand, d, lamps * 0.9))
    lower = board * span(slab.y, top + d * 0.26, top + d * 0.62, shot.size)
    slab.blend(lower, shot.material((0.92, 0.92, 0.90), d, lamps * 0.9))
    for row in (0.32, 0.43, 0.54):
        digits = step(d * 0.10 - dx, shot.size) * span(slab.y, top + d * row, top + d * (row + 0.05), shot.size)
        slab.paint(digits * present, shot.colour((0.12, 0.12, 0.14)))
