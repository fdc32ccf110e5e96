"""Hyper-parameters chosen by ``python -m benchmark tune``: data, by scenario and method."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("tuned.json")  # {scenario: {method: {setting: value}}}


def tuned(scenario: str, method: str) -> dict[str, Any]:
    """The settings chosen for ``method`` on ``scenario``; none where there was no search."""
    chosen: dict[str, Any] = _all().get(scenario, {}).get(method, {})
    return dict(chosen)


@cache
def _all() -> dict[str, dict[str, dict[str, Any]]]:
    found: dict[str, dict[str, dict[str, Any]]] = json.loads(FILE.read_bytes())
    return found
