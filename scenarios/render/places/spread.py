"""How much pictures of one place differ: the one table to tune how hard the places are to tell apart."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Half-widths of the uniform jitters, as shares of what they change unless noted."""

    tone: float = 0.22  # brightness of each colour
    tint: float = 0.12  # each channel of each colour
    place: float = 0.10  # where things are, in half-widths of the room
    size: float = 0.18  # width and height of things
    camera: float = 0.05  # where the camera looks, in picture widths
    room: float = 0.14  # proportions of rooms, distance of the back wall
    light: float = 0.20  # brightness of the light
    missing: float = 0.05  # probability that any one thing is not there; optional things are missing more often
    optional: float = 0.50  # probability that an optional thing is not there
    stranger: float = 0.25  # probability of something that has nothing to do with the place
    pool: float = 0.45  # how unevenly light falls


SPREAD = Spread()
