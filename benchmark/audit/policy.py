"""What must hold before a model is released, written down in a TOML file before there is a new model to judge."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from benchmark.arguments import LEAST_ALPHA
from benchmark.audit.names import shown
from benchmark.audit.pairing import Paired, Wording
from benchmark.audit.rule import DROP, NAMED, Pinned, Requirement, protected_classes
from benchmark.metrics.planning import MOST_IMAGES
from benchmark.metrics.significance import ALPHA
from scenarios.wording import known_names, some

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Name = Annotated[str, StringConstraints(min_length=1)]  # of a class or image, with its blanks, as predictions are read
Names = Annotated[tuple[Name, ...], Field(min_length=1)]
Least = Annotated[int, Field(ge=0, le=MOST_IMAGES)]
Margin = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
LABEL = "label"  # the column of a slice that is the class, whatever its name in the files


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Special(_Part):
    """What is asked instead of what is asked of all classes."""

    margin: Margin | None = None
    drop: Share | None = None
    floor: Share | None = None
    least_images: Least | None = None
    least_groups: Least | None = None


class ClassRule(_Special):
    """Of a class, or of all whose names fit a pattern with ``*`` and ``?``."""

    name: Name


class SliceRule(_Special):
    """Of the images whose columns have these texts, which are judged as a protected class."""

    name: Name
    where: Annotated[dict[str, Name], Field(min_length=1)]


class Waiver(_Part):
    """A class or slice whose verdict does not count, until a day and for a reason."""

    name: Name
    reason: Text
    expires: date


class Policy(_Part):
    """A policy file; docs/release-gate.md describes its fields.

    ``classes``, ``slices`` and ``waivers`` are the tables ``[[class]]``, ``[[slice]]`` and ``[[waiver]]``.
    """

    alpha: Annotated[float, Field(ge=LEAST_ALPHA, lt=0.5)] = ALPHA
    margin: Margin = 0.0
    drop: Share = DROP
    floor: Share | None = None
    least_images: Least = 0
    least_groups: Least = 0
    group: Text | None = None
    target: Name | None = None
    protected: Names | None = None
    pinned: tuple[Name, ...] = ()
    abstain: tuple[Name, ...] = ()
    read_as: dict[Name, Name] = Field(default_factory=dict)
    classes: tuple[ClassRule, ...] = Field((), alias="class")
    slices: tuple[SliceRule, ...] = Field((), alias="slice")
    waivers: tuple[Waiver, ...] = Field((), alias="waiver")

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of the predictions that slices look at, besides the label."""
        return tuple(dict.fromkeys(name for one in self.slices for name in one.where if name != LABEL))

    @property
    def wording(self) -> Wording:
        """Of labels and predictions."""
        return Wording(self.read_as, self.abstain)

    @property
    def asked(self) -> Requirement:
        """Of a class without a rule of its own."""
        return Requirement(self.margin, self.drop, self.floor, self.least_images, self.least_groups)


class Applied(NamedTuple):
    """A policy with some predictions.

    Attributes:
        protected: the classes that are judged.
        special: of classes and slices, what is not asked of all.
        slices: the images (N,) of each.
        pinned: the images that must be right.
        notes: a line for each waiver, in force or over.
    """

    protected: list[str]
    special: dict[str, Requirement]
    slices: dict[str, NDArray[np.bool_]]
    pinned: Pinned
    notes: tuple[str, ...]


def read(path: Path) -> Policy:
    """The policy in a file.

    Raises:
        ValueError: it cannot be read or a field is unknown or of another kind; one line names file and field.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file: write one with audit --init {path} --old PREDICTIONS")
    try:
        return Policy.model_validate(_listed(tomllib.loads(path.read_text(encoding="utf-8-sig"))))
    except UnicodeDecodeError:
        raise ValueError(f"{path}: is not in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: {error}") from None
    except ValidationError as error:
        raise ValueError(f"{path}: {_wrong(error)}") from None
    except RecursionError:
        raise ValueError(f"{path}: arrays or tables are nested too deeply: no field of a policy needs that") from None
    except ValueError:  # Python's, of an integer
        raise ValueError(f"{path}: a number has more digits than can be read: shorten it") from None


def _listed(tables: dict[str, Any]) -> dict[str, Any]:
    """Arrays as tuples, which a strict schema wants."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in tables.items()}


