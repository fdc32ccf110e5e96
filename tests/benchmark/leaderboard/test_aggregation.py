"""Figures of tables worked by hand, and that nothing is mixed or dropped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.leaderboard.aggregation import frames, overall, table
from benchmark.leaderboard.text import print_table, to_markdown
from benchmark.records.schema import Record
from tests.benchmark.example_records import (
    EXAMPLE,
    UNLIKE,
    diverged,
    record,
    row,
    shown,
)


def test_a_table_worked_by_hand() -> None:
    frame = table(EXAMPLE)
    assert list(frame["method"]) == ["mds", "naive", "joint", "frozen"], "best first, reference rows last"
    assert list(frame["reference"]) == [False, False, True, True]
    assert list(frame["variant"]) == [""] * 4
    low, high = 0.09429932405024612, 0.9915962413403873  # 3p² − 2p³ = 0.025, and 1 − p³ = 0.025
    assert row(frame, "mds") == {
        "scenario": "driving",
        "scenario_version": 1,
        "rank": 1,
        "method": "mds",
        "variant": "",
        "method_version": 1,
        "seeds": 3,
        "rounds": 3,
        "diverged": 0,
        "strict_rate": 2 / 3,
        "strict_low": pytest.approx(low),
        "strict_high": pytest.approx(high),
        # flips of clear and partly cloudy: none and 2, 1 and 3, 5 and 1; an even number may be a tie
        "luck_rate": pytest.approx((3 / 4 + 1 / 4 + 1 / 4) / 3),
        "no_regression_rate": 1,
        "preserved_gain": pytest.approx((0.10 + 0.06 + 0) / 3),
        # a resample of one run alone is likelier than 2.5 %: of the three means 0.10, 0.06 and 0 the outer two
        "preserved_gain_low": 0,
        "preserved_gain_high": pytest.approx(0.10),
        # the run that lost a point gained 0.08; the intervals again end at the outer runs
        "gain_within_1": pytest.approx((0.10 + 0.06 + 0.08) / 3),
        "gain_within_1_low": pytest.approx(0.06),
        "gain_within_1_high": pytest.approx(0.10),
        "gain_within_2": pytest.approx((0.10 + 0.06 + 0.08) / 3),
        "gain_within_2_low": pytest.approx(0.06),
        "gain_within_2_high": pytest.approx(0.10),
        "tolerant_gain": pytest.approx((0.10 + 0.06 + 0.08 * 2 / 3) / 3),
        "tolerant_gain_low": pytest.approx(0.08 * 2 / 3, abs=1e-6),
        "tolerant_gain_high": pytest.approx(0.10),
        "no_regression_gain": pytest.approx(0.08),
        "no_regression_gain_low": pytest.approx(0.06),
        "no_regression_gain_high": pytest.approx(0.10),
        "kept_share": pytest.approx((1 + 1 + 1 / 2) / 3),
        "target_gain": pytest.approx(0.08),
        "target_gain_sd": pytest.approx(0.02),
        "devsafety": pytest.approx((0 + 0.01 - 0.01) / 3),
        "devsafety_min": pytest.approx(-0.01),
        "front": True,
        "seconds": 3.0,
        "reference": False,
        "note": "only 3 seeds; seeds 0–2, not 0 as most",
    }
    assert row(frame, "naive")["preserved_gain"] == 0
    assert row(frame, "naive")["target_gain"] == pytest.approx(0.25)
    assert row(frame, "naive")["devsafety_min"] == pytest.approx(-0.20)
    assert row(frame, "naive")["no_regression_gain"] == row(frame, "naive")["tolerant_gain"] == 0
    assert row(frame, "naive")["kept_share"] == 1 / 4
    assert row(frame, "naive")["no_regression_rate"] == 0, "10 of 10 flips are negative, and 20 of 20"
    assert row(frame, "frozen")["luck_rate"] == 1
    assert math.isnan(row(frame, "joint")["preserved_gain_low"]), "one run says nothing about others"
    assert math.isnan(row(frame, "joint")["target_gain_sd"]), "one round has no spread"


def test_the_front_is_what_nothing_else_beats_in_both() -> None:
    changes = {"gains": (30, -9), "between": (20, -5), "same": (20, -5), "less": (20, -6), "beaten": (10, -5)}
    changes |= {"safe": (1, 0), "frozen": (0, 5)}
    runs = [record(name, seed, (gain, safety, 9)) for name, (gain, safety) in changes.items() for seed in (0, 1)]
    runs += [record("single", 0, (50, 9, 9)), diverged("diverged", 0), diverged("diverged", 1)]
    frame = table(runs)
    assert set(frame[frame["front"]]["method"]) == {"gains", "between", "same", "safe"}


def towards(target: str, gains: Sequence[int]) -> list[Record]:
    """Runs on photos of somebody's, whose stream is what it is by its target."""
    options = {"name": "folder", "fingerprint": target, "options": {"target": target}}
    return [record("mds", seed, (gain, 0, 0), scenario=options) for seed, gain in enumerate(gains)]


