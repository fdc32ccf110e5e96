"""Metrics against tables worked by hand, other libraries, and what must hold for any counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, bootstrap
from sklearn.metrics import recall_score
from statsmodels.stats.proportion import proportion_confint

from benchmark.metrics import intervals, preservation
from benchmark.metrics.counts import Counts, count_pairs
from benchmark.metrics.flips import negative_flips, positive_flips

CLASSES = ("foggy", "clear", "rainy")
TABLE = {
    "foggy": Counts(10, 2, 7, 2),
    "clear": Counts(10, 8, 8, 6),  # two lost, two won: as good as before
    "rainy": Counts(5, 5, 4, 4),
}


@st.composite
def any_counts(draw: st.DrawFn) -> Counts:
    lost, won, both, neither = (draw(st.integers(0, 400)) for _ in range(4))
    return Counts(lost + won + both + neither, both + lost, both + won, both)


measured_counts = any_counts().filter(lambda counts: counts.n > 0)
predictions = st.lists(st.tuples(*[st.integers(0, 2)] * 3), max_size=60)


def test_counts_of_a_table_worked_by_hand() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    old = np.array([0, 1, 2, 1, 0, 0])
    new = np.array([0, 0, 2, 0, 1, 0])
    assert count_pairs(labels, old, new, (*CLASSES, "snowy")) == {
        "foggy": Counts(3, 1, 2, 1),
        "clear": Counts(2, 1, 1, 0),
        "rainy": Counts(1, 0, 0, 0),
        "snowy": Counts(0, 0, 0, 0),
    }


def test_counts_are_plain_integers_for_json() -> None:
    counts = count_pairs(*np.zeros((3, 4), dtype=np.uint8), CLASSES)["foggy"]
    assert counts == Counts(4, 4, 4, 4)
    assert {type(value) for value in counts} == {int}


@given(predictions)
def test_accuracies_are_the_recall_of_each_class(rows: list[tuple[int, int, int]]) -> None:
    labels, old, new = np.array(rows, dtype=int).reshape(-1, 3).T
    counts = count_pairs(labels, old, new, CLASSES)
    for index, name in enumerate(CLASSES):
        assert counts[name] == counts[name].validated()
        if counts[name].n:
            options = {"labels": [index], "average": None}
            assert counts[name].old_accuracy == pytest.approx(recall_score(labels, old, **options)[0])
            assert counts[name].new_accuracy == pytest.approx(recall_score(labels, new, **options)[0])


@given(predictions, st.permutations(range(3)))
def test_the_order_of_the_classes_does_not_matter(rows: list[tuple[int, int, int]], order: list[int]) -> None:
    indices = np.array(rows, dtype=int).reshape(-1, 3).T
    place = np.argsort(order)
    shuffled = count_pairs(*place[indices], [CLASSES[index] for index in order])
    assert shuffled == count_pairs(*indices, CLASSES)


def test_predictions_outside_the_classes_are_wrong_and_labels_are_an_error() -> None:
    labels, strange = np.array([0, 1]), np.array([-1, 99])
    assert count_pairs(labels, strange, labels, CLASSES)["foggy"] == Counts(1, 0, 1, 0)
    for bad in (np.array([-1, 0]), np.array([0, 3])):
        with pytest.raises(ValueError, match=r"0\.\.2"):
            count_pairs(bad, labels, labels, CLASSES)
    with pytest.raises(ValueError, match="alike"):
        count_pairs(labels, labels[:1], labels, CLASSES)
    with pytest.raises(ValueError, match="distinct"):
        count_pairs(labels, labels, labels, ["foggy", "foggy"])


def test_scores_of_a_table_worked_by_hand() -> None:
    assert preservation.target_gain(TABLE, "foggy") == 0.5
    assert preservation.devsafety(TABLE, ["clear"]) == 0
    assert preservation.devsafety(TABLE, ["clear", "rainy"]) == -0.2
    assert preservation.strictly_preserved(TABLE, ["clear"])
    assert not preservation.strictly_preserved(TABLE, ["clear", "rainy"])
    assert negative_flips(TABLE["clear"]) == positive_flips(TABLE["clear"]) == 0.2
    assert (negative_flips(TABLE["rainy"]), positive_flips(TABLE["rainy"])) == (0.2, 0)


@pytest.mark.parametrize("function", [preservation.devsafety, preservation.strictly_preserved])
def test_what_was_not_measured_is_not_scored(function: object) -> None:
    assert callable(function)
    with pytest.raises(ValueError, match="'snowy' has no images"):
        function(TABLE, ["clear", "snowy"])
    with pytest.raises(ValueError, match="'clear' has no images"):
        function({"clear": Counts(0, 0, 0, 0)}, ["clear"])
    with pytest.raises(ValueError, match="no class is protected"):
        function(TABLE, [])


def test_a_class_without_images_has_no_accuracy() -> None:
    empty = Counts(0, 0, 0, 0)
    assert all(math.isnan(value) for value in (empty.old_accuracy, empty.new_accuracy, empty.change))
    assert math.isnan(negative_flips(empty))


@given(measured_counts)
def test_change_is_positive_less_negative_flips(counts: Counts) -> None:
    flips = positive_flips(counts) - negative_flips(counts)
    assert counts.new_accuracy - counts.old_accuracy == pytest.approx(flips, abs=1e-12)
    assert counts.change == pytest.approx(flips, abs=1e-12)
    assert 0 <= negative_flips(counts) <= counts.old_accuracy <= 1


@given(st.lists(measured_counts, min_size=1, max_size=6))
def test_devsafety_is_negative_exactly_when_not_preserved(rows: list[Counts]) -> None:
    table = {str(number): counts for number, counts in enumerate(rows)}
    names = list(table)
    safety = preservation.devsafety(table, names)
    assert -1 <= safety <= 1
    assert (safety >= 0) == preservation.strictly_preserved(table, names)
    assert preservation.devsafety(table, names[::-1]) == safety
    assert all(safety <= counts.change for counts in rows)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (Counts(-1, 0, 0, 0), "negative"),
        (Counts(5, 3, 3, -1), "negative"),
        (Counts(5, 3, 2, 3), "both_correct"),
        (Counts(5, 2, 3, 3), "both_correct"),
        (Counts(5, 3, 3, 0), "more images are correct"),
        (Counts(2, 3, 3, 3), "more images are correct"),
    ],
)
def test_impossible_counts(counts: Counts, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        counts.validated()


def test_preserved_gain_of_runs_worked_by_hand() -> None:
    assert preservation.preserved_gain([(0.5, True), (0.9, False), (0.1, True), (math.nan, False)]) == pytest.approx(
        0.15
    )
    assert preservation.preserved_gain([(0.0, True)] * 3) == 0
    assert preservation.preserved_gain([(-0.2, True), (0.1, True)]) == pytest.approx(
        -0.05
    )  # losing on the target costs
    assert math.isnan(preservation.preserved_gain([]))


@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (5, 5), (1, 5), (17, 40), (3, 1000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_interval_is_that_of_statsmodels(successes: int, trials: int, confidence: float) -> None:
    expected = proportion_confint(successes, trials, alpha=1 - confidence, method="beta")
    assert intervals.rate_interval(successes, trials, confidence) == pytest.approx(expected, abs=1e-9)


def test_interval_worked_by_hand() -> None:
    low, high = intervals.rate_interval(5, 5)
    assert (low, high) == (pytest.approx(0.025 ** (1 / 5)), 1)  # solve p^5 = 0.025
    assert intervals.rate_interval(0, 0) == (0, 1)


@pytest.mark.parametrize("arguments", [(-1, 5), (6, 5), (0, -1), (1, 5, 0.0), (1, 5, 1.0)])
def test_interval_of_nonsense(arguments: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="must lie"):
        intervals.rate_interval(*arguments)


def test_selection_prefers_safety_then_the_target() -> None:
    def key(clear_now: int, foggy_now: int) -> tuple[float, float]:
        counts = {"foggy": Counts(10, 2, foggy_now, 0), "clear": Counts(10, 6, clear_now, 4)}
        return preservation.merit(preservation.devsafety(counts, ["clear"]), counts["foggy"].new_accuracy)

    assert key(5, 9) == (pytest.approx(-0.1), 0.9)
    assert key(6, 3) > key(5, 9), "a class that got worse outweighs any gain"
    assert key(9, 3) == key(6, 3) == (0.0, 0.3), "safety beyond zero earns nothing"
    assert key(6, 4) > key(9, 3)
    assert key(5, 1) > key(4, 9)
    assert preservation.merit(math.nan, 0.9) < key(0, 0), "what could not be scored comes last"


@settings(deadline=None)
@given(st.lists(st.lists(st.tuples(st.floats(-1, 1), st.booleans()), min_size=1, max_size=4), min_size=2, max_size=6))
def test_preserved_gain_interval_lies_within_that_of_single_runs(runs: list[list[tuple[float, bool]]]) -> None:
    low, high = intervals.preserved_gain_interval(runs, resamples=200)
    each = [preservation.preserved_gain(run) for run in runs]
    assert min(each) - 1e-9 <= low <= high <= max(each) + 1e-9
    assert (low, high) == intervals.preserved_gain_interval([*runs, []], resamples=200)


def test_preserved_gain_interval_is_the_percentile_bootstrap_of_scipy() -> None:
    gains = np.random.default_rng(2).normal(0.2, 0.1, 12)
    runs = [[(float(gain), gain > 0.1), (0.05, True)] for gain in gains]  # rounds of a run stay together
    means = [preservation.preserved_gain(run) for run in runs]
    theirs = bootstrap((means,), np.mean, n_resamples=20_000, method="percentile").confidence_interval
    assert intervals.preserved_gain_interval(runs) == pytest.approx((theirs.low, theirs.high), abs=0.004)
    assert intervals.preserved_gain_interval(runs, seed=1) != intervals.preserved_gain_interval(runs)
    narrow, wide = (intervals.preserved_gain_interval(runs, confidence) for confidence in (0.5, 0.99))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_preserved_gain_interval_of_two_runs_by_hand() -> None:
    """Four equally likely resamples: of a run of one round that gained 0.4, and of one of three that gained nothing."""
    runs = [[(0.4, True)], [(0.4, False), (math.nan, False), (0.0, True)]]
    assert intervals.preserved_gain_interval(runs, confidence=0.9) == (0, pytest.approx(0.4))
    assert intervals.preserved_gain_interval(runs, confidence=0.4) == pytest.approx((0.1, 0.1))


def test_preserved_gain_interval_of_too_few_runs() -> None:
    for runs in ([], [[(0.3, True), (0.1, True)]], [[], [(0.3, True)]]):
        assert all(math.isnan(end) for end in intervals.preserved_gain_interval(runs))
    assert intervals.preserved_gain_interval([[(0.3, False)]] * 5) == (0, 0)
    with pytest.raises(ValueError, match="confidence must lie"):
        intervals.preserved_gain_interval([], confidence=1)


def test_preserved_gain_interval_covers_the_truth_at_its_level() -> None:
    rng, covered, trials = np.random.default_rng(4), 0, 400
    for _ in range(trials):  # 30 runs of two rounds; truth: 0.2 × 0.7
        gains, kept = rng.normal(0.2, 0.1, (30, 2)), rng.random((30, 2)) < 0.7
        runs = [list(zip(*run, strict=True)) for run in zip(gains.tolist(), kept.tolist(), strict=True)]
        low, high = intervals.preserved_gain_interval(runs, resamples=400)
        covered += low <= 0.14 <= high
    assert 0.91 <= covered / trials <= 0.98


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.5, 0.95])
@pytest.mark.parametrize("trials", [5, 40])
def test_rate_interval_covers_the_truth_at_its_level(rate: float, trials: int) -> None:
    covered = sum(
        binom.pmf(successes, trials, rate)
        for successes in range(trials + 1)
        if intervals.rate_interval(successes, trials)[0] <= rate <= intervals.rate_interval(successes, trials)[1]
    )
    assert covered >= 0.95


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), max_size=12))
def test_the_front_is_what_no_other_beats(means: list[tuple[int, int]]) -> None:
    def beats(one: tuple[int, int], other: tuple[int, int]) -> bool:
        return one[0] >= other[0] and one[1] >= other[1] and one != other

    assert preservation.front(means) == {mean for mean in means if not any(beats(other, mean) for other in means)}
