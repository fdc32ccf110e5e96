"""Cars seen from behind or in front, on the road or parked."""

from dataclasses import dataclass

from torch import Tensor

from ..canvas import mix, span, step
from ..noise import white
from .ground import SNOW
from .shot import Shot

PAINT = (
    (0.75, 0.76, 0.78),
    (0.12, 0.12, 0.14),
    (0.85, 0.85, 0.84),
    (0.55, 0.08, 0.08),
    (0.13, 0.20, 0.42),
    (0.36, 0.38, 0.40),
    (0.28, 0.25, 0.22),
    (0.16, 0.30, 0.24),
)
TAIL = (0.95, 0.10, 0.08)
HEAD = (1.0, 0.98, 0.90)


@dataclass
class Car:
    """Where a car stands; all (B, 1, 1, 1)."""

    centre: Tensor  # u of its middle
    disparity: Tensor
    present: Tensor  # 1 or 0
    oncoming: Tensor  # 1: seen from the front


def draw_car(shot: Shot, car: Car, near: float, slot: int, left: float = 0.0, right: float = 1.0) -> None:
    """Draw a car no nearer than disparity `near`, between the image columns `left` and `right`.

    `slot` numbers its own draws: two of the purpose "vehicle", from 2 * slot.
    """
    ground = car.disparity * shot.height + shot.horizon
    slab = shot.slab(top=0.50 - 0.1 * near - 0.07, bottom=0.5 + near * 0.6 + 0.02, left=left, right=right)
    size, light = shot.size, shot.light
    shape = shot.draws.uniform("vehicle", 2 * slot)
    w = car.disparity * (shape * 0.06 + 0.37)  # image width
    h = car.disparity * (shape * shape * 0.16 + 0.30)  # saloon to van
    dx = (slab.x - car.centre).abs()  # (B, 1, 1, w)
    up = (ground - slab.y) / h  # 0 at the road, 1 at the roof, (B, 1, h, 1)
    rise = h * size

    def rows(low: float, high: float) -> Tensor:
        return (((up - low) * rise + 0.5).clamp(0.0, 1.0) - ((up - high) * rise + 0.5).clamp(0.0, 1.0)) * car.present

    def columns(inner: float, outer: float) -> Tensor:
        return step(w * outer - dx, size) - (step(w * inner - dx, size) if inner > 0 else 0.0)

    paint = shot.palette("vehicle", 2 * slot + 1, PAINT)
    d = car.disparity
    slab.tint(columns(0.0, 0.56) * rows(-0.10, 0.10), 0.38 - 0.15 * shot.weather.sun)
    slab.blend(columns(0.28, 0.47) * rows(0.0, 0.25), shot.material((0.05, 0.05, 0.05), d))
    lean = (up - 0.5).clamp(0.0, 1.0) * (0.30 - shape * 0.22)  # the cabin narrows upwards, less so on a van
    cabin = step(w * (0.46 - lean) - dx, size) * rows(0.45, 1.0)
    slab.blend(cabin, shot.material(mix(paint * 0.92, shot.colour(SNOW), shot.weather.snow * 0.35), d))
    glass = mix(shot.colour((0.10, 0.12, 0.15)), light.sky_low, 0.18 * (1.0 - light.night))
    slab.paint(step(w * (0.39 - lean) - dx, size) * rows(0.56, 0.90), glass)
    slab.blend(columns(0.0, 0.5) * rows(0.12, 0.56), shot.material(paint, d))
    slab.paint(columns(0.0, 0.48) * rows(0.12, 0.22), paint * 0.45)
    lamp = mix(shot.colour(TAIL), shot.colour(HEAD), car.oncoming)
    glow = light.lamps * 0.7 + 0.25
    slab.blend(columns(0.31, 0.48) * rows(0.36, 0.50), shot.material(lamp, d, glow))
    slab.paint(columns(0.0, 0.14) * rows(0.27, 0.36), shot.colour((0.82, 0.82, 0.76)))
    if bool((shot.weather.snow > 0).any()):
        cap = step(w * (0.44 - lean) - dx, size) * rows(0.93, 1.04) * (shot.weather.snow * 1.3).clamp(max=1.0)
        slab.paint(cap, shot.colour(SNOW))
    if bool((light.night > 0).any()):
        _halo(shot, slab.x, ground, car, w, h, slot, (slab.pixels, slab.y))


