"""Run what is missing of the study; the records go beside this file.

python -m results.studies.budget.run SEED [SEED ...]
"""

from __future__ import annotations

import sys

from benchmark.running.request import Request
from benchmark.running.sweep import run
from results.studies.budget.report import BUDGETS, HERE, METHODS, SCENARIO, steps


def main(seeds: tuple[int, ...]) -> None:
    """All cells of the given seeds, smallest budgets last; finished runs are not made again."""
    run([request(method, images, seeds) for images in reversed(BUDGETS[:-1]) for method in METHODS])


def request(method: str, images: int, seeds: tuple[int, ...]) -> Request:
    """The runs of a method with so many protected images of each class."""
    return Request(method, SCENARIO, seeds, {"protected_per_class": images}, {"steps": steps(images)}, results=HERE)


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:])))