def test_each_target_of_the_same_photos_is_a_stream_of_its_own() -> None:
    frame = table([*towards("store", (10, 20)), *towards("living room", (30,))])
    assert list(frame["scenario"]) == ["folder: living room", "folder: store"]
    assert list(frame["target_gain"]) == [pytest.approx(0.30), pytest.approx(0.15)]
    assert list(frame["variant"]) == ["", ""], "neither is on other data than most"
    assert "## folder: living room" in to_markdown(*frames(towards("living room", (30,))))


def test_every_round_counts() -> None:
    found = row(table([record("mds", 0, (10, 0, 0), (20, -1, 0)), record("mds", 1, (30, 0, 0), (40, 0, 0))]), "mds")
    assert (found["seeds"], found["rounds"], found["strict_rate"]) == (2, 4, 0.75)
    assert found["preserved_gain"] == pytest.approx(0.20)
    assert found["target_gain"] == pytest.approx(0.25)


def test_equal_preserved_gains_go_by_tolerant_gain_and_what_was_not_scored_is_last() -> None:
    changes = {"bold": (50, -3), "careful": (20, -1), "daring": (38, -2), "still": (0, -1), "harmful": (-5, -1)}
    changes |= {"reckless": (45, -9), "ruinous": (48, -40)}
    runs = [diverged("broken", 0), *(record(name, 0, (gain, lost, 0)) for name, (gain, lost) in changes.items())]
    frame = table(runs).set_index("method")
    # 20 × 2 / 3 is more than 38 / 3 points; a loss of 3 points or more gains nothing, so what lost least is next
    assert list(frame.index) == ["careful", "daring", "still", "bold", "reckless", "ruinous", "harmful", "broken"]
    assert list(frame["tolerant_gain"])[:3] == pytest.approx([0.40 / 3, 0.38 / 3, 0])
    assert list(frame["gain_within_1"])[:2] == [0.20, 0] and list(frame["gain_within_2"])[:2] == [0.20, 0.38]


def test_runs_on_other_data_do_not_decide_what_is_usual() -> None:
    usual = [record(name, seed, (10, 0, 0)) for name in ("mds", "naive") for seed in range(3)]
    data = {"scenario": {"fingerprint": "f2"}, "as_method": {"settings": {"lr": 0.1}}}
    frame = table([*usual, *(record("mds", seed, (10, 0, 0), **data) for seed in range(5))])
    assert list(frame["variant"])[:2] == ["", ""] and "other data" in frame["variant"].iloc[-1]


