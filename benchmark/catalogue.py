"""What there is to choose from, for people to read: methods with family, source and cost; scenarios."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from methods import METHODS, WEIGHT_SPACE, Method
from scenarios import SCENARIOS

COSTS = Path(__file__).with_name("costs.json")  # made by: python -m benchmark costs


def scenario_lines() -> Iterator[str]:
    """A line a scenario."""
    width = max(map(len, SCENARIOS))
    for name, scenario in SCENARIOS.items():
        yield f"{name:<{width}}  {scenario.description}"


def method_lines() -> Iterator[str]:
    """Methods by family; for each what it does, then a line of source, cost and what it needs."""
    width = max(map(len, METHODS))
    for family, group in groupby(METHODS.items(), key=lambda item: item[1].family):
        yield f"{family}, after a method that trains: finetune+NAME" if family == WEIGHT_SPACE else family
        for name, method in group:
            yield f"  {name:<{width}}  {method.description}"
            if facts := "; ".join(_facts(name, method)):
                yield f"  {'':<{width}}  {facts}"


def _facts(name: str, method: Method) -> Iterator[str]:
    if method.source:
        yield method.source
    if (step := costs().get("steps", {}).get(timed_as(name))) is not None:
        yield f"step {step:.2f} x finetune"
    if method.passes:
        yield f"extra passes: {method.passes}"
    if method.stores:
        yield f"stores: {method.stores}"
    if method.access:
        yield "uses " + ", ".join(sorted(method.access))


def timed_as(name: str) -> str:
    """The name under which a method is run when all are: a plugin goes with fine-tuning."""
    return f"finetune+{name}" if METHODS[name].family == WEIGHT_SPACE else name


@cache
def costs() -> dict[str, Any]:
    """Measured times; nothing where none were measured."""
    found: dict[str, Any] = json.loads(COSTS.read_bytes()) if COSTS.is_file() else {}
    return found
