"""How a model is developed: the methods, by name.

Importing this package is cheap; ``load`` imports torch and Avalanche.
"""

from __future__ import annotations

import csv
import os
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from methods.avalanche_home import write_nothing_at_home
from methods.own_files import load_file, plain_path
from methods.unavailable import check_extra, installed

if TYPE_CHECKING:
    from methods.strategy import RoundStrategy

__all__ = ["ACCESS", "METHODS", "Method", "access", "check_runnable", "is_method", "load", "one_name", "plugins"]

write_nothing_at_home()  # here, as everything that imports Avalanche for a method comes by

GROUP = "mds_bench.methods"  # entry points by which other packages add methods
WEIGHT_SPACE = "weight space"  # the family of plugins, named after the method that trains: finetune+ties
MADE_FOR = {"balanced": "replay", "certified": "replay"}  # plugins that want a training on protected data
EXTRAS = {"primal-dual": "cooper", "augmented-lagrangian": "cooper"}  # of this package, that methods cannot run without
ACCESS = ("protected data", "old model", "pretrained model", "text tower")


class Method(NamedTuple):
    """The facts about a method that are known before it is loaded: a line of ``methods.csv``, or another package's."""

    path: str  # module:class
    family: str
    description: str
    source: str = ""
    stores: str = ""  # during a round, beside the model and its optimizer
    passes: str = ""  # beyond one forward and one backward pass of the batch per step
    access: frozenset[str] = frozenset()  # of ACCESS
    library: str = ""  # the part taken from Avalanche or another library; nothing if it is written here
    package: str = ""  # name and version, of other packages' methods


def _shipped() -> dict[str, Method]:
    with Path(__file__).with_name("methods.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {
        row.pop("name"): Method(**row | {"access": frozenset(filter(None, row["access"].split(";")))}) for row in rows
    }


def _others() -> dict[str, Method]:
    found = {}
    for entry in entry_points(group=GROUP):
        package = f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else "another package"
        found[entry.name] = Method(entry.value, "other packages", f"from {package}", package=package)
    return found


METHODS: dict[str, Method] = _others() | _shipped()


def plugins() -> list[str]:
    """Names of the weight-space plugins."""
    return [name for name, method in METHODS.items() if method.family == WEIGHT_SPACE]


def access(name: str) -> frozenset[str]:
    """The parts of ``ACCESS`` that a method may use; everything where no registry tells."""
    parts = [part for part in _parts(name) if part]
    known = [METHODS[part] for part in parts if part in METHODS and not METHODS[part].package]
    return frozenset().union(*(method.access for method in known)) if len(known) == len(parts) else frozenset(ACCESS)


def run_as(name: str) -> str:
    """The name under which a method is run when all are: a plugin goes with fine-tuning, or what it is made for."""
    return f"{MADE_FOR.get(name, 'finetune')}+{name}" if name in plugins() else name


def extras_of(name: str) -> list[str]:
    """The extras of this package that a method cannot run without; each is named after its module."""
    return [EXTRAS[part] for part in _parts(name) if part in EXTRAS]


def missing_extra(name: str) -> str:
    """The extra of this package that a method needs and that is not installed; nothing where it can run."""
    return next((extra for extra in extras_of(name) if not installed(extra)), "")


def check_runnable(name: str) -> None:
    """See that what a method needs is installed. To ``load`` it, and to tell its settings, nothing is needed.

    Raises:
        ValueError: an extra is missing.
    """
    if extra := missing_extra(name):
        check_extra(f"--method {name}", extra)


def trainer_of(name: str) -> str:
    """The method that trains, of a name that may have a weight-space plugin after its ``+``."""
    return _parts(name)[0]


def is_method(name: str) -> bool:
    """Whether ``name`` has the form of something ``load`` may find; says nothing about the content of a file."""
    trainer, plugin = _parts(name)
    return (trainer in METHODS or _is_file(trainer)) and (not plugin or plugin in METHODS)


def one_name(name: str) -> str:
    """``name`` as records have it: a file is the same method under any path that leads to it.

    Paths are as seen from the working directory: ``./m.py:C`` and ``/here/m.py:C`` are ``m.py:C``.
    """
    trainer, plugin = _parts(name)
    if _is_file(trainer):
        file, _, class_name = trainer.rpartition(":")
        trainer = f"{plain_path(file)}:{class_name}"
    return f"{trainer}+{plugin}" if plugin else trainer


def load(name: str) -> type[RoundStrategy]:
    """The strategy class of a method.

    Args:
        name: a key of ``METHODS``, or ``path/to/file.py:Class``; ``+`` and a weight-space plugin may follow, as in
            ``finetune+ties``.

    Raises:
        ValueError: no such file or class, a class that is no strategy, or a plugin where a method should stand or the
            other way round.
    """
    trainer, plugin = _parts(name)
    if trainer in plugins():
        raise ValueError(f"{trainer} is a weight-space plugin: write it after a method that trains: {run_as(trainer)}")
    if plugin and plugin not in plugins():
        raise ValueError(f"{name}: after the + must stand a weight-space plugin: {', '.join(plugins())}")
    strategy = _from_file(trainer) if _is_file(trainer) else _checked(_imported(METHODS[trainer].path), trainer)
    if trainer in METHODS and METHODS[trainer].package:
        strategy.CODE = METHODS[trainer].package
    if not plugin:
        return strategy
    from methods.weight_space import combined

    return combined(strategy, _imported(METHODS[plugin].path))


def _parts(name: str) -> tuple[str, str]:
    """The method that trains, and the plugin after its ``+`` or nothing."""
    trainer, _, plugin = name.rpartition("+")
    whole = name in METHODS or not trainer or not plugin or _is_file(plugin)
    return (name, "") if whole else (trainer, plugin)


def _is_file(name: str) -> bool:
    return ".py:" in name


def _from_file(name: str) -> type[RoundStrategy]:
    """The class of ``path/to/file.py:Class``, marked with a hash of its code: other code is another method."""
    file, _, class_name = name.rpartition(":")
    path = Path(os.path.expanduser(file))  # noqa: PTH111 Path's own raises where there is no such user
    if not path.is_file():
        raise ValueError(f"--method {name}: no such file: {path}")
    try:
        module, digest = load_file(path)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # of other people's code, SystemExit too
        raise ValueError(f"--method {name}: {path} cannot be imported: {type(error).__name__}: {error}") from error
    if not hasattr(module, class_name):
        raise ValueError(f"--method {name}: {path} has no class {class_name!r}")
    strategy = _checked(getattr(module, class_name), name)
    strategy.CODE = digest
    return strategy


def _imported(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def _checked(found: Any, name: str) -> type[RoundStrategy]:
    from methods.strategy import RoundStrategy

    if not (isinstance(found, type) and issubclass(found, RoundStrategy)):
        raise ValueError(f"--method {name}: is not a subclass of methods.strategy.RoundStrategy")
    return found