def test_diverged_runs_are_counted_and_shown() -> None:
    frame = table([record("mds", 0, (10, 0, 0)), diverged("mds", 1), diverged("mds", 2)])
    found = row(frame, "mds")
    assert (found["seeds"], found["rounds"], found["diverged"]) == (3, 1, 2)
    assert found["strict_rate"] == pytest.approx(1 / 3)
    assert found["strict_high"] < 0.95, "the interval is that of 1 of 3"
    assert found["preserved_gain"] == pytest.approx(0.10 / 3)
    assert found["no_regression_rate"] == pytest.approx(1 / 3), "a diverged run fails this verdict, too"
    gains = ("gain_within_1", "gain_within_2", "tolerant_gain", "no_regression_gain")
    assert [found[key] for key in gains] == pytest.approx([0.10 / 3] * 4), "and gains nothing at any tolerance"
    assert found["kept_share"] == 1
    assert (found["target_gain"], found["seconds"], found["luck_rate"]) == (0.10, 2.0, 1), "of scored runs alone"
    assert "| 3, 2 diverged |" in to_markdown(frame, overall([]), {})
    assert "3, 2 diverged" in shown(partial(print_table, wide=True), frame)


def test_a_diverged_run_fails_every_round_of_its_stream() -> None:
    good, bad = ((10, 0, 0), (10, 0, 0), (10, 0, 0)), ((50, 0, 0),)
    found = row(table([record("ewc", 0, *good), diverged("mds", 0, *bad, of=3), record("mds", 1, *good)]), "mds")
    assert found["strict_rate"] == 3 / 6, "also those before it diverged, and those that it never reached"
    assert found["preserved_gain"] == pytest.approx(0.05)
    assert found["target_gain"] == pytest.approx(0.10)
    alone = row(table([diverged("mds", 0, *bad)]), "mds")
    assert (alone["strict_rate"], alone["rounds"], alone["preserved_gain"]) == (0, 0, 0)
    assert alone["strict_high"] == pytest.approx(1 - 0.025**0.5), "none of 2: the round it completed and the next"
    text = to_markdown(*frames([diverged("mds", 0, *bad)]))
    gains = "| 0.0 | 0.0 | 0.0 | 0.0 "
    assert f"| – | mds ¹ | 1, 1 diverged {gains}| – | – | 0.0 % [0.0, 84.2] | – | 0.0 % |  | – |" in text


@pytest.mark.parametrize(("changes", "note"), UNLIKE)
def test_what_differs_is_kept_apart_and_noted(changes: dict[str, Any], note: str) -> None:
    usual = [record("mds", 0, (10, 0, 0)), record("mds", 1, (20, 0, 0)), record("ewc", 0, (1, 0, 0))]
    runs = [*usual, record("mds", 0, (50, 0, 0), **changes)]
    frame = table(runs)
    assert list(frame["variant"]) == [note, "", ""]
    assert list(frame["seeds"]) == [1, 2, 1]
    assert list(frame["target_gain"]) == [pytest.approx(0.5), pytest.approx(0.15), pytest.approx(0.01)]
    assert row(frame[:1], "mds")["note"].startswith(f"{note}; only 1 seed")
    assert f"| mds ({note}) ¹ |" in to_markdown(*frames(runs))


def test_a_note_says_all_that_differs_and_nothing_else() -> None:
    usual = [record("mds", seed, (10, 0, 0), as_method={"settings": {"lr": 0.01, "tau": 1}}) for seed in (0, 1)]
    other = record("mds", 0, (9, 0, 0), as_method={"settings": {"lr": 0.1, "tau": 1}}, base={"sha256": "z"})
    assert list(table([*usual, other])["variant"]) == ["", "other base: ViT z; other settings: lr=0.1"]


def test_between_equals_the_newest_version_is_usual() -> None:
    runs = [record("mds", 0, (10, 0, 0), as_method={"version": number}) for number in (2, 10, 9)]
    notes = dict(table(runs)[["method_version", "variant"]].itertuples(index=False))
    assert notes == {10: "", 2: "other method version: 2", 9: "other method version: 9"}


@pytest.mark.parametrize("newest", [0.1, 0.2, 0.3])
def test_between_equals_of_a_version_the_settings_of_the_newest_run_are_usual(newest: float) -> None:
    runs = [
        record(
            "mds",
            0,
            (10, 0, 0),
            as_method={"settings": {"lr": lr}},
            created=f"2026-01-0{1 + (lr == newest)}T00:00:00+00:00",
        )
        for lr in (0.1, 0.2, 0.3)
    ]
    notes = {lr: "" if lr == newest else f"other settings: lr={lr}" for lr in (0.1, 0.2, 0.3)}
    assert set(table(runs)["variant"]) == set(notes.values())


