"""The command that makes a run again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from benchmark.output.tables import canonical
from benchmark.records.schema import Record
from scenarios import SCENARIOS
from scenarios.wording import quoted

BASES = Path(str(files("scenarios") / "bases"))


def command(record: Record) -> str:
    """A command line that makes a record's run again, with every setting and option that decided it.

    Values unknown to a record stand in capitals: DATA for the data set on your disk, FILE.safetensors for a base
    model of your own.
    """
    name, options = record.scenario.name, dict(record.scenario.options)
    words = ["python", "-m", "benchmark", "run", "--method", record.method.name, "--scenario", name]
    words += ["--seed", str(record.seed)]
    flags = SCENARIOS[name].flags if name in SCENARIOS else ()
    if "data" in flags:
        words += ["--data", "DATA"]
        if options.pop("external", False):
            words += ["--option", "external=DATA"]
    if "target" in flags:
        words += ["--target", str(options.pop("target", ""))]
        if isinstance(protected := options.pop("protected", None), list):
            words += ["--protected", ",".join(quoted(str(name)) for name in protected)]
    for flag, values in (("--option", options), ("--set", record.method.settings)):
        for key, value in values.items():
            words += [flag, f"{key}={canonical(value)}"]
    words += [*_base(record), "--device", "cpu" if record.environment.device == "cpu" else "cuda"]
    return shlex.join(words)


def _base(record: Record) -> Iterator[str]:
    """Nothing where ``run`` takes a base of this package, or trains the one of the stream, by itself."""
    model, weights, tag = record.base.name.partition("/")
    if weights:
        yield from ("--model", model, "--pretrained", tag)
    elif not (BASES / model).is_file() and not re.fullmatch(r".+-[0-9a-f]{16}\.safetensors", model):
        yield from ("--base", "FILE.safetensors")
