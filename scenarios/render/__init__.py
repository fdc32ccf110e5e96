"""Procedural pictures: road scenes by weather, scene and time of day (as BDD100K), and places (as Places365)."""

from .places import PLACES, counterfactual_place, render_place
from .road import SCENES, TIMES, WEATHERS, counterfactual_pair, render_road

__all__ = [
    "PLACES",
    "SCENES",
    "TIMES",
    "WEATHERS",
    "counterfactual_pair",
    "counterfactual_place",
    "render_place",
    "render_road",
]
