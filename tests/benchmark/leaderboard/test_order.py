"""What a table says on the order of its rows with other seeds."""

from __future__ import annotations

import pytest

from benchmark.leaderboard.aggregation import frames
from benchmark.leaderboard.text import to_markdown
from tests.benchmark.example_records import diverged, record


def rows(*gains: int, seeds: int = 4, jitter: int = 0) -> list:
    """A method for each gain, on as many seeds."""
    return [
        record(f"m{n}", seed, (gain + jitter * (seed % 2) * n, 0, 0))
        for n, gain in enumerate(gains)
        for seed in range(seeds)
    ]


def test_an_order_that_every_half_gives_has_tau_1_and_the_table_says_so():
    found = frames(rows(50, 40, 30, 20))
    (stability,) = found.stability.values()
    assert stability == pytest.approx((1, 1, 3, 4))
    text = " ".join(to_markdown(*found).split())
    assert (
        "Kendall's τ of the order of the 4 usual rows is 1.00, mean of 3 ways to divide the seeds (lowest 1.00)" in text
    )


def test_an_order_that_hangs_on_the_seeds_has_a_lower_one():
    (stability,) = frames(rows(20, 18, 16, 14, jitter=10)).stability.values()
    assert stability.lowest == pytest.approx(-1) and stability.mean < 1  # odd against even: the other way round


def test_only_usual_ranked_rows_on_the_seeds_of_most_count():
    runs = rows(50, 40, 30, 20)
    more = [record("frozen", seed, (0, 0, 0)) for seed in range(4)]  # a reference
    more += [record("few", seed, (45, 0, 0)) for seed in range(3)]
    more += [record("m0", seed, (1, 0, 0), as_method={"settings": {"lr": 1}}) for seed in range(3)]  # a variant
    assert frames(runs + more).stability == frames(runs).stability


def test_a_diverged_run_counts_as_no_gain():
    runs = [*rows(50, 40, 30, 20), *(diverged("m9", seed) for seed in range(4))]
    (stability,) = frames(runs).stability.values()
    assert stability.mean == pytest.approx(1) and stability.rows == 5


def test_of_few_rows_or_seeds_nothing_is_said():
    for runs in (rows(50, 40, 30), rows(50, 40, 30, 20, seeds=3)):
        assert frames(runs).stability == {} and "Kendall" not in to_markdown(*frames(runs))
