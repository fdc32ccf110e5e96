"""Pictures of the road by class: what the driving streams show. They are kept by the source of this file."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from scenarios.gallery import SPLIT_SEEDS, Gallery
from scenarios.render import SCENES, TIMES, WEATHERS, render_road
from scenarios.render.crop import crop

# Mix of scenes and times of day, the same for every weather. BDD100K's own (city street 61 %, highway 25 %,
# residential 12 %, all others under 1 %) is flattened so that every scene is met in test.
SCENE_SHARES = {
    "highway": 0.28,
    "residential area": 0.18,
    "city street": 0.40,
    "parking lot": 0.06,
    "gas stations": 0.04,
    "tunnel": 0.04,
}
TIME_SHARES = {"daytime": 0.53, "dawn/dusk": 0.08, "night": 0.39}

# Mix of weathers, the same for every scene: BDD100K's validation labels (clear 60 %, overcast 14 %, snowy, rainy and
# partly cloudy 8 to 9 % each, foggy 0.5 %) flattened too.
WEATHER_SHARES = {
    "clear": 0.35,
    "overcast": 0.20,
    "snowy": 0.14,
    "rainy": 0.14,
    "partly cloudy": 0.14,
    "foggy": 0.03,
}
GLIMPSE = (0.2, 0.5)  # side of a part of a picture over that of the whole: the narrower, the harder to tell scenes
OPEN_ROADS = {name: SCENE_SHARES[name] for name in ("highway", "residential area", "city street")}

POOL = 8_000  # pictures of a kind that seeds draw from


def _pictures(scenes: dict[str, float], split: str, kind: str, numbers: Sequence[int], size: int) -> Tensor:
    """Pictures of a weather, in the given mix of scenes, or of a scene; the rest follows from the number."""
    index = torch.tensor([_first_index(kind) + number for number in numbers])
    generators = [random.Random(f"{split} {int(i)}") for i in index]
    weather, scene = _codes(generators, kind, scenes)
    return render_road(SPLIT_SEEDS[split], index, weather, scene, _draw(generators, TIMES, TIME_SHARES), size)


def _glimpses(split: str, kind: str, numbers: Sequence[int], size: int) -> Tensor:
    """Parts of pictures of a scene, as cameras with a narrow view see them: whole scenes are told apart too easily."""
    return _part(split, kind, numbers, _pictures(SCENE_SHARES, split, kind, numbers, size))


def _glimpse_pairs(split: str, kind_a: str, kind_b: str, numbers: Sequence[int], size: int) -> tuple[Tensor, Tensor]:
    """The same parts of the same roads as kind A and as kind B."""
    first, second = _pairs(SCENE_SHARES, split, kind_a, kind_b, numbers, size)
    return _part(split, "pair", numbers, first), _part(split, "pair", numbers, second)


def _part(split: str, kind: str, numbers: Sequence[int], pictures: Tensor) -> Tensor:
    generators = [random.Random(f"{split} {kind} part {number}") for number in numbers]
    scale = torch.tensor([g.uniform(*GLIMPSE) for g in generators])
    left, top = (torch.tensor([g.random() for g in generators]) * (1 - scale) for _ in range(2))
    return crop(pictures, left, top, scale)


def _pairs(
    scenes: dict[str, float], split: str, kind_a: str, kind_b: str, numbers: Sequence[int], size: int
) -> tuple[Tensor, Tensor]:
    """The same roads as kind A and as kind B."""
    index = torch.tensor(numbers)
    made = []
    for kind in (kind_a, kind_b):
        generators = [random.Random(f"{split} {int(i)}") for i in index]
        time = _draw(generators, TIMES, TIME_SHARES)
        weather, scene = _codes(generators, kind, scenes)
        made.append(render_road(SPLIT_SEEDS[split], index, weather, scene, time, size))
    return made[0], made[1]


def _first_index(kind: str) -> int:
    """Each kind has a range of the renderer's indices of its own."""
    return 1_000_000 * (WEATHERS.index(kind) if kind in WEATHERS else 10 + SCENES.index(kind))


def _codes(generators: list[random.Random], kind: str, scenes: dict[str, float]) -> tuple[Tensor, Tensor]:
    """Weather and scene codes of pictures of a kind."""
    if kind in WEATHERS:
        return torch.full((len(generators),), WEATHERS.index(kind)), _draw(generators, SCENES, scenes)
    return _draw(generators, WEATHERS, WEATHER_SHARES), torch.full((len(generators),), SCENES.index(kind))


def _draw(generators: list[random.Random], names: tuple[str, ...], shares: dict[str, float]) -> Tensor:
    weights = [shares.get(name, 0.0) for name in names]
    return torch.tensor([g.choices(range(len(names)), weights)[0] for g in generators])


def _gallery(name: str, kinds: tuple[str, ...], scenes: dict[str, float]) -> Gallery:
    return Gallery(name, kinds, POOL, partial(_pictures, scenes), partial(_pairs, scenes), "road_pictures", "road")


WEATHER = _gallery("driving weather", WEATHERS, SCENE_SHARES)
SCENE = Gallery("driving scene", SCENES, POOL, _glimpses, _glimpse_pairs, "road_pictures", "road")
CONDITION = _gallery("driving condition", (*WEATHERS, "tunnel", "parking lot"), OPEN_ROADS)
