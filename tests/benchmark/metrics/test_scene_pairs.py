"""Figures of counterfactual pairs against tables worked by hand, and what chance gives."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.metrics import scene_pairs


def test_safeground_of_items_worked_by_hand() -> None:
    ss, su, us, uu = np.array([[4, 3, 2, 1], [4, 1, 2, 3], [1, 1, 1, 1], [1, 4, 3, 2]]).T
    assert scene_pairs.safeground(ss, su, us, uu) == {
        "P_ts": 2 / 4,  # the first two
        "P_tu": 2 / 4,  # the first and the last
        "P_vs": 2 / 4,
        "P_vu": 2 / 4,
        "Txt_s": 1 / 4,
        "Img_s": 1 / 4,
        "PS": 2 / 4,
        "PU": 2 / 4,
        "GS": 1 / 4,
    }
    assert scene_pairs.congruent(ss, su, us, uu) == {"text": 1 / 4, "image": 1 / 4, "group": 1 / 4}


def test_chance_is_what_all_orders_of_four_similarities_give() -> None:
    orders = np.array(list(itertools.permutations(range(4)))).T
    assert scene_pairs.safeground(*orders) | scene_pairs.congruent(*orders) == pytest.approx(scene_pairs.CHANCE)


def test_chance_is_what_random_similarities_score() -> None:
    random = np.random.default_rng(0).normal(size=(4, 20_000))
    scores = scene_pairs.safeground(*random) | scene_pairs.congruent(*random)
    assert scores == pytest.approx(scene_pairs.CHANCE, abs=0.015)


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 4), min_size=1, max_size=30))
def test_preferring_more_at_once_is_no_easier(rows: list[tuple[int, int, int, int]]) -> None:
    ss, su, us, uu = np.array(rows).T
    scores = scene_pairs.safeground(ss, su, us, uu) | scene_pairs.congruent(ss, su, us, uu)
    assert all(0 <= value <= 1 for value in scores.values())
    assert scores["GS"] <= min(scores[name] for name in ("Txt_s", "Img_s", "PS", "PU"))
    assert scores["PS"] <= min(scores["P_ts"], scores["P_vs"])
    assert scores["group"] <= min(scores["text"], scores["image"])
    assert scene_pairs.congruent(uu, us, su, ss) == scene_pairs.congruent(ss, su, us, uu), "both sides count alike"
    mirrored = scene_pairs.safeground(ss, us, su, uu)  # images and texts change places
    assert [mirrored[name] for name in ("Txt_s", "P_vs", "GS")] == [scores[name] for name in ("Img_s", "P_ts", "GS")]


def test_pairs_that_are_not_there_or_do_not_match() -> None:
    nothing = np.zeros((4, 0))
    assert all(
        math.isnan(value) for value in (scene_pairs.safeground(*nothing) | scene_pairs.congruent(*nothing)).values()
    )
    for function in (scene_pairs.safeground, scene_pairs.congruent):
        with pytest.raises(ValueError, match="alike"):
            function(np.zeros(2), np.zeros(2), np.zeros(2), np.zeros(3))
