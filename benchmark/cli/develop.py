"""Commands that develop models: run, try, tune, adopt, pretrain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.arguments import key_values, known_method, scenario_options, seeds_of
from benchmark.cli.app import RESULTS, RUNS, app
from benchmark.cli.options import (
    Address,
    Base,
    Budget,
    CheckpointEvery,
    Data,
    Device,
    Engine,
    Like,
    MethodOption,
    Methods,
    Model,
    Options,
    Pretrained,
    Protected,
    Quiet,
    Results,
    ScenarioOption,
    Scenarios,
    Seed,
    Seeds,
    Set,
    Target,
    TuningSeeds,
    Workers,
    in_budget,
    joined,
    method_file,
    methods_of,
    scenarios_of,
    tuning_seeds,
)
from benchmark.output.files import check_file


@app.command()
def run(
    method: Methods,
    scenario: Scenarios = None,
    budget: Budget = None,
    seeds: Seeds = None,
    seed: Seed = None,
    device: Device = "auto",
    settings: Set = None,
    results: Results = RUNS,
    as_json: Annotated[
        bool, typer.Option("--json", help="print one JSON object per scenario and method, nothing else")
    ] = False,
    quiet: Quiet = False,
    force: Annotated[bool, typer.Option("--force", help="run again what is finished")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print what would be run, and how long it may take")
    ] = False,
    workers: Workers = "auto",
    engine: Engine = "local",
    address: Address = None,
    checkpoint_every: CheckpointEvery = None,
    log: Annotated[str | None, typer.Option(help="tensorboard: losses, constraints, accuracies of every step")] = None,
    data: Data = None,
    target: Target = None,
    protected: Protected = None,
    option: Options = None,
    base: Base = None,
    model: Model = None,
    pretrained: Pretrained = None,
    like: Like = None,
    preset: Annotated[str | None, typer.Option(help="paper: CLIP ViT-B/16 at 224 px with the published steps")] = None,
) -> None:
    """Develop a base model with methods, score strict preservation, keep records."""
    from benchmark.leaderboard.summary import print_runs
    from benchmark.running import forecast, sweep
    from benchmark.running.request import BaseChoice, Execution, Request, workers_of

    execution = Execution(workers_of(workers), engine, address, checkpoint_every, log)
    chosen = methods_of(method)
    requests = [
        Request(
            method=chosen,
            scenario=name,
            seeds=seeds_of(seeds, joined(seed)),
            options=scenario_options(name, option or [], data, target, protected),
            settings=key_values(settings or [], "--set"),
            device=device,
            results=results,
            force=force,
            preset=preset,
            base=BaseChoice(base, model, pretrained, like),
        )
        for name in scenarios_of(scenario, budget)
    ]
    if dry_run:
        forecast.print_forecast(requests, execution, [results, RESULTS], quiet)
    else:
        print_runs(sweep.run(requests, execution, quiet or as_json), results, as_json, quiet)


@app.command("try")
def try_(method: Annotated[str, typer.Argument(help="a name, or path/to/file.py:Class")]) -> int:
    """Check a method's implementation in under a minute; exit code 1 with the reason if it may not compete."""
    name = known_method(method_file(method))
    from benchmark.running.trial import try_method

    return 0 if try_method(name) else 1


@app.command("tune")
def tune_(
    method: MethodOption,
    scenario: ScenarioOption = "driving-foggy",
    budget: Budget = None,
    trials: Annotated[int, typer.Option(min=1, help="per method; the same for all that are compared")] = 6,
    seed: TuningSeeds = None,
    device: Device = "auto",
    results: Results = RUNS,
    quiet: Quiet = False,
    workers: Workers = "auto",
    engine: Engine = "local",
    address: Address = None,
    data: Data = None,
    target: Target = None,
    protected: Protected = None,
    option: Options = None,
    base: Base = None,
    model: Model = None,
    pretrained: Pretrained = None,
    like: Like = None,
) -> None:
    """Search for a method's settings on validation images; an interrupted search goes on where it was."""
    from benchmark.running.request import BaseChoice, Execution, Request, workers_of
    from benchmark.running.search import tune

    execution = Execution(workers_of(workers), engine, address)
    name = in_budget(scenario, budget)
    request = Request(
        method=methods_of(method),
        scenario=name,
        seeds=tuning_seeds(seed),
        options=scenario_options(name, option or [], data, target, protected),
        device=device,
        results=results,
        base=BaseChoice(base, model, pretrained, like),
    )
    tune(request, trials, execution, quiet)


@app.command()
def adopt(results: Results = RESULTS) -> None:
    """Let run start from the settings that the searches under --results chose; those of other methods stay."""
    from benchmark.running import tuning

    tuning.adopt(results)


@app.command()
def pretrain(
    scenario: ScenarioOption,
    out: Annotated[Path | None, typer.Option(help="file to write; default: the user's cache")] = None,
    device: Device = "auto",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value of the recipe, such as steps=500")
    ] = None,
    quiet: Quiet = False,
    data: Data = None,
    target: Target = None,
    protected: Protected = None,
    option: Options = None,
) -> None:
    """Train the small base model of a scenario."""
    options = scenario_options(scenario, option or [], data, target, protected)
    recipe = key_values(settings or [], "--set")
    if out is not None:
        check_file("--out", out, ".safetensors", inputs=[data])
    from benchmark.running.bases import pretrain_base

    pretrain_base(scenario, options, recipe, out, device, quiet)
