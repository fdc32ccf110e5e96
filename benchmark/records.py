"""Records: everything measured in one run, as one JSON file and a file of predictions beside it.

The JSON is ``results/records/<scenario>/<method>-seed<seed>-<run_id>.json``. The ``.csv.gz`` of the same stem has a row
for every scored image of every round: ``round`` (index into the record's rounds, from 0), ``split`` ("val" or "test"),
``index`` (position in the split), and the class names ``label``, ``old`` and ``new``. All counts follow from it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
import os
import re
import uuid
import zlib
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError, model_validator

from benchmark import metrics

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1
COLUMNS = ["round", "split", "index", "label", "old", "new"]


def _plain(value: Any) -> Any:
    """``value`` as JSON gives it back, so that what is written, read and hashed are the same."""
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):  # JSON has none of these
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(f"{value!r} does not fit in JSON: use text, numbers, true, false, null, lists and objects of them")


def _utc(text: str) -> str:
    if datetime.fromisoformat(text).utcoffset() != timedelta(0):
        raise ValueError(f"{text!r} is not in UTC: end it in +00:00")
    return text


PlainDict = Annotated[dict[str, Any], AfterValidator(_plain)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class ClassCounts(_Model):
    """Images of one class in one split, and how many of them the old model, the new model and both get right."""

    n: NonNegativeInt
    old_correct: NonNegativeInt
    new_correct: NonNegativeInt
    both_correct: NonNegativeInt

    @model_validator(mode="after")
    def _consistent(self) -> ClassCounts:
        self.counts.validated()
        return self

    @property
    def counts(self) -> metrics.Counts:
        """The same numbers, for the functions in ``benchmark.metrics``."""
        return metrics.Counts(self.n, self.old_correct, self.new_correct, self.both_correct)


class Checkpoint(_Model):
    """Validation figures of one evaluation point, as fractions; NaN where they were not to be had.

    ``candidate`` names a model that the method proposed after its steps, such as a merge; it is empty for a point along
    the training.
    """

    step: int
    candidate: str = ""
    devsafety: float
    target_accuracy: float


class Constraints(_Model):
    """What a method's constraints were at some of its steps: a protected class's loss above the old model's.

    Averaged as the method does it; positive where violated.
    """

    steps: tuple[int, ...]
    violations: dict[str, tuple[float, ...]]  # class: one value a step

    @model_validator(mode="after")
    def _even(self) -> Constraints:
        if {len(self.steps)} != {len(values) for values in self.violations.values()}:
            raise ValueError("every class needs one value for each of the steps")
        return self


class RoundResult(_Model):
    """One development cycle: the selected model against the one before it. Its properties are of the test data."""

    target: str
    protected: tuple[str, ...]
    val: dict[str, ClassCounts]
    test: dict[str, ClassCounts]
    checkpoints: tuple[Checkpoint, ...]
    selected_step: int
    selected: str = ""  # the candidate that was kept, if one was
    losses: tuple[float, ...]
    constraints: Constraints | None = None  # of methods that have some
    seconds: float

    @model_validator(mode="after")
    def _measured(self) -> RoundResult:
        if len({self.target, *self.protected}) != 1 + len(self.protected):
            raise ValueError("protected classes must be distinct, and the target none of them")
        _ = self.target_gain, self.devsafety  # raise if a class has no test images
        return self

    @property
    def test_counts(self) -> dict[str, metrics.Counts]:
        """Counts per class."""
        return {name: entry.counts for name, entry in self.test.items()}

    @property
    def devsafety(self) -> float:
        """Smallest change of accuracy over the protected classes, in [-1, 1]."""
        return metrics.devsafety(self.test_counts, self.protected)

    @property
    def strictly_preserved(self) -> bool:
        """Whether no protected class got worse."""
        return metrics.strictly_preserved(self.test_counts, self.protected)

    @property
    def target_gain(self) -> float:
        """Change of accuracy on the target class, in [-1, 1]."""
        return metrics.target_gain(self.test_counts, self.target)


class ScenarioInfo(_Model):
    """The stream. ``fingerprint`` covers what is scored, ``training_fingerprint`` what this seed trains on."""

    name: str
    version: int
    fingerprint: str
    training_fingerprint: str
    classes: tuple[str, ...]
    rounds: int = Field(ge=1)
    options: PlainDict


class MethodInfo(_Model):
    """The method, with all its settings after defaults. ``code`` tells other people's code apart: see ``methods``."""

    name: str
    version: int
    code: str = ""
    settings: PlainDict


