"""The content of a record: everything measured in one run, and the name of the run."""

from __future__ import annotations

import hashlib
import json
import math
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, NonNegativeInt, model_validator

from benchmark.metrics import preservation
from benchmark.metrics.counts import Counts
from benchmark.metrics.scene_pairs import CHANCE

SCHEMA_VERSION = 1


def _plain(value: Any) -> Any:
    """``value`` as JSON gives it back, so that the values written, read and hashed are the same."""
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


class Frozen(BaseModel):
    """Data that is checked when it is made, knows all its fields and never changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class _Model(Frozen):
    model_config = ConfigDict(ser_json_inf_nan="strings")


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
    def counts(self) -> Counts:
        """The same numbers, for the functions in ``benchmark.metrics``."""
        return Counts(self.n, self.old_correct, self.new_correct, self.both_correct)


class Checkpoint(_Model):
    """Validation figures of one evaluation point, as fractions; NaN where they were not to be had.

    ``candidate`` names a model that the method proposed after its steps, such as a merge; it is empty for a point along
    the training.
    """

    step: int
    candidate: str = ""
    devsafety: float
    target_accuracy: float

    @property
    def merit(self) -> tuple[float, float]:
        """By which one is selected: see ``preservation.merit``."""
        return preservation.merit(self.devsafety, self.target_accuracy)


class Constraints(_Model):
    """Values of a method's constraints at some of its steps: a protected class's loss above the old model's.

    Averaged as the method does it; positive where violated.
    """

    steps: tuple[int, ...]
    violations: dict[str, tuple[float, ...]]  # class: one value per step

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
    scene_pairs: dict[str, ClassCounts] = {}  # by preference, where the stream shows scenes under two classes
    seconds: float

    @model_validator(mode="after")
    def _known_preferences(self) -> RoundResult:
        if unknown := self.scene_pairs.keys() - CHANCE.keys():
            raise ValueError(f"no such preferences over scene pairs: {sorted(unknown)}")
        return self

    @model_validator(mode="after")
    def _measured(self) -> RoundResult:
        if len({self.target, *self.protected}) != 1 + len(self.protected):
            raise ValueError("protected classes must be distinct, and the target none of them")
        counts = self.test_counts
        _ = (
            preservation.scored(counts, [self.target]),
            preservation.scored(counts, self.protected),
        )  # raise if one has no images
        return self

    @property
    def test_counts(self) -> dict[str, Counts]:
        """Counts per class."""
        return {name: entry.counts for name, entry in self.test.items()}

    @property
    def val_counts(self) -> dict[str, Counts]:
        """Counts per class on the validation data."""
        return {name: entry.counts for name, entry in self.val.items()}

    @property
    def best_checkpoint(self) -> Checkpoint | None:
        """The one that the rule of selection picks, the first of the best; None if none could be scored."""
        scored = [point for point in self.checkpoints if math.isfinite(point.merit[1])]
        return max(scored, key=lambda point: point.merit, default=None)

    @property
    def devsafety(self) -> float:
        """Smallest change of accuracy over the protected classes, in [-1, 1]."""
        return preservation.devsafety(self.test_counts, self.protected)

    @property
    def strictly_preserved(self) -> bool:
        """Whether no protected class got worse."""
        return preservation.strictly_preserved(self.test_counts, self.protected)

    @property
    def target_gain(self) -> float:
        """Change of accuracy on the target class, in [-1, 1]."""
        return preservation.target_gain(self.test_counts, self.target)


class ScenarioInfo(_Model):
    """The stream. ``fingerprint`` covers what is scored, ``training_fingerprint`` what this seed trains on."""

    name: str
    version: int
    fingerprint: str
    training_fingerprint: str
    classes: tuple[str, ...]
    rounds: int = Field(ge=1, le=10_000)
    options: PlainDict

    @property
    def title(self) -> str:
        """What tables call the stream: its name, and the target that was asked for, as each makes another stream."""
        target = self.options.get("target")
        return self.name if target is None else f"{self.name}: {target}"


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
