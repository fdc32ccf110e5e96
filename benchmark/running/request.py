"""Requests for runs: methods on a scenario over seeds, from a base, with settings that are checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from methods import one_name
from scenarios.wording import known_names

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class BaseChoice:
    """The base asked for with ``--base``, ``--model``, ``--pretrained``, ``--like``; all None: the stream's own.

    Raises:
        ValueError: two of them contradict each other.
    """

    file: Path | None = None
    model: str | None = None
    pretrained: str | None = None
    like: str | None = None  # how the weights of a file that does not tell were trained: as those of this tag

    def __post_init__(self) -> None:
        if self.file is not None and self.pretrained is not None:
            raise ValueError(
                f"--base {self.file} and --pretrained {self.pretrained} are two bases: give one of them (--like TAG "
                "tells that the weights of a file were trained as those of a tag)"
            )
        if self.like is not None and self.file is None:
            raise ValueError(
                f"--like {self.like} tells how the weights of a file were trained: give it with --base FILE"
            )


@dataclass(frozen=True)
class Request:
    """Methods on a scenario, over seeds. ``method`` is a name, or several with commas."""

    method: str
    scenario: str
    seeds: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    device: str = "auto"
    results: Path = Path("runs")
    force: bool = False
    preset: str | None = None
    tuned: bool = True  # start from the settings tuned for the scenario, where there are some
    base: BaseChoice = field(default_factory=BaseChoice)

    @property
    def methods(self) -> tuple[str, ...]:
        """The names, each once, as records have them."""
        return tuple(dict.fromkeys(one_name(name.strip()) for name in self.method.split(",")))


def validated(model: type[Model], values: Mapping[str, Any], owner: str) -> Model:
    """Settings from ``--set`` values.

    Raises:
        ValueError: an unknown key, with the nearest known one, or a value out of type or range.
    """
    for key in values:
        if key not in model.model_fields:
            raise ValueError(f"--set: {owner} has no setting {key!r}: {known_names(key, model.model_fields)}")
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ValueError(f"--set {key}={first['input']}: {first['msg'][0].lower()}{first['msg'][1:]}") from None
