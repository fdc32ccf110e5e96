"""What a policy will ask of test images that are there: before there is a new model, would one without change pass?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmark.audit import pairing, predictions
from benchmark.audit import policy as policies
from benchmark.audit.names import renaming
from benchmark.audit.rows import Rows
from benchmark.audit.rule import Requirement, findings, protected_classes
from benchmark.metrics.planning import MOST_IMAGES, approximate_images
from benchmark.output.tables import one_line

DRAWN = 20_000_000  # images that are drawn in all, in ``MOST`` models at the most
MOST, LEAST = 400, 40
HEADINGS = ("Class", "Images", "Groups", "Margin", "Needs images", "Needs groups", "Kept %")


class Line(NamedTuple):
    """A class or slice: what there is of it, about how much it takes, and how often it is kept.

    ``images`` and ``groups`` are those with which a model without true change is kept with the wanted probability: of
    independent images, None where none will do; and the least number of groups, whose frames may be all alike.
    """

    name: str
    own_images: int
    own_groups: int
    asked: Requirement
    images: int | None
    groups: int
    kept: float


class Forecast(NamedTuple):
    """The lines, and the probability that a model without true change passes; of clips that flip as wholes, too."""

    lines: tuple[Line, ...]
    passes: float
    passes_as_wholes: float | None


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
    try:
        chosen = protected_classes(paired.rows.classes, policy.protected, policy.target)
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix('--')}") from None
    wanted = {name: applied.special.get(name, policy.asked) for name in (*chosen, *applied.slices)}
    if not wanted:
        raise ValueError(f"{path}: nothing is protected")
    places = {name: paired.rows.labels == paired.rows.classes.index(name) for name in chosen} | applied.slices
    drawn = _kept(paired.rows, places, wanted, policy.alpha, flips, seed, as_wholes=False)
    wholes = None
    if paired.rows.groups is not None:
        wholes = _passes(_kept(paired.rows, places, wanted, policy.alpha, flips, seed, as_wholes=True), wanted)
    lines = []
    for name, want in wanted.items():
        own = paired.rows.of(places[name])
        units = own.units if own.grouped else 0
        lines.append(
            Line(name, own.counts.n, units, want, *_needs(want, flips, policy.alpha, power), drawn[name].mean())
        )
    return Forecast(tuple(lines), _passes(drawn, wanted), wholes)


def _kept(
    rows: Rows,
    places: Mapping[str, np.ndarray],
    wanted: Mapping[str, Requirement],
    alpha: float,
    flips: float,
    seed: int,
    as_wholes: bool,
) -> dict[str, np.ndarray]:
    """Whether each class and slice is kept, in each of some models."""
    rng, count = np.random.default_rng(seed), len(rows.labels)
    accuracy = np.bincount(rows.labels, rows.old_right)[rows.labels] / np.bincount(rows.labels)[rows.labels]
    half = np.minimum(flips / 2, np.minimum(accuracy, 1 - accuracy))  # as many can be won as lost
    chance = half / np.where(rows.old_right, accuracy, 1 - accuracy)
    models = max(LEAST, min(MOST, DRAWN // count))
    kept = {name: np.zeros(models, dtype=bool) for name in wanted}
    for model in range(models):
        if as_wholes and rows.groups is not None:
            uniform = rng.random(int(rows.groups.max()) + 1)[rows.groups]
            flipped = np.where(rows.old_right, uniform < chance, uniform > 1 - chance)
        else:
            flipped = rng.random(count) < chance
        new = replace(rows, new_right=rows.old_right ^ flipped)
        found, _ = findings({name: new.of(place) for name, place in places.items()}, wanted, alpha)
        for name in wanted:
            kept[name][model] = found[name] == "kept"
    return kept


def _passes(kept: Mapping[str, np.ndarray], wanted: Mapping[str, Requirement]) -> float:
    judged = [kept[name] for name, want in wanted.items() if not want.waived]
    return float(np.all(judged, axis=0).mean()) if judged else 1.0


def _needs(want: Requirement, flips: float, alpha: float, power: float) -> tuple[int | None, int]:
    gap = want.margin or want.drop
    groups = max(want.groups, math.ceil(math.log(alpha) / math.log1p(-gap)))
    if not want.margin and power >= 0.5:
        return None, groups  # half of all models without change lose a net prediction
    near = approximate_images(max(flips, gap), gap, alpha, power)
    images = max(want.images, groups, math.ceil(near)) if near <= MOST_IMAGES else None
    return images, groups


def rows_of(found: Forecast) -> list[list[str]]:
    """The cells under ``HEADINGS``."""
    return [
        [
            one_line(line.name) + (" (waived)" if line.asked.waived else ""),
            f"{line.own_images:,}",
            f"{line.own_groups:,}" if line.own_groups else "–",
            f"{100 * line.asked.margin:.1f}",
            "no number" if line.images is None else f"{line.images:,}",
            "–" if not line.own_groups else f"{line.groups:,}",
            f"{100 * line.kept:.0f}",
        ]
        for line in found.lines
    ]


def summary(found: Forecast, flips: float) -> list[str]:
    """The probabilities in words, with what to do where they are low."""
    lines = [
        f"A model without true change, with {100 * flips:.3g} % of its predictions flipped one by one, passes with "
        f"probability {100 * found.passes:.0f} %."
    ]
    if found.passes_as_wholes is not None:
        lines.append(f"Where all frames of a clip flip at once, it passes with {100 * found.passes_as_wholes:.0f} %.")
    if any(not line.asked.margin and not line.asked.waived for line in found.lines):
        lines.append(
            "At margin 0 half of all models without change lose a net prediction in a class, however many images there "
            "are: set a margin."
        )
    return lines
