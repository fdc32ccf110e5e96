"""The command line: argument parsing only. Every command imports what it needs when it runs."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

RUNS = Path("runs")  # where your own runs go
RESULTS = Path("results")  # the committed records and the tables made from them
BASELINES = RESULTS / "baselines"
INTERRUPTED = 130  # what typer returns after Ctrl-C

app = typer.Typer(
    help="Does a model keep what it could do when it is developed further? A benchmark of model developmental safety.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

data_app = typer.Typer(help="Data sets on disk, and what the streams hold.", rich_markup_mode=None)
app.add_typer(data_app, name="data")

Method = Annotated[
    str,
    typer.Option("--method", "-m", help="name of a method (see: list methods) or FILE.py:CLASS; several with commas"),
]
Scenario = Annotated[str, typer.Option("--scenario", "-s", help="name of a scenario; see: list scenarios")]
Results = Annotated[Path, typer.Option("--results", help="folder that keeps records and leaderboards")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
Data = Annotated[Path | None, typer.Option(help="folder of the data set, or a CSV of photos; default: MDS_BENCH_DATA")]
Target = Annotated[str | None, typer.Option(help="folder scenario: the class to improve")]
Protected = Annotated[
    str | None, typer.Option(help="folder scenario: classes to keep, with commas; default: all others")
]
Options = Annotated[
    list[str] | None, typer.Option("--option", help="key=value of the scenario, such as protected_per_class=100")
]
Base = Annotated[Path | None, typer.Option(help="start from this .safetensors checkpoint")]
Model = Annotated[str | None, typer.Option(help="open_clip architecture; default: the small one shipped here")]
Pretrained = Annotated[str | None, typer.Option(help="open_clip weights for --model, such as laion400m_e31")]


@app.command()
def run(
    method: Method,
    scenario: Scenario = "driving-foggy",
    seeds: Annotated[int | None, typer.Option(help="run seeds 0 to N-1; default: 5")] = None,
    seed: Annotated[str | None, typer.Option(help="run these seeds, with commas")] = None,
    device: Device = "auto",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value of the method, such as lr=0.0002")
    ] = None,
    results: Results = RUNS,
    as_json: Annotated[bool, typer.Option("--json", help="print a JSON object a method and nothing else")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="no progress")] = False,
    force: Annotated[bool, typer.Option("--force", help="run again what is finished")] = False,
    data: Data = None,
    target: Target = None,
    protected: Protected = None,
    option: Options = None,
    base: Base = None,
    model: Model = None,
    pretrained: Pretrained = None,
    preset: Annotated[str | None, typer.Option(help="paper: CLIP ViT-B/16 at 224 px with the published steps")] = None,
) -> None:
    """Develop a base model with a method, score strict preservation, keep records."""
    from benchmark import arguments, commands

    request = commands.Request(
        method=method,
        scenario=scenario,
        seeds=arguments.seeds(seeds, seed),
        options=arguments.scenario_options(scenario, option or [], data, target, protected),
        settings=arguments.key_values(settings or [], "--set"),
        device=device,
        results=results,
        force=force,
        preset=preset,
        base=arguments.BaseChoice(base, model, pretrained),
    )
    commands.run(request, as_json=as_json, quiet=quiet or as_json)


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="methods or scenarios")],
    markdown: Annotated[bool, typer.Option("--markdown", help="methods: the table of docs/methods.md")] = False,
) -> None:
    """The methods with family, source and cost, or the scenarios."""
    from benchmark import catalogue

    if what not in ("methods", "scenarios"):
        raise ValueError(f"list what? methods or scenarios, not {what!r}")
    if markdown:
        from benchmark.method_table import markdown as table

        print(table(), end="")
    else:
        print("\n".join(catalogue.method_lines() if what == "methods" else catalogue.scenario_lines()))


@app.command()
def costs(
    out: Annotated[Path, typer.Option(help="JSON file to write; list and the documents read benchmark/costs.json")],
    scenario: Scenario = "driving-foggy",
    device: Device = "auto",
) -> None:
    """Time a step and the preparation of a round of every method, side by side in one run."""
    from benchmark import commands

    commands.measure_costs(scenario, device, out)


@app.command("try")
def try_(method: Annotated[str, typer.Argument(help="a name, or path/to/file.py:Class")]) -> None:
    """Check a method's implementation in under a minute; exit code 1 with the reason if it may not compete."""
    from benchmark import commands

    if not commands.try_method(method):
        sys.exit(1)


