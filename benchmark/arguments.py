"""From what was typed to what was meant, with a clear line where it means nothing. Imports no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from scenarios import SCENARIOS

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class BaseChoice:
    """What was asked for with ``--base``, ``--model`` and ``--pretrained``; all None means the stream's own base."""

    file: Path | None = None
    model: str | None = None
    pretrained: str | None = None


def seeds(count: int | None, listed: str | None) -> tuple[int, ...]:
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


def scenario_options(
    scenario: str, pairs: Sequence[str], data: Path | None, target: str | None, protected: str | None
) -> dict[str, Any]:
    """The scenario's own arguments: ``--option`` pairs, and those of its flags that it takes.

    ``MDS_BENCH_DATA`` stands in for ``--data``.
    """
    options = key_values(pairs, "--option")
    if scenario not in SCENARIOS:
        return options  # whoever looks it up says so
    takes, needed = SCENARIOS[scenario].flags, SCENARIOS[scenario].needed
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


def validated(model: type[Model], values: Mapping[str, Any], owner: str) -> Model:
    """Settings from ``--set`` values.

    Raises:
        ValueError: an unknown key, with the nearest known one, or a value out of type or range.
    """
    known = model.model_fields
    for key in values:
        if key not in known:
            near = get_close_matches(key, list(known), n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"--set: {owner} has no setting {key!r}: {hint}known are {', '.join(known)}")
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ValueError(f"--set {key}={first['input']}: {first['msg'][0].lower()}{first['msg'][1:]}") from None