class BaseInfo(_Model):
    """The model before the stream: its name, the SHA-256 of its weights and its architecture."""

    name: str
    sha256: str
    model: str


class Environment(_Model):
    """Where it ran: nothing that decides what a run is, all that may explain a difference."""

    python: str
    platform: str
    processor: str
    device: str
    threads: int
    packages: dict[str, str]
    peak_memory_mb: float


class Record(_Model):
    """Everything measured in one run of a method on a stream. A diverged one keeps its complete rounds, unscored."""

    schema_version: int = SCHEMA_VERSION
    scenario: ScenarioInfo
    method: MethodInfo
    base: BaseInfo
    seed: int
    status: Literal["complete", "diverged"] = "complete"
    message: str = ""
    rounds: tuple[RoundResult, ...]
    environment: Environment
    seconds: float
    created: Annotated[str, AfterValidator(_utc)]

    @model_validator(mode="after")
    def _fits_stream(self) -> Record:
        if len(self.rounds) > self.scenario.rounds or (self.status == "complete") != (
            len(self.rounds) == self.scenario.rounds
        ):
            raise ValueError(
                f"a complete record has all {self.scenario.rounds} rounds of its stream and a diverged one fewer, "
                f"this {self.status} one has {len(self.rounds)}"
            )
        used = {name for r in self.rounds for name in (r.target, *r.protected, *r.val, *r.test)}
        if unknown := used - set(self.scenario.classes):
            raise ValueError(f"the rounds name classes that the scenario does not have: {sorted(unknown)}")
        return self

    @property
    def run_id(self) -> str:
        """The name of this run: see the function ``run_id``."""
        return run_id(self.scenario, self.method, self.base, self.seed, self.schema_version)


def run_id(
    scenario: ScenarioInfo, method: MethodInfo, base: BaseInfo, seed: int, schema_version: int = SCHEMA_VERSION
) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of all that decides a run's outcome, so known before the run.

    That is schema, data, options, method, settings, base weights and seed, as JSON with sorted keys and no spaces; no
    times, no environment, no results.
    """
    decisive = {
        "schema_version": schema_version,
        "scenario": scenario.model_dump(exclude={"classes"}),  # the fingerprint covers them
        "method": method.model_dump(exclude=set() if method.code else {"code"}),
        "base": base.model_dump(exclude={"name"}),
        "seed": seed,
    }
    text = json.dumps(decisive, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def record_path(results: Path, scenario: str, method: str, seed: int, run_id: str) -> Path:
    """Where a record is kept. Names become safe for any file system; the run id keeps apart what then looks alike."""
    scenario, method = (re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".")[:80] or "_" for name in (scenario, method))
    return Path(results) / "records" / scenario / f"{method}-seed{seed}-{run_id}.json"


def write(record: Record, predictions: pd.DataFrame, results: Path, overwrite: bool = False) -> Path:
    """Keep ``record`` and ``predictions`` (columns as in ``COLUMNS``); return the path of the record.

    Predictions go first. An interruption leaves the old files, none, or predictions alone, which nothing reads.

    Raises:
        ValueError: if a different record of this run exists and ``overwrite`` is false, or a column is missing.
    """
    path = record_path(results, record.scenario.name, record.method.name, record.seed, record.run_id)
    content = (record.model_dump_json(indent=1) + "\n").encode()
    if missing := [name for name in COLUMNS if name not in predictions.columns]:
        raise ValueError(f"predictions: columns {missing} are missing, there must be {COLUMNS}")
    different = path.exists() and path.read_bytes() != content
    if different and not overwrite:
        raise ValueError(f"{path}: a different record of this run exists; use --force to replace it")
    path.parent.mkdir(parents=True, exist_ok=True)
    if different:
        path.unlink()  # or an interruption would leave the old record with the new predictions
    table = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=table, mtime=0) as file:  # no name, no time: same bytes again
        file.write(predictions[COLUMNS].to_csv(index=False, lineterminator="\n").encode())
    replace_file(path.with_suffix(".csv.gz"), table.getvalue())
    replace_file(path, content)
    return path


def replace_file(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``: readers, and whoever looks after an interruption, meet the old file or the new."""
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path) -> Record:
    """The record in a file.

    Raises:
        ValueError: if there is none; one line names the file and what is wrong.
    """
    try:
        data = json.loads(Path(path).read_bytes())
        version = data.get("schema_version") if isinstance(data, dict) else None
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise ValueError(f"schema version {version} is newer than {SCHEMA_VERSION}: update mds-bench")
        return Record.model_validate(data)
    except ValidationError as error:
        first, others = error.errors()[0], error.error_count() - 1
        place = ".".join(map(str, first["loc"])) or "the record"
        reason = f"{place}: {first['msg'].removeprefix('Value error, ')}" + (f" (and {others} more)" if others else "")
    except (OSError, ValueError) as error:  # also bad JSON and bad UTF-8
        reason = getattr(error, "strerror", None) or str(error)
    raise ValueError(f"{path}: {' '.join(reason.split())}")


