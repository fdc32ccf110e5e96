"""Baselines: the outcomes of a suite of small runs, one JSON file per suite, for ``suite`` to compare with.

Its cells are written by hand; ``check --update`` adds their outcomes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError, model_validator

from benchmark.metrics.counts import Counts
from benchmark.metrics.preservation import devsafety, target_gain
from benchmark.output.files import replace_file
from benchmark.records.environment import Platform
from benchmark.records.schema import Frozen

EARLY = 4  # steps whose losses are kept


class RoundOutcome(Frozen):
    """One round of a run: counts per class as [n, old correct, new correct, both correct], and the model kept."""

    target: str
    test: dict[str, Counts]
    val: dict[str, Counts]
    selected_step: int
    selected: str
    first_losses: tuple[float, ...]  # of ``EARLY`` steps, fewer where there are fewer
    last_loss: float | None  # None without steps

    @property
    def devsafety(self) -> float:
        """Smallest change of a protected class's test accuracy, in [-1, 1]."""
        return devsafety(self.test, [name for name in self.test if name != self.target])

    @property
    def target_gain(self) -> float:
        """Change of the target's test accuracy, in [-1, 1]."""
        return target_gain(self.test, self.target)


class Outcome(Frozen):
    """One run of a cell. ``digest`` is of all its predictions and losses."""

    seed: NonNegativeInt
    run_id: str
    status: Literal["complete", "diverged"]
    rounds: tuple[RoundOutcome, ...]
    digest: str


class Cell(Frozen):
    """A method with its settings on a scenario with its options, from the scenario's base or the file ``base``.

    Two seeds or more, as other platforms are allowed their spread. ``time`` is that of a run in multiples of
    ``benchmark.check.yardstick``.
    """

    scenario: str
    options: dict[str, Any] = Field(default_factory=dict)
    method: str
    settings: dict[str, Any] = Field(default_factory=dict)
    base: str | None = None
    seeds: tuple[NonNegativeInt, ...] = Field(min_length=2)
    time: float | None = Field(None, gt=0)
    outcomes: tuple[Outcome, ...] = ()

    @model_validator(mode="after")
    def _of_its_seeds(self) -> Cell:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds must be distinct")
        return self

    @property
    def name(self) -> str:
        """Its name in tables."""
        settings = "".join(f", {key}={value}" for key, value in self.settings.items())
        return f"{self.method} on {self.scenario}{settings}"

    @property
    def known(self) -> bool:
        """Whether there is an outcome for each of its seeds."""
        return self.time is not None and self.seeds == tuple(outcome.seed for outcome in self.outcomes)


class Suite(Frozen):
    """Cells, how many threads they run on, and the platform on which their outcomes were made."""

    schema_version: Literal[1] = 1
    threads: PositiveInt = 1
    platform: Platform | None = None
    cells: tuple[Cell, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _told_apart(self) -> Suite:
        kinds = [json.dumps(cell.model_dump(include=DECISIVE), sort_keys=True) for cell in self.cells]
        if len(set(kinds)) < len(kinds):
            raise ValueError("a cell stands there twice")
        return self


DECISIVE = {"scenario", "options", "method", "settings", "base"}  # the fields that tell cells apart


def suite_path(folder: Path, name: str) -> Path:
    """Where a suite is kept.

    Raises:
        ValueError: if there is none of that name; the line says which there are.
    """
    path = Path(folder) / f"{name}.json"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in Path(folder).glob("*.json"))) or "none"
        raise ValueError(f"--suite {name}: no file {path}; suites in {folder}: {known}")
    return path


def read(path: Path) -> Suite:
    """The suite in a file.

    Raises:
        ValueError: if there is none; one line names the file and what is wrong.
    """
    try:
        return Suite.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the suite"
        raise ValueError(f"{path}: {place}: {first['msg'].removeprefix('Value error, ')}") from None


def write(suite: Suite, path: Path) -> None:
    """Replace the file by ``suite``, with the counts of a class on one line.

    Raises:
        ValueError: a run diverged: that is nothing to hold others to.
    """
    for cell in suite.cells:
        if diverged := [outcome.seed for outcome in cell.outcomes if outcome.status == "diverged"]:
            raise ValueError(
                f"{path} stays as it was: {cell.name}: seed {diverged[0]} diverged, which is no baseline: change the "
                "cell's settings, or mend the method"
            )
    text = json.dumps(suite.model_dump(mode="json"), indent=1, ensure_ascii=False)
    text = re.sub(r"\[[\s\d,]+\]", lambda found: json.dumps(json.loads(found[0])), text)
    replace_file(path, (text + "\n").encode())