def test_two_runs_of_one_seed_are_noted() -> None:
    other_data = record("mds", 3, (10, 0, 0), scenario={"training_fingerprint": "else"})
    found = row(table([record("mds", 3, (10, 0, 0)), record("mds", 4, (10, 0, 0)), other_data]), "mds")
    assert (found["seeds"], found["note"]) == (3, "only 2 seeds; training data differ between runs of seed 3")


def of_seeds(method: str, gains: Sequence[int], lost: int = 0, **changes: Any) -> list[Record]:
    """A run for each gain, in points, with seeds from 0 on."""
    return [record(method, seed, (gain, -lost, 0), **changes) for seed, gain in enumerate(gains)]


FIVE = [30, 31, 32, 33, 34]
CLEAR = [
    *of_seeds("best", FIVE),
    *of_seeds("close", [gain - 1 for gain in FIVE]),
    *of_seeds("chained", [gain - 3 for gain in FIVE]),
    *of_seeds("far", [10, 11, 12, 13, 14]),
    *of_seeds("nothing", FIVE, lost=1),
    *of_seeds("frozen", [0] * 5),
]


def ranks(frame: pd.DataFrame) -> dict[str, int | None]:
    found = zip(frame["method"], frame["rank"], strict=True)
    return {name: None if pd.isna(rank) else int(rank) for name, rank in found}


def test_rows_whose_intervals_overlap_share_a_rank_and_a_chain_of_overlaps_does_not() -> None:
    found = table(CLEAR).set_index("method")
    low, high = found["preserved_gain_low"], found["preserved_gain_high"]
    assert high["close"] > low["best"] and high["chained"] > low["close"], "neighbours overlap"
    assert high["chained"] < low["best"], "but not the ends of the chain"
    assert ranks(table(CLEAR)) == {"best": 1, "close": 1, "chained": 2, "far": 4, "nothing": 5, "frozen": None}


@settings(deadline=None, max_examples=25)
@given(st.lists(st.lists(st.tuples(st.integers(-20, 40), st.integers(0, 1)), min_size=2, max_size=5), max_size=6))
def test_a_rank_is_one_more_than_the_number_of_rows_surely_above(methods: list[list[tuple[int, int]]]) -> None:
    runs = [
        record(f"m{number}", seed, (gain, -lost, 0))
        for number, rounds in enumerate(methods)
        for seed, (gain, lost) in enumerate(rounds)
    ]
    rows = table(runs).to_dict("records")
    for own in rows:
        above = [other for other in rows if other["preserved_gain_low"] > own["preserved_gain_high"]]
        assert own["rank"] == 1 + len(above)
        assert all(other["rank"] < own["rank"] for other in above), "whoever is surely better has the better rank"


def test_what_cannot_be_compared_has_no_rank_and_counts_for_none() -> None:
    better = [45, 46, 47, 48, 49]
    others = [
        *of_seeds("new data", better, scenario={"version": 2, "fingerprint": "f2"}),
        *of_seeds("other base", better, base={"sha256": "else"}),
        record("single", 0, (50, 0, 0)),
        *of_seeds("joint", better),
    ]
    found = ranks(table([*CLEAR, *others]))
    assert [found[name] for name in ("new data", "other base", "single", "joint")] == [None] * 4
    assert {name: found[name] for name in ranks(table(CLEAR))} == ranks(table(CLEAR))
    variant = of_seeds("far", better, as_method={"settings": {"lr": 1}})
    assert table([*CLEAR, *variant])["rank"].to_list()[0] == 1, "other settings may well compete"


def on(threads: int, device: str = "cpu", processor: str = "A") -> dict[str, Any]:
    """An environment."""
    names = {"python": "", "platform": "", "packages": {}, "peak_memory_mb": 1.0}
    return names | {"device": device, "processor": processor, "threads": threads}


