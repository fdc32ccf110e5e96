"""Luck rates against binomials, enumeration and simulated rounds in which nothing truly changed."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from benchmark.metrics import luck, preservation
from benchmark.metrics.counts import Counts
from benchmark.metrics.luck import LuckRate

EMPTY = Counts(0, 0, 0, 0)
flip_counts = st.tuples(st.integers(0, 300), st.integers(0, 300))


def flipped(lost: int, won: int, n: int = 1000) -> Counts:
    """Counts of ``n`` images, of which 300 more were right before and after."""
    return Counts(n, 300 + lost, 300 + won, 300)


def table(rows: list[tuple[int, int]]) -> dict[str, Counts]:
    return {str(number): flipped(lost, won) for number, (lost, won) in enumerate(rows)}


@settings(deadline=None)
@given(st.lists(flip_counts, min_size=1, max_size=6))
def test_luck_rate_is_the_product_of_binomial_probabilities(rows: list[tuple[int, int]]) -> None:
    flips = np.array([lost + won for lost, won in rows])
    rate, error = luck.luck_rate(table(rows), [str(number) for number in range(len(rows))])
    assert rate == pytest.approx(math.prod(binom.cdf(flips // 2, flips, 0.5)))
    assert error == 0


def test_luck_rate_of_few_flips_by_writing_out_every_outcome() -> None:
    outcomes = list(itertools.product([-1, 1], repeat=2 + 3))  # two flips in one class, three in the other
    kept = sum(sum(signs[:2]) >= 0 and sum(signs[2:]) >= 0 for signs in outcomes)
    assert luck.luck_rate(table([(2, 0), (1, 2)]), ["0", "1"]).rate == kept / len(outcomes) == 3 / 8


def test_without_flips_strictness_is_certain_and_with_only_flips_it_is_half() -> None:
    assert luck.luck_rate({"a": flipped(0, 0)}, ["a"]).rate == 1
    assert luck.luck_rate({"a": Counts(1001, 1001, 0, 0)}, ["a"]).rate == 0.5
    assert luck.simulated_luck_rate({"a": flipped(0, 0)}, ["a"], draws=10) == LuckRate(1, 0)
    assert luck.strict_probability(0, 0.5) == luck.strict_probability(100, 0) == 1


def test_luck_rate_of_365_classes() -> None:
    counts = table([(3, 2)] * 365)
    assert luck.luck_rate(counts, list(counts)).rate == pytest.approx(0.5**365)


@settings(deadline=None)
@given(st.lists(flip_counts, min_size=1, max_size=6), st.randoms())
def test_names_order_and_direction_do_not_matter(rows: list[tuple[int, int]], random: object) -> None:
    names = [f"class {number}" for number in range(len(rows))]
    expected = luck.luck_rate(table(rows), [str(number) for number in range(len(rows))]).rate
    random.shuffle(rows)  # type: ignore[attr-defined]
    renamed = {name: flipped(won, lost) for name, (lost, won) in zip(names, rows, strict=True)}
    assert luck.luck_rate(renamed, names).rate == pytest.approx(expected)


@settings(deadline=None)
@given(st.lists(flip_counts, min_size=2, max_size=6), st.integers(0, 200))
def test_more_classes_and_more_flips_leave_less_to_luck(rows: list[tuple[int, int]], more: int) -> None:
    names = [str(number) for number in range(len(rows))]
    rate = luck.luck_rate(table(rows), names).rate
    assert 0 < rate <= luck.luck_rate(table(rows), names[1:]).rate <= 1
    flipping_more = [(rows[0][0] + 2 * more, rows[0][1]), *rows[1:]]  # an even number more: parity stays
    assert luck.luck_rate(table(flipping_more), names).rate <= rate


@pytest.mark.parametrize("function", [luck.luck_rate, luck.simulated_luck_rate])
def test_what_was_not_measured_has_no_luck(function: object) -> None:
    assert callable(function)
    with pytest.raises(ValueError, match="no images"):
        function({"a": EMPTY}, ["a"])
    with pytest.raises(ValueError, match="no class is protected"):
        function({"a": flipped(1, 1)}, [])


def test_simulated_rate_is_that_of_the_closed_form() -> None:
    counts = {"a": flipped(20, 30), "b": flipped(9, 1), "c": flipped(0, 0), "d": Counts(200, 100, 100, 50)}
    rate, error = luck.simulated_luck_rate(counts, list(counts), draws=40_000, seed=3)
    exact = math.prod(luck.strict_probability(entry.n, (entry.lost + entry.won) / entry.n) for entry in counts.values())
    assert rate == pytest.approx(exact, abs=4 * error)
    assert error == pytest.approx(math.sqrt(exact * (1 - exact) / 40_000), rel=0.05)


@pytest.mark.parametrize("lost", [10, 30, 90])
def test_simulated_rate_lies_between_those_of_odd_and_even_flips(lost: int) -> None:
    rate, error = luck.simulated_luck_rate({"a": flipped(lost, lost)}, ["a"])
    even, odd = (luck.luck_rate({"a": flipped(lost, won)}, ["a"]).rate for won in (lost, lost + 1))
    assert rate == pytest.approx((even + odd) / 2, abs=4 * error + 0.003)
    assert odd < rate < even


def test_simulation_is_seeded_and_its_error_shrinks() -> None:
    counts = table([(20, 20), (5, 6)])
    one, same, other = (luck.simulated_luck_rate(counts, ["0", "1"], 1000, seed) for seed in (1, 1, 2))
    assert one == same != other
    assert luck.simulated_luck_rate(counts, ["0", "1"], 16_000).error == pytest.approx(one.error / 4, rel=0.1)
    with pytest.raises(ValueError, match="draws"):
        luck.simulated_luck_rate(counts, ["0"], draws=0)


def test_expected_rate_is_the_mean_over_rounds() -> None:
    assert luck.expected_rate([LuckRate(0.2, 0.03), LuckRate(0.6, 0.04)]) == pytest.approx((0.4, 0.025))
    assert all(math.isnan(value) for value in luck.expected_rate([]))


@pytest.mark.parametrize("gain", [0, 0.05, -0.05, 0.2])
def test_strict_probability_by_summing_over_the_trinomial(gain: float) -> None:
    n, flips = 25, 0.2
    worse, better = (flips - gain) / 2, (flips + gain) / 2
    total = sum(
        math.comb(n, lost) * math.comb(n - lost, won) * worse**lost * better**won * (1 - flips) ** (n - lost - won)
        for lost in range(n + 1)
        for won in range(lost, n - lost + 1)
    )
    assert luck.strict_probability(n, flips, gain) == pytest.approx(total)


@settings(deadline=None)
@given(st.integers(1, 400), st.floats(0.01, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_greater_gain_is_preserved_more_often(images: int, flips: float, one: float, other: float) -> None:
    less, more = sorted((one * flips, other * flips))
    assert luck.strict_probability(images, flips, less) <= luck.strict_probability(images, flips, more) + 1e-9


@pytest.mark.parametrize("arguments", [(-1, 0.1), (10, 1.1), (10, -0.1), (10, 0.1, 0.2), (10, 0.1, -0.2)])
def test_flips_that_cannot_be(arguments: tuple[int, float]) -> None:
    with pytest.raises(ValueError, match="needs images"):
        luck.strict_probability(*arguments)


def null_rounds(classes: int, images: int, flips: float, rounds: int, seed: int) -> list[dict[str, Counts]]:
    """Rounds in which every prediction flips either way with probability flips / 2."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(images, [flips / 2, flips / 2, 1 - flips], (rounds, classes)).tolist()
    return [
        {str(name): Counts(images, lost + rest, won + rest, rest) for name, (lost, won, rest) in enumerate(one)}
        for one in drawn
    ]


