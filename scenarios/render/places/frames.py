"""Where a thing is in the picture: local coordinates of the pixels around it.

In a frame u runs from -1 to 1 across the thing and v from 0 at its foot to 1 at its top, whether it stands upright,
lies on the floor, hangs from the ceiling or is fixed to a side wall. Copies of a thing share one frame: u starts anew
at each.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..canvas import Slab
from ..noise import white
from .view import View

FAR = 0.03  # disparity at which strips on the ground end


@dataclass
class Frame:
    """Local coordinates over a slab; tensors broadcast to (B, 1, h, w).

    Nothing divides a tensor by a Python number: on a GPU that multiplies by the reciprocal, which rounds differently.
    """

    slab: Slab
    u: Tensor
    v: Tensor
    pu: Tensor  # pixels to a unit of u
    pv: Tensor
    mask: Tensor  # coverage by what the thing may be seen on, times its presence
    cell: Tensor  # number of the copy, whole
    shift: Tensor  # (B, 1, 1, 1) start in the noise, in texels


@dataclass
class Pose:
    """A thing's place and size in one picture each; (B, 1, 1, 1) unless noted."""

    x: Tensor  # across, -1 to 1 between the walls
    y: Tensor  # up, as a share of the wall; along the floor, the disparity of its middle
    wide: Tensor  # width and height in image units at disparity 1
    tall: Tensor
    there: Tensor  # 1 or 0
    shift: Tensor  # start in the noise, in texels
    extent: tuple[float, float, float, float]  # left, right, bottom and top in the frame of what is drawn
    copies: int = 1


def upright(view: View, pose: Pose, d: Tensor, foot: Tensor, centre: Tensor, reach: Tensor) -> Frame:
    """Things that face the camera at disparity `d`; copies are spread `reach` to either side of `centre`."""
    half, tall = pose.wide * d * 0.5, pose.tall * d
    left, right, bottom, top = pose.extent
    many = pose.copies > 1
    columns = (centre - reach, centre + reach) if many else (centre + half * left, centre + half * right)
    slab = view.slab(*_bounds(foot - tall * top, foot - tall * bottom), *_bounds(*columns))
    v, pu, pv = (foot - slab.y) / tall, half * view.size, tall * view.size
    if not many:
        return Frame(slab, (slab.x - centre) / half, v, pu, pv, pose.there, pose.shift.floor(), pose.shift)
    pitch = reach * (2.0 / pose.copies)
    place = (slab.x - centre + reach) / pitch
    cell = place.floor()
    seen = ((cell >= 0) & (cell < pose.copies)).to(d) * pose.there
    sway = (white(cell + pose.shift.floor(), cell * 0.0, 7) - 0.5) * (view.spread.place * 2.0)
    u = (place - cell - 0.5 + sway) * pitch / half
    return Frame(slab, u, v, pu, pv, seen, cell, pose.shift)


def flat(view: View, pose: Pose, up: bool, bend: Tensor | None = None) -> Frame:
    """Things that lie on the floor, or on the ceiling if `up`; v is true to perspective."""
    rise = view.ceil if up else view.floor
    edge = view.eye - rise * view.back if up else view.eye + rise * view.back
    slab = view.slab(*((0.0, float(edge.max())) if up else (float(edge.min()), 1.0)))
    ahead = (view.eye - slab.y) if up else (slab.y - view.eye)
    d = (ahead / rise).clamp(min=FAR * 0.5)  # (B, 1, h, 1)
    near, far = pose.y * (1.0 + 0.5 * pose.tall), (pose.y * (1.0 - 0.5 * pose.tall)).clamp(min=FAR)
    length = 1.0 / far - 1.0 / near
    v = (1.0 / d - 1.0 / near) / length
    middle = view.vanish + pose.x * view.wide * d
    if bend is not None:
        middle = middle + bend * (1.0 - d) * (1.0 - d)
    half = pose.wide * 0.5
    u = (slab.x - middle) / (d * half)
    seen = ((d - view.back) * (rise * view.size)).add_(0.5).clamp_(0.0, 1.0) * pose.there
    if pose.copies > 1:  # one behind another
        place = v * pose.copies
        cell = place.floor()
        seen = seen * ((cell >= 0) & (cell < pose.copies)).to(d)
        v = (place - cell - 0.5) * 1.25 + 0.5
        length = length * (0.8 / pose.copies)
    else:
        cell = pose.shift.floor()
    pv = (d * d * rise * view.size * length).clamp(max=400.0)
    return Frame(slab, u, v, d * half * view.size, pv, seen, cell, pose.shift)


def beside(view: View, pose: Pose, left: bool, right: bool) -> Frame:
    """Things along the side walls, `copies` of them between the picture's edge and the back wall."""
    slab = view.slab()
    sideways = slab.x - view.vanish
    d = (sideways.abs() / view.wide).clamp(min=FAR)  # (B, 1, 1, w)
    start, end = view.wide * 1.9, 1.0 / view.back.clamp(min=0.12)
    length = (end - start).clamp(min=0.3)
    on_right = (sideways > 0).to(d)
    place = (1.0 / d - start) / length * pose.copies + on_right * 0.37 * (pose.copies > 1)
    cell = place.floor()
    number = cell + on_right * 101.0
    vary = white(number + pose.shift.floor(), number * 0.0, 9)
    tall = pose.tall * (1.0 + (vary - 0.5) * (2.0 * view.spread.size))
    foot = view.eye + d * (view.floor - pose.y * (view.floor + view.ceil))
    half = (pose.wide * 0.5).clamp(max=1.0)  # share of the pitch that a copy fills
    sides = on_right * float(right) + (1.0 - on_right) * float(left)
    seen = ((d - view.back) * (view.wide * view.size)).add_(0.5).clamp_(0.0, 1.0) * sides * pose.there
    pitch = length * half * (1.0 / pose.copies)
    pu = (d * d * view.wide * view.size * pitch).clamp(max=400.0)
    u, v = (place - cell - 0.5) / half, (foot - slab.y) / (d * tall)
    return Frame(slab, u, v, pu, d * tall * view.size, seen, number, pose.shift)


def _bounds(low: Tensor, high: Tensor) -> tuple[float, float]:
    """The smallest range that holds those of all images: what lies outside is not covered anyway."""
    return min(max(float(low.min()), 0.0), 1.0), max(min(float(high.max()), 1.0), 0.0)
