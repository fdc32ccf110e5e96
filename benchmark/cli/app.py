"""The application that commands register with, and the folders they use unless told otherwise."""

from __future__ import annotations

from pathlib import Path

import typer

RUNS = Path("runs")  # where your own runs go
RESULTS = Path("results")  # the committed records and the tables made from them
BASELINES = RESULTS / "baselines"

app = typer.Typer(
    help="Does a model keep what it could do when it is developed further? A benchmark of model developmental safety.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
