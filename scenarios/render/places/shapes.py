"""The shapes that things are made of: coverage of a frame's pixels, and the tone of the colour there."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..canvas import fraction, mix
from ..noise import digits, fractal, white
from .coverage import across, below, centred, columns_of, edge, height, inside, rows_of, square, upward
from .frames import Frame
from .model import Part

Drawn = tuple[Tensor, Tensor | None]  # coverage (B, 1, h, w), and a factor of the colour (B, 1 or 3, h, w)


def box(f: Frame, p: Part) -> Drawn:
    """A rectangle."""
    return across(f, p) * upward(f, p), None


def oval(f: Frame, p: Part) -> Drawn:
    """An ellipse."""
    return inside(f, p, square(f, p)), None


def ring(f: Frame, p: Part) -> Drawn:
    """An ellipse without its middle; the first detail is the inner radius."""
    q = square(f, p)
    return inside(f, p, q) - inside(f, p, q, p.detail(0, 0.8)), None


def hole(f: Frame, p: Part) -> Drawn:
    """Everything outside an arch that stands on the foot; the first detail roughens its edge."""
    q = square(f, p)
    below = (f.v < 0.5 * (p.bottom + p.top)).to(q)
    du = centred(f, p)
    q = mix(q, du * du, below)
    rough = p.detail(0, 0.0)
    noise = fractal(f.u * 40.0 + f.shift, f.v * 40.0 + f.shift)
    return 1.0 - inside(f, p, q + (noise - 0.5) * rough), noise * (rough * 0.8) + (1.0 - 0.4 * rough)


def dome(f: Frame, p: Part) -> Drawn:
    """The upper half of an ellipse."""
    du, dv = centred(f, p), (f.v - p.bottom) * (1.0 / (p.top - p.bottom))
    return inside(f, p, du * du + dv * dv) * edge(f.v - p.bottom, f.pv), None


def arch(f: Frame, p: Part) -> Drawn:
    """A rectangle with a round top; the first detail is the share of the height that is round."""
    round_part = p.detail(0, 0.35) * (p.top - p.bottom)
    du, dv = centred(f, p), ((f.v - (p.top - round_part)) * (1.0 / round_part)).clamp(min=0.0)
    return inside(f, p, du * du + dv * dv) * edge(f.v - p.bottom, f.pv), None


def taper(f: Frame, p: Part) -> Drawn:
    """A trapezoid; the first detail is the width of its top over that of its foot, 0 for a triangle."""
    half = (height(f, p) * (p.detail(0, 0.0) - 1.0) + 1.0) * (0.5 * (p.right - p.left))
    return edge(half - (f.u - p.middle).abs(), f.pu) * upward(f, p), None


def bars(f: Frame, p: Part) -> Drawn:
    """Upright bars: their number, and the share of the width that they take."""
    return columns_of(f, p, p.detail(0, 5), p.detail(1, 0.5)) * box(f, p)[0], None


def rungs(f: Frame, p: Part) -> Drawn:
    """Level bars: their number, and the share of the height that they take."""
    return rows_of(f, p, p.detail(0, 5), p.detail(1, 0.5)) * box(f, p)[0], None


def grid(f: Frame, p: Part) -> Drawn:
    """Panes: columns, rows, and the share of each that a pane takes."""
    columns, rows, share = p.detail(0, 3), p.detail(1, 3), p.detail(2, 0.6)
    pane = columns_of(f, p, columns, share)
    pane = pane * rows_of(f, p, rows, share)
    return pane * box(f, p)[0], None


def cells(f: Frame, p: Part) -> Drawn:
    """Goods, books or people: columns, rows, how colourful from 0 to 1; every cell has a colour of its own."""
    columns, rows, vivid = p.detail(0, 6), p.detail(1, 3), p.detail(2, 1.0)
    column = ((f.u - p.left) * (columns / (p.right - p.left))).floor()
    row = ((f.v - p.bottom) * (rows / (p.top - p.bottom))).floor()
    value = white(column + f.cell * 37.0, row, 3)
    tone = torch.cat([digits(value, place) for place in (1, 2, 3)], dim=1) * (0.9 * vivid)
    tone = tone + (1.0 - 0.75 * vivid) + (value - 0.5) * 0.5
    pane = rows_of(f, p, rows, 0.8) * 0.75 + 0.25
    return box(f, p)[0], tone * pane


def dots(f: Frame, p: Part) -> Drawn:
    """Round spots: columns, rows, and their diameter in shares of a cell."""
    columns, rows, share = p.detail(0, 5), p.detail(1, 1), p.detail(2, 0.6)
    du = fraction((f.u - p.left) * (columns / (p.right - p.left))) * 2.0 - 1.0
    dv = fraction((f.v - p.bottom) * (rows / (p.top - p.bottom))) * 2.0 - 1.0
    radius = f.pu * ((p.right - p.left) * share / (2.0 * columns))
    spot = ((1.0 - (du * du + dv * dv) * (1.0 / (share * share))) * radius).mul_(0.5).add_(0.5).clamp_(0.0, 1.0)
    return spot * box(f, p)[0], None


def leaf(f: Frame, p: Part) -> Drawn:
    """A bush, crown, rock or cloud: an ellipse with a torn edge, darker below; the first detail is how torn."""
    du, dv = centred(f, p), height(f, p, clamp=False) * 2.0 - 1.0
    noise = fractal(f.u * 45.0 + f.shift + f.cell * 31.0, f.v * 45.0 + f.shift)
    q = du * du + dv * dv - (noise - 0.5) * p.detail(0, 1.2)
    return inside(f, p, q), (noise * 0.7 + 0.62 + dv * 0.22).clamp_(0.35, 1.4)


def ridge(f: Frame, p: Part) -> Drawn:
    """A skyline of torn height: its frequency, and the lowest height as a share of the highest."""
    noise = fractal(f.u * (60.0 * p.detail(0, 1.0)) + f.shift, f.u * 0.0 + f.shift)
    low = p.detail(1, 0.25)
    return below(f, p, noise * (1.0 - low) + low), fractal(f.u * 90.0 + f.shift, f.v * 90.0) * 0.4 + 0.8


def blocks(f: Frame, p: Part) -> Drawn:
    """A skyline of houses: their number, and the lowest height as a share of the highest."""
    column = ((f.u - p.left) * (p.detail(0, 12) / (p.right - p.left))).floor()
    value = white(column + f.shift.floor(), column * 0.0, 5)
    low = p.detail(1, 0.3)
    return below(f, p, value * (1.0 - low) + low), digits(value, 1) * 0.5 + 0.7


def rough(f: Frame, p: Part) -> Drawn:
    """A rectangle of uneven stuff: how often it changes along u and along v."""
    noise = fractal(f.u * p.detail(0, 40.0) + f.shift, f.v * p.detail(1, 40.0) + f.shift)
    return box(f, p)[0], noise * 0.7 + 0.65


def glow(f: Frame, p: Part) -> Drawn:
    """Light around a lamp, fading out at the ellipse."""
    q = square(f, p)
    return (0.12 / (q + 0.12) - 0.107).clamp_(min=0.0), None


SHAPES: dict[str, Callable[[Frame, Part], Drawn]] = {
    shape.__name__: shape
    for shape in (
        *(box, oval, ring, hole, dome, arch, taper, bars, rungs, grid, cells),
        *(dots, leaf, ridge, blocks, rough, glow),
    )
}
