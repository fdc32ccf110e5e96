"""Scenes without walls: highway and residential area."""

from torch import Tensor

from ..canvas import span, step
from .ground import Layout, draw_ground
from .props import draw_house, draw_lamp, draw_tree
from .shot import Shot
from .sky import draw_skyline
from .vehicles import draw_traffic


def draw_highway(shot: Shot) -> None:
    """Wide carriageway between guard rails, hills behind, a sign gantry over the road in most pictures."""
    draw_skyline(shot, 0.17, (0.33, 0.42, 0.40), 0, 1)
    draw_skyline(shot, 0.07, (0.20, 0.28, 0.14), 0, 2)
    draw_ground(shot, Layout(half=1.15, lanes=4))
    _rail(shot, 1.32, low=0.10, high=0.22, colour=(0.62, 0.64, 0.66))
    _gantry(shot)
    draw_traffic(shot, lanes=4, pitch=0.575, chance=0.55, two_way=False)


def _rail(shot: Shot, place: float, low: float, high: float, colour: tuple[float, float, float]) -> None:
    """A rail along both sides, at heights `low` to `high` above the ground."""
    slab, _ = shot.ground()
    d = (slab.x - shot.vanish).abs() * (1.0 / place)  # (B, 1, 1, w): where the line of sight meets the rail
    alpha = span(slab.y, shot.base(d) - d * high, shot.base(d) - d * low, shot.size)
    rib = span(slab.y, shot.base(d) - d * (0.55 * high + 0.45 * low), shot.base(d) - d * low, shot.size)
    slab.blend(alpha, shot.material(colour, d))
    slab.tint(rib, 0.7)


def _gantry(shot: Shot) -> None:
    draws, size = shot.draws, shot.size
    present = draws.chance("structure", 0, 0.75)
    d = draws.uniform("structure", 1, 0.20, 0.36)
    slab = shot.slab(top=0.05, bottom=0.75)
    beam = shot.horizon - d * 0.80
    beside = (slab.x - shot.vanish).abs()
    steel = shot.material((0.42, 0.43, 0.45), d)
    posts = span(beside, d * 1.22, d * 1.27, size) * span(slab.y, beam, shot.base(d), size) * present
    slab.blend(posts, steel)
    slab.blend(step(d * 1.27 - beside, size) * span(slab.y, beam, beam + d * 0.07, size) * present, steel)
    for slot, middle in enumerate((-0.58, 0.58)):
        shown = present * draws.chance("structure", 2 + slot, 0.8)
        half = d * draws.uniform("structure", 4 + slot, 0.32, 0.5)
        centre = shot.vanish + d * middle
        dx = (slab.x - centre).abs()
        top, bottom = beam - d * 0.14, beam + d * 0.24
        glow = shot.light.lamps * 0.5
        board = step(half - dx, size) * span(slab.y, top, bottom, size) * shown
        slab.blend(board, shot.material((0.04, 0.37, 0.22), d, glow))
        for row in (0.07, 0.20):
            text = step(half * (0.8 - row) - dx, size) * span(slab.y, top + d * row, top + d * (row + 0.06), size)
            slab.paint(text * shown * 0.9, shot.colour((0.92, 0.94, 0.92)))


HOUSES = (0.11, 0.17, 0.26, 0.40)  # disparities of the house plots, far to near


def draw_residential(shot: Shot) -> None:
    """Narrow street with pavements, houses with pitched roofs and front gardens, and trees."""
    draw_skyline(shot, 0.06, (0.20, 0.29, 0.15), 0, 1)
    draw_ground(shot, Layout(half=0.52, lanes=2, walk=0.20, marked=False))
    for plot, near in enumerate(HOUSES):
        for side in (-1.0, 1.0):
            _plot(shot, near, side, slot=plot * 22 + (0 if side < 0 else 11))
    draw_lamp(shot, 0.34, 0.62, 1.0)
    draw_traffic(shot, lanes=2, pitch=0.5, chance=0.4, two_way=True)


def _plot(shot: Shot, near: float, side: float, slot: int) -> None:
    """A house and, nearer the street, perhaps a tree."""
    left, right = (0.0, 0.57) if side < 0 else (0.43, 1.0)
    slab = shot.slab(top=0.42 - near * 1.25, bottom=0.53 + near * 0.62, left=left, right=right)
    d = shot.draws.uniform("prop", slot + 5, near * 0.94, near * 1.06)
    centre = shot.vanish + d * side * shot.draws.uniform("prop", slot + 4, 1.28, 1.45)
    draw_house(shot, slab, centre, d, side, slot)
    place: Tensor = shot.vanish + d * (side * 0.90)
    present = shot.draws.chance("prop", slot + 6, 0.32)
    draw_tree(shot, slab, place, d * 1.12, present, slot + 7)