@pytest.mark.parametrize(
    ("classes", "images", "flips"),
    [(1, 30, 0.05), (5, 600, 0.06), (3, 40, 0.02), (19, 100, 0.01), (2, 50, 1.0), (5, 200, 0.0)],
)
def test_luck_rate_predicts_how_often_change_free_rounds_are_strict(classes: int, images: int, flips: float) -> None:
    names = [str(name) for name in range(classes)]
    rounds = null_rounds(classes, images, flips, rounds=2000, seed=classes)
    strict = sum(preservation.strictly_preserved(one, names) for one in rounds) / len(rounds)
    predicted, error = luck.expected_rate([luck.luck_rate(one, names) for one in rounds])
    assert error == 0
    assert strict == pytest.approx(predicted, abs=3.5 * math.sqrt(predicted * (1 - predicted) / len(rounds)))
    assert predicted == pytest.approx(luck.strict_probability(images, flips) ** classes, abs=0.02)


def test_very_many_flips_take_no_time_and_agree_with_the_exact_sum() -> None:
    exact = (1 + math.comb(10_002, 5_001) / 2**10_002) / 2
    for flips, wanted in ((10_002, exact), (10_003, 0.5), (2_000_000, 0.5 + 0.5 / math.sqrt(math.pi * 1_000_000))):
        counts = flipped(flips // 2, flips - flips // 2, n=3_000_000)
        assert luck.luck_rate({"a": counts}, ["a"]).rate == pytest.approx(wanted, rel=1e-9)
