"""The options of a builder of streams, read off its signature and docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, NamedTuple, get_type_hints

REQUIRED: Any = inspect.Parameter.empty


class Option(NamedTuple):
    """One argument of a builder beside the seed."""

    type: Any  # the annotation, Any where there is none
    default: Any  # REQUIRED where there is none
    meaning: str  # of the docstring; empty where it says nothing


def options_of(make: Callable[..., Any]) -> dict[str, Option]:
    """The options of a builder, by name.

    A builder that is a method of something with ``option_defaults`` has these for the options that it leaves at None.
    """
    function = make.func if isinstance(make, partial) else make
    hints, meanings = get_type_hints(function), _arguments(inspect.getdoc(function) or "")
    defaults: Mapping[str, Any] = getattr(getattr(make, "__self__", None), "option_defaults", {})
    return {
        name: Option(
            hints.get(name, Any),
            defaults.get(name) if parameter.default is None else parameter.default,
            meanings.get(name, ""),
        )
        for name, parameter in inspect.signature(make).parameters.items()
        if name != "seed"
    }


def changed_options(make: Callable[..., Any], options: Mapping[str, Any], but: Collection[str] = ()) -> dict[str, Any]:
    """Those of a stream's ``options`` that differ from the defaults of its builder, ``but`` some of them."""
    defaults = {name: option.default for name, option in options_of(make).items() if option.default is not REQUIRED}
    return {
        name: value
        for name, value in options.items()
        if name in defaults and name not in but
        if value != defaults[name] and (value or defaults[name])  # False stands for None in records
    }


def _arguments(docstring: str) -> dict[str, str]:
    """name -> text, of a Google-style ``Args:`` section."""
    found = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", docstring, re.M | re.S)
    entries = re.findall(r"^    (\w+): (.*?)(?=^    \w|\Z)", found[1] if found else "", re.M | re.S)
    return {name: " ".join(text.split()) for name, text in entries}
