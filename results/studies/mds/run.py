"""Run what is missing of ``cells.csv``; the records go beside this file.

python -m results.studies.mds.run
"""

from __future__ import annotations

import csv

from benchmark.arguments import key_values
from benchmark.running.request import Request
from benchmark.running.sweep import run
from results.studies.mds.report import HERE, SCENARIO, SEEDS


def main() -> None:
    """Cell after cell; finished runs are not made again."""
    with (HERE / "cells.csv").open(encoding="utf-8", newline="") as file:
        for cell in csv.DictReader(file):
            settings, options = (key_values(cell[column].split(), column) for column in ("settings", "options"))
            run(Request(cell["method"], SCENARIO, tuple(SEEDS), options, settings, results=HERE, tuned=False))


if __name__ == "__main__":
    main()
