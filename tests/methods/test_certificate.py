"""The certificate: exact tests against enumeration, the procedure against MAPIE's, the guarantee in simulation."""

from __future__ import annotations

import doctest
import math
import time
from functools import cache, partial
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapie.risk_control import control_fwer
from mapie.risk_control.methods import compute_hoeffding_bentkus_p_value
from scipy.stats import binom, binomtest, multinomial

from methods import certificate
from methods.certificate import (
    certified_p_value,
    fixed_sequence,
    loss_p_value,
    predicted_p_value,
    prediction_p_value,
)

ALPHA = 0.05


def test_examples_hold():
    found = doctest.testmod(certificate)
    assert found.attempted and not found.failed


def outcomes(n: int) -> list[tuple[int, int]]:
    """Every (lost, won) of n images."""
    return [(lost, won) for lost in range(n + 1) for won in range(n + 1 - lost)]


def chances(n: int, lost: float, won: float) -> list[float]:
    """Their probabilities, if an image is lost or won with these."""
    rows = [(one, other, n - one - other) for one, other in outcomes(n)]
    return list(multinomial.pmf(rows, n, [lost, won, max(1 - lost - won, 0.0)]))


def excess(p_values: list[float], probabilities: list[float]) -> float:
    """The greatest P(p <= alpha) − alpha of all alpha."""
    reached: dict[float, float] = {}
    for p_value, probability in zip(p_values, probabilities, strict=True):
        reached[p_value] = reached.get(p_value, 0.0) + probability
    levels = sorted(reached)
    return max(sum_ - level for level, sum_ in zip(levels, accumulate(map(reached.get, levels)), strict=True))


@pytest.mark.parametrize("margin", [0.0, 0.01, 0.05, 0.3])
@pytest.mark.parametrize("n", [1, 7, 20])
def test_a_class_that_lost_the_margin_passes_no_more_often_than_the_level(n, margin):
    p_values = [loss_p_value(*entry, n, margin) for entry in outcomes(n)]
    assert min(p_values) < 0.2 or n < 20, "can pass"
    for won in np.linspace(0, (1 - margin) / 2, 40):
        for more in (0.0, 0.02, 0.2):  # at the boundary, and beyond
            if 2 * won + margin + more <= 1:
                assert excess(p_values, chances(n, won + margin + more, won)) <= 1e-9


@pytest.mark.parametrize(("n", "margin"), [(400, 0.0), (400, 0.01), (400, 0.05), (1000, 0.01)])
def test_hardly_any_of_the_level_is_wasted(n, margin):
    """The figures of docs/certified.md."""
    flips = np.unique(np.arange(round(0.06 * n) - 40, round(0.06 * n) + 41).clip(0))
    chance = binom.pmf(flips, n, 0.06)
    wins, passing = (1 - margin / 0.06) / 2, []
    for number in flips.tolist():
        won = next((w for w in range(number + 1) if loss_p_value(number - w, w, n, margin) <= ALPHA), number + 1)
        passing.append(binom.sf(won - 1, number, wins))
    assert 0.033 <= chance @ passing <= ALPHA


def risk(fresh: int, lost: float, won: float) -> float:
    """The probability that new images show a loss."""
    pairs = zip(outcomes(fresh), chances(fresh, lost, won), strict=True)
    return sum(chance for (one, other), chance in pairs if one > other)


@pytest.mark.parametrize(("n", "fresh", "wanted"), [(12, 3, 0.3), (20, 8, 0.1), (20, 40, 0.3)])
def test_a_class_at_risk_passes_no_more_often_than_the_level(n, fresh, wanted):
    p_values = [prediction_p_value(*entry, n, fresh, wanted) for entry in outcomes(n)]
    assert min(p_values) < 0.2, "can pass"
    tested = 0
    for flips in np.linspace(0.01, 1, 30):
        for wins in np.linspace(0, 1, 40):
            if risk(fresh, flips * (1 - wins), flips * wins) >= wanted:
                tested += 1
                assert excess(p_values, chances(n, flips * (1 - wins), flips * wins)) <= 1e-9
    assert tested > 100


@pytest.mark.parametrize(("flips", "fresh", "wanted"), [(0.3, 8, 0.1), (0.9, 9, 0.3), (0.02, 40, 0.01)])
def test_the_risk_of_a_prediction_is_that_of_enumeration(flips, fresh, wanted):
    wins = certificate._risky_wins(flips, fresh, wanted)
    assert risk(fresh, flips * (1 - wins), flips * wins) == pytest.approx(wanted, rel=1e-6)
    assert certificate._risky_wins(0.02, 40, 0.6) == 0, "more than the probability of a flip"


