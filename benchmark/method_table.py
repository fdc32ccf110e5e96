"""The table of docs/methods.md: every method with source, library, settings, grid and measured cost."""

from __future__ import annotations

import json
from typing import Any

import methods
from benchmark.catalogue import costs, timed_as
from benchmark.tables import markdown_table
from methods import METHODS, Method
from methods.strategy import Settings

HEADINGS = ("Method", "Source", "Made of", "Stores", "Extra passes", "Uses", "Grid", "Step", "Round")


def markdown() -> str:
    """One table a family."""
    families = list(dict.fromkeys(method.family for method in METHODS.values()))
    return "\n".join(map(_family, families))


def _family(family: str) -> str:
    rows = [_row(name, method) for name, method in METHODS.items() if method.family == family]
    return f"## {family.capitalize()}\n\n{markdown_table(HEADINGS, rows, left=7)}\n"


def _row(name: str, method: Method) -> list[str]:
    loaded = methods.load(timed_as(name))
    described: Any = loaded.WEIGHT_SPACE or loaded
    grid = described.SETTINGS.GRID if loaded.trains or described.SETTINGS.GRID != Settings.GRID else {}
    step, rest = (costs().get(key, {}).get(timed_as(name)) for key in ("steps", "rounds"))
    return [
        f"`{name}`",
        method.source or "–",
        method.library or "own",
        method.stores or "–",
        method.passes or "–",
        ", ".join(sorted(method.access)) or "–",
        "; ".join(f"{key} {_values(values)}" for key, values in grid.items()) or "–",
        "–" if step is None else f"{step:.2f}",
        "–" if rest is None else f"{rest:.1f}",
    ]


def _values(values: tuple[Any, ...]) -> str:
    return ", ".join(f"{value:g}" if isinstance(value, float) else json.dumps(value) for value in values)
