"""Tests of regressions against scipy, statsmodels and published tables, and that their error rates hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, norm
from statsmodels.stats import contingency_tables
from statsmodels.stats.multitest import multipletests

from benchmark.metrics import significance
from benchmark.metrics.counts import Counts
from tests.benchmark.metrics.test_luck import flipped, null_rounds

flip_counts = st.tuples(st.integers(0, 200), st.integers(0, 200))


@settings(deadline=None)
@given(flip_counts)
def test_mcnemar_is_the_binomial_test_of_scipy(row: tuple[int, int]) -> None:
    lost, won = row
    expected = binomtest(lost, lost + won, alternative="greater").pvalue if lost + won else 1
    assert significance.mcnemar(flipped(lost, won)) == pytest.approx(expected, rel=1e-9)


@settings(deadline=None)
@given(flip_counts.filter(lambda row: row[0] > row[1]))
def test_mcnemar_is_half_of_the_two_sided_test_of_statsmodels(row: tuple[int, int]) -> None:
    lost, won = row
    two_sided = contingency_tables.mcnemar([[300, lost], [won, 100]], exact=True).pvalue
    assert significance.mcnemar(flipped(lost, won)) == pytest.approx(two_sided / 2)


def test_mcnemar_worked_by_hand() -> None:
    assert significance.mcnemar(Counts(0, 0, 0, 0)) == significance.mcnemar(flipped(0, 0)) == 1
    assert significance.mcnemar(flipped(5, 0)) == pytest.approx(1 / 32)
    assert significance.mcnemar(flipped(4, 1)) == pytest.approx(6 / 32)
    assert significance.mcnemar(flipped(0, 5)) == 1


@settings(deadline=None)
@given(flip_counts)
def test_losing_more_is_more_significant_and_images_that_do_not_flip_say_nothing(row: tuple[int, int]) -> None:
    lost, won = row
    p = significance.mcnemar(flipped(lost, won))
    assert significance.mcnemar(flipped(lost + 1, won)) <= p <= significance.mcnemar(flipped(lost, won + 1)) <= 1
    assert significance.mcnemar(flipped(lost, won, n=90_000)) == p


def test_holm_worked_by_hand() -> None:
    p_values = {"clear": 0.015, "rainy": 0.04, "snowy": 0.03, "foggy": 0.005}
    # times 4, 3, 2 and 1, and never less than for a smaller one: 0.04 is not rejected at 0.05 where 0.03 is not
    adjusted = {"clear": 0.045, "rainy": 0.06, "snowy": 0.06, "foggy": 0.02}
    assert significance.holm(p_values) == pytest.approx(adjusted)
    assert significance.holm({}) == {}
    assert significance.holm({"clear": 0.04}) == {"clear": 0.04}


@settings(max_examples=10, deadline=None)  # statsmodels is slow
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.sampled_from([0.01, 0.05, 0.2]))
def test_holm_is_that_of_statsmodels_and_allows_no_more_than_each_test_alone(p: list[float], alpha: float) -> None:
    adjusted = list(significance.holm({str(number): value for number, value in enumerate(p)}).values())
    rejected, theirs, *_ = multipletests(p, alpha, method="holm")
    assert adjusted == pytest.approx(theirs.tolist())
    assert [value <= alpha for value in adjusted] == rejected.tolist()
    assert all(value <= own for value, own in zip(p, adjusted, strict=True))


def test_regressions_are_the_classes_that_lost_more_than_chance() -> None:
    counts = {"clear": flipped(40, 5), "rainy": flipped(5, 40), "snowy": flipped(12, 10), "foggy": flipped(90, 0)}
    assert significance.regressions(counts, ["snowy", "clear", "rainy"]) == ["clear"]
    assert significance.regressions(counts, ["rainy", "snowy"]) == []
    assert significance.regressions(counts, ["foggy", "rainy", "clear"]) == ["foggy", "clear"], "in the order given"


def test_a_class_is_judged_more_leniently_among_365() -> None:
    counts = {str(number): flipped(0, 0) for number in range(365)} | {"rainy": flipped(8, 0)}  # p = 1 / 256
    assert significance.regressions(counts, ["rainy"]) == ["rainy"]
    assert significance.regressions(counts, list(counts)) == []


def test_what_was_not_measured_is_not_tested() -> None:
    with pytest.raises(ValueError, match="no images"):
        significance.regressions({"a": Counts(0, 0, 0, 0)}, ["a"])
    with pytest.raises(ValueError, match="no class is protected"):
        significance.regressions({}, [])
    for alpha in (0, 1):
        with pytest.raises(ValueError, match="alpha must lie"):
            significance.regressions({"a": flipped(1, 1)}, ["a"], alpha)


def test_non_inferiority_of_the_published_example() -> None:
    """Tango 1998, contact lenses: of 44 eyes 43 are fine with both, one with the old only; Z = 1.709, p = 0.044."""
    p = significance.non_inferiority(Counts(44, 44, 43, 43), margin=0.1)
    assert (norm.isf(p), p) == (pytest.approx(1.709, abs=5e-4), pytest.approx(0.044, abs=5e-4))


@settings(deadline=None)
@given(flip_counts.filter(any))
def test_non_inferiority_without_margin_is_asymptotic_mcnemar(row: tuple[int, int]) -> None:
    lost, won = row
    expected = contingency_tables.mcnemar([[300, lost], [won, 100]], exact=False, correction=False)
    z = math.copysign(math.sqrt(expected.statistic), won - lost)
    assert significance.non_inferiority(flipped(lost, won), margin=0) == pytest.approx(norm.sf(z), rel=1e-9)


@settings(deadline=None)
@given(st.tuples(st.integers(0, 60), st.integers(0, 60)), st.floats(0.001, 0.2))
def test_non_inferiority_is_the_score_test_at_the_most_likely_shares(row: tuple[int, int], margin: float) -> None:
    (lost, won), n = row, 450
    p = significance.non_inferiority(flipped(lost, won, n), margin)

    def unlikelihood(q: float) -> float:  # of negative flips q, positive ones q − margin
        return -sum(
            number * math.log(share)
            for number, share in ((lost, q), (won, q - margin), (n - lost - won, 1 - 2 * q + margin))
            if number
        )

    q = minimize_scalar(
        unlikelihood, bounds=(margin + 1e-12, (1 + margin) / 2 - 1e-9), method="bounded", options={"xatol": 1e-10}
    ).x
    z = (won - lost + n * margin) / math.sqrt(n * (2 * q - margin - margin**2))
    assert p == pytest.approx(norm.sf(z), abs=1e-4)


@settings(deadline=None)
@given(flip_counts, st.floats(0, 0.3), st.floats(0, 0.3))
def test_a_wider_margin_is_kept_more_easily(row: tuple[int, int], one: float, other: float) -> None:
    narrow, wide = sorted((one, other))
    p_narrow, p_wide = (significance.non_inferiority(flipped(*row), margin) for margin in (narrow, wide))
    assert 0 <= p_wide <= p_narrow + 1e-9 <= 1 + 1e-9
    assert significance.non_inferior(flipped(*row), wide) == (p_wide <= 0.05)


def test_non_inferiority_at_the_ends() -> None:
    assert significance.non_inferiority(flipped(0, 0), 0) == 1, "no flips and no margin prove nothing"
    assert significance.non_inferior(flipped(0, 0), 0.01)
    assert not significance.non_inferior(flipped(0, 0, n=301), 0.005), "300 images are too few"
    assert significance.non_inferiority(Counts(50, 50, 0, 0), 0.1) == pytest.approx(1, abs=1e-6)
    assert significance.non_inferiority(Counts(50, 0, 50, 0), 0.1) < 1e-9
    with pytest.raises(ValueError, match="without images"):
        significance.non_inferior(Counts(0, 0, 0, 0), 0.1)
    for margin in (-0.1, 1):
        with pytest.raises(ValueError, match="margin"):
            significance.non_inferior(flipped(1, 1), margin)


def trinomial(n: int, lost: int, won: int, worse: float, better: float) -> float:
    ways = math.comb(n, lost) * math.comb(n - lost, won)
    return ways * worse**lost * better**won * (1 - worse - better) ** (n - lost - won)


@pytest.mark.parametrize(
    ("flips", "drop", "classes"), [(0.3, 0.3, 1), (0.3, 0.15, 1), (0.5, 0.2, 3), (1, 0.5, 2), (0.3, 0, 1)]
)
def test_power_by_summing_over_every_outcome(flips: float, drop: float, classes: int) -> None:
    n, worse, better = 40, (flips + drop) / 2, (flips - drop) / 2
    found = sum(
        trinomial(n, lost, won, worse, better)
        for lost in range(n + 1)
        for won in range(n - lost + 1)
        if significance.mcnemar(Counts(n, lost, won, 0)) <= 0.05 / classes
    )
    assert significance.detection_power(n, flips, drop, classes=classes) == pytest.approx(found, abs=1e-9)


@settings(deadline=None)
@given(st.integers(1, 3000), st.floats(0.01, 1), st.floats(0, 1), st.floats(0, 1))
def test_power_grows_with_the_drop_and_is_alpha_at_most_without(n: int, flips: float, one: float, other: float) -> None:
    less, more = (significance.detection_power(n, flips, share * flips) for share in sorted((one, other)))
    assert 0 <= less <= more + 1e-9 <= 1 + 2e-9
    assert significance.detection_power(n, flips, 0) <= 0.05


@pytest.mark.parametrize(
    ("images", "flips", "classes"), [(600, 0.06, 1), (600, 0.06, 6), (100, 0.3, 1), (900, 0.1, 364)]
)
def test_the_detectable_drop_is_found_with_the_wanted_power(images: int, flips: float, classes: int) -> None:
    drop = significance.detectable_drop(images, flips, classes=classes)
    assert 0 < drop <= flips
    assert significance.detection_power(images, flips, drop, classes=classes) == pytest.approx(0.8, abs=1e-5)
    assert significance.detectable_drop(4 * images, flips, classes=classes) < drop


def test_no_drop_is_detectable_where_too_few_predictions_flip() -> None:
    assert math.isnan(significance.detectable_drop(50, 0.06))  # three flips: at best p = 1 / 8
    assert math.isnan(significance.detectable_drop(600, 0.0))
    assert math.isnan(significance.detectable_drop(0, 0.06))
    assert significance.detection_power(600, 0, 0) == significance.detection_power(0, 0.5, 0.1) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": -1}, "images >= 0"),
        ({"classes": 0}, "classes >= 1"),
        ({"flips": 1.5}, "flips <= 1"),
        ({"drop": 0.2}, "drop 0.2"),
        ({"alpha": 0}, "alpha"),
    ],
)
def test_power_of_nonsense(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        significance.detection_power(**({"images": 600, "flips": 0.1, "drop": 0.05} | arguments))  # type: ignore[arg-type]


@pytest.mark.parametrize("power", [0, 0.04, 1])
def test_power_that_cannot_be_wanted(power: float) -> None:
    with pytest.raises(ValueError, match="power must"):
        significance.detectable_drop(600, 0.06, power=power)


@pytest.mark.parametrize(
    ("classes", "images", "flips"),
    [
        (1, 600, 0.06),
        (6, 600, 0.06),
        pytest.param(6, 200, 0.5, marks=pytest.mark.slow),
        pytest.param(19, 100, 0.2, marks=pytest.mark.slow),
    ],
)
def test_rounds_without_a_change_have_a_regression_no_more_often_than_alpha(
    classes: int, images: int, flips: float
) -> None:
    names = [str(name) for name in range(classes)]
    rounds = null_rounds(classes, images, flips, rounds=2000, seed=images)
    alarms = sum(bool(significance.regressions(one, names)) for one in rounds)
    assert alarms / len(rounds) <= 0.05 + 0.01


def test_power_is_how_often_simulated_regressions_are_found() -> None:
    images, flips, drop, classes, rounds = 600, 0.06, 0.025, 6, 2000
    predicted = significance.detection_power(images, flips, drop, classes=classes)
    rng = np.random.default_rng(5)
    drawn = rng.multinomial(images, [(flips + drop) / 2, (flips - drop) / 2, 1 - flips], rounds).tolist()
    steady = {str(name): Counts(images, 400, 400, 400) for name in range(classes - 1)}
    found = sum(
        significance.regressions(steady | {"rainy": Counts(images, lost + rest, won + rest, rest)}, [*steady, "rainy"])
        == ["rainy"]
        for lost, won, rest in drawn
    )
    assert 0.3 < predicted < 0.7
    assert found / rounds == pytest.approx(predicted, abs=3.5 * math.sqrt(predicted * (1 - predicted) / rounds))


@pytest.mark.parametrize(("images", "flips", "margin"), [(600, 0.06, 0.02), (200, 0.2, 0.05)])
def test_a_class_that_lost_the_margin_is_seldom_called_non_inferior(images: int, flips: float, margin: float) -> None:
    rng = np.random.default_rng(7)
    drawn = rng.multinomial(images, [(flips + margin) / 2, (flips - margin) / 2, 1 - flips], 4000).tolist()
    passed = sum(significance.non_inferior(Counts(images, a + rest, b + rest, rest), margin) for a, b, rest in drawn)
    assert passed / len(drawn) == pytest.approx(0.05, abs=0.012)
