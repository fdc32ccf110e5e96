"""Types, ranges and values in words."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

import methods
from benchmark.catalogue.settings import range_of, settings_of, type_name, value
from scenarios import SCENARIOS, builder
from scenarios.options import options_of


class Example(BaseModel):
    free: float = 0.0
    share: float = Field(0.5, ge=0, le=1)
    positive: float = Field(1.0, gt=0)
    inside: float = Field(0.5, gt=0, lt=1)
    least: int = Field(4, ge=4)
    most: int = Field(4, le=9)
    none: int = Field(0, ge=0, le=0)
    some: tuple[float, ...] = Field((1.0,), min_length=1)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("free", "–"),
        ("share", "0 to 1"),
        ("positive", "above 0"),
        ("inside", "above 0, below 1"),
        ("least", "4 or more"),
        ("most", "up to 9"),
        ("none", "0 alone"),
        ("some", "1 or more"),
    ],
)
def test_bounds_are_told_in_words(name: str, words: str) -> None:
    assert range_of(Example.model_fields[name]) == words


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int, "whole number"),
        (bool, "true or false"),
        (tuple[float, ...], "list of numbers"),
        (tuple[float, float], "list of 2 numbers"),
        (list[str], "list of texts"),
        (Literal["kl", "l2"], "kl or l2"),
        (int | None, "whole number or nothing"),
        (Example, "Example"),
    ],
)
def test_types_are_told_in_words(annotation: Any, words: str) -> None:
    assert type_name(annotation) == words


@pytest.mark.parametrize(
    ("given", "text"), [(3e-05, "3e-05"), (600.0, "600"), (True, "true"), ("kl", "kl"), ((0.5, 1), "[0.5, 1]")]
)
def test_values_are_what_one_types(given: Any, text: str) -> None:
    assert value(given) == text


def test_every_setting_of_every_method_has_a_meaning() -> None:
    for name in methods.METHODS:
        for setting in settings_of(name):
            assert setting.meaning, f"{name}: give {setting.name} a description=…"


def test_every_option_of_every_scenario_has_a_meaning() -> None:
    for name in SCENARIOS:
        for option, told in options_of(builder(name)).items():
            assert told.meaning, f"{name}: say what {option} is under Args: of its builder"