def test_few_and_other_seeds_and_mixed_hardware_are_marked_and_not_hidden() -> None:
    usual = [*of_seeds("a", FIVE), *of_seeds("b", FIVE)]
    assert set(table(usual)["note"]) == {""}
    cases = {
        "only 2 seeds; seeds 0–1, not 0–4 as most": of_seeds("mds", FIVE[:2]),
        "seeds 0–2, 5, 7, not 0–4 as most": [record("mds", seed, (9, 0, 0)) for seed in (0, 1, 2, 5, 7)],
        "mixed hardware: A with 1 thread and A with 2 threads": [
            record("mds", seed, (9, 0, 0), environment=on(1 + seed % 2)) for seed in range(5)
        ],
        "mixed hardware: A with 1 thread and H200 with 1 thread": [
            record("mds", seed, (9, 0, 0), environment=on(1, "H200" if seed else "cpu")) for seed in range(5)
        ],
    }
    for note, runs in cases.items():
        frame = table([*usual, *runs])
        assert row(frame, "mds")["note"] == note and row(frame, "a")["note"] == ""
        text = to_markdown(*frames([*usual, *runs]))
        assert "| mds ¹ |" in text and f"\n* ¹ {note}\n" in text


def test_methods_are_compared_across_streams_only_on_the_same_ones() -> None:
    def runs(method: str, **gains: Sequence[int]) -> list[Record]:
        return [run for name, of in gains.items() for run in of_seeds(method, of, scenario={"name": name})]

    both = {"x": FIVE, "y": [10] * 5, "z": [0] * 5}
    found = [*runs("all", **both), *runs("less", **both | {"y": [2] * 5}), *runs("joint", **both)]
    found += [*runs("two", x=[50] * 5, y=[50] * 5), *runs("one", x=FIVE)]
    found += of_seeds("all", [50] * 3, scenario={"name": "x"}, as_method={"settings": {"lr": 1}})  # not the usual ones
    found += of_seeds("all", [0], lost=5, scenario={"name": "z"}, as_method={"settings": {"lr": 1}})
    frame = overall(found)
    assert list(frame["method"]) == ["all", "less", "two", "joint"], "on most streams first, reference rows last"
    assert list(frame["lacking"]) == ["", "", "z", ""] and list(frame["streams"]) == [3, 3, 2, 3]
    assert ranks(frame) == {"all": 1, "less": 2, "two": 1, "joint": None}
    all_ = row(frame, "all")
    assert all_["preserved_gain"] == pytest.approx((0.32 + 0.10 + 0) / 3)
    alone = row(table(runs("all", x=FIVE)), "all")
    low, high = alone["preserved_gain_low"], alone["preserved_gain_high"]
    assert all_["preserved_gain_low"] == pytest.approx((low + 0.10) / 3, abs=1e-6), "the other streams do not vary"
    assert all_["preserved_gain_high"] == pytest.approx((high + 0.10) / 3, abs=1e-6)
    assert (all_["strict_rate"], all_["strict_low"]) == (1, pytest.approx(0.025 ** (1 / 15))), "of 15 rounds"
    assert all_["devsafety"] == 0
    assert all_["tolerant_gain"] == all_["gain_within_2"] == all_["preserved_gain"], "where nothing was lost"
    assert all_["tolerant_gain_low"] == all_["preserved_gain_low"]
    assert overall(runs("one", x=FIVE)).empty


def test_rates_across_streams_are_pooled_and_cautions_name_their_stream() -> None:
    few = [record("a", seed, (5, -1, 0), scenario={"name": "y"}) for seed in range(3)]
    found = row(overall([*of_seeds("a", FIVE, scenario={"name": "x"}), *few]), "a")
    assert found["strict_rate"] == 5 / 8
    assert found["preserved_gain"] == pytest.approx(0.32 / 2), "a stream of few runs counts like others"
    assert found["devsafety"] == pytest.approx(-0.005)
    assert found["preserved_gain"] < found["tolerant_gain"] == pytest.approx((0.32 + 0.05 * 2 / 3) / 2)
    assert found["luck_rate"] == pytest.approx((5 * 1 + 3 * 0.5) / 8)
    assert found["note"] == "only 3 seeds on y"
