"""What a policy will ask of test images that are there: before there is a new model, would one without change pass?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.audit import pairing, predictions
from benchmark.audit import policy as policies
from benchmark.audit.names import renaming
from benchmark.audit.needs import units_to_show
from benchmark.audit.rows import Rows
from benchmark.audit.rule import Pinned, Requirement, findings
from benchmark.metrics.planning import MOST_IMAGES, approximate_images
from benchmark.output.tables import one_line
from scenarios.wording import some

DRAWN = 20_000_000  # images that are drawn in all, in ``MOST`` models at the most
MOST, LEAST = 400, 40
NAMED = 3  # pinned images that are wrong
HEADINGS = ("Class", "Images", "Groups", "Margin", "Needs images", "Needs groups", "Kept %")


class Line(NamedTuple):
    """A class or slice: what there is of it, about how much it takes, and how often it is kept.

    ``images`` and ``groups`` are those with which a model without true change is kept with the wanted probability: of
    independent images, and of groups, whose frames may be all alike; None where none will do. A floor is to be shown by
    the old model's accuracy.
    """

    name: str
    own_images: int
    own_groups: int
    asked: Requirement
    images: int | None
    groups: int | None
    kept: float


class Forecast(NamedTuple):
    """What becomes of models without true change.

    Attributes:
        lines: of classes and slices.
        passes: probability that one passes.
        passes_as_wholes: that one passes whose clips flip as wholes; None without clips.
        pinned: images that must be right, and those which the model in use gets wrong.
        pinned_right: probability that all of these are right.
    """

    lines: tuple[Line, ...]
    passes: float
    passes_as_wholes: float | None
    pinned: Pinned
    pinned_right: float


@dataclass(frozen=True)
class _Asked:
    """What is asked of the images of the model in use: of those (N,) of each class and slice, and of those pinned.

    ``answered`` says whether it abstains on none of the latter: one without change would abstain there, too.
    """

    rows: Rows
    places: Mapping[str, NDArray[np.bool_]]
    wanted: Mapping[str, Requirement]
    pinned: NDArray[np.bool_]
    answered: bool
    alpha: float


class _Drawn(NamedTuple):
    """Of M models: whether each keeps each class and slice (M,), has all pinned images right (M,), and passes (M,)."""

    kept: dict[str, NDArray[np.bool_]]
    pinned_right: NDArray[np.bool_]
    passes: NDArray[np.bool_]


def forecast(
    path: Path, old: Path, flips: float, columns: str | None = None, power: float = 0.8, seed: int = 0
) -> Forecast:
    """Draw models that truly lose nothing, and judge them by a policy on the images of the model in use.

    As many predictions go from right to wrong as back, ``flips`` of each class in all, or as many as can where a class
    is right or wrong nearly everywhere; one image independently of another. Waivers are as today's.

    Args:
        path: of the policy.
        old: predictions of the model in use.
        flips: share of a class's predictions that change, above 0 and below 1.
        columns: as in ``names.renaming``.
        power: wanted probability of being kept, between 0 and 1.
        seed: of the models.

    Raises:
        ValueError: a file or number is not usable.
    """
    if not 0 < flips < 1 or not 0 < power < 1:
        raise ValueError(f"--flips and --power are shares, above 0 and below 1, not {flips} and {power}")
    policy = policies.read(path)
    paired = pairing.pair(
        old, old, renaming(columns, predictions.COLUMNS), policy.columns, policy.group, policy.wording
    )
    applied = policies.apply(policy, paired, path, date.today())
    wanted = {name: applied.special.get(name, policy.asked) for name in (*applied.protected, *applied.slices)}
    if not wanted:
        raise ValueError(f"{path}: nothing is protected")
    labels, classes = paired.rows.labels, paired.rows.classes
    places = {name: labels == classes.index(name) for name in applied.protected} | applied.slices
    ids = set(policy.pinned)
    pinned = np.array([name in ids for name in paired.ids])
    asked = _Asked(paired.rows, places, wanted, pinned, ids.isdisjoint(paired.left_out), policy.alpha)
    drawn = _drawn(asked, flips, seed, as_wholes=False)
    lines = []
    for name, want in wanted.items():
        own = paired.rows.of(places[name])
        units = own.units if own.grouped else 0
        needs = _needs(want, own.counts.old_accuracy, flips, policy.alpha, power)
        lines.append(Line(name, own.counts.n, units, want, *needs, drawn.kept[name].mean()))
    wholes = None
    if paired.rows.groups is not None:
        wholes = float(_drawn(asked, flips, seed, as_wholes=True).passes.mean())
    return Forecast(tuple(lines), float(drawn.passes.mean()), wholes, applied.pinned, float(drawn.pinned_right.mean()))


def _drawn(asked: _Asked, flips: float, seed: int, as_wholes: bool) -> _Drawn:
    rows = asked.rows
    rng, count = np.random.default_rng(seed), len(rows.labels)
    accuracy = np.bincount(rows.labels, rows.old_right)[rows.labels] / np.bincount(rows.labels)[rows.labels]
    half = np.minimum(flips / 2, np.minimum(accuracy, 1 - accuracy))  # as many can be won as lost
    chance = half / np.where(rows.old_right, accuracy, 1 - accuracy)
    models = max(LEAST, min(MOST, DRAWN // count))
    kept = {name: np.zeros(models, dtype=bool) for name in asked.wanted}
    pinned_right = np.zeros(models, dtype=bool)
    for model in range(models):
        if as_wholes and rows.groups is not None:
            uniform = rng.random(int(rows.groups.max()) + 1)[rows.groups]
            flipped = np.where(rows.old_right, uniform < chance, uniform > 1 - chance)
        else:
            flipped = rng.random(count) < chance
        new = replace(rows, new_right=rows.old_right ^ flipped)
        found, _ = findings({name: new.of(place) for name, place in asked.places.items()}, asked.wanted, asked.alpha)
        for name in kept:
            kept[name][model] = found[name] == "kept"
        pinned_right[model] = asked.answered and new.new_right[asked.pinned].all()
    judged = [kept[name] for name, want in asked.wanted.items() if not want.waived]
    return _Drawn(kept, pinned_right, np.all([pinned_right, *judged], axis=0))


def _needs(
    want: Requirement, accuracy: float, flips: float, alpha: float, power: float
) -> tuple[int | None, int | None]:
    gap = want.margin or want.drop
    groups = max(want.groups, units_to_show(0.0, gap, alpha, power))
    if want.floor is not None:
        groups = max(groups, units_to_show(1 - accuracy, 1 - want.floor, alpha, power))
    images = max(want.images, groups, approximate_images(max(flips, gap), gap, alpha, power))
    if not want.margin and power >= 0.5:
        images = math.inf  # half of all models without change lose a net prediction
    return _whole(images), _whole(groups)


def _whole(number: float) -> int | None:
    return math.ceil(number) if number <= MOST_IMAGES else None


def rows_of(found: Forecast) -> list[list[str]]:
    """The cells under ``HEADINGS``."""
    return [
        [
            one_line(line.name) + (" (waived)" if line.asked.waived else ""),
            f"{line.own_images:,}",
            f"{line.own_groups:,}" if line.own_groups else "–",
            f"{100 * line.asked.margin:.1f}",
            _shown(line.images),
            _shown(line.groups) if line.own_groups else "–",
            f"{100 * line.kept:.0f}",
        ]
        for line in found.lines
    ]


def _shown(number: int | None) -> str:
    return "no number" if number is None else f"{number:,}"


def summary(found: Forecast, flips: float) -> list[str]:
    """The probabilities in words, with what to do where they are low."""
    lines = [
        f"A model without true change, with {100 * flips:.3g} % of its predictions flipped one by one, passes with "
        f"probability {100 * found.passes:.0f} %."
    ]
    if found.pinned.ids:
        lines.append(_about_pinned(found))
    if found.passes_as_wholes is not None:
        lines.append(f"Where all frames of a clip flip at once, it passes with {100 * found.passes_as_wholes:.0f} %.")
    if any(not line.asked.margin and not line.asked.waived for line in found.lines):
        lines.append(
            "At margin 0 half of all models without change lose a net prediction in a class, however many images there "
            "are: set a margin."
        )
    return lines


def _about_pinned(found: Forecast) -> str:
    ids, wrong = found.pinned
    now = f"; {len(wrong):,} of them are wrong now: {some(list(map(repr, wrong)), NAMED)}" if wrong else ""
    return f"It gets all {len(ids):,} pinned images right with probability {100 * found.pinned_right:.0f} %{now}."
