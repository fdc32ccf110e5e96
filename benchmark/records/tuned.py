"""Hyper-parameters chosen by ``python -m benchmark tune``: data, by scenario and method.

The package brings some. ``adopt`` adds to them in a checkout; for an installed package, which is not the user's to
write to, it keeps them in the user's own file, which goes before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from benchmark.output.files import replace_file
from scenarios import tuned_as
from scenarios.cache import cache_folder

Chosen = dict[str, dict[str, dict[str, Any]]]  # {scenario: {method: {setting: value}}}

FILE = Path(__file__).with_name("tuned.json")
INSTALLED = {"site-packages", "dist-packages"}


def tuned(scenario: str, method: str) -> dict[str, Any]:
    """The settings chosen for ``method`` on ``scenario``; none where there was no search.

    A stream for which nothing was chosen takes what was for another, as ``scenarios.tuned_as`` says: a full budget what
    was for the quick one. A plugin for which nothing was chosen, ``replay+balanced``, takes what was for the training
    that it follows.

    Raises:
        ValueError: the user's file cannot be read.
    """
    return _first(_found(*place) for place in _places(scenario, method))


def source(scenario: str, method: str) -> tuple[Path, str]:
    """The file that ``tuned`` has its settings from, the user's own or that of the package, and the method in it."""
    name, chosen = next((p for p in _places(scenario, method) if _found(*p) is not None), (scenario, method))
    return user_file() if chosen in _read(user_file()).get(name, {}) else FILE, chosen


def published(scenario: str, method: str) -> dict[str, Any]:
    """The settings that the package brings, which every reader of a table has too; none where there are none."""
    return _first(_package().get(name, {}).get(chosen) for name, chosen in _places(scenario, method))


def adopt(chosen: Chosen) -> Iterator[str]:
    """Keep ``chosen`` beside what was chosen before; one line per change, and one that names the file.

    Raises:
        ValueError: the user's file cannot be read.
        OSError: the file cannot be written.
    """
    changes = [
        f"{scenario} {method}: {_told(_found(scenario, method))} → {_told(settings)}"
        for scenario, methods in chosen.items()
        for method, settings in methods.items()
        if _found(scenario, method) != settings
    ]
    file, own = (FILE if _is_checkout() else user_file()), _read(user_file())
    before = _package() if file == FILE else own
    if file == FILE and own != (others := _without(own, chosen)):  # or they would go before what is adopted now
        replace_file(user_file(), as_bytes(others))
    if changes or not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, as_bytes(_merged(before, chosen)))
        _package.cache_clear()
    total = sum(map(len, chosen.values()))
    yield from changes
    yield f"settings: {file} ({len(changes)} changed, {total - len(changes)} as before, all others kept)"


def as_bytes(chosen: Chosen) -> bytes:
    """The content of a file of chosen settings."""
    return (json.dumps(chosen, indent=1) + "\n").encode()


def user_file() -> Path:
    """The user's own choices, which go before those of the package."""
    return cache_folder() / "tuned.json"


def _is_checkout() -> bool:
    """Whether the package is a copy that its user works on."""
    return not INSTALLED & set(FILE.parts) and os.access(FILE, os.W_OK) and os.access(FILE.parent, os.W_OK)


def _places(scenario: str, method: str) -> Iterator[tuple[str, str]]:
    """Where settings are looked for: scenarios and methods, first the nearest."""
    while method:
        yield from ((name, method) for name in tuned_as(scenario))
        method = method.rpartition("+")[0]


def _found(scenario: str, method: str) -> dict[str, Any] | None:
    for chosen in (_read(user_file()), _package()):
        if method in chosen.get(scenario, {}):
            return chosen[scenario][method]
    return None


def _first(found: Iterable[dict[str, Any] | None]) -> dict[str, Any]:
    return dict(next((settings for settings in found if settings is not None), {}))


@cache
def _package() -> Chosen:
    return _read(FILE)


def _read(file: Path) -> Chosen:
    try:
        found = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{file}: holds no settings ({' '.join(str(error).split())}): delete it") from None
    levels = [found, *(found.values() if isinstance(found, dict) else ())]
    levels += [settings for methods in levels[1:] if isinstance(methods, dict) for settings in methods.values()]
    if not all(isinstance(level, dict) for level in levels):
        raise ValueError(f"{file}: holds no settings by scenario and method: delete it")
    chosen: Chosen = found
    return chosen


def _merged(before: Chosen, chosen: Chosen) -> Chosen:
    names = sorted({*before, *chosen})
    return {name: dict(sorted((before.get(name, {}) | chosen.get(name, {})).items())) for name in names}


def _without(own: Chosen, chosen: Chosen) -> Chosen:
    kept = {
        name: {method: settings for method, settings in methods.items() if method not in chosen.get(name, {})}
        for name, methods in own.items()
    }
    return {name: methods for name, methods in kept.items() if methods}


def _told(settings: dict[str, Any] | None) -> str:
    if settings is None:
        return "not tuned"
    return ", ".join(f"{key}={value}" for key, value in sorted(settings.items())) or "defaults"
