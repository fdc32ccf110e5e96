"""Options that several commands share. Lists may be given with commas, by repeating the option, or both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmark.arguments import known_scenario, seeds_of
from methods import METHODS, missing_extra, run_as
from scenarios import BUDGETS, FULL, SCENARIOS, full_name, rendered
from scenarios.on_disk import at_home

MethodOption = Annotated[
    list[str],
    typer.Option("--method", "-m", help="name of a method (see: list methods) or FILE.py:CLASS; several with commas"),
]
ScenarioOption = Annotated[str, typer.Option("--scenario", "-s", help="name of a scenario; see: list scenarios")]
Methods = Annotated[
    list[str],
    typer.Option("--method", "-m", help="names of methods (see: list methods), FILE.py:CLASS, or all; with commas"),
]
Scenarios = Annotated[
    list[str] | None,
    typer.Option("--scenario", "-s", help="names of scenarios, or all that need no data; default: driving-foggy"),
]
Budget = Annotated[
    str | None, typer.Option("--budget", help="of rendered scenarios: quick, or full as leaderboards; default: quick")
]
Workers = Annotated[str, typer.Option(help="trainings at a time: auto (one a core) or a number")]
Engine = Annotated[str, typer.Option(help="local, or ray for many machines")]
Address = Annotated[str | None, typer.Option(help="of the Ray cluster; default: one of this machine's own")]
CheckpointEvery = Annotated[
    int | None, typer.Option(help="steps between checkpoints of a training; default: two minutes")
]
Results = Annotated[Path, typer.Option("--results", help="folder that keeps records and leaderboards")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
Data = Annotated[Path | None, typer.Option(help="folder of the data set, or a CSV of photos; default: MDS_BENCH_DATA")]
Target = Annotated[str | None, typer.Option(help="folder scenario: the class to improve")]
Protected = Annotated[
    list[str] | None, typer.Option(help="folder scenario: classes to keep, with commas; default: all others")
]
Options = Annotated[
    list[str] | None, typer.Option("--option", help="key=value of the scenario; see: list scenarios NAME")
]
Set = Annotated[list[str] | None, typer.Option("--set", help="key=value of the method; see: list methods NAME")]
Base = Annotated[Path | None, typer.Option(help="start from this .safetensors checkpoint")]
Model = Annotated[str | None, typer.Option(help="open_clip architecture; default: the small one shipped here")]
Pretrained = Annotated[str | None, typer.Option(help="open_clip weights for --model, such as laion400m_e31")]
Like = Annotated[
    str | None, typer.Option(help="of weights that do not tell, the tag that they were trained like, as openai")
]
Seeds = Annotated[int | None, typer.Option(help="run seeds 0 to N-1; default: 5")]
Seed = Annotated[list[str] | None, typer.Option(help="run these seeds, with commas")]
TuningSeeds = Annotated[
    list[str] | None, typer.Option("--seed", help="with commas; never report runs of these; default: 1000,1001")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="no progress")]


def tuning_seeds(values: Sequence[str] | None) -> tuple[int, ...]:
    """The values of ``--seed`` of commands whose runs are never reported."""
    return seeds_of(None, joined(values) or "1000,1001")


def joined(values: Sequence[str] | None) -> str | None:
    """The values of a repeated option as one list with commas; None where it is not given."""
    return ",".join(values) if values else None


def methods_of(values: Sequence[str]) -> str:
    """The values of ``--method`` as one list with commas, ``~`` as the home folder, ``all`` as every method.

    ``all`` leaves out those that need an extra which is not installed, and says so.
    """
    names = [name.strip() for value in values for name in value.split(",")]
    missing = {name: extra for name in METHODS if (extra := missing_extra(name))}
    if "all" in names and missing:
        extras = ",".join(sorted(set(missing.values())))
        typer.echo(f'--method all: without {", ".join(missing)}: pip install "mds-bench[{extras}]"', err=True)
    every = [run_as(name) for name in METHODS if name not in missing]
    return ",".join(method_file(one) for name in names for one in (every if name == "all" else [name]))


def scenarios_of(values: Sequence[str] | None, budget: str | None = None) -> tuple[str, ...]:
    """The values of ``--scenario`` as names, each once; ``all`` for those that need no data from disk.

    Raises:
        ValueError: not all of them have the budget.
    """
    names = [name.strip() for value in values or ["driving-foggy"] for name in value.split(",")]
    named = [one for name in names for one in (rendered() if name == "all" else [name])]
    return tuple(dict.fromkeys(in_budget(name, budget) for name in named))


def in_budget(scenario: str, budget: str | None) -> str:
    """The name of a scenario in a budget; as it is where none is asked for.

    Raises:
        ValueError: there is no such budget, of this scenario or at all.
    """
    if budget is None:
        return scenario
    if budget not in BUDGETS:
        hint = "; tune has --trials for a number of trials" if budget.isdecimal() else ""
        raise ValueError(f"--budget must be {' or '.join(BUDGETS)}, not {budget!r}{hint}")
    full = full_name(scenario)
    if full not in SCENARIOS:
        known_scenario(scenario)
        raise ValueError(f"--budget {budget}: {scenario} has no budgets, only rendered scenarios have: leave it out")
    if budget == FULL:
        return full
    if scenario == full:
        raise ValueError(f"--budget {budget}: {scenario} is a full budget by name: leave one of the two out")
    return scenario


def method_file(name: str) -> str:
    """The name of a method, with ``~`` in the path of a file as the home folder."""
    return str(at_home(Path(name))) if name.startswith("~") else name
