"""Commands that judge: audit, check, submit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.arguments import LEAST_ALPHA
from benchmark.cli.app import BASELINES, RESULTS, app
from benchmark.cli.options import (
    Data,
    Like,
    Options,
    Quiet,
    Results,
)


@app.command()
def audit(
    old: Annotated[
        Path,
        typer.Option(help="the model in use: a .safetensors checkpoint, or its predictions (.csv, .jsonl, .parquet …)"),
    ],
    new: Annotated[
        list[Path] | None, typer.Option(help="its successor, in the same form; once for each of several candidates")
    ] = None,
    protected: Annotated[
        list[str] | None, typer.Option(help="classes to keep, with commas; default: all but the target")
    ] = None,
    target: Annotated[str | None, typer.Option(help="the class that was developed: shown, not judged")] = None,
    group: Annotated[
        str | None, typer.Option(help="predictions: column that tells which images belong together, such as a clip's")
    ] = None,
    abstain: Annotated[
        list[str] | None, typer.Option(help="predictions that say nothing, with commas: such images are left out")
    ] = None,
    score: Annotated[
        str | None, typer.Option(help="graded answers: column of scores from 0 to 1, or with --format the metric")
    ] = None,
    log_format: Annotated[
        str | None, typer.Option("--format", help="graded answers in logs of lm-eval (--log_samples) or inspect")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="predictions: TOML file with all that must hold; see docs/release-gate.md")
    ] = None,
    history: Annotated[
        Path | None, typer.Option(help="file that keeps the verdicts on all releases, which share alpha")
    ] = None,
    init: Annotated[
        Path | None, typer.Option(help="write a policy to start from to this file, from the predictions --old")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(min=LEAST_ALPHA, help="probability of a wrong verdict; default: 0.05")
    ] = None,
    margin: Annotated[
        float | None, typer.Option(help="loss of accuracy that is acceptable, such as 0.01; default: 0")
    ] = None,
    drop: Annotated[
        float | None, typer.Option(help="loss that must be ruled out where none was seen; default: 0.05")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print a JSON object and nothing else")] = False,
    github: Annotated[bool, typer.Option("--github", help="add annotations as GitHub Actions shows them")] = False,
    html: Annotated[Path | None, typer.Option(help="write a page to this file")] = None,
    junit: Annotated[Path | None, typer.Option(help="write JUnit XML to this file")] = None,
    markdown: Annotated[Path | None, typer.Option(help="write a summary to this file")] = None,
    columns: Annotated[
        str | None, typer.Option(help="predictions: names of columns, as id=IMAGE,label=TRUE,prediction=GUESS")
    ] = None,
    scenario: Annotated[str | None, typer.Option("--scenario", "-s", help="checkpoints: scenario to test on")] = None,
    data: Data = None,
    option: Options = None,
    model: Annotated[str | None, typer.Option(help="checkpoints: open_clip architecture, where none is named")] = None,
    device: Annotated[str | None, typer.Option(help="checkpoints: auto, cpu or cuda; default: auto")] = None,
    like: Like = None,
) -> int:
    """Release gate: did any class get worse? Exit code 0 preserved, 1 regressed, 3 undecided for lack of data."""
    given = dict(locals())
    if drop is not None and margin is not None and drop < margin:
        raise ValueError(f"--drop {drop:g} is less than --margin {margin:g}, which is ruled out anyway: leave it out")
    if init is not None:
        unsaid = [flag for flag, value in given.items() if value is None or value is False]
        if said := next((flag for flag in given if flag not in ("old", "columns", "init", *unsaid)), None):
            flag = said.removeprefix("log_").removeprefix("as_")
            raise ValueError(f"--{flag}: --init takes --old and --columns alone: leave it out")
        from benchmark.audit import template

        for line in template.write(init, old, columns):
            typer.echo(line)
        return 0
    if not new:
        raise ValueError("audit needs --new, the model that is to replace --old")
    from benchmark.audit import gate
    from benchmark.audit.judging import Request
    from benchmark.audit.logs import known_format

    request = Request(
        old=old,
        new=new[0],
        protected=tuple(protected) if protected else None,
        target=target,
        alpha=alpha,
        margin=margin,
        drop=drop,
        scenario=scenario,
        data=data,
        options=tuple(option or ()),
        model=model,
        device=device,
        like=like,
        columns=columns,
        group=group,
        abstain=tuple(abstain) if abstain else None,
        score=score,
        format=known_format(log_format),
        policy=policy,
    )
    return gate.run(request, new, gate.Output(as_json, github, html, junit, markdown), history)


@app.command()
def check(
    suite: Annotated[str, typer.Option(help="name of a file in the folder of baselines")] = "ci",
    baselines: Annotated[Path, typer.Option(help="folder that keeps suites with their expected outcomes")] = BASELINES,
    junit: Annotated[Path | None, typer.Option(help="write the result to this file as JUnit XML too")] = None,
    update: Annotated[bool, typer.Option("--update", help="keep the outcomes as the new baseline")] = False,
    quiet: Quiet = False,
) -> int:
    """Run a suite's small cells again; exit code 1 if an outcome or a run's time is not the baseline's."""
    from benchmark.check.suite import run_check

    return 0 if run_check(suite, baselines, junit, update, quiet) else 1


@app.command()
def submit(
    submitted: Annotated[list[Path], typer.Argument(metavar="RECORDS", help="records (.json), or folders of them")],
    results: Results = RESULTS,
    allow_unknown_stream: Annotated[
        bool, typer.Option("--allow-unknown-stream", help="take streams whose pictures this package cannot know")
    ] = False,
) -> int:
    """Check other people's records and add them, all or none; exit code 1 with the reasons if refused."""
    from benchmark.check.submission import submit

    return submit(submitted, results, allow_unknown_stream)