@pytest.mark.parametrize(
    ("counts", "margin"), [((27, 31, 1000), 0.01), ((0, 0, 500), 0.02), ((130, 100, 400), 0.2), ((3, 9, 8000), 0.001)]
)
def test_the_greatest_probability_is_that_of_a_fine_grid(counts, margin, monkeypatch):
    coarse = loss_p_value(*counts, margin)
    monkeypatch.setattr(certificate, "POINTS", 1001)
    assert coarse == pytest.approx(loss_p_value(*counts, margin), rel=1e-4)


@given(st.integers(0, 60), st.integers(0, 60))
def test_without_a_margin_it_is_mcnemars_test(lost, won):
    expected = binomtest(won, lost + won, alternative="greater").pvalue if lost + won else 1.0
    assert loss_p_value(lost, won, 200) == pytest.approx(expected, rel=1e-9)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 100), st.floats(0, 1), st.sampled_from([0.0, 0.01, 0.05]))
def test_a_flip_that_is_won_and_not_lost_speaks_for_the_update(flips, share, margin):
    won = min(int(flips * share), flips - 1)
    assert loss_p_value(flips - won - 1, won + 1, 400, margin) <= loss_p_value(flips - won, won, 400, margin)


def test_a_margin_is_easier_to_keep_than_none_and_few_images_show_nothing():
    assert loss_p_value(20, 20, 1000, 0.02) < ALPHA < loss_p_value(20, 20, 1000)
    assert loss_p_value(0, 0, 40, 0.02) > 0.4 > ALPHA > loss_p_value(0, 0, 400, 0.02)
    assert loss_p_value(30, 10, 1000, 0.02) == loss_p_value(0, 0, 0, 0.02) == prediction_p_value(0, 0, 0, 9, 0.1) == 1


def test_the_p_values_of_large_samples_are_those_of_the_normal_approximation():
    """Those of T, whatever the share of flips."""
    for lost, won in ((240, 230), (1000, 980), (90, 100)):
        spread = math.sqrt(lost + won)
        expected = 0.5 * math.erfc((won - lost + 40) / spread / math.sqrt(2))
        assert loss_p_value(lost, won, 8000, 0.005) == pytest.approx(expected, abs=0.008)


def test_p_values_are_quick():
    for compute, limit in (
        (partial(loss_p_value, margin=0.01), 0.1),
        (partial(prediction_p_value, fresh=8000, risk=0.005), 1),
    ):
        compute(200, 240, 8000)  # loads scipy
        times = []
        for lost in range(200, 205):
            started = time.process_time()
            compute(lost, 260, 8000)
            times.append(time.process_time() - started)
        assert min(times) < limit


def test_the_weakest_class_decides():
    strong, weak = (2, 40, 900), (20, 30, 900)
    assert certified_p_value([strong, weak, strong]) == loss_p_value(*weak)
    assert certified_p_value([strong, weak], 0.01) == loss_p_value(*weak, 0.01)
    assert predicted_p_value([strong, weak], 500, 0.02) == prediction_p_value(*weak, 500, 0.01)
    for compute in (certified_p_value, partial(predicted_p_value, fresh=500, risk=0.02)):
        with pytest.raises(ValueError, match="one class or more"):
            compute([])


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (lambda: loss_p_value(-1, 0, 10), "got -1 lost"),
        (lambda: loss_p_value(6, 5, 10), "6 lost, 5 won and 10 images"),
        (lambda: loss_p_value(0, 0, 10, 1.0), "margin must"),
        (lambda: prediction_p_value(0, -1, 10, 5, 0.1), "-1 won"),
        (lambda: prediction_p_value(0, 0, 10, 0, 0.1), "1 or more fresh images"),
        (lambda: prediction_p_value(0, 0, 10, 5, 0.0), "a risk between"),
        (lambda: fixed_sequence([0.1], 1.0), "alpha must"),
    ],
)
def test_nonsense(compute, message):
    with pytest.raises(ValueError, match=message):
        compute()


