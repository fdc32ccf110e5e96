"""Rendered driving streams: weather recognition on road scenes, developed as a driving team would."""

from __future__ import annotations

import random
from functools import lru_cache, partial

import torch
from torch import Tensor

from scenarios.render import SCENES, TIMES, WEATHERS, render_road
from scenarios.stream import DevelopmentStream, LabelledImages, Round, RoundData

# Each split draws its pictures from a renderer seed of its own, so no picture can be in two.
SPLIT_SEEDS = {"base": 101, "train": 102, "val": 103, "test": 104}

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

# BDD100K labels 143 of about 80,000 frames foggy, 0.18 %: the base sees the target more rarely still.
RARE_SHARE = 0.0012

POOL_PER_CLASS = 8_000


def foggy(
    seed: int = 0,
    image_size: int = 64,
    target_images: int = 400,
    protected_per_class: int = 400,
    val_per_class: int = 300,
    test_per_class: int = 800,
) -> DevelopmentStream:
    """Weather recognition in which fog must be learned and five weathers kept.

    Args:
        seed: decides which pictures of the training pool the run receives.
        image_size: side in px, 32 to 224.
        target_images: new foggy images, up to 8,000.
        protected_per_class: labelled images of each protected weather, up to 8,000.
        val_per_class: validation images of each weather.
        test_per_class: test images of each weather.
    """
    for option, value in (("target_images", target_images), ("protected_per_class", protected_per_class)):
        if not 1 <= value <= POOL_PER_CLASS:
            raise ValueError(f"{option} must be between 1 and {POOL_PER_CLASS}, not {value}")
    target, protected = WEATHERS.index("foggy"), [w for w in range(len(WEATHERS)) if WEATHERS[w] != "foggy"]
    everything = range(len(WEATHERS))
    data = RoundData(
        train=_sample("train", image_size, [target], target_images, seed),
        protected=_sample("train", image_size, protected, protected_per_class, seed),
        val=_fixed("val", image_size, tuple(everything), val_per_class),
        test=_fixed("test", image_size, tuple(everything), test_per_class),
    )
    return DevelopmentStream(
        name="driving-foggy",
        version=1,
        seed=seed,
        classes=WEATHERS,
        prompts=tuple(f"the weather is {weather}." for weather in WEATHERS),
        rounds=(Round("foggy", tuple(WEATHERS[w] for w in protected)),),
        data=(data,),
        options={
            "image_size": image_size,
            "target_images": target_images,
            "protected_per_class": protected_per_class,
            "val_per_class": val_per_class,
            "test_per_class": test_per_class,
        },
        pretraining=partial(base_images, target, image_size),
        base="driving-foggy.safetensors",
    )


def base_images(target: int, image_size: int = 64, total: int = 24_000) -> LabelledImages:
    """What the base model was trained on: ``total`` images of the other weathers alike, the target as rare as fog.

    Args:
        target: index of the rare weather.
        image_size: side in px.
        total: number of images.
    """
    rare = max(1, round(total * RARE_SHARE))
    others = [w for w in range(len(WEATHERS)) if w != target]
    parts = [_render("base", image_size, w, range((total - rare) // len(others))) for w in others]
    return LabelledImages.concatenate([*parts, _render("base", image_size, target, range(rare))])


def _sample(split: str, image_size: int, weathers: list[int], count: int, seed: int) -> LabelledImages:
    """``count`` pictures of each weather, drawn from the pool by ``seed``."""
    parts = []
    for weather in weathers:
        draw = random.Random(f"{seed} {split} {WEATHERS[weather]}")
        parts.append(_render(split, image_size, weather, draw.sample(range(POOL_PER_CLASS), count)))
    return LabelledImages.concatenate(parts)


@lru_cache(maxsize=4)
def _fixed(split: str, image_size: int, weathers: tuple[int, ...], count: int) -> LabelledImages:
    """The first ``count`` pictures of each weather: the same for every seed, rendered once a process."""
    return LabelledImages.concatenate([_render(split, image_size, w, range(count)) for w in weathers])


def _render(split: str, image_size: int, weather: int, numbers: list[int] | range) -> LabelledImages:
    """Pictures ``numbers`` of one weather in one split; scene and time of day follow from the number."""
    index = torch.tensor([weather * 1_000_000 + n for n in numbers])
    attributes = [random.Random(f"{split} {int(i)}") for i in index]
    scene = _draw(attributes, SCENES, SCENE_SHARES)
    time = _draw(attributes, TIMES, TIME_SHARES)
    label = torch.full_like(index, weather)
    return LabelledImages(render_road(SPLIT_SEEDS[split], index, label, scene, time, image_size), label)


def _draw(generators: list[random.Random], names: tuple[str, ...], shares: dict[str, float]) -> Tensor:
    weights = [shares[name] for name in names]
    return torch.tensor([g.choices(range(len(names)), weights)[0] for g in generators])
