"""A policy to start from, written from a file of predictions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmark.audit.names import renaming
from benchmark.audit.predictions import COLUMNS, read
from benchmark.audit.rule import DROP
from benchmark.metrics.significance import ALPHA
from benchmark.output.files import check_file, replace_file
from scenarios.wording import some

LISTED = 20
TEXT = """\
# What must hold before a model is released: python -m benchmark audit --policy {name} --old OLD --new NEW
# Decide on it before there is a new model to judge; each report shows the SHA-256 of this file. Lines with # are off.

alpha = {alpha}         # probability of a wrong verdict, over everything that is judged
margin = 0.0         # loss of accuracy that would not matter: 0.01 is a point
drop = {drop}          # loss that must be ruled out where none was seen
# floor = 0.5        # accuracy that every class must be shown to have
# least_images = 100 # with fewer test images a class is undecided
# least_groups = 20
# group = "clip"     # column that tells which images belong together{columns}
# target = {first}   # the class that was developed: it is shown and not judged
# protected = [{first}]   # default: all classes but the target. Those in {file}:
{classes}

# Images that must be right, by id.
# pinned = [{id}]

# Predictions that say nothing: images on which a model abstains are left out, and counted.
# abstain = ["unknown"]

# Names of labels and predictions that are read as others.
# [read_as]
# "partly_cloudy" = "partly cloudy"

# What is asked of some classes instead; * stands for any text.
# [[class]]
# name = {first}
# margin = 0.02
# floor = 0.8

# Images that are judged as a protected class is, by the texts in their columns.
# [[slice]]
# name = "fog at night"
# where = {{ label = {first}, time = "night" }}

# A class or slice that may regress for a while. Every report shows it.
# [[waiver]]
# name = {first}
# reason = "relabelled in the last release"
# expires = 2030-01-31
"""


def write(path: Path, predictions: Path, columns: str | None = None) -> list[str]:
    """Write a policy with the classes and columns of a file of predictions; the lines to be shown.

    Raises:
        ValueError: the predictions cannot be read, or there is a file at ``path``.
    """
    check_file("--init", path, ".toml")
    if path.exists():
        raise ValueError(f"--init {path}: the file exists: choose another name, or edit it")
    renamed = renaming(columns, COLUMNS)
    own = read(predictions, renamed)
    counts = Counter(own.labels)
    known = {renamed.get(name, name) for name in COLUMNS}
    text = TEXT.format(
        name=path.name,
        alpha=ALPHA,
        drop=DROP,
        file=predictions.name,
        columns=_columns([name for name in own.header if name not in known]),
        first=_toml(min(counts)),
        classes="\n".join(_classes(counts)),
        id=_toml(next(iter(own.rows))),
    )
    replace_file(path, text.encode(errors="replace"))  # the name of a file may be no text
    return [f"wrote {path}: {len(counts)} classes of {len(own.labels):,} images are protected; edit it, then commit it"]


def _columns(names: Sequence[str]) -> str:
    return f"; others here: {some(list(map(_toml, names)), LISTED)}" if names else ""


def _classes(counts: Counter[str]) -> list[str]:
    lines = [f"#   {_toml(name)}: {count:,} images" for name, count in sorted(counts.items())]
    more = len(lines) - LISTED
    return lines if more <= 0 else [*lines[:LISTED], f"#   and {more} more"]


def _toml(name: str) -> str:
    """A text as TOML writes it, which for these is as JSON does."""
    return json.dumps(name, ensure_ascii=False)
