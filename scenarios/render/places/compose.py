"""From codes to pictures of places: the order of the layers, and the light."""

from __future__ import annotations

from functools import cache, lru_cache

import torch
from torch import Tensor

from ..batches import check_batch, check_codes, chunks, draw_chunks
from ..draws import Draws, Purposes
from ..sensor import develop
from .backdrop import draw_backdrop
from .colours import LIGHTS
from .grammar import place_names, places, things
from .model import Place
from .spread import SPREAD
from .stage import DRAWS, MENTIONS, draw_mention, draw_stranger
from .view import View

PLACES = place_names()  # a place's code is a position here
SHARED = {"camera": 8, "wall": 8, "floor": 8, "ceiling": 8, "sky": 8, "light": 8, "sensor": 8, "stranger": DRAWS}


def render_place(seed: int, index: Tensor, place: Tensor, size: int = 64, device: str | torch.device = "cpu") -> Tensor:
    """Draw places.

    `index` and `place` are (B,) int64; the latter holds positions in PLACES. `size` is the side in pixels, at least 32.
    Returns (B, 3, size, size) uint8 RGB on `device`. A picture depends on (seed, its index, its place, size) alone: bit
    for bit the same in any batch, on any number of threads or device. Many images of few places are drawn the fastest.
    """
    check_batch(index, size)
    check_codes("place", place, index, PLACES)
    numbers, codes = (t.detach().cpu().to(torch.int64) for t in (index, place))
    out = torch.empty(len(index), 3, size, size, dtype=torch.uint8, device=device)

    def draw(code: int, pick: Tensor) -> None:
        row = places()[code]
        draws = Draws.of(seed, numbers[pick], _purposes(code)).to(out.device)
        out[pick.to(out.device)] = _picture(View(draws, row.layout, SPREAD, size), row)

    draw_chunks(draw, chunks(codes, torch.arange(len(codes)), size), parallel=out.device.type == "cpu")
    return out


def counterfactual_place(
    seed: int, index: Tensor, place_a: Tensor, place_b: Tensor, size: int = 64, device: str | torch.device = "cpu"
) -> tuple[Tensor, Tensor]:
    """The same random draws as two places: what both have is alike; arguments and results as `render_place`."""
    return render_place(seed, index, place_a, size, device), render_place(seed, index, place_b, size, device)


@lru_cache(maxsize=1)
def _all_purposes() -> Purposes:
    return Purposes(SHARED | dict.fromkeys(map(_purpose, things()), DRAWS * MENTIONS))


@cache
def _purposes(code: int) -> Purposes:
    """The draws that a place reads; things have the same draws wherever they are."""
    present = dict.fromkeys(_purpose(m.thing.name) for m in places()[code].mentions)
    return _all_purposes().only([*SHARED, *present])


def _purpose(thing: str) -> str:
    return f"thing {thing}"


def _picture(view: View, place: Place) -> Tensor:
    draw_backdrop(view, place)
    for mention in place.mentions:
        draw_mention(view, mention, _purpose(mention.thing.name))
    draw_stranger(view)
    _illuminate(view, place)
    return develop(view)


def _illuminate(view: View, place: Place) -> None:
    """Multiply by the light: its colour, and a pool of it that leaves the edges dim."""
    draws, spread = view.draws, view.spread
    colour = view.palette("light", 0, [LIGHTS[name][0] for name in place.lights])
    uneven = view.palette("light", 0, [(LIGHTS[name][1],) for name in place.lights])
    height = view.palette("light", 0, [(LIGHTS[name][2],) for name in place.lights])
    level = draws.uniform("light", 1, 1.0 - spread.light, 1.0 + spread.light)
    dx = view.x - draws.uniform("light", 2, 0.5 - spread.pool, 0.5 + spread.pool)
    dy = view.y - height - draws.uniform("light", 3, -0.3 * spread.pool, 0.3 * spread.pool)
    dim = (dx * dx + dy * dy) * (uneven * draws.uniform("light", 4, 0.5, 1.3))
    view.canvas.mul_((level * 1.12 / (1.0 + dim * 1.6)) * colour)
