"""Plans against exact sums, simulated rounds and the tables of the documents."""

from __future__ import annotations

import math
import re
import time
from functools import cache, partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from benchmark.metrics import planning
from benchmark.metrics.luck import strict_probability
from benchmark.metrics.significance import detection_power, normal_power
from methods.certificate import loss_p_value
from tests import ROOT

DOCS = ROOT / "docs" / "metrics.md"
CERTIFIED = ROOT / "docs" / "certified.md"


def test_the_images_needed_are_the_first_that_reach_the_power() -> None:
    found = planning.plan(classes=6, images=600, flips=0.06, drop=0.02)
    assert found.power == detection_power(600, 0.06, 0.02, classes=6) < 0.8
    before, at = (detection_power(found.images_needed + step, 0.06, 0.02, classes=6) for step in (-1, 0))
    assert before < 0.8 <= at
    # the usual approximation: n = (z_alpha sqrt(flips) + z_power sqrt(flips − drop²))² / drop²
    assert found.images_needed == pytest.approx((2.394 * 0.06**0.5 + 0.842 * 0.0596**0.5) ** 2 / 0.02**2, rel=0.05)
    assert planning.plan(6, found.images_needed, 0.06, 0.02).smallest_drop == pytest.approx(0.02, abs=2e-4)


def test_the_plan_holds_in_simulated_rounds() -> None:
    found = planning.plan(classes=5, images=600, flips=0.06, drop=0.01)
    rng, rounds = np.random.default_rng(1), 20_000
    for gain, probability in found.strict:
        lost, won = rng.multinomial(600, [(0.06 - gain) / 2, (0.06 + gain) / 2, 0.94], (rounds, 5)).T[:2]
        strict = (lost <= won).all(axis=0).mean()
        assert strict == pytest.approx(probability, abs=4 * math.sqrt(probability * (1 - probability) / rounds))
    assert found.strict[0] == (0, found.luck_rate)


def test_the_noise_floor_of_the_weather_test_set() -> None:
    """At 6 % of flips, five protected weathers of BDD100K are strictly preserved by luck in one round of 25."""
    images = (5346, 1239, 769, 738, 738)
    strict = [math.prod(strict_probability(n, 0.06, gain) for n in images) for gain in (0, 0.005, 0.01, 0.02)]
    assert strict == pytest.approx([0.04, 0.29, 0.64, 0.97], abs=0.006)


@pytest.mark.parametrize(("classes", "images"), [(1, 600), (365, 900), (1, 1)])
def test_plans_of_one_and_of_many_classes(classes: int, images: int) -> None:
    found = planning.plan(classes, images, flips=0.06, drop=0.03)
    assert found.luck_rate == pytest.approx(strict_probability(images, 0.06) ** classes)
    assert found.power <= planning.plan(1, images, 0.06, 0.03).power
    assert found.images_needed >= planning.plan(1, images, 0.06, 0.03).images_needed
    assert len(planning.lines(found)) == 7


