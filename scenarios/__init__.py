"""The classes to be learned and those to be kept: the development streams, by name.

A rendered stream has two budgets: ``NAME`` is the quick one, ``NAME-full`` the full one, a stream of its own.

Importing this package is cheap; ``build`` imports torch and Avalanche.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from scenarios.options import REQUIRED, Option, options_of
from scenarios.wording import unknown_name

if TYPE_CHECKING:
    from scenarios.stream import DevelopmentStream

GROUP = "mds_bench.scenarios"  # entry points by which other packages add scenarios

QUICK, FULL = BUDGETS = ("quick", "full")  # of a rendered stream: what a newcomer waits for, what leaderboards hold
STEPS = {QUICK: 240, FULL: 960}
LR = 3e-4  # for the small model that rendered streams start from

__all__ = [
    "BUDGETS",
    "SCENARIOS",
    "Scenario",
    "build",
    "builder",
    "fingerprints",
    "full_name",
    "rendered",
    "scored_on",
    "settings_of",
    "steps_of",
    "tuned_as",
]


class Scenario(NamedTuple):
    """One name on the command line."""

    builder: str  # module:function in it that builds the stream
    description: str  # one line
    flags: tuple[str, ...] = ()  # which of data, target and protected it takes; one that takes none is rendered
    needed: tuple[str, ...] = ()  # flags it cannot do without
    steps: int | None = None  # of a round, unless others are asked for; None: as many as a method has by default
    lr: float | None = None  # learning rate of methods that have none of their own; None: as is usual for CLIP
    photos: bool = False  # of a user's own, too few to train a base on from nothing
    tuned_as: str | None = None  # a stream whose searches serve here where there are none


def _both(name: str, plan: str, description: str, tuned_as: str | None = None) -> dict[str, Scenario]:
    """A rendered stream in its two budgets, each under a name of its own; in full it is tuned as in quick."""
    quick = Scenario(f"scenarios.{plan}.build", description, steps=STEPS[QUICK], lr=LR, tuned_as=tuned_as)
    full = quick._replace(
        builder=f"scenarios.{plan}_FULL.build",
        description=f"{description}; full budget",
        steps=STEPS[FULL],
        tuned_as=name,
    )
    return {name: quick, full_name(name): full}


def full_name(name: str) -> str:
    """What a stream is called in its full budget, if it has one."""
    return name if name.endswith(f"-{FULL}") else f"{name}-{FULL}"


SCENARIOS: dict[str, Scenario] = {
    **_both(
        "driving-foggy",
        "driving:FOGGY",
        "rendered road scenes, weather: the target foggy, five protected weathers",
    ),
    **_both(
        "driving-overcast",
        "driving:OVERCAST",
        "rendered road scenes, weather: the target overcast, four protected weathers",
        tuned_as="driving-foggy",
    ),
    **_both(
        "driving-tunnel",
        "driving:TUNNEL",
        "rendered road scenes, scene: the target tunnel, four protected scenes",
        tuned_as="driving-foggy",
    ),
    **_both(
        "driving-rounds",
        "driving:ROUNDS",
        "rendered road scenes, four rounds: overcast, foggy, tunnel, parking lot; each target is protected thereafter",
        tuned_as="driving-foggy",
    ),
    **_both(
        "driving-settled",
        "driving:SETTLED",
        "driving-foggy from a base that was trained four times as long, with less left to gain",
        tuned_as="driving-foggy",
    ),
    **_both(
        "places-mini",
        "places:MINI",
        "rendered places, 20 classes: the target dressing_room, 19 protected",
    ),
    **_both(
        "places-dressing-room",
        "places:DRESSING_ROOM",
        "rendered places, 365 classes: the target dressing_room, 364 protected",
    ),
    "bdd100k-foggy": Scenario(
        "scenarios.bdd100k:foggy",
        "BDD100K frames from your disk (--data), weather: the target foggy, five protected weathers",
        ("data",),
    ),
    "bdd100k-overcast": Scenario(
        "scenarios.bdd100k:overcast",
        "BDD100K frames from your disk (--data), weather: the target overcast, four protected weathers",
        ("data",),
    ),
    "bdd100k-tunnel": Scenario(
        "scenarios.bdd100k:tunnel",
        "BDD100K frames from your disk (--data), scene: the target tunnel, four protected scenes",
        ("data",),
    ),
    "bdd100k-rounds": Scenario(
        "scenarios.bdd100k:rounds",
        "BDD100K frames from your disk (--data), four rounds: overcast, foggy, tunnel, parking lot",
        ("data",),
    ),
    "places365-dressing-room": Scenario(
        "scenarios.places365:dressing_room",
        "Places365 photos from your disk (--data), 365 classes: the target dressing_room, 364 protected",
        ("data",),
    ),
    "gtsrb-pedestrians": Scenario(
        "scenarios.gtsrb:pedestrians",
        "German traffic signs from your disk (--data), 43 classes: the target pedestrians, 42 protected",
        ("data",),
        steps=STEPS[QUICK],
        lr=LR,
    ),
    "gtsrb-rounds": Scenario(
        "scenarios.gtsrb:rounds",
        "German traffic signs from your disk (--data), four rounds: pedestrians, children, bicycles, wild animals",
        ("data",),
        steps=STEPS[QUICK],
        lr=LR,
    ),
    "folder": Scenario(
        "scenarios.folder:folder",
        "your own photos: a folder of class-named folders, or a CSV (--data, --target, --protected)",
        ("data", "target", "protected"),
        ("data", "target"),
        photos=True,
    ),
}

SHIPPED = tuple(SCENARIOS)
for _entry in entry_points(group=GROUP):  # other packages' builders: seed, options -> DevelopmentStream
    SCENARIOS.setdefault(_entry.name, Scenario(_entry.value, f"from {getattr(_entry.dist, 'name', 'another package')}"))


def build(name: str, seed: int = 0, **options: Any) -> DevelopmentStream:
    """Build the development stream ``name``.

    Args:
        name: a key of ``SCENARIOS``.
        seed: decides which training and protected images the stream offers; validation and test stay the same.
        options: those that the scenario itself takes, such as ``image_size`` or ``data``.

    Raises:
        ValueError: the name or an option is unknown, or the data cannot serve.
    """
    make = builder(name)
    known = options_of(make)
    for key in options:
        if key not in known:
            raise ValueError(unknown_name(f"option of scenario {name}:", key, known))
    for key, option in known.items():
        if option.default is REQUIRED and key not in options:
            raise ValueError(f"scenario {name} needs the option {key!r}")
        if key in options:
            _check_type(key, option, options[key])
    return make(seed=seed, **options)


def builder(name: str) -> Callable[..., DevelopmentStream]:
    """The function that builds the stream ``name``, from ``seed`` and its options.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in SCENARIOS:
        raise ValueError(unknown_name("scenario", name, SCENARIOS))
    module, _, function = SCENARIOS[name].builder.partition(":")
    return attrgetter(function)(import_module(module))