def _wrong(error: ValidationError) -> str:
    first = error.errors()[0]
    *above, name = first["loc"]
    place = ".".join(str(part + 1 if isinstance(part, int) else part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{place}: {first['msg'].removeprefix('Value error, ')}"
    schema: Mapping[str, type[_Part]] = {"class": ClassRule, "slice": SliceRule, "waiver": Waiver}
    owner = schema[str(above[0])] if above else Policy
    known = [field.alias or own for own, field in owner.model_fields.items()]
    return f"{place}: there is no such field: {known_names(str(name), known)}"


def digest(path: Path) -> str:
    """The SHA-256 of a file, which tells a policy that was changed from one that was not."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def apply(policy: Policy, paired: Paired, path: Path, today: date) -> Applied:
    """What a policy asks of some predictions, on a day.

    Raises:
        ValueError: it names a class, slice, text or id that is not there, or asks something of a class that is not
            judged; one line names file and field.
    """
    try:
        names = protected_classes(paired.rows.classes, policy.protected, policy.target)
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix('--')}") from None
    special: dict[str, Requirement] = {}
    for number, rule in enumerate(policy.classes, 1):
        fitting = [name for name in names if name == rule.name] or [n for n in names if fnmatchcase(n, rule.name)]
        if not fitting:
            known = _known(rule.name, names)
            raise ValueError(f"{path}: class.{number}.name: no class that is judged fits {rule.name!r}: {known}")
        special |= {name: _asked(policy, rule) for name in fitting}
    slices = {}
    for number, part in enumerate(policy.slices, 1):
        if part.name in paired.rows.classes or part.name in slices:
            raise ValueError(
                f"{path}: slice.{number}.name: {part.name!r} is a class or another slice: call it otherwise"
            )
        slices[part.name] = _chosen(part, paired, f"{path}: slice.{number}.where")
        special[part.name] = _asked(policy, part)
    notes = []
    for number, waiver in enumerate(policy.waivers, 1):
        if waiver.name not in names and waiver.name not in slices:
            known = _known(waiver.name, [*names, *slices])
            raise ValueError(
                f"{path}: waiver.{number}.name: no class or slice that is judged is called {waiver.name!r}: {known}"
            )
        if today <= waiver.expires:
            asked = special.get(waiver.name, policy.asked)
            special[waiver.name] = asked._replace(waived=waiver.reason)
            notes.append(f"waived until {waiver.expires}: {shown(waiver.name)}: {waiver.reason}")
        else:
            notes.append(f"judged, as its waiver expired on {waiver.expires}: {shown(waiver.name)}: {waiver.reason}")
    return Applied(names, special, slices, _pinned(policy.pinned, paired, path), tuple(notes))


def _asked(policy: Policy, rule: _Special) -> Requirement:
    usual = policy.asked
    return Requirement(
        usual.margin if rule.margin is None else rule.margin,
        usual.drop if rule.drop is None else rule.drop,
        usual.floor if rule.floor is None else rule.floor,
        usual.images if rule.least_images is None else rule.least_images,
        usual.groups if rule.least_groups is None else rule.least_groups,
    )


def _chosen(part: SliceRule, paired: Paired, place: str) -> NDArray[np.bool_]:
    chosen = np.ones(len(paired.ids), dtype=bool)
    for column, text in part.where.items():
        if column == LABEL:
            if text not in paired.rows.classes:
                raise ValueError(f"{place}.{column}: no image has {text!r}: {_known(text, paired.rows.classes)}")
            chosen &= paired.rows.labels == paired.rows.classes.index(text)
        else:
            own = np.fromiter((value.strip() == text.strip() for value in paired.more[column]), bool, len(chosen))
            if not own.any():
                known = _known(text, sorted(set(map(str.strip, paired.more[column]))))
                raise ValueError(f"{place}.{column}: no image has {text!r}: {known}")
            chosen &= own
    if not chosen.any():
        raise ValueError(f"{place}: no image has all of it: leave the slice out, or test on images of it")
    return chosen


def _pinned(ids: Sequence[str], paired: Paired, path: Path) -> Pinned:
    place = {name: row for row, name in enumerate(paired.ids)} if ids else {}
    judged = {name: not _is_wrong(paired, place[name]) for name in ids if name in place}
    right = {**paired.left_out, **judged}
    if missing := [name for name in ids if name not in right]:
        raise ValueError(f"{path}: pinned: no image has the id {some(list(map(repr, missing)))}: test on it, too")
    return Pinned(tuple(ids), tuple(name for name in ids if not right[name]))


def _is_wrong(paired: Paired, row: int) -> bool:
    """Whether the new model is wrong; of a graded answer, whether it scores less than before."""
    old, new = paired.rows.old_right[row], paired.rows.new_right[row]
    return bool(new < old) if paired.rows.new_right.dtype != bool else not new


def _known(name: str, known: Iterable[str]) -> str:
    return known_names(name, list(known), NAMED, shown)