def _halo(
    shot: Shot, x: Tensor, ground: Tensor, car: Car, w: Tensor, h: Tensor, slot: int, target: tuple[Tensor, Tensor]
) -> None:
    """Light scattered around a pair of lamps at night."""
    pixels, y = target
    dx = ((x - car.centre).abs() - w * 0.4) / w
    dy = (y - (ground - h * 0.43)) / w
    r2 = dx * dx + dy * dy
    reach = 0.012 + 0.03 * car.oncoming
    glow = (reach / (r2 + reach) - 0.04).clamp_(min=0.0) * (shot.light.night * car.present * 0.75)
    lamp = mix(shot.colour(TAIL), shot.colour(HEAD), car.oncoming)
    rgb = pixels[:, :3]
    rgb.add_((lamp - rgb).mul_(glow))
    pixels[:, 4:5].add_((1.0 - pixels[:, 4:5]).mul_(glow))


TRAFFIC = ((0.10, 0.16), (0.20, 0.32), (0.38, 0.62))  # disparity ranges of the slots, far to near


def draw_traffic(shot: Shot, lanes: int, pitch: float, chance: float, two_way: bool) -> None:
    """Up to three cars in the lanes, `pitch` apart; on a two-way road those left of the middle are oncoming."""
    for slot, (low, high) in enumerate(TRAFFIC):
        d = shot.draws.uniform("vehicle", 20 + slot, low, high)
        lane = shot.draws.uniform("vehicle", 23 + slot, 0.0, lanes).floor() + 0.5 - 0.5 * lanes
        drift = shot.draws.uniform("vehicle", 26 + slot, -0.06, 0.06)
        present = shot.draws.chance("vehicle", 29 + slot, chance)
        oncoming = (lane < 0).to(d) if two_way else d * 0.0
        draw_car(shot, Car(shot.vanish + (lane * pitch + drift) * d, d, present, oncoming), high, slot)


def draw_car_row(shot: Shot, disparity: Tensor, near: float, pitch: float, slot: int) -> None:
    """A row of parked cars across the whole picture, `pitch` apart in image widths at disparity 1."""
    slab = shot.slab(top=0.42 - 0.1 * near, bottom=0.5 + near * 0.6 + 0.02)
    size = shot.size
    place = (slab.x - shot.vanish) / (disparity * pitch) + shot.draws.uniform("vehicle", 2 * slot)
    cell = place.floor()
    salt = (shot.draws.uniform("vehicle", 2 * slot + 1) * 4096.0).floor()
    from_middle = (place - cell - 0.5).abs() * (disparity * pitch)
    pick = _hash(cell + salt, 5)
    tall = _hash(cell + salt, 6) * 0.12 + 0.28
    there = (_hash(cell + salt, 7) < 0.86).to(pick)
    shade = _hash(cell + salt, 8) * 0.8 + 0.1  # (B, 1, 1, w)
    paint = _paint(shot, pick, shade)
    ground = shot.base(disparity)
    half, h = disparity * 0.185, disparity * tall

    def part(wide: float, low: float, high: float) -> Tensor:
        return step(half * wide - from_middle, size) * span(slab.y, ground - h * high, ground - h * low, size) * there

    slab.tint(part(1.1, -0.12, 0.15), 0.4)
    slab.blend(part(0.82, 0.45, 1.0), shot.material(mix(paint, shot.colour(SNOW), shot.weather.snow * 0.6), disparity))
    slab.paint(part(0.70, 0.55, 0.88), shot.colour((0.13, 0.15, 0.18)))
    slab.blend(part(1.0, 0.10, 0.56), shot.material(paint, disparity))
    lights = part(0.96, 0.34, 0.48) - part(0.64, 0.34, 0.48)
    slab.paint(lights, shot.colour((0.75, 0.12, 0.10)))


def _hash(cell: Tensor, salt: int) -> Tensor:
    return white(cell, cell * 0.0, salt)


def _paint(shot: Shot, pick: Tensor, shade: Tensor) -> Tensor:
    """Mostly grey paints, some red and some blue, as (B, 3, 1, w)."""
    red = (pick < 0.2).to(shade)
    blue = (pick > 0.8).to(shade)
    tint = shot.colour((0.0, -0.75, -0.75)) * red + shot.colour((-0.65, -0.45, 0.1)) * blue + 1.0
    return shade * tint
