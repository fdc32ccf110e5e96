"""The grammar of places: reading the tables that say what each place is made of.

`places.csv` has one row a place: its layout, its surfaces, its light, and the things in it, far to near. `things.csv`
says what each thing is made of; append to it only, because a thing's draws go by its row. A mention of a thing reads

    thing:colour/colour*across x deep@x|y^scale?

where all but the thing is optional: a choice of colours, the number of copies, where it is, its size
over the usual, and a mark for what is there only sometimes.
"""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from functools import lru_cache
from importlib.resources import files
from typing import Any

from .model import LAYOUTS, Mention, Part, Place, Surface, Thing

MENTION = re.compile(
    r"(?P<thing>\w+)(?::(?P<colours>[\w/]+))?(?:\*(?P<across>\d+)(?:x(?P<deep>\d+))?)?"
    r"(?:@(?P<x>-?[\d.]+)\|(?P<y>-?[\d.]+))?(?:\^(?P<scale>[\d.]+))?(?P<optional>\?)?"
)


@lru_cache(maxsize=1)
def place_names() -> tuple[str, ...]:
    """Names of the places, in the order of the table."""
    return tuple(row["place"] for row in _rows("places.csv"))


@lru_cache(maxsize=1)
def things() -> dict[str, Thing]:
    """Everything that a place can hold, by name."""
    return {thing.name: thing for thing in map(_thing, _rows("things.csv"))}


@lru_cache(maxsize=1)
def places() -> tuple[Place, ...]:
    """The table of places.

    Raises:
        ValueError: a row that cannot be read.
    """
    return tuple(map(read_place, _rows("places.csv")))


def _rows(name: str) -> list[dict[str, str]]:
    text = (files(__package__) / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _thing(row: dict[str, str]) -> Thing:
    wide, tall, x, y = (float(row[key]) for key in ("wide", "tall", "x", "y"))
    parts = tuple(_part(text) for text in row["parts"].split(";"))
    return Thing(row["thing"], row["mount"], wide, tall, x, y, tuple(row["colours"].split("/")), parts)


def _part(text: str) -> Part:
    shape, left, right, bottom, top, colour, *details = text.split()
    return Part(shape, float(left), float(right), float(bottom), float(top), colour, tuple(map(float, details)))


def read_place(row: dict[str, str]) -> Place:
    family, *changes = row["layout"].split()
    pairs = [change.split("=") for change in changes]
    lengths: dict[str, Any] = {key: float(value) for key, value in pairs}
    layout = replace(LAYOUTS[family], **lengths)
    surfaces = tuple(_surface(text) for text in row["surfaces"].split())
    mentions: list[Mention] = []
    for text in row["things"].split():
        mentions.append(_mention(text, row["place"], [m.thing.name for m in mentions]))
    lights = tuple(row["light"].split("/"))
    return Place(row["place"], row["io"] == "in", layout, surfaces, lights, tuple(mentions))


def _surface(text: str) -> Surface:
    colours, _, texture = text.partition("~")
    return Surface(tuple(colours.split("/")), texture or "plain")


def _mention(text: str, place: str, before: list[str]) -> Mention:
    match = MENTION.fullmatch(text)
    if match is None or match["thing"] not in things():
        raise ValueError(f"places.csv, {place}: cannot read {text!r}: no such thing in things.csv, or a misprint")
    thing = things()[match["thing"]]
    return Mention(
        thing=thing,
        number=before.count(thing.name),
        colours=tuple(match["colours"].split("/")) if match["colours"] else thing.colours,
        across=int(match["across"] or 1),
        deep=int(match["deep"] or 1),
        x=float(match["x"] or thing.x),
        y=float(match["y"] or thing.y),
        scale=float(match["scale"] or 1.0),
        optional=match["optional"] is not None,
    )
