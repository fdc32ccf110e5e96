"""The two budgets of rendered streams: what they share, how they differ, and what the quick ones always drew."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import scenarios
from scenarios import driving, places
from scenarios.options import options_of
from scenarios.stream import DevelopmentStream

TINY = {"image_size": 32, "target_images": 3, "protected_per_class": 2, "val_per_class": 1, "test_per_class": 2}


def tiny(name: str, seed: int = 0, **options: int) -> DevelopmentStream:
    return scenarios.build(name, seed, **TINY | options)


def sizes(name: str) -> dict[str, int]:
    return {option: known.default for option, known in options_of(scenarios.builder(name)).items()}


def test_every_rendered_stream_has_a_full_budget_under_a_name_of_its_own():
    quick, full = scenarios.rendered(), scenarios.rendered("full")
    assert full == [f"{name}-full" for name in quick] and "driving-foggy" in quick
    assert set(quick + full) == {name for name in scenarios.SHIPPED if not scenarios.SCENARIOS[name].flags}


@pytest.mark.parametrize("name", scenarios.rendered())
def test_the_full_budget_is_the_same_stream_with_more_images_and_steps(name):
    quick, full = sizes(name), sizes(f"{name}-full")
    assert quick.keys() == full.keys()
    assert all(full[key] >= quick[key] for key in quick) and full["target_images"] == quick["target_images"]
    assert full["protected_per_class"] >= 2 * quick["protected_per_class"] and full["test_per_class"] >= 100
    assert scenarios.settings_of(name) == {"steps": 240, "lr": 3e-4}
    assert scenarios.settings_of(f"{name}-full") == {"steps": 960, "lr": 3e-4}
    if name != "places-dressing-room":  # 365 classes take long to draw
        one, other = tiny(name), tiny(f"{name}-full")
        assert (one.classes, one.prompts, one.rounds, one.base) == (
            other.classes,
            other.prompts,
            other.rounds,
            other.base,
        )
        assert one.fingerprint == other.fingerprint and (one.name, other.name) == (name, f"{name}-full")


def test_streams_of_others_leave_steps_and_learning_rate_to_the_method():
    assert scenarios.settings_of("folder") == scenarios.settings_of("somebody's") == {}
    assert scenarios.steps_of("folder") is None


@pytest.mark.parametrize("name", scenarios.rendered("full"))
def test_two_seeds_protect_different_images(name):
    pool = scenarios.builder(name).__self__.gallery.pool
    assert sizes(name)["protected_per_class"] <= pool / 2


def test_pictures_of_places_do_not_depend_on_the_pool():
    wide, narrow = places.MINI_FULL.gallery, places.MINI.gallery
    assert wide.pool > narrow.pool
    numbers = [0, 7, narrow.pool - 1]
    pictures = [gallery.pictures("val", "closet", numbers, 32) for gallery in (wide, narrow)]
    assert torch.equal(*pictures)


def test_what_a_round_taught_is_among_what_later_rounds_protect_however_many_these_are():
    few = replace(driving.ROUNDS, gallery=replace(driving.ROUNDS.gallery, name="few", pool=100))
    first, second, *_ = few.build(0, **TINY | {"target_images": 6, "protected_per_class": 30}).data
    label = int(first.train.labels[0])
    kept = second.protected.images[second.protected.labels == label]
    assert len(kept) == 30 and torch.equal(kept[:6], first.train.images)
    assert len({image.numpy().tobytes() for image in kept}) == 30


def test_the_settled_stream_is_the_foggy_one_from_another_base():
    foggy, settled = tiny("driving-foggy"), tiny("driving-settled")
    assert settled.fingerprint == foggy.fingerprint
    assert settled.training_fingerprint == foggy.training_fingerprint
    assert settled.base != foggy.base and settled.recipe["steps"] > 1_000
