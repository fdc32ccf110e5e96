"""Rendered Places365-style streams: a room like many others must be learned, and all other places kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scenarios.gallery import Plan, Sizes
from scenarios.place_pictures import gallery
from scenarios.render import PLACES
from scenarios.stream import Round

TARGET = "dressing_room"
BASE_PER_CLASS = 100  # pictures that the base learns from, of each class that it knows

# Rooms with the target's walls and furniture, rooms further from it, and places far away.
NEAR_AND_FAR = (
    *("closet", "bedroom", "beauty_salon", "hotel_room", "dorm_room", "nursery", "childs_room", "clothing_store"),
    *("youth_hostel", "bathroom", "shower", "living_room", "kitchen", "locker_room", "classroom", "lecture_room"),
    *("church/indoor", "forest_path", "forest_road"),
)


def prompt(name: str) -> str:
    """The text of a class: ``athletic_field/outdoor`` is "the scene is a(n) athletic field, outdoor."."""
    return f"the scene is a(n) {name.replace('_', ' ').replace('/', ', ')}."


EVERY = gallery(PLACES, pool=4_000)


def _plan(name: str, classes: Sequence[str], sizes: Sizes, rare: int, recipe: dict[str, Any]) -> Plan:
    ordered = [place for place in PLACES if place in {TARGET, *classes}]
    return Plan(
        name=name,
        version=2,
        gallery=EVERY,
        prompts={place: prompt(place) for place in ordered},
        rounds=(Round(TARGET, tuple(place for place in ordered if place != TARGET)),),
        sizes=sizes,
        base_images=BASE_PER_CLASS * (len(ordered) - 1) + rare,
        rare={TARGET: rare},
        recipe=recipe,
    )


MINI = _plan(
    "places-mini",
    NEAR_AND_FAR,
    Sizes(image_size=64, target_images=400, protected_per_class=1_000, val_per_class=100, test_per_class=400),
    rare=16,
    recipe={"steps": 400, "prior": 1.0},
)
DRESSING_ROOM = _plan(
    "places-dressing-room",
    PLACES,
    Sizes(image_size=64, target_images=400, protected_per_class=50, val_per_class=20, test_per_class=50),
    rare=50,
    recipe={"anchor_steps": 1_000, "fit_steps": 300, "steps": 400, "lr": 2e-3, "prior": 1.0},
)

MINI_FULL = MINI.full(
    Sizes(image_size=64, target_images=400, protected_per_class=4_000, val_per_class=1_000, test_per_class=2_000),
    gallery(MINI.classes, pool=8_000),  # twice as many as a seed draws, so that seeds differ
)
# Of 365 classes memory is the limit: 4,000 images a class would be 18 GB of pixels, 200 are 0.9 GB, and test 0.4 GB. A
# run of 960 steps shows fewer protected images than these 72,800, so it sees hardly one twice.
DRESSING_ROOM_FULL = DRESSING_ROOM.full(
    Sizes(image_size=64, target_images=400, protected_per_class=200, val_per_class=20, test_per_class=100)
)
