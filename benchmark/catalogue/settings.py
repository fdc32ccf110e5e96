"""A method's settings and a scenario's options, with type, range, default, grid and meaning."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from pydantic.fields import FieldInfo

from benchmark.output.tables import canonical
from scenarios import builder
from scenarios.options import REQUIRED, options_of

SETTING_HEADINGS = ("Setting", "Type", "Range", "Default", "Grid", "Meaning")
OPTION_HEADINGS = ("Option", "Type", "Default", "Meaning")
TYPES: dict[Any, str] = {
    int: "whole number",
    float: "number",
    bool: "true or false",
    str: "text",
    type(None): "nothing",
}
MANY = {int: "whole numbers", float: "numbers", str: "texts"}  # of a list


class Setting(NamedTuple):
    """One setting, in words; cells under ``SETTING_HEADINGS``."""

    name: str
    type: str
    range: str
    default: str
    grid: str
    meaning: str


def settings_of(method: str) -> list[Setting]:
    """All settings of a method, in their order; a weight-space plugin has those of fine-tuning before its own.

    Raises:
        ValueError: there is no such method.
    """
    import methods

    own = methods.load(methods.run_as(method)).SETTINGS
    return [_setting(name, field, own.GRID.get(name, ())) for name, field in own.model_fields.items()]


def shared_settings() -> list[Setting]:
    """Those that every method has, with their usual defaults."""
    from methods.strategy import Settings

    return [_setting(name, field, Settings.GRID.get(name, ())) for name, field in Settings.model_fields.items()]


def options_table(scenario: str) -> list[tuple[str, str, str, str]]:
    """The options of a scenario, as cells under ``OPTION_HEADINGS``.

    Raises:
        ValueError: there is no such scenario.
    """
    return [
        (
            name,
            type_name(_without_none(option.type)),
            "required"
            if option.default is REQUIRED
            else "–"
            if option.default in (None, "")
            else value(option.default),
            option.meaning.replace("``", ""),
        )
        for name, option in options_of(builder(scenario)).items()
    ]


def _setting(name: str, field: FieldInfo, grid: Sequence[Any]) -> Setting:
    return Setting(
        name,
        type_name(field.annotation),
        range_of(field),
        value(field.default),
        ", ".join(map(value, grid)) or "–",
        field.description or "",
    )


def value(one: Any) -> str:
    """A value as it is typed after ``--set name=``; floats in their shortest form."""
    if isinstance(one, float):
        return f"{one:g}"
    if isinstance(one, tuple | list):
        return f"[{', '.join(map(value, one))}]"
    return one if isinstance(one, str) else canonical(one)


def type_name(annotation: Any) -> str:
    """A type in words; its name where it has none."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return " or ".join(map(value, parts))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(type_name, parts))
    if parts and (len(parts) == 1 or parts[1] is Ellipsis):
        return f"list of {MANY.get(parts[0], type_name(parts[0]))}"
    if origin is tuple:
        return f"list of {len(parts)} {MANY.get(parts[0], type_name(parts[0]))}"
    return TYPES.get(annotation, getattr(annotation, "__name__", str(annotation)))


def range_of(field: FieldInfo) -> str:
    """The range that a field's bounds allow, in words; "–" where there are none."""
    bounds = {
        name: getattr(bound, name)
        for bound in field.metadata
        for name in ("ge", "gt", "le", "lt", "min_length")
        if hasattr(bound, name)
    }
    if "min_length" in bounds:
        return f"{bounds['min_length']} or more"
    if "ge" in bounds and bounds.get("le") == bounds["ge"]:
        return f"{bounds['ge']:g} alone"
    if "ge" in bounds and "le" in bounds:
        return f"{bounds['ge']:g} to {bounds['le']:g}"
    words = {"ge": "{:g} or more", "gt": "above {:g}", "le": "up to {:g}", "lt": "below {:g}"}
    return ", ".join(text.format(bounds[name]) for name, text in words.items() if name in bounds) or "–"


def _without_none(annotation: Any) -> Any:
    """The type of the values that can be asked for, where nothing stands for a default."""
    parts = [part for part in typing.get_args(annotation) if part is not type(None)]
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return parts[0] if is_union and len(parts) == 1 else annotation
