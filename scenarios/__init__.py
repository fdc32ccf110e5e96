"""What must be learned and what must be kept: the development streams, by name.

Importing this package is cheap; ``build`` imports torch and Avalanche.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scenarios.stream import DevelopmentStream

__all__ = ["SCENARIOS", "build"]

# name -> (module and function that builds it, one line of description)
SCENARIOS: dict[str, tuple[str, str]] = {
    "driving-foggy": (
        "scenarios.driving:foggy",
        "rendered road scenes, weather: the target foggy, five protected weathers",
    ),
    "folder": (
        "scenarios.folder:folder",
        "your own photos: a folder of class-named folders, or a CSV (--data, --target, --protected)",
    ),
}


def build(name: str, seed: int = 0, **options: Any) -> DevelopmentStream:
    """Build the development stream ``name``.

    Args:
        name: a key of ``SCENARIOS``.
        seed: decides which training and protected images the stream offers; validation and test stay the same.
        options: what the scenario itself takes, such as ``image_size`` or ``data``.

    Raises:
        ValueError: the name or an option is unknown, or the data cannot serve.
    """
    if name not in SCENARIOS:
        raise ValueError(unknown_name("scenario", name, SCENARIOS))
    module, _, function = SCENARIOS[name][0].partition(":")
    make = getattr(import_module(module), function)
    parameters = {key: p for key, p in signature(make).parameters.items() if key != "seed"}
    for option in options:
        if option not in parameters:
            raise ValueError(unknown_name(f"option of scenario {name}:", option, parameters))
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in options:
            raise ValueError(f"scenario {name} needs the option {key!r}")
    return make(seed=seed, **options)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """The message for an unknown name: the nearest known one, and all of them."""
    known = list(known)
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {kind} {name!r}: {hint}known are {', '.join(known)}"