def read_all(results: Path) -> list[Record]:
    """All records under ``results``, sorted by scenario, method, seed and run id.

    Raises:
        ValueError: if there is no folder of records, or one cannot be read or is not the run its name says.
    """
    folder = Path(results) / "records"
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; make records with `python -m benchmark run`")
    found = {path: read(path) for path in folder.glob("*/*.json")}
    for path, record in found.items():
        if not path.stem.endswith(f"-{record.run_id}"):
            raise ValueError(f"{path}: was changed, what is in it is run {record.run_id}; delete it and run it again")
    return sorted(found.values(), key=lambda r: (r.scenario.name, r.method.name, r.seed, r.run_id))


def read_predictions(path_of_record: Path) -> pd.DataFrame:
    """The predictions kept with a record: ``round`` and ``index`` are integers, the rest text.

    Raises:
        ValueError: if the file is missing or damaged; one line names it.
    """
    import pandas as pd

    path = Path(path_of_record).with_suffix(".csv.gz")
    try:  # "NA" and "007" are class names too: nothing may become a number or a missing value
        text = io.StringIO(gzip.decompress(path.read_bytes()).decode(), newline="")
        table = pd.read_csv(text, dtype=str, keep_default_na=False, lineterminator="\n")
        return table[COLUMNS].astype({"round": int, "index": int})
    except (OSError, EOFError, KeyError, ValueError, zlib.error) as error:
        raise ValueError(f"{path}: no predictions to be read: {' '.join(str(error).split())}") from error


def recompute(record: Record, predictions: pd.DataFrame) -> list[str]:
    """One line for every count in ``record`` that ``predictions`` do not give; none if they agree."""
    classes = record.scenario.classes
    index = {name: position for position, name in enumerate(classes)}
    wrong, unused = [], len(predictions)
    for number, result in enumerate(record.rounds):
        for split, kept in (("val", result.val), ("test", result.test)):
            here = (predictions["round"] == number) & (predictions["split"] == split)
            rows = predictions[here & predictions["label"].isin(list(classes))]
            unused -= len(rows)
            labels, old, new = (np.array([index.get(x, -1) for x in rows[key]], int) for key in ("label", "old", "new"))
            counts = metrics.count_pairs(labels, old, new, classes)
            for name in sorted({result.target, *result.protected, *kept}):
                expected = kept[name].counts if name in kept else metrics.Counts(0, 0, 0, 0)
                if expected != counts[name]:
                    wrong.append(f"round {number}, {split}, {name}: the record has {expected}, not {counts[name]}")
    if unused and record.status == "complete":  # a diverged record may lack the round in which it diverged
        wrong.append(f"{unused} predictions are of no round, split or class of the record")
    return wrong
