"""Models whose predictions flip without a true change are strictly preserved at the luck rate."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmark.leaderboard import verdicts
from benchmark.metrics import preservation
from benchmark.metrics.counts import count_pairs
from benchmark.metrics.luck import luck_rate, simulated_luck_rate
from benchmark.records import files
from benchmark.records.schema import RoundResult
from tests.benchmark.example_records import (
    CLASSES,
    VERSION_1,
    a_round,
)


def flip_chances(labels: NDArray[Any], old: NDArray[Any], flips: dict[int, float]) -> NDArray[Any]:
    """Of each image, such that this share of its class flips, to wrong as often as to right: nothing truly changes."""
    chances = np.zeros(len(labels))
    for label, share in flips.items():
        own = labels == label
        for group in (own & (old == labels), own & (old != labels)):
            chances[group] = share / 2 * own.sum() / group.sum()
    return chances


def perturbed(labels: NDArray[Any], old: NDArray[Any], chances: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """``old`` with predictions flipped by chance: right ones to another class, wrong ones to the label."""
    return np.where(rng.random(len(old)) < chances, np.where(old == labels, labels + 1, labels), old)


def test_a_model_that_truly_changes_nothing_is_preserved_at_the_luck_rate() -> None:
    rng, flips = np.random.default_rng(0), {0: 0.5, 1: 0.02, 2: 0.10}  # the target may flip as it likes
    labels = np.repeat(range(3), 150)
    rounds, harmed = [], []
    for _ in range(2000):
        old = np.where(rng.random(len(labels)) < 0.7, labels, labels + 1)
        new = perturbed(labels, old, flip_chances(labels, old, flips), rng)
        test = {name: own._asdict() for name, own in count_pairs(labels, old, new, CLASSES).items()}
        rounds.append(RoundResult.model_validate(a_round(0, 0, 0) | {"test": test}))
        worse = count_pairs(labels, old, np.where(rng.random(len(new)) < 0.02, labels + 1, new), CLASSES)
        harmed.append(preservation.strictly_preserved(worse, CLASSES[1:]))
    strict = np.array([result.strictly_preserved for result in rounds])
    error = math.sqrt(strict.var() / len(strict))
    assert 0.3 < strict.mean() < 0.5
    assert verdicts.mean_luck_rate(rounds) == pytest.approx(strict.mean(), abs=4 * error)
    assert np.mean(harmed) < strict.mean() - 10 * error, "a model that truly lost 2 points falls short of it"


def test_committed_models_replaced_by_luck_are_preserved_at_the_luck_rate() -> None:
    """Each new model is the old one, with as many predictions flipped as the real new one flipped."""
    rng, draws = np.random.default_rng(1), 1000
    strict, by_luck, expected = [], [], []
    for name in ("mds-seed0", "mds-seed3", "rm-seed1", "joint-seed2"):
        (path,) = (VERSION_1 / "records" / "driving-foggy").glob(f"{name}-*.json")
        (result,) = files.read(path).rounds
        found = files.read_predictions(path).query("split == 'test'")
        classes, real = sorted({result.target, *result.protected}), result.test_counts
        labels, old = (np.array([classes.index(value) for value in found[column]]) for column in ("label", "old"))
        shares = {classes.index(own): (real[own].lost + real[own].won) / real[own].n for own in result.protected}
        chances = flip_chances(labels, old, shares)
        expected.append(simulated_luck_rate(real, result.protected).rate)
        for _ in range(draws):
            counts = count_pairs(labels, old, perturbed(labels, old, chances, rng), classes)
            strict.append(preservation.strictly_preserved(counts, result.protected))
            by_luck.append(luck_rate(counts, result.protected).rate)
    error = math.sqrt(np.var(strict) / len(strict))
    assert np.mean(strict) == pytest.approx(0.04, abs=0.02), "or the comparison would show little"
    assert np.mean(strict) == pytest.approx(np.mean(by_luck), abs=4 * error)
    assert np.mean(strict) == pytest.approx(np.mean(expected), abs=4 * error)
