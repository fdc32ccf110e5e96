"""docs/methods.md: every method with source, library, measured cost, grid and settings."""

from __future__ import annotations

import csv
from pathlib import Path

import methods
from benchmark.catalogue.listing import costs
from benchmark.catalogue.settings import SETTING_HEADINGS, Setting, settings_of, shared_settings
from benchmark.output.tables import escaped, markdown_table
from methods import METHODS, WEIGHT_SPACE, Method

LEFT_OUT = Path(methods.__file__).with_name("left_out.csv")
LEFT_OUT_HEADINGS = ("Method", "Source", "Reason")
HEADINGS = ("Method", "Source", "Made of", "Stores", "Extra passes", "Uses", "Grid", "Step", "Round")
COMMAND = "python -m benchmark list methods --markdown > docs/methods.md"
INTRODUCTION = """\
# Methods

Made by `{command}`; do not edit.

Every method develops the same old model with the same data, in the same number of steps of the same number of images,
and is selected by the same rule on validation. `python -m benchmark list methods` prints this list, `list methods NAME`
all settings of one, and `run --method NAME` runs it; `run --method finetune+ties` runs one with a weight-space plugin
after each round, and any method that trains can stand before the `+`.

*Made of*: parts from Avalanche or another library; *own* means written here, and the docstring of the class says why.
*Extra passes*: beyond one forward and one backward pass of a batch. *Grid*: values that `tune` chooses from. *Step*:
time of a step relative to that of `finetune`; *Round*: seconds beside the steps, for importances, old outputs and
merges (validation not included). Both are from `python -m benchmark costs --out benchmark/catalogue/costs.json`, all
methods in turn in one run {place}; "–" where a method has no steps or was not timed.

Settings that a search chose stand in `benchmark/records/tuned.json`, every trial behind them in `results/tuning/`.
"""
SETTINGS = """\
## Settings

Given with `--set NAME=VALUE`; a list as JSON. Of every method:
"""
OWN = """\
Of single methods, where they have more settings or other defaults than these. Those of a weight-space method stand
beside those of the method that trains.
"""


def document() -> str:
    """The whole file."""
    families = list(dict.fromkeys(method.family for method in METHODS.values()))
    parts = [
        INTRODUCTION.format(command=COMMAND, place=_place()),
        *map(_family, families),
        *_left_out(),
        f"{SETTINGS}\n{_settings_table(shared_settings())}\n",
        OWN,
        *(f"### `{name}`\n\n{_settings_table(own)}\n" for name in METHODS if (own := _own(name))),
    ]
    return "\n".join(parts)


def _place() -> str:
    """Where costs were measured."""
    found = costs()
    if not found:
        return "(not measured yet)"
    threads = f"{found['threads']} thread{'s' if found['threads'] > 1 else ''}"
    step = 1000 * found["reference_seconds"]
    return (
        f"on {found['device']} with {threads}, on `{found['scenario']}` (a step of `finetune` took {step:.0f} ms there)"
    )


def _family(family: str) -> str:
    rows = [_row(name, method) for name, method in METHODS.items() if method.family == family]
    return f"## {family.capitalize()}\n\n{markdown_table(HEADINGS, rows, left=7)}\n"


def _left_out() -> list[str]:
    """The section on published methods that are not here, if any are named."""
    with LEFT_OUT.open(newline="", encoding="utf-8") as file:
        rows = [(f"`{row['name']}`", escaped(row["source"]), escaped(row["reason"])) for row in csv.DictReader(file)]
    return [f"## Left out\n\n{markdown_table(LEFT_OUT_HEADINGS, rows, left=3)}\n"] if rows else []


def _row(name: str, method: Method) -> list[str]:
    grid = [setting for setting in _described(name) if setting.grid != "–"]
    trains = methods.load(methods.run_as(name)).trains
    step, rest = (costs().get(key, {}).get(methods.run_as(name)) for key in ("steps", "rounds"))
    return [
        f"`{name}`",
        method.source or "–",
        method.library or "own",
        method.stores or "–",
        method.passes or "–",
        ", ".join(sorted(method.access)) or "–",
        "; ".join(f"{setting.name} {setting.grid}" for setting in grid if trains) or "–",
        "–" if step is None else f"{step:.2f}",
        "–" if rest is None else f"{rest:.1f}",
    ]


def _described(name: str) -> list[Setting]:
    """The settings of a method; of a weight-space plugin those it adds."""
    found = settings_of(name)
    if METHODS[name].family != WEIGHT_SPACE:
        return found
    training = methods.load("finetune").SETTINGS.model_fields
    return [setting for setting in found if setting.name not in training]


def _own(name: str) -> list[Setting]:
    shared = shared_settings()
    own = [setting for setting in _described(name) if setting not in shared]
    grid_only = {one.name: one._replace(grid="–") for one in shared}
    return [setting for setting in own if setting._replace(grid="–") != grid_only.get(setting.name)]


def _settings_table(settings: list[Setting]) -> str:
    rows = [(f"`{name}`", *map(escaped, cells)) for name, *cells in settings]
    return markdown_table(SETTING_HEADINGS, rows, left=len(SETTING_HEADINGS))
