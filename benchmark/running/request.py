"""Requests for runs: methods on a scenario over seeds, from a base, with settings that are checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from methods import one_name
from scenarios.wording import known_names

ENGINES = ("local", "ray")
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


@dataclass(frozen=True)
class Execution:
    """How the runs of a command are executed; no outcome depends on it.

    Attributes:
        workers: how many trainings at a time; None for as many as the machine has cores.
        engine: "local", or "ray" for many machines.
        address: of the Ray cluster; None for one of this machine's own.
        checkpoint_every: steps from one checkpoint of a training to the next; None for two minutes.
        log: "tensorboard", or None.

    Raises:
        ValueError: a value that means nothing, or an engine or log that is not installed.
    """

    workers: int | None = None
    engine: str = "local"
    address: str | None = None
    checkpoint_every: int | None = None
    log: str | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"--workers must be auto or a whole number from 1, not {self.workers}")
        if self.engine not in ENGINES:
            raise ValueError(f"--engine must be {' or '.join(ENGINES)}, not {self.engine!r}")
        if self.engine == "ray" and find_spec("ray") is None:
            raise ValueError('--engine ray: Ray is not installed: pip install "mds-bench[ray]"')
        if self.address is not None and self.engine != "ray":
            raise ValueError("--address is of a Ray cluster: give it with --engine ray")
        if self.checkpoint_every is not None and self.checkpoint_every < 1:
            raise ValueError(f"--checkpoint-every must be 1 step or more, not {self.checkpoint_every}")
        if self.log not in (None, "tensorboard"):
            raise ValueError(f"--log must be tensorboard, not {self.log!r}")


def workers_of(text: str) -> int | None:
    """The value of ``--workers``: a number, or None for auto.

    Raises:
        ValueError: it is neither.
    """
    if text == "auto":
        return None
    if not re.fullmatch(r"[+-]?[0-9]{1,6}", text):
        raise ValueError(f"--workers must be auto or a whole number from 1, not {text!r}")
    return int(text)


def validated(model: type[Model], values: Mapping[str, Any], owner: str, source: str = "--set") -> Model:
    """Settings from ``--set`` values, or those of another ``source``.

    Raises:
        ValueError: an unknown key, with the nearest known one, or a value out of type or range.
    """
    for key in values:
        if key not in model.model_fields:
            raise ValueError(f"{source}: {owner} has no setting {key!r}: {known_names(key, model.model_fields)}")
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key, message = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        place = f" {key}={first['input']}" if key else ""  # none where it takes several values to be wrong
        raise ValueError(f"{source}{place}: {message[0].lower()}{message[1:]}") from None