@pytest.mark.parametrize(("flips", "drop"), [(0.06, 0.008), (0.06, 0.0015), (0.5, 0.03), (0.02, 0.002)])
@pytest.mark.parametrize(("power", "classes"), [(0.8, 1), (0.95, 300)])
def test_exact_and_approximate_images_agree(
    flips: float, drop: float, power: float, classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = planning.approximate_images(flips, drop, power=power, classes=classes)
    monkeypatch.setattr(planning, "SEARCHED", math.inf)
    exact = planning.images_needed(flips, drop, power=power, classes=classes)
    assert exact == pytest.approx(near, rel=0.02)
    assert detection_power(exact, flips, drop, classes=classes) >= power
    assert normal_power(exact, flips, drop, classes=classes) == pytest.approx(power, abs=0.01)


def test_approximate_luck_is_that_of_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    found = planning.plan(6, 40_000, 0.06, 0.01)
    monkeypatch.setattr(planning, "SUMMED", 0)
    near = planning.plan(6, 40_000, 0.06, 0.01)
    assert near.luck_rate == pytest.approx(found.luck_rate, rel=1e-3)
    assert near.strict[1][1] == pytest.approx(found.strict[1][1], rel=1e-3)
    assert planning.lines(near)[4].startswith("Luck: ") and " probability about " in planning.lines(near)[4]


@settings(deadline=None, max_examples=50)
@given(
    st.integers(1, 10**6) | st.integers(10**19, 10**21),
    st.integers(1, 10**13),
    st.floats(0, 1, exclude_min=True),
    st.floats(0, 1, exclude_min=True),
    st.floats(1e-9, 0.5),
    st.floats(0.01, 0.999999),
)
def test_any_plan_is_answered_or_refused_at_once(
    classes: int, images: int, flips: float, share: float, alpha: float, power: float
) -> None:
    started = time.process_time()
    try:
        assert len(planning.lines(planning.plan(classes, images, flips, flips * share, alpha, power))) == 7
    except ValueError as refused:
        assert "\n" not in str(refused)
    assert time.process_time() - started < 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((5, 800, 0.06, 1e-7), "takes more than 1,000,000,000,000 test images per class: ask for a larger one"),
        ((99999999999999999999, 800, 0.06, 0.01), "plans for 1,000,000 classes"),
        ((6, 10**13, 0.06, 0.01), "images each at most"),
        ((6, 800, 0.06, 0.01, 1e-300), "alpha / classes of 1e-15 or more"),
    ],
)
def test_plans_beyond_all_measure(arguments: tuple[int, int, float, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        planning.plan(*arguments)


def test_what_is_approximate_is_said_to_be_about_so_much() -> None:
    words = planning.lines(planning.plan(classes=5, images=800, flips=0.06, drop=0.0001))
    assert re.search(r"takes about \d+ test images", words[3])
    assert "about" not in "".join(planning.lines(planning.plan(classes=5, images=800, flips=0.06, drop=0.01)))


@pytest.mark.parametrize("flips", [0.01, 1.0])
def test_a_class_cannot_gain_more_than_flips(flips: float) -> None:
    strict = planning.plan(2, 100, flips, drop=0.01).strict
    assert [gain for gain, _ in strict] == [gain for gain in planning.GAINS if gain <= flips]
    assert all(0 <= probability <= 1 for _, probability in strict)
    assert flips == 1 or strict[-1][1] == 1, "all flips are wins"


@pytest.mark.parametrize(("half_width", "confidence"), [(0.2, 0.95), (0.1, 0.95), (0.3, 0.9)])
def test_the_runs_needed_bound_the_interval_of_any_rate(half_width: float, confidence: float) -> None:
    def widest(runs: int) -> float:
        low, high = proportion_confint(np.arange(runs + 1), runs, alpha=1 - confidence, method="beta")
        return float(np.nanmax(np.nan_to_num(high, nan=1.0) - np.nan_to_num(low))) / 2

    runs = planning.runs_needed(half_width, confidence)
    assert widest(runs) <= half_width < widest(runs - 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 600, 0.06, 0.01), "1 or more classes"),
        ((6, 0, 0.06, 0.01), "1 or more classes"),
        ((6, 600, 0.06, 0), "0 < drop"),
        ((6, 600, 0.0, 0.0), "0 < drop"),
        ((6, 600, 0.06, 0.07), "drop 0.07"),
        ((6, 600, 1.2, 0.01), "flips 1.2"),
        ((6, 600, 0.06, 0.01, 0), "alpha"),
        ((6, 600, 0.06, 0.01, 0.05, 1), "power"),
    ],
)
def test_plans_of_nonsense(arguments: tuple[int, int, float, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        planning.plan(*arguments)
    with pytest.raises(ValueError, match="half_width"):
        planning.runs_needed(0)


def test_the_plan_in_plain_words() -> None:
    words = "\n".join(planning.lines(planning.plan(classes=6, images=600, flips=0.06, drop=0.01)))
    for part in (
        "6 protected classes with 600",
        "lost 1 point ",
        "5.92 %",
        "3.3 points",
        "6437",
        "2.3 %",
        "± 20 points with 27",
    ):
        assert part in words
    tiny = "\n".join(planning.lines(planning.plan(classes=364, images=50, flips=0.06, drop=0.01)))
    assert "probability 80 %: none" in tiny
    assert "below 0.01 %" in tiny


def test_the_table_of_the_docs_is_what_plan_says() -> None:
    rows = re.findall(
        r"^\| ([\d,]+) \| ([\d,]+) \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", DOCS.read_text(), re.MULTILINE
    )
    assert len(rows) >= 6
    for classes, images, *shown in rows:
        found = planning.plan(int(classes), int(images.replace(",", "")), flips=0.06, drop=0.01)
        words = planning.lines(found)
        luck, at_one_point, power, smallest = shown
        assert f"preserved with probability {luck}." in words[4]
        assert f"{at_one_point} at +1," in words[5]
        assert f"found with probability {power}." in words[1]
        assert words[2].endswith(f": {smallest}.")


def certified(flips: float, gain: float, images: int, classes: int, margin: float, updates: int) -> float:
    """The share of simulated updates that are certified at level 0.05."""
    p_value = cache(partial(loss_p_value, margin=margin))
    shares = [(flips - gain) / 2, (flips + gain) / 2, 1 - flips]
    counts = np.random.default_rng(1).multinomial(images, shares, (updates, classes))[..., :2].tolist()
    return float(np.mean([max(p_value(lost, won, images) for lost, won in update) <= 0.05 for update in counts]))


@pytest.mark.parametrize(
    ("flips", "gain", "classes", "power", "margin"),
    [
        (0.06, 0.02, 5, 0.8, 0.0),
        (0.1, 0.03, 1, 0.9, 0.0),
        (0.06, 0.02, 5, 0.8, 0.01),
        (0.04, 0.01, 2, 0.8, 0.02),
        pytest.param(0.06, 0.0, 5, 0.8, 0.01, marks=pytest.mark.slow),
        pytest.param(0.2, -0.01, 3, 0.9, 0.03, marks=pytest.mark.slow),
    ],
)
def test_updates_are_certified_with_the_images_planned(
    flips: float, gain: float, classes: int, power: float, margin: float
) -> None:
    images = planning.certificate_images(flips, gain, classes, power=power, margin=margin)
    found = certified(flips, gain, images, classes, margin, updates=2000)
    noise = 4 * math.sqrt(power * (1 - power) / 2000)
    assert power - noise < found < power + (0.08 if margin else noise)


def test_certificates_take_more_images_for_less() -> None:
    needed = partial(planning.certificate_images, 0.06)
    assert needed(0.02, 1) == planning.images_needed(0.06, 0.02) < needed(0.02, 5) < needed(0.02, 365)
    assert needed(0.02, 5) > needed(0.02, 5, margin=0.005) > needed(0.02, 5, margin=0.01)
    assert needed(0.0, 5, margin=0.01) < needed(-0.005, 5, margin=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.06, 0.0), "-margin < gain"),
        ((0.06, 0.07), "gain 0.07"),
        ((0.06, -0.01, 1, 0.05, 0.8, 0.01), "gain -0.01"),
        ((0.06, 0.02, 0), "got 0 classes"),
        ((0.06, 0.02, 1, 0.05, 0.8, 1.0), "margin 1.0"),
        ((0.06, 0.02, 1, 0.9, 0.8), "alpha 0.9"),
        ((0.06, 1e-200), "more than 1,000,000,000,000 images per class"),
        ((0.06, 1e-9, 1, 0.05, 0.8, 1e-9), "more than 1,000,000,000,000 images per class"),
    ],
)
def test_certificates_of_nonsense(arguments: tuple[float, float, int, float, float, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        planning.certificate_images(*arguments)


def test_the_table_of_certificates_is_what_plan_says() -> None:
    rows = re.findall(r"^\| (\S+) \| (\d+) \| (\S+) \| ([\d,]+) \| ([\d,]+) \|$", CERTIFIED.read_text(), re.MULTILINE)
    assert len(rows) >= 6
    for flips, classes, gain, *shown in rows:
        for margin, images in zip((0.0, 0.01), shown, strict=True):
            needed = partial(planning.certificate_images, float(flips), float(gain) / 100, int(classes))
            assert images == f"{needed(margin=margin):,}"


def test_the_certificate_in_plain_words() -> None:
    none = planning.certificate_line(0.06, 0.02, 5, 0.05, 0.8)
    assert "every class gained takes 1740 held-out" in none
    margin = planning.certificate_line(0.06, 0.02, 5, 0.05, 0.8, 0.01)
    assert "no class lost 1 point or more takes about 814 held-out" in margin
