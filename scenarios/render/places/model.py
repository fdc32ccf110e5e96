"""What a row of the tables says, once read: places, the things in them, and the parts of things."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

TORN = 0.25  # how far torn edges reach beyond the box of a part, as a share of its width and height


@dataclass(frozen=True)
class Part:
    """A shape in the frame of a thing; see `shapes.py` and `frames.py`."""

    shape: str
    left: float
    right: float
    bottom: float
    top: float
    colour: str
    details: tuple[float, ...]

    @property
    def middle(self) -> float:
        """u of the middle."""
        return 0.5 * (self.left + self.right)

    def reach(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of what the part can cover: torn edges reach beyond its box."""
        if self.shape == "hole":
            return -1e3, 1e3, -1e3, 1e3
        more = TORN if self.shape == "leaf" else 0.0
        wide, tall = more * (self.right - self.left), more * (self.top - self.bottom)
        return self.left - wide, self.right + wide, self.bottom - tall, self.top + tall

    def detail(self, number: int, default: float) -> float:
        """A number that some shapes take."""
        return self.details[number] if number < len(self.details) else default


SHADOW = Part("oval", -1.15, 1.15, -0.07, 0.07, "black", ())  # on the floor under what stands there


@dataclass(frozen=True)
class Thing:
    """What can be in a place, its usual mount, size, position and colours, and the parts it is drawn from."""

    name: str
    mount: str
    wide: float
    tall: float
    x: float
    y: float
    colours: tuple[str, ...]
    parts: tuple[Part, ...]

    @cached_property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of what the parts and the shadow can cover."""
        left, right, bottom, top = zip(*(part.reach() for part in (SHADOW, *self.parts)), strict=True)
        return min(left), max(right), min(bottom), max(top)


@dataclass(frozen=True)
class Mention:
    """A thing in a place."""

    thing: Thing
    number: int  # counts the mentions of the same thing in the place
    colours: tuple[str, ...]
    across: int
    deep: int
    x: float
    y: float
    scale: float
    optional: bool


@dataclass(frozen=True)
class Layout:
    """The camera and the room around it: lengths in image widths at disparity 1, as in `view.py`."""

    walled: bool  # False: open land under a sky
    wide: float
    floor: float
    ceil: float
    back: float  # disparity of the back wall; on open land, of what is farthest
    eye: float  # height v of the horizon


@dataclass(frozen=True)
class Surface:
    """Colours, one of which a picture has, and a texture."""

    colours: tuple[str, ...]
    texture: str


@dataclass(frozen=True)
class Place:
    """One row of the table."""

    name: str
    indoor: bool
    layout: Layout
    surfaces: tuple[Surface, ...]  # wall, floor, ceiling; on open land sky, ground
    lights: tuple[str, ...]
    mentions: tuple[Mention, ...]


LAYOUTS: dict[str, Layout] = {
    "room": Layout(True, 0.75, 0.50, 0.44, 0.56, 0.48),
    "nook": Layout(True, 0.52, 0.50, 0.46, 0.78, 0.49),
    "shop": Layout(True, 0.80, 0.50, 0.42, 0.40, 0.48),
    "hall": Layout(True, 1.05, 0.46, 0.62, 0.36, 0.52),
    "nave": Layout(True, 0.70, 0.46, 0.85, 0.24, 0.55),
    "corridor": Layout(True, 0.50, 0.50, 0.45, 0.17, 0.48),
    "cabin": Layout(True, 0.46, 0.46, 0.36, 0.20, 0.46),
    "cellar": Layout(True, 0.62, 0.50, 0.36, 0.36, 0.46),
    "wall": Layout(True, 1.30, 0.42, 0.90, 0.93, 0.56),
    "arena": Layout(True, 1.20, 0.52, 0.80, 0.34, 0.42),
    "field": Layout(False, 1.0, 0.58, 0.5, 0.10, 0.42),
    "yard": Layout(False, 1.0, 0.64, 0.5, 0.16, 0.36),
    "street": Layout(False, 0.72, 0.52, 0.9, 0.13, 0.48),
    "shore": Layout(False, 1.0, 0.50, 0.5, 0.08, 0.50),
    "heights": Layout(False, 1.0, 0.34, 0.5, 0.10, 0.68),
    "sheet": Layout(False, 1.0, 0.10, 0.5, 0.10, 1.05),
}
