"""Setting the things of a place: from a mention in the table to a pose in each picture, and its parts drawn there."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..canvas import mix
from .backdrop import tinted
from .colours import COLOURS
from .frames import Frame, Pose, beside, flat, upright
from .grammar import things
from .model import SHADOW, Mention, Part
from .shapes import SHAPES
from .view import View

DRAWS = 12  # of one mention: x, y, width, height, presence, start in the noise, five of colour, bend
MENTIONS = 3  # of one thing in a place that have draws of their own
SHADES = {"+": 1.25, "-": 0.68, "--": 0.42}  # marks after a colour's name
NEAREST = 1.06  # disparity of the nearest of several rows


def draw_mention(view: View, mention: Mention, purpose: str) -> None:
    """Draw a thing, or all its copies, with the draws `purpose`."""
    first = DRAWS * (mention.number % MENTIONS)
    colour = tinted(view, purpose, first + 6, mention.colours)
    for frame in _frames(view, mention, purpose, first):
        if frame.slab.x.numel() == 0 or frame.slab.y.numel() == 0:
            continue
        if mention.thing.mount == "stand":
            frame.slab.tint(SHAPES["oval"](frame, SHADOW)[0] * frame.mask, 0.72)
        for part in mention.thing.parts:
            _draw_part(view, frame, part, colour)


def draw_stranger(view: View) -> None:
    """Sometimes, somebody passing by: says nothing about the place."""
    person = things()["person"]
    colours = ("red", "navy", "white", "coal", "olive", "wine", "blue", "beige")
    there = 1.0 - view.spread.stranger
    for frame in _frames(view, Mention(person, 0, colours, 1, 1, 0.0, 0.8, 1.0, False), "stranger", 0, there, 0.9):
        colour = tinted(view, "stranger", 6, colours)
        for part in person.parts:
            _draw_part(view, frame, part, colour)


def _frames(
    view: View, mention: Mention, purpose: str, first: int, missing: float | None = None, sway: float | None = None
) -> Iterator[Frame]:
    """The frames of a mention: one, or one for each of several rows."""
    for row in range(mention.deep if mention.thing.mount in ("stand", "hang") else 1):
        pose = _pose(view, mention, purpose, first, missing, sway)
        if mention.deep > 1:
            share = view.back.new_full((1, 1, 1, 1), (row + 0.3) / (mention.deep - 0.4))
            pose.y = 1.0 / mix(1.0 / (view.back * 1.08), torch.full_like(view.back, 1.0 / NEAREST), share)
            pose.shift = (pose.shift + 61.0 * row).floor() + 0.5
        yield _frame(view, mention, pose, purpose, first)


def _pose(view: View, mention: Mention, purpose: str, first: int, missing: float | None, sway: float | None) -> Pose:
    draws, spread, thing = view.draws, view.spread, mention.thing
    place = spread.place if sway is None else sway
    absent = spread.optional if mention.optional else spread.missing * (thing.mount not in ("far", "front"))
    absent = absent if missing is None else missing
    low, high = mention.scale * (1.0 - spread.size), mention.scale * (1.0 + spread.size)
    return Pose(
        x=draws.uniform(purpose, first, mention.x - place, mention.x + place),
        y=draws.uniform(purpose, first + 1, mention.y * (1.0 - spread.place), mention.y * (1.0 + spread.place)),
        wide=draws.uniform(purpose, first + 2, thing.wide * low, thing.wide * high),
        tall=draws.uniform(purpose, first + 3, thing.tall * low, thing.tall * high),
        there=1.0 - draws.chance(purpose, first + 4, absent),
        shift=draws.uniform(purpose, first + 5, 0.0, 512.0),
        extent=thing.extent,
        copies=mention.across,
    )


def _frame(view: View, mention: Mention, pose: Pose, purpose: str, first: int) -> Frame:
    mount = mention.thing.mount
    if mount in ("sides", "left", "right"):
        return beside(view, pose, left=mount != "right", right=mount != "left")
    if mount in ("floor", "path", "top"):
        bend = view.draws.uniform(purpose, first + 11, -0.5, 0.5) if mount == "path" else None
        return flat(view, pose, mount == "top", bend)
    one = torch.ones_like(pose.x)
    if mount == "far":
        foot = view.eye + 0.012 - 0.5 * pose.y
        return upright(view, pose, one, foot, view.vanish + 0.5 * pose.x, 0.5 * one)
    if mount == "front":
        return upright(view, pose, one, 1.0 - pose.y, view.vanish + 0.5 * pose.x, 0.6 * one)
    d = view.back if mount == "wall" else torch.maximum(pose.y, view.back * 1.03)
    foot = view.eye + view.floor * d
    if mount == "wall":
        foot = foot - pose.y * (view.floor + view.ceil) * d
    if mount == "hang":
        foot = view.eye - view.ceil * d + pose.tall * d
    return upright(view, pose, d, foot, view.vanish + pose.x * view.wide * d, view.wide * d)


def _draw_part(view: View, frame: Frame, part: Part, colour: Tensor) -> None:
    cover, tone = SHAPES[part.shape](frame, part)
    rgb = _shade(view, part.colour, colour)
    frame.slab.paint(cover * frame.mask, rgb if tone is None else rgb * tone)


def _shade(view: View, name: str, main: Tensor) -> Tensor:
    """A part's colour: the thing's own ("main") or a named one, lighter or darker by the marks after it."""
    plain = name.rstrip("+-")
    rgb = main if plain == "main" else view.colour(COLOURS[plain])
    return rgb * SHADES[name[len(plain) :]] if plain != name else rgb
