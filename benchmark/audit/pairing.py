"""What two models say of the same images, matched by id, and what is refused because nothing would be measured."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmark.audit.names import lookalikes, shown
from benchmark.audit.predictions import SHOWN, Predictions, read, told
from benchmark.audit.rows import Rows, group_numbers
from benchmark.output.files import no_collection
from scenarios.wording import some


class Read(Protocol):
    """A file that was read: where it lies, the row of each id, and its other columns."""

    @property
    def path(self) -> Path: ...
    @property
    def rows(self) -> dict[str, int]: ...
    @property
    def more(self) -> dict[str, list[str]]: ...
    @property
    def header(self) -> list[str]: ...


class Paired(NamedTuple):
    """Two models on the same images.

    Attributes:
        rows: what is right, sorted as in the old model's file; its classes by name.
        ids: of the N images.
        labels: of the N images, as texts.
        more: the other columns that were asked for.
        unpredicted: classes that neither model ever predicts, of any image.
        others: predictions that are no label -> how many there are in both files, the most frequent first.
        left_out: ids of images on which a model abstains -> whether the new one gets them right.
        notes: lines on names that were read as others, and images that were left out.
        warnings: that what was left out may matter.
    """

    rows: Rows
    ids: list[str]
    labels: list[str]
    more: dict[str, list[str]]
    unpredicted: tuple[str, ...] = ()
    others: Mapping[str, int] = MappingProxyType({})
    left_out: Mapping[str, bool] = MappingProxyType({})
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Wording(NamedTuple):
    """How to read labels and predictions: names that are ``read_as`` others, and predictions that ``abstain``."""

    read_as: Mapping[str, str] = MappingProxyType({})
    abstain: tuple[str, ...] = ()


AS_IS = Wording()


def pair(
    old: Path,
    new: Path,
    renamed: Mapping[str, str] | None = None,
    more: Sequence[str] = (),
    group: str | None = None,
    wording: Wording = AS_IS,
) -> Paired:
    """What two models say of the same images, matched by id.

    Args:
        old: file of the model in use.
        new: file of its successor.
        renamed: one of ``COLUMNS`` -> its name in the files, where that is another one.
        more: other columns of the old model's file, told where the new one's has them, too.
        group: the one that tells which images belong together; one without a text stands for itself.
        wording: of labels and predictions. Images on which a model abstains are left out.

    Raises:
        ValueError: if a file cannot be read, the two are not about the same images, or a prediction is a label but for
            its spelling; one line names file and ids.
    """
    wanted = tuple(dict.fromkeys((*more, *([group] if group is not None else ()))))
    with no_collection():
        before, after = read(old, renamed, wanted), read(new, renamed, optional=wanted)
    check_same_images(before, after)
    notes, warnings, left_out = [], [], dict[str, bool]()
    for one, other in wording.read_as.items():
        counts = [own.labels.count(one) + own.predictions.count(one) for own in (before, after)]
        if not sum(counts):
            raise ValueError(f"{old} and {new}: nothing is called {one!r}, which is to be read as {other!r}")
        notes.append(f"read {shown(one)} as {shown(other)}: {counts[0]:,} times in {old}, {counts[1]:,} in {new}")
    if wording.read_as:
        before, after = (_read_as(own, wording.read_as) for own in (before, after))
    if wording.abstain:
        before, after, left_out, (by_old, by_new) = _answered(before, after, wording.abstain)
        notes.append(
            f"left out: {len(left_out):,} images on which a model abstains: the old one on {by_old:,}, the new one on "
            f"{by_new:,}"
        )
        if by_new > by_old:
            warnings.append(
                f"the new model abstains on {by_new:,} images and the old one on {by_old:,}: what it leaves open is "
                "not judged"
            )
    return _pair(before, after, group)._replace(left_out=left_out, notes=tuple(notes), warnings=tuple(warnings))


def _read_as(own: Predictions, names: Mapping[str, str]) -> Predictions:
    labels, predicted = ([names.get(text, text) for text in texts] for texts in (own.labels, own.predictions))
    return own._replace(labels=labels, predictions=predicted)


def _answered(
    before: Predictions, after: Predictions, abstain: Sequence[str]
) -> tuple[Predictions, Predictions, dict[str, bool], tuple[int, int]]:
    """Both without the images on which one abstains; whether the new one gets these right; how often each abstains."""
    if named := [name for name in abstain if name in set(before.labels)]:
        raise ValueError(f"{before.path}: {named[0]!r} is a label, so no prediction of it abstains")
    silent = [
        frozenset(name for name, row in own.rows.items() if own.predictions[row] in abstain) for own in (before, after)
    ]
    left_out = silent[0] | silent[1]
    if len(left_out) == len(before.rows):
        raise ValueError(f"{before.path} and {after.path}: a model abstains on every image, so none is judged")
    parts = [_without(own, left_out) for own in (before, after)]
    right = {name: after.predictions[after.rows[name]] == before.labels[before.rows[name]] for name in left_out}
    return parts[0], parts[1], right, (len(silent[0]), len(silent[1]))


def _without(own: Predictions, ids: Collection[str]) -> Predictions:
    kept = {name: row for name, row in own.rows.items() if name not in ids}
    places = list(kept.values())

    def chosen(texts: list[str]) -> list[str]:
        return [texts[row] for row in places]

    return own._replace(
        labels=chosen(own.labels),
        predictions=chosen(own.predictions),
        rows={name: place for place, name in enumerate(kept)},
        more={name: chosen(texts) for name, texts in own.more.items()},
    )


def _pair(before: Predictions, after: Predictions, group: str | None) -> Paired:
    old, new = before.path, after.path
    order = np.fromiter(map(after.rows.__getitem__, before.rows), np.int64, len(before.rows))
    classes = sorted(set(before.labels))
    index = {name: number for number, name in enumerate(classes)}

    def codes(names: list[str]) -> NDArray[np.int64]:
        return np.fromiter(map(index.get, names, repeat(-1)), np.int64, len(names))

    labels = codes(before.labels)
    if (differing := np.flatnonzero(labels != codes(after.labels)[order])).size:
        first = differing[0]
        ids = list(before.rows)
        raise ValueError(
            f"{new}: {told([ids[row] for row in differing])} with another label than in {old} "
            f"({after.labels[order[first]]!r}, there {before.labels[first]!r}): an image has one true label"
        )
    predicted = [codes(before.predictions), codes(after.predictions)[order]]
    others: Counter[str] = Counter()
    for own, answered in zip((before, after), predicted, strict=True):
        strange = Counter({name: count for name, count in Counter(own.predictions).items() if name not in index})
        _check_spelling(own.path, strange, classes)
        if answered.max() < 0:
            raise ValueError(
                f"{own.path}: no prediction is a label, such as {classes[0]!r}: use the same names in both columns"
            )
        others += strange
    never = np.setdiff1d(np.arange(len(classes)), np.concatenate(predicted)).tolist()
    groups = None if group is None else group_numbers(group_column(before, group))
    check_same_columns(before, after, order)
    rows = Rows(tuple(classes), labels, predicted[0] == labels, predicted[1] == labels, groups)
    return Paired(
        rows,
        list(before.rows),
        before.labels,
        before.more,
        tuple(classes[number] for number in never),
        dict(others.most_common()),
    )


def group_column(of: Read, column: str) -> list[str]:
    """The groups of all rows.

    Raises:
        ValueError: there is none.
    """
    if not any(map(str.strip, of.more[column])):
        raise ValueError(f"{of.path}: column {column!r} is empty, so it tells no groups: leave out --group")
    return of.more[column]


def check_same_columns(before: Read, after: Read, order: NDArray[np.int64]) -> None:
    """Refuse two files whose other columns differ, where both have them; ``order`` is the row in ``after`` of each.

    Raises:
        ValueError: they do; one line names file and ids.
    """
    for name, column in before.more.items():
        if name not in after.header:
            continue
        other = after.more[name]
        differing = [
            row for row, (text, place) in enumerate(zip(column, order.tolist(), strict=True)) if text != other[place]
        ]
        if differing:
            ids = list(before.rows)
            raise ValueError(
                f"{after.path}: {told([ids[row] for row in differing])} with another {name} than in {before.path} "
                f"({other[order[differing[0]]]!r}, there {column[differing[0]]!r})"
            )


def check_same_images(one: Read, two: Read) -> None:
    """Refuse two files that are not about the same images.

    Raises:
        ValueError: they are not; one line names file and ids.
    """
    if one.rows.keys() == two.rows.keys():
        return
    for own, other in ((two, one), (one, two)):
        if missing := [name for name in other.rows if name not in own.rows]:
            raise ValueError(f"{own.path}: lacks {told(missing)} of {other.path}: both files must hold the same images")


def check_measured(paired: Paired, protected: Iterable[str]) -> None:
    """Refuse to call a class kept that no model ever names, where models name things that are no class.

    Raises:
        ValueError: there is one.
    """
    never = [name for name in protected if name in set(paired.unpredicted)]
    if never and paired.others:
        strange = some([f"{shown(name)} ({count})" for name, count in paired.others.items()], SHOWN)
        raise ValueError(
            f"neither model ever predicts {some(list(map(repr, never)), SHOWN)}, so it was not measured; "
            f"predictions that are no label: {strange}; spell both columns alike, or choose classes with --protected"
        )


def _check_spelling(path: Path, strange: Counter[str], classes: Collection[str]) -> None:
    """Refuse predictions that are a label but for their spelling: the class would count as never predicted."""
    if near := lookalikes(strange, classes):
        told = some(
            [
                f"{_told_apart(name, near[name])} ({strange[name]})"
                for name in sorted(near, key=lambda n: (-strange[n], n))
            ],
            SHOWN,
        )
        meant = some(list(dict.fromkeys(repr(label) for label in near.values())), SHOWN)
        raise ValueError(
            f"{path}: predictions that are no label: {told}; did you mean {meant}? spell both columns alike"
        )


def _told_apart(name: str, label: str) -> str:
    """``name``, with its characters spelt out where it would look like ``label``."""
    return ascii(name) if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", label) else shown(name)