def tuned_as(name: str) -> list[str]:
    """The streams whose searches of settings serve the stream ``name``, first its own."""
    found: list[str] = []
    following: str | None = name
    while following is not None:
        found.append(following)
        following = SCENARIOS[following].tuned_as if following in SCENARIOS else None
    return found


def _check_type(key: str, option: Option, value: Any) -> None:
    """Refuse a value of another type than the builder declares."""
    from pydantic import TypeAdapter, ValidationError

    if not isinstance(value, Path):
        try:
            TypeAdapter(option.type).validate_python(value, strict=True)
        except ValidationError as error:
            message = error.errors()[0]["msg"]
            listed = ', write one as \'["a", "b"]\'' if "Sequence" in message else ""
            raise ValueError(f"option {key}={value!r}: {message[0].lower()}{message[1:]}{listed}") from None


def rendered(budget: str = QUICK) -> list[str]:
    """Names of the streams that need nothing but this package, in one of ``BUDGETS``."""
    return [name for name in SHIPPED if not SCENARIOS[name].flags and (name == full_name(name)) == (budget == FULL)]


def settings_of(name: str) -> dict[str, Any]:
    """The settings of methods that the stream ``name`` decides: steps of a round, learning rate; none if it does not.

    They are what methods start from: of what is asked for or was tuned, the settings go before.
    """
    if name not in SCENARIOS:
        return {}
    found = {"steps": SCENARIOS[name].steps, "lr": SCENARIOS[name].lr}
    return {key: value for key, value in found.items() if value is not None}


def steps_of(name: str) -> int | None:
    """Optimizer steps of a round of the stream ``name``; None where it leaves them to the method."""
    return settings_of(name).get("steps")


def scored_on(known: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    """Whether a rendered stream with these options is scored on the pictures of an entry of ``fingerprints``."""
    wanted: Mapping[str, Any] = known["options"]
    return "scored" not in options and wanted.items() <= options.items()


def fingerprints() -> dict[str, dict[str, Any]]:
    """The state of the rendered streams today: version, fingerprint, and the options it is the fingerprint for.

    Made by ``python -m benchmark data fingerprints``.
    """
    found: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("fingerprints.json").read_bytes())
    return found
