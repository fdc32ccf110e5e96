"""Lists for people to read: methods with family, source and cost; scenarios."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmark.arguments import known_method, known_scenario
from benchmark.output.tables import console, print_rows
from benchmark.records.tuned import tuned
from methods import METHODS, WEIGHT_SPACE, Method, run_as
from scenarios import BUDGETS, SCENARIOS, full_name, settings_of, steps_of

COSTS = Path(__file__).with_name("costs.json")  # made by: python -m benchmark costs


def print_list(what: str, name: str | None = None, markdown: bool = False) -> None:
    """Print all methods or scenarios, or the settings or options of one.

    Args:
        what: methods or scenarios.
        name: one of them.
        markdown: print docs/methods.md instead.

    Raises:
        ValueError: there is no such thing.
    """
    if what not in ("methods", "scenarios"):
        raise ValueError(f"list what? methods or scenarios, not {what!r}")
    if markdown and (what != "methods" or name is not None):
        raise ValueError("--markdown is for the list of methods")
    if markdown:
        from benchmark.catalogue.method_table import document

        print(document(), end="")
    elif name is not None:
        _print_one(what, name)
    else:
        print("\n".join(method_lines() if what == "methods" else scenario_lines()))


def _print_one(what: str, name: str) -> None:
    """A method's facts and settings, or a scenario's options."""
    if what == "methods":
        known_method(name)
    else:
        known_scenario(name)
    from benchmark.catalogue import settings

    out = console()
    if what == "methods":
        for line in _about(name):
            out.print(line, markup=False, highlight=False, soft_wrap=True)
        print_rows(out, "settings: --set NAME=VALUE", settings.SETTING_HEADINGS, settings.settings_of(name), left=6)
        for scenario in SCENARIOS:
            if chosen := tuned(scenario, name):
                values = ", ".join(f"{key}={settings.value(own)}" for key, own in chosen.items())
                out.print(f"on {scenario} run starts from: {values}", markup=False, highlight=False, soft_wrap=True)
    else:
        for line in (f"{name}: {SCENARIOS[name].description}", _budget(name)):
            out.print(line, markup=False, highlight=False, soft_wrap=True)
        print_rows(out, "options: --option NAME=VALUE", settings.OPTION_HEADINGS, settings.options_table(name), left=4)


def _about(name: str) -> Iterator[str]:
    """A line per part of a name: the method that trains, and the plugin after its ``+``."""
    for part in [name] if name in METHODS else name.split("+"):
        if part in METHODS:
            yield "; ".join((f"{part}: {METHODS[part].description}", *_facts(part, METHODS[part])))


def _budget(name: str) -> str:
    """What methods start from on a scenario, and in its other budget."""
    told = f"steps of a round: {steps_of(name) or 'as many as a method has by default'}"
    if lr := settings_of(name).get("lr"):
        told += f", learning rate {lr:g} unless a method has its own"
    full = full_name(name)
    return f"{told}; in full budget, {full}: {steps_of(full)} steps" if full in SCENARIOS and name != full else told


def scenario_lines() -> Iterator[str]:
    """A line per scenario, one for both budgets of those that have two."""
    both = {name: full_name(name) in SCENARIOS for name in SCENARIOS if full_name(name) != name}
    width, budgets = max(map(len, both)), ", ".join(BUDGETS)
    for name, two in both.items():
        yield f"{name:<{width}}  {budgets if two else '':<{len(budgets)}}  {SCENARIOS[name].description}"
    yield f"{budgets}: with --budget, or as --scenario NAME and {full_name('NAME')}"


def method_lines() -> Iterator[str]:
    """Methods by family; for each its description, then a line of source, cost and needs."""
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
    if (step := costs().get("steps", {}).get(run_as(name))) is not None:
        yield f"step {step:.2f} x finetune"
    if method.passes:
        yield f"extra passes: {method.passes}"
    if method.stores:
        yield f"stores: {method.stores}"
    if method.access:
        yield "uses " + ", ".join(sorted(method.access))


@cache
def costs() -> dict[str, Any]:
    """Measured times; nothing where none were measured."""
    found: dict[str, Any] = json.loads(COSTS.read_bytes()) if COSTS.is_file() else {}
    return found