def test_nothing_is_asked_for_after_the_first_failure():
    asked = []
    assert fixed_sequence((asked.append(p) or p for p in (0.01, 0.05, 0.06, 0.0)), 0.05) == 2
    assert asked == [0.01, 0.05, 0.06]
    assert fixed_sequence([], 0.05) == fixed_sequence([math.nan, 0.0], 0.05) == 0


P_VALUES = st.lists(st.floats(0, 0.1) | st.sampled_from([0.0, 0.05, 1.0]), min_size=1, max_size=12)


@given(P_VALUES, st.sampled_from([0.01, 0.05, 0.1]))
def test_the_certified_are_those_of_mapies_fixed_sequence(p_values, alpha):
    theirs = control_fwer(np.array(p_values), alpha, "fixed_sequence")
    assert list(theirs) == list(range(fixed_sequence(p_values, alpha)))


@pytest.mark.parametrize("margin", [0.0, 0.01, 0.05])
@pytest.mark.parametrize(("n", "most"), [(60, 20), (1000, 60), (8000, 200)])
def test_mapies_p_values_for_any_bounded_loss_are_greater(n, most, margin):
    """Hoeffding–Bentkus, for the loss 1 where an image is lost, 0 where it is won and 1/2 otherwise."""
    for lost, won in [(lost, won) for lost in range(0, most, most // 5) for won in range(0, most, most // 5)]:
        risk = np.array([(1 + (lost - won) / n) / 2])
        theirs = compute_hoeffding_bentkus_p_value(risk, n, (1 + margin) / 2).item()
        assert loss_p_value(lost, won, n, margin) <= min(theirs, 1) + certificate.UNCOVERED


FLIPS, IMAGES = 0.06, 400


def simulated(changes: list[float], classes: int, images: int, seed: int = 0) -> np.ndarray:
    """Counts (2000, candidate, class, 3) of candidates whose first class truly changes by these; others gain 4 points.

    Candidates are tested on the same images: an image that one loses or wins, a bolder one loses or wins too.
    """
    rng = np.random.default_rng(seed)
    truth = np.array([[change] + [0.04] * (classes - 1) for change in changes])
    lost, won = (FLIPS - truth) / 2, (FLIPS + truth) / 2
    counts = np.zeros((2000, *truth.shape, 3), dtype=int)
    for update in counts:
        place = rng.random((1, classes, images))
        update[..., 0] = (place < lost[..., None]).sum(axis=-1)
        update[..., 1] = (place > 1 - won[..., None]).sum(axis=-1)
        update[..., 2] = images
    return counts


@pytest.mark.parametrize(
    ("margin", "changes"),
    [
        (0.0, [0.0, -0.001, -0.002]),  # the first must not be certified
        (0.0, [0.03, 0.02, 0.0, -0.01]),  # two may be
        (0.01, [-0.01, -0.011, -0.012]),
        (0.01, [0.02, 0.01, -0.01, -0.012]),
        (0.05, [-0.05, -0.05]),
    ],
)
def test_updates_that_lost_the_margin_are_certified_no_more_often_than_the_level(margin, changes):
    p_value = cache(partial(loss_p_value, margin=margin))
    certified = np.array(
        [
            fixed_sequence((max(p_value(*entry) for entry in candidate) for candidate in update), ALPHA)
            for update in simulated(changes, 5, IMAGES).tolist()
        ]
    )
    safe = sum(change > -margin for change in changes)
    assert 0.01 < np.mean(certified > safe) <= ALPHA + 0.01
    assert safe == 0 or np.mean(certified > 0) > 0.6, "and others are certified"


@pytest.mark.slow
@pytest.mark.parametrize(("changes", "level"), [([0.03], ALPHA), ([0.04, 0.035, 0.024], ALPHA / 2)])
def test_predicted_updates_show_a_loss_no_more_often_than_the_level(changes, level):
    """Alone, a candidate has the whole level for each of its two errors."""
    classes, fresh = 2, 400
    p_value = cache(partial(prediction_p_value, fresh=fresh, risk=level / classes))
    accepted = np.array(
        [
            fixed_sequence((max(p_value(*entry) for entry in candidate) for candidate in update), level)
            for update in simulated(changes, classes, 4000).tolist()
        ]
    )
    new = simulated(changes, classes, fresh, seed=1)
    shows_loss = (new[..., 0] > new[..., 1]).any(axis=-1)
    boldest = shows_loss[np.arange(len(accepted)), accepted - 1]
    assert np.mean((accepted > 0) & boldest) <= ALPHA
    assert accepted.any() and boldest.any()