@app.command()
def tune(
    method: Method,
    scenario: Scenario = "driving-foggy",
    budget: Annotated[int, typer.Option(min=1, help="trials a method; the same for all that are compared")] = 6,
    seed: Annotated[str, typer.Option(help="tuning seeds, with commas; never report runs of these")] = "1000,1001",
    device: Device = "auto",
    results: Results = RUNS,
    quiet: Annotated[bool, typer.Option("--quiet", help="no progress")] = False,
    data: Data = None,
    target: Target = None,
    protected: Protected = None,
    option: Options = None,
    base: Base = None,
    model: Model = None,
    pretrained: Pretrained = None,
) -> None:
    """Search for a method's settings on validation images; an interrupted search goes on where it was."""
    from benchmark import arguments, commands

    request = commands.Request(
        method=method,
        scenario=scenario,
        seeds=arguments.seeds(None, seed),
        options=arguments.scenario_options(scenario, option or [], data, target, protected),
        device=device,
        results=results,
        base=arguments.BaseChoice(base, model, pretrained),
    )
    commands.tune(request, budget, quiet)


@app.command()
def show(record: Annotated[Path, typer.Argument(help="a record's .json file")]) -> None:
    """One run: every class before and after, and the verdict."""
    from benchmark import record_view, records
    from benchmark.tables import console

    record_view.print_record(records.read(record), console())


@app.command("leaderboard")
def leaderboard_(results: Results = RESULTS) -> None:
    """Write leaderboard.md, leaderboard.csv, plots and index.html from the records alone."""
    from benchmark import leaderboard, plots, records, report
    from benchmark.tables import console

    found = records.read_all(results)
    frame, across = leaderboard.frames(found)
    paths = [*leaderboard.write(results, (frame, across)), *plots.write_all(found, results)]
    paths += report.write(found, results, frame)
    leaderboard.print_table(frame, console())
    print("wrote " + ", ".join(map(str, paths)))


@app.command()
def audit(
    old: Annotated[
        Path, typer.Option(help="the model in use: a .safetensors checkpoint, or its predictions (.csv, .parquet)")
    ],
    new: Annotated[Path, typer.Option(help="its successor, in the same form")],
    protected: Annotated[
        str | None, typer.Option(help="classes to keep, with commas; default: all but the target")
    ] = None,
    target: Annotated[str | None, typer.Option(help="the class that was developed: shown, not judged")] = None,
    alpha: Annotated[float, typer.Option(help="probability of a wrong verdict")] = 0.05,
    margin: Annotated[float, typer.Option(help="loss of accuracy that is acceptable, such as 0.01")] = 0.0,
    drop: Annotated[float, typer.Option(help="loss that must be ruled out where none was seen")] = 0.05,
    as_json: Annotated[bool, typer.Option("--json", help="print a JSON object and nothing else")] = False,
    html: Annotated[Path | None, typer.Option(help="write a page to this file")] = None,
    junit: Annotated[Path | None, typer.Option(help="write JUnit XML to this file")] = None,
    scenario: Annotated[str | None, typer.Option("--scenario", "-s", help="checkpoints: whose test images")] = None,
    data: Data = None,
    option: Options = None,
    model: Annotated[str | None, typer.Option(help="checkpoints: open_clip architecture, where none is named")] = None,
    device: Annotated[str | None, typer.Option(help="checkpoints: auto, cpu or cuda; default: auto")] = None,
) -> None:
    """Release gate: did any class get worse? Exit code 0 preserved, 1 regressed, 3 undecided for lack of data."""
    from benchmark import gate

    request = gate.Request(
        old, new, protected, target, alpha, margin, drop, scenario, data, tuple(option or ()), model, device
    )
    if code := gate.run(request, as_json, html, junit):
        sys.exit(code)


@app.command()
def submit(
    submitted: Annotated[list[Path], typer.Argument(metavar="RECORDS", help="records (.json), or folders of them")],
    results: Results = RESULTS,
    allow_unknown_stream: Annotated[
        bool, typer.Option("--allow-unknown-stream", help="take streams whose pictures this package cannot know")
    ] = False,
) -> None:
    """Check other people's records and add them, all or none; exit code 1 with the reasons if refused."""
    from benchmark import submission

    sys.exit(submission.submit(submitted, results, allow_unknown_stream))


@app.command()
def check(
    suite: Annotated[str, typer.Option(help="name of a file in the folder of baselines")] = "ci",
    baselines: Annotated[Path, typer.Option(help="folder that keeps suites with their expected outcomes")] = BASELINES,
    junit: Annotated[Path | None, typer.Option(help="write the result to this file as JUnit XML too")] = None,
    update: Annotated[bool, typer.Option("--update", help="keep what comes out as the new baseline")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="no progress")] = False,
) -> None:
    """Run a suite's small cells again; exit code 1 if an outcome or a run's time is not the baseline's."""
    from benchmark.check import run_check

    if not run_check(suite, baselines, junit, update, quiet):
        sys.exit(1)


