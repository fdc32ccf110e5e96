"""Commands that tell: results, and the methods, scenarios and data to choose from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.arguments import LEAST_ALPHA, scenario_options
from benchmark.cli.app import RESULTS, RUNS, Commands, app
from benchmark.cli.options import (
    Budget,
    Data,
    Device,
    Options,
    Protected,
    Results,
    ScenarioOption,
    Target,
    TuningSeeds,
    method_file,
    scenarios_of,
    tuning_seeds,
)
from benchmark.output.files import check_file, check_outside
from scenarios.on_disk import at_home

data_app = Commands(help="Data sets on disk, and the contents of the streams.", rich_markup_mode=None)
app.add_typer(data_app, name="data")


@app.command()
def show(record: Annotated[Path, typer.Argument(help="a record's .json file")]) -> None:
    """One run: every class before and after, and the verdict."""
    from benchmark.leaderboard.one_run import show

    show(record)


@app.command("leaderboard")
def leaderboard_(
    results: Results = RESULTS,
    wide: Annotated[bool, typer.Option("--wide", help="print all columns, however long the lines")] = False,
) -> None:
    """Write leaderboard.md, leaderboard.csv, plots and index.html from the records alone; print the table."""
    from benchmark.leaderboard.make import make

    make(results, wide)


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="methods or scenarios")],
    name: Annotated[str | None, typer.Argument(help="one of them: its settings or options")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="methods: the whole of docs/methods.md")] = False,
) -> None:
    """The methods with family, source and cost, or the scenarios; of one of them, its settings or options."""
    from benchmark.catalogue.listing import print_list

    print_list(what, name and method_file(name), markdown)


@app.command()
def plan(
    flips: Annotated[float, typer.Option(help="share of a class's predictions that change in a round, such as 0.06")],
    classes: Annotated[int | None, typer.Option(help="protected classes")] = None,
    images: Annotated[int | None, typer.Option(help="test images per class")] = None,
    drop: Annotated[float | None, typer.Option(help="true loss of accuracy that should be found, such as 0.01")] = None,
    alpha: Annotated[
        float | None, typer.Option(min=LEAST_ALPHA, help="share of rounds that may be false alarms; default: 0.05")
    ] = None,
    power: Annotated[float, typer.Option(help="wanted probability of finding the loss")] = 0.8,
    certify: Annotated[float | None, typer.Option(help="certify updates that truly gain this in every class")] = None,
    margin: Annotated[float, typer.Option(help="with --certify: a true loss that it allows")] = 0.0,
    policy: Annotated[Path | None, typer.Option(help="of the release gate: would a model without change pass?")] = None,
    old: Annotated[Path | None, typer.Option(help="with --policy: predictions of the model in use")] = None,
    columns: Annotated[str | None, typer.Option(help="with --policy: names of columns, as for audit")] = None,
) -> None:
    """How many test images and runs a claim needs, held-out images a certificate, and when strictness is luck."""
    if policy is not None:
        if old is None:
            raise ValueError("--policy needs --old, the predictions of the model in use")
        given = {"classes": classes, "images": images, "drop": drop, "alpha": alpha, "certify": certify}
        given["margin"] = margin or None
        if said := next((flag for flag, value in given.items() if value is not None), None):
            raise ValueError(f"--{said} is said by --policy {policy} and the images of --old: leave it out")
        _print_forecast(policy, old, flips, columns, power)
        return
    if classes is None or images is None or drop is None:
        raise ValueError("plan needs --classes, --images and --drop, or --policy with --old")
    if old is not None or columns is not None:
        raise ValueError(f"--{'columns' if old is None else 'old'} is for --policy: leave it out")
    if margin and certify is None:
        raise ValueError("--margin is what a certificate allows to be lost: give --certify too")
    from benchmark.metrics import planning

    alpha = 0.05 if alpha is None else alpha
    lines = planning.lines(planning.plan(classes, images, flips, drop, alpha, power))
    if certify is not None:
        lines.append(planning.certificate_line(flips, certify, classes, alpha, power, margin))
    print("\n".join(lines))


def _print_forecast(policy: Path, old: Path, flips: float, columns: str | None, power: float) -> None:
    from benchmark.audit import forecast
    from benchmark.output.tables import console, print_rows

    found = forecast.forecast(policy, old, flips, columns, power)
    print_rows(console(), "", list(forecast.HEADINGS), forecast.rows_of(found))
    print("\n".join(forecast.summary(found, flips)))


@app.command()
def costs(
    out: Annotated[Path, typer.Option(help="JSON file to write; list and docs read benchmark/catalogue/costs.json")],
    scenario: ScenarioOption = "driving-foggy",
    device: Device = "auto",
) -> None:
    """Time a step and the preparation of a round of every method, side by side in one run."""
    check_file("--out", out)
    scenario_options(scenario, [], None, None, None, flags=())
    from benchmark.catalogue.costs import measure_costs

    measure_costs(scenario, device, out)


@app.command()
def calibrate(
    scenario: Annotated[str, typer.Option("--scenario", "-s", help="one stream; default: all rendered")] = "all",
    budget: Budget = None,
    data: Data = None,
    seed: TuningSeeds = None,
    device: Device = "auto",
    results: Results = RUNS,
    out: Annotated[Path | None, typer.Option(help="write the tables to this Markdown file too")] = None,
) -> None:
    """Whether a stream measures something: base accuracy, forgetting by fine-tuning, gain by joint training."""
    if out is not None:
        check_file("--out", out)
    asked = {
        name: scenario_options(name, [], data, None, None, flags=("data",)) for name in scenarios_of([scenario], budget)
    }
    chosen = tuning_seeds(seed)
    from benchmark.catalogue import calibration

    calibration.run(asked, chosen, device, results, out)


@app.command()
def sheet(
    out: Annotated[Path, typer.Option(help="PNG or WebP file to write")],
    scenario: ScenarioOption = "driving-foggy",
    data: Data = None,
    target: Target = None,
    protected: Protected = None,
    option: Options = None,
    pair: Annotated[str | None, typer.Option(help="two classes, with a comma: the same scenes under both")] = None,
) -> None:
    """Draw a contact sheet of a scenario's test images, one row per class."""
    check_file("--out", out, ".png", ".webp", inputs=[data])
    options = scenario_options(scenario, option or [], data, target, protected)
    if options.get("data"):
        check_outside("--out", out, at_home(options["data"]))
    from benchmark.catalogue.sheets import draw_sheet

    draw_sheet(scenario, options, out, pair)


@data_app.command()
def verify(
    scenario: ScenarioOption,
    data: Data = None,
    decode: Annotated[bool, typer.Option(help="open every image to find unreadable ones")] = True,
) -> int:
    """Whether a data set on disk is whole: files, counts per class against the official ones, unreadable images."""
    options = scenario_options(scenario, [], data, None, None, flags=("data",), needs=("data",))
    from benchmark.catalogue.data import verify_data

    return 0 if verify_data(scenario, options, decode) else 1


@data_app.command()
def card(
    scenario: ScenarioOption,
    data: Data = None,
    target: Target = None,
    protected: Protected = None,
    option: Options = None,
) -> None:
    """The sizes of a stream's splits and its fingerprint, as Markdown."""
    options = scenario_options(scenario, option or [], data, target, protected)
    from benchmark.catalogue.cards import print_card

    print_card(scenario, options)


@data_app.command()
def fingerprints(out: Annotated[Path, typer.Option(help="JSON file to write")]) -> None:
    """Write versions and fingerprints of the rendered streams; the package has them in scenarios/fingerprints.json."""
    check_file("--out", out)
    from benchmark.catalogue.data import write_fingerprints

    write_fingerprints(out)
