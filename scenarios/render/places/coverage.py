"""How much of each pixel of a frame lies within a part: the measures that shapes are made from."""

import torch
from torch import Tensor

from ..canvas import fraction, mix
from .frames import Frame
from .model import Part


def edge(distance: Tensor, pixels: Tensor) -> Tensor:
    """Coverage of a half-plane at a signed distance in local units, `pixels` of which make a unit."""
    return (distance * pixels).add_(0.5).clamp_(0.0, 1.0)


def across(f: Frame, p: Part) -> Tensor:
    """Coverage by the part's columns."""
    return edge(f.u - p.left, f.pu) - edge(f.u - p.right, f.pu)


def upward(f: Frame, p: Part) -> Tensor:
    """Coverage by the part's rows."""
    return edge(f.v - p.bottom, f.pv) - edge(f.v - p.top, f.pv)


def centred(f: Frame, p: Part) -> Tensor:
    """u from -1 to 1 across the part."""
    return (f.u - p.middle) * (2.0 / (p.right - p.left))


def height(f: Frame, p: Part, clamp: bool = True) -> Tensor:
    """v from 0 to 1 up the part."""
    t = (f.v - p.bottom) * (1.0 / (p.top - p.bottom))
    return t.clamp(0.0, 1.0) if clamp else t


def square(f: Frame, p: Part) -> Tensor:
    """Squared distance from the middle of the part, 1 on its ellipse."""
    du, dv = centred(f, p), height(f, p, clamp=False) * 2.0 - 1.0
    return du * du + dv * dv


def inside(f: Frame, p: Part, square: Tensor, radius: float = 1.0) -> Tensor:
    """Coverage by the ellipse, or by what its square says, within the reach of the part."""
    pixels = torch.minimum(f.pu * (p.right - p.left), f.pv * (p.top - p.bottom)) * 0.25
    cover = ((radius * radius - square) * (pixels * (1.0 / radius))).add_(0.5).clamp_(0.0, 1.0)
    left, right, bottom, top = p.reach()
    if p.shape == "hole":
        return cover
    rows = edge(f.v - bottom, f.pv) - edge(f.v - top, f.pv)
    return cover * (edge(f.u - left, f.pu) - edge(f.u - right, f.pu)) * rows


def below(f: Frame, p: Part, share: Tensor) -> Tensor:
    """Coverage by what reaches up to a share of the part's height."""
    top = share * (p.top - p.bottom) + p.bottom
    return edge(top - f.v, f.pv) * edge(f.v - p.bottom, f.pv) * across(f, p)


def columns_of(f: Frame, p: Part, count: float, share: float) -> Tensor:
    """Coverage by `count` upright stripes, which take a share of the part's width."""
    wide = p.right - p.left
    return _repeat((f.u - p.left) * (1.0 / wide), count, share, f.pu * wide)


def rows_of(f: Frame, p: Part, count: float, share: float) -> Tensor:
    """Coverage by `count` level stripes, which take a share of the part's height."""
    tall = p.top - p.bottom
    return _repeat((f.v - p.bottom) * (1.0 / tall), count, share, f.pv * tall)


def _repeat(t: Tensor, count: float, share: float, pixels: Tensor) -> Tensor:
    """Coverage by `count` stripes over t in [0, 1]; stripes below a pixel melt into their mean."""
    period = pixels * (1.0 / count)
    stripe = ((0.5 * share - (fraction(t * count) - 0.5).abs_()) * period).add_(0.5).clamp_(0.0, 1.0)
    return mix(stripe.new_full((1, 1, 1, 1), share), stripe, (period - 1.0).clamp(0.0, 1.0))
