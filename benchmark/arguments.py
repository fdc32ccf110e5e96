"""Arguments of the command line as values, with a clear line where one means nothing. Imports no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import methods
from scenarios import SCENARIOS, Scenario
from scenarios.wording import unknown_name


def seeds_of(count: int | None, listed: str | None) -> tuple[int, ...]:
    """The seeds of ``--seeds N`` or ``--seed A,B``; 0 to 4 by default."""
    if listed is None:
        count = 5 if count is None else count
        if count < 1:
            raise ValueError(f"--seeds must be 1 or more, not {count}")
        return tuple(range(count))
    if count is not None:
        raise ValueError("give --seeds or --seed, not both")
    try:
        chosen = tuple(int(part) for part in listed.split(","))
    except ValueError:
        raise ValueError(f"--seed takes whole numbers with commas, such as 0,1,2, not {listed!r}") from None
    if min(chosen) < 0 or len(set(chosen)) < len(chosen):
        raise ValueError(f"--seed: seeds must be distinct and not negative, got {listed!r}")
    return chosen


def key_values(pairs: Sequence[str], flag: str) -> dict[str, Any]:
    """``key=value`` pairs; a value is read as JSON where it is JSON, else as text."""
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"{flag} takes key=value, not {pair!r}")
        try:
            values[key.strip()] = json.loads(text)
        except json.JSONDecodeError:
            values[key.strip()] = text
    return values


def known_scenario(name: str) -> Scenario:
    """The scenario of this name.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in SCENARIOS:
        raise ValueError(unknown_name("scenario", name, SCENARIOS))
    return SCENARIOS[name]


def known_method(name: str) -> str:
    """``name``, once it has the form of a method's.

    Raises:
        ValueError: there is none of that name.
    """
    if not methods.is_method(name):
        raise ValueError(unknown_name("method", name, methods.METHODS))
    return name


def scenario_options(
    scenario: str, pairs: Sequence[str], data: Path | None, target: str | None, protected: str | None
) -> dict[str, Any]:
    """The scenario's own arguments: ``--option`` pairs, and those of its flags that it takes.

    ``MDS_BENCH_DATA`` stands in for ``--data``.

    Raises:
        ValueError: the scenario is unknown, or a flag is not for it or missing.
    """
    options = key_values(pairs, "--option")
    takes, needed = known_scenario(scenario).flags, known_scenario(scenario).needed
    flags = {"data": data, "target": target, "protected": protected}
    given = {name: str(value) for name, value in flags.items() if value is not None}
    for name in given:
        if name not in takes:
            owners = ", ".join(owner for owner, entry in SCENARIOS.items() if name in entry.flags)
            raise ValueError(f"--{name} is not for --scenario {scenario}: it belongs to {owners}")
    if "data" in takes and "data" not in given and os.environ.get("MDS_BENCH_DATA"):
        given["data"] = os.environ["MDS_BENCH_DATA"]
    for name in needed:
        if name not in given:
            raise ValueError(f"--scenario {scenario} needs --{name}")
    names = given.pop("protected", None)
    if names is not None:
        options["protected"] = tuple(name.strip() for name in names.split(",") if name.strip())
    return options | given