@app.command()
def sheet(
    out: Annotated[Path, typer.Option(help="PNG or WebP file to write")],
    scenario: Scenario = "driving-foggy",
    data: Data = None,
    target: Target = None,
    protected: Protected = None,
    option: Options = None,
    pair: Annotated[str | None, typer.Option(help="two classes, with a comma: the same scenes under both")] = None,
) -> None:
    """Draw a contact sheet of a scenario's test images, one row a class."""
    from benchmark import arguments, commands

    options = arguments.scenario_options(scenario, option or [], data, target, protected)
    commands.draw_sheet(scenario, options, out, pair)


@app.command()
def plan(
    classes: Annotated[int, typer.Option(help="protected classes")],
    images: Annotated[int, typer.Option(help="test images of each class")],
    flips: Annotated[float, typer.Option(help="share of a class's predictions that change in a round, such as 0.06")],
    drop: Annotated[float, typer.Option(help="true loss of accuracy that should be found, such as 0.01")],
    alpha: Annotated[float, typer.Option(help="share of rounds that may be false alarms")] = 0.05,
    power: Annotated[float, typer.Option(help="wanted probability of finding the loss")] = 0.8,
) -> None:
    """How many test images and runs a claim needs, and when strictness is luck."""
    from benchmark import planning

    print("\n".join(planning.lines(planning.plan(classes, images, flips, drop, alpha, power))))


@app.command()
def adopt(results: Results = RESULTS) -> None:
    """Make what the searches under --results chose the settings that run starts from (benchmark/tuned.json)."""
    from benchmark import tuned, tuning
    from benchmark.records import replace_file

    replace_file(tuned.FILE, tuning.tuned_bytes(results))
    print(f"settings: {tuned.FILE}")


@app.command()
def pretrain(
    scenario: Scenario,
    out: Annotated[Path | None, typer.Option(help="file to write; default: the user's cache")] = None,
    device: Device = "auto",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value of the recipe, such as steps=500")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="no progress")] = False,
    data: Data = None,
    target: Target = None,
    protected: Protected = None,
    option: Options = None,
) -> None:
    """Train the small base model of a scenario."""
    from benchmark import arguments, commands

    options = arguments.scenario_options(scenario, option or [], data, target, protected)
    recipe = arguments.key_values(settings or [], "--set")
    commands.pretrain_base(scenario, options, recipe, out, device, quiet)


@app.command()
def calibrate(
    scenario: Annotated[str | None, typer.Option("--scenario", "-s", help="one stream; default: all rendered")] = None,
    seeds: Annotated[int | None, typer.Option(help="seeds 0 to N-1; default: 5")] = None,
    seed: Annotated[str | None, typer.Option(help="these seeds, with commas")] = None,
    device: Device = "auto",
    results: Results = RUNS,
    out: Annotated[Path | None, typer.Option(help="write the table to this Markdown file too")] = None,
) -> None:
    """Whether a stream measures something: base accuracy, what fine-tuning forgets, what joint training gains."""
    from benchmark import arguments, calibration
    from scenarios import rendered

    names = rendered() if scenario is None else [scenario]
    calibration.run(names, arguments.seeds(seeds, seed), device, results, out)


@data_app.command()
def verify(
    scenario: Scenario,
    data: Data = None,
    decode: Annotated[bool, typer.Option(help="open every image to find unreadable ones")] = True,
) -> None:
    """Whether a data set on disk is whole: files, counts a class against the official ones, unreadable images."""
    from benchmark import arguments, commands

    if not commands.verify_data(scenario, arguments.scenario_options(scenario, [], data, None, None), decode):
        sys.exit(1)


@data_app.command()
def card(scenario: Scenario, option: Options = None) -> None:
    """The sizes of a stream's splits and its fingerprint, as Markdown."""
    from benchmark import arguments, commands

    commands.print_card(scenario, arguments.scenario_options(scenario, option or [], None, None, None))


@data_app.command()
def fingerprints(out: Annotated[Path, typer.Option(help="JSON file to write")]) -> None:
    """Write versions and fingerprints of the rendered streams; the package has them in scenarios/fingerprints.json."""
    from benchmark import commands

    commands.write_fingerprints(out)


def main() -> None:
    """Run a command; a user's mistake gives one line and exit code 2."""
    # older pips install Avalanche without the solvers that it asks for, and that nothing here uses
    warnings.filterwarnings("ignore", "no QP solver found")
    try:
        code = app(args=sys.argv[1:] or ["--help"], standalone_mode=False) or 0
    except (ValueError, OSError) as error:
        fail(" ".join(str(error).split()), 2)
    except Exception as error:
        if not hasattr(error, "format_message"):  # not the option parser's
            raise
        fail(" ".join(error.format_message().split()) or "see --help", 2)
    if code == INTERRUPTED:
        fail("interrupted; finished runs are kept, the same command goes on from there", code)
    sys.exit(code)


def fail(message: str, code: int) -> None:
    """End with one line on standard error."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
