"""Rendered Places365-style streams: a room like many others must be learned, and all other places kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from scenarios.gallery import SPLIT_SEEDS, Gallery, Plan, Sizes
from scenarios.render import PLACES, counterfactual_place, render_place
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


def _pictures(split: str, kind: str, numbers: Sequence[int], size: int) -> Tensor:
    code = PLACES.index(kind)
    index = torch.tensor([code * 1_000_000 + number for number in numbers])
    return render_place(SPLIT_SEEDS[split], index, torch.full_like(index, code), size)


def _pairs(split: str, kind_a: str, kind_b: str, numbers: Sequence[int], size: int) -> tuple[Tensor, Tensor]:
    index = torch.tensor(numbers)
    first, second = (torch.full_like(index, PLACES.index(kind)) for kind in (kind_a, kind_b))
    return counterfactual_place(SPLIT_SEEDS[split], index, first, second, size)


GALLERY = Gallery("places", PLACES, 4_000, _pictures, _pairs, "places", "places")


def _plan(name: str, classes: Sequence[str], sizes: Sizes, rare: int, recipe: dict[str, Any]) -> Plan:
    ordered = [place for place in PLACES if place in {TARGET, *classes}]
    return Plan(
        name=name,
        version=1,
        gallery=GALLERY,
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
    Sizes(image_size=64, target_images=400, protected_per_class=100, val_per_class=100, test_per_class=400),
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
