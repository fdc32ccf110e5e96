"""Tables worked by hand, and that nothing is mixed, dropped or rendered as markup."""

from __future__ import annotations

import io
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from rich.console import Console

from benchmark import leaderboard, metrics, record_view, records
from benchmark.leaderboard import table
from benchmark.luck import luck_rate, simulated_luck_rate
from benchmark.schema import Record, RoundResult

CLASSES = ["foggy", "clear", "partly cloudy"]
COMMITTED = Path(__file__).parents[2] / "results"


def a_round(target: int, clear: int, cloudy: int) -> dict[str, Any]:
    """A round over 100 images a class, of which 50 were right before; so many more are right now."""
    changes = zip(CLASSES, (target, clear, cloudy), strict=True)
    test = {
        name: {"n": 100, "old_correct": 50, "new_correct": 50 + change, "both_correct": 50 + min(change, 0)}
        for name, change in changes
    }
    return {
        "target": "foggy",
        "protected": CLASSES[1:],
        "val": {},
        "test": test,
        "checkpoints": [],
        "selected_step": 30,
        "losses": [],
        "seconds": 1.0,
    }


def round_of(classes: dict[str, tuple[int, int, int, int]]) -> dict[str, Any]:
    """A round from the images, old correct, lost and won of each class."""
    test = {
        name: {"n": n, "old_correct": old, "new_correct": old - lost + won, "both_correct": old - lost}
        for name, (n, old, lost, won) in classes.items()
    }
    return a_round(0, 0, 0) | {"protected": [name for name in classes if name != "foggy"], "test": test}


def record(method: str, seed: int, *rounds: tuple[int, int, int], **changes: Any) -> Record:
    """A record whose rounds have these changes of the target and the two protected classes, in points."""
    scenario = {
        "name": "driving",
        "version": 1,
        "fingerprint": "f1",
        "training_fingerprint": f"t{seed}",
        "classes": CLASSES,
        "rounds": len(rounds) or 1,
        "options": {"image_size": 64},
    }
    places = {"python": "", "platform": "", "processor": "", "device": "cpu"}
    return Record.model_validate(
        {
            "scenario": scenario | changes.pop("scenario", {}),
            "method": {"name": method, "version": 1, "settings": {"lr": 0.01}} | changes.pop("as_method", {}),
            "base": {"name": "tiny", "sha256": "0123456789", "model": "ViT"} | changes.pop("base", {}),
            "seed": seed,
            "rounds": [a_round(*changed) for changed in rounds],
            "environment": places | {"threads": 1, "packages": {}, "peak_memory_mb": 1.0},
            "seconds": 2.0 + seed,
            "created": "2026-01-02T03:04:05+00:00",
        }
        | changes
    )


def diverged(method: str, seed: int, *rounds: tuple[int, int, int], **changes: Any) -> Record:
    stream = {"rounds": changes.pop("of", len(rounds) + 1)}  # the round after the complete ones did not end
    message = "loss is NaN at step 7"
    return record(method, seed, *rounds, status="diverged", message=message, scenario=stream, **changes)


# mds keeps everything in two of three runs, naive gains most and never keeps, joint and frozen are for reference
EXAMPLE = [
    record("frozen", 0, (0, 0, 0)),
    record("joint", 0, (40, 10, 10)),
    record("naive", 0, (30, -10, 2)),
    record("naive", 1, (20, -4, -20)),
    record("mds", 0, (10, 0, 2)),
    record("mds", 1, (6, 1, 3)),
    record("mds", 2, (8, 5, -1)),
]


def row(frame: pd.DataFrame, method: str) -> dict[Any, Any]:
    (found,) = frame[frame["method"] == method].to_dict("records")
    return found


def shown(call: Any, *arguments: Any) -> str:
    console = Console(file=io.StringIO(), width=150, color_system=None)
    call(*arguments, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def save(found: Sequence[Record], results: Path) -> Path:
    for one in found:
        records.write(one, pd.DataFrame(columns=records.COLUMNS), results)
    return results


def test_a_table_worked_by_hand() -> None:
    frame = table(EXAMPLE)
    assert list(frame["method"]) == ["mds", "naive", "joint", "frozen"], "best first, reference rows last"
    assert list(frame["reference"]) == [False, False, True, True]
    assert list(frame["note"]) == [""] * 4
    low, high = 0.09429932405024612, 0.9915962413403873  # 3p² − 2p³ = 0.025, and 1 − p³ = 0.025
    assert row(frame, "mds") == {
        "scenario": "driving",
        "scenario_version": 1,
        "method": "mds",
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
        "target_gain": pytest.approx(0.08),
        "target_gain_sd": pytest.approx(0.02),
        "devsafety": pytest.approx((0 + 0.01 - 0.01) / 3),
        "devsafety_min": pytest.approx(-0.01),
        "seconds": 3.0,
        "reference": False,
        "note": "",
    }
    assert row(frame, "naive")["preserved_gain"] == 0
    assert row(frame, "naive")["target_gain"] == pytest.approx(0.25)
    assert row(frame, "naive")["devsafety_min"] == pytest.approx(-0.20)
    assert row(frame, "naive")["no_regression_rate"] == 0, "10 of 10 flips are negative, and 20 of 20"
    assert row(frame, "frozen")["luck_rate"] == 1
    assert math.isnan(row(frame, "joint")["preserved_gain_low"]), "one run says nothing about others"
    assert math.isnan(row(frame, "joint")["target_gain_sd"]), "one round has no spread"


def test_every_round_counts() -> None:
    found = row(table([record("mds", 0, (10, 0, 0), (20, -1, 0)), record("mds", 1, (30, 0, 0), (40, 0, 0))]), "mds")
    assert (found["seeds"], found["rounds"], found["strict_rate"]) == (2, 4, 0.75)
    assert found["preserved_gain"] == pytest.approx(0.20)
    assert found["target_gain"] == pytest.approx(0.25)


def test_ties_in_preserved_gain_go_by_target_gain_and_what_was_not_scored_is_last() -> None:
    runs = [record("a", 0, (10, -1, 0)), record("b", 0, (20, -1, 0)), record("c", 0, (-5, -1, 0)), diverged("d", 0)]
    assert list(table(runs)["method"]) == ["b", "a", "c", "d"]


def test_diverged_runs_are_counted_and_shown() -> None:
    frame = table([record("mds", 0, (10, 0, 0)), diverged("mds", 1), diverged("mds", 2)])
    found = row(frame, "mds")
    assert (found["seeds"], found["rounds"], found["diverged"]) == (3, 1, 2)
    assert found["strict_rate"] == pytest.approx(1 / 3)
    assert found["strict_high"] < 0.95, "the interval is that of 1 of 3"
    assert found["preserved_gain"] == pytest.approx(0.10 / 3)
    assert found["no_regression_rate"] == pytest.approx(1 / 3), "a diverged run fails this verdict, too"
    assert (found["target_gain"], found["seconds"], found["luck_rate"]) == (0.10, 2.0, 1), "of scored runs alone"
    assert "| 3, 2 diverged |" in leaderboard.to_markdown(frame)
    assert "3, 2 diverged" in shown(leaderboard.print_table, frame)


def test_a_diverged_run_fails_every_round_of_its_stream() -> None:
    good, bad = ((10, 0, 0), (10, 0, 0), (10, 0, 0)), ((50, 0, 0),)
    found = row(table([record("ewc", 0, *good), diverged("mds", 0, *bad, of=3), record("mds", 1, *good)]), "mds")
    assert found["strict_rate"] == 3 / 6, "also those before it diverged, and those that it never reached"
    assert found["preserved_gain"] == pytest.approx(0.05)
    assert found["target_gain"] == pytest.approx(0.10)
    alone = row(table([diverged("mds", 0, *bad)]), "mds")
    assert (alone["strict_rate"], alone["rounds"], alone["preserved_gain"]) == (0, 0, 0)
    assert alone["strict_high"] == pytest.approx(1 - 0.025**0.5), "none of 2: the round it completed and the next"
    text = leaderboard.to_markdown(table([diverged("mds", 0, *bad)]))
    assert "| mds | 1, 1 diverged | 0.0 % [0.0, 84.2] | – | 0.0 % | 0.0 | – | – | – |" in text


UNLIKE = [
    ({"scenario": {"version": 2, "fingerprint": "f2"}}, "other data version: 2"),
    ({"scenario": {"fingerprint": "f2"}}, "other data: f2"),
    ({"scenario": {"options": {"image_size": 32}}}, "other options: image_size=32"),
    ({"scenario": {"options": {}}}, "other options: image_size=unset"),
    ({"base": {"sha256": "abcdefghijkl"}}, "other base: ViT abcdefgh"),
    ({"as_method": {"version": 2}}, "other method version: 2"),
    ({"as_method": {"settings": {"lr": 0.001}}}, "other settings: lr=0.001"),
    ({"as_method": {"settings": {"lr": 0.01, "head": "low rank"}}}, "other settings: head=low rank"),
]


@pytest.mark.parametrize(("changes", "note"), UNLIKE)
def test_what_differs_is_kept_apart_and_noted(changes: dict[str, Any], note: str) -> None:
    usual = [record("mds", 0, (10, 0, 0)), record("mds", 1, (20, 0, 0)), record("ewc", 0, (1, 0, 0))]
    frame = table([*usual, record("mds", 0, (50, 0, 0), **changes)])
    assert list(frame["note"]) == [note, "", ""]
    assert list(frame["seeds"]) == [1, 2, 1]
    assert list(frame["target_gain"]) == [pytest.approx(0.5), pytest.approx(0.15), pytest.approx(0.01)]
    assert f"| mds ({note}) |" in leaderboard.to_markdown(frame)


def test_a_note_says_all_that_differs_and_nothing_else() -> None:
    usual = [record("mds", seed, (10, 0, 0), as_method={"settings": {"lr": 0.01, "tau": 1}}) for seed in (0, 1)]
    other = record("mds", 0, (9, 0, 0), as_method={"settings": {"lr": 0.1, "tau": 1}}, base={"sha256": "z"})
    assert list(table([*usual, other])["note"]) == ["", "other base: ViT z; other settings: lr=0.1"]


def test_between_equals_the_newest_version_is_usual() -> None:
    runs = [record("mds", 0, (10, 0, 0), as_method={"version": number}) for number in (2, 10, 9)]
    notes = dict(table(runs)[["method_version", "note"]].itertuples(index=False))
    assert notes == {10: "", 2: "other method version: 2", 9: "other method version: 9"}


def test_two_runs_of_one_seed_are_noted() -> None:
    other_data = record("mds", 3, (10, 0, 0), scenario={"training_fingerprint": "else"})
    found = row(table([record("mds", 3, (10, 0, 0)), record("mds", 4, (10, 0, 0)), other_data]), "mds")
    assert (found["seeds"], found["note"]) == (3, "training data differ between runs of seed 3")


def test_numbers_as_they_are_shown() -> None:
    lines = leaderboard.to_markdown(table(EXAMPLE)).splitlines()
    start = lines.index("## driving")
    assert lines[start + 2 : start + 8] == [
        "| Method | Runs | Strictly preserved | By luck | No significant regression | Preserved gain | Target gain "
        "| DevSafety | Seconds |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| mds | 3 | 66.7 % [9.4, 99.2] | 41.7 % | 100.0 % | +5.3 [0.0, +10.0] | +8.0 ± 2.0 | 0.0, −1.0 | 3.0 |",
        "| naive | 2 | 0.0 % [0.0, 84.2] | 43.6 % | 0.0 % | 0.0 | +25.0 ± 7.1 | −15.0, −20.0 | 2.5 |",
        "| joint (reference) | 1 | 100.0 % [2.5, 100.0] | 38.8 % | 100.0 % | +40.0 | +40.0 | +10.0, +10.0 | 2.0 |",
        "| frozen (reference) | 1 | 100.0 % [2.5, 100.0] | 100.0 % | 100.0 % | 0.0 | 0.0 | 0.0, 0.0 | 2.0 |",
    ]
    assert "`python -m benchmark leaderboard`" in lines[2]


def test_the_printed_table_shows_what_the_file_shows() -> None:
    frame = table([*EXAMPLE, record("mds", 0, (1, 0, 0), scenario={"name": "places"})])
    text = shown(leaderboard.print_table, frame)
    rows = [line for line in leaderboard.to_markdown(frame).splitlines() if line.startswith("| ") and "---" not in line]
    for cell in {cell.strip() for line in rows for cell in line.strip("|").split("|")}:
        assert cell in text
    assert text.index("driving") < text.index("places")


@pytest.mark.parametrize("fraction", [-0.0, 0.0, 0])
def test_no_change_has_no_sign(fraction: float) -> None:
    assert leaderboard.points(fraction) == "0.0"


def test_a_small_loss_is_no_zero() -> None:
    assert leaderboard.points(-0.0001) == "−0.0"
    assert leaderboard.points(math.nan) == "–"


def test_neither_the_order_of_records_nor_of_files_matters(tmp_path: Path) -> None:
    runs = [*EXAMPLE, diverged("naive", 2), *(record("mds", 0, (33, 0, 0), **changes) for changes, _ in UNLIKE)]
    # sums of floats that depend on the order, were they not exact
    runs += [record("sums", seed, (seed % 7, 0, seed % 3)) for seed in range(20)]
    expected = table(runs)
    pd.testing.assert_frame_equal(table(runs[::-1]), expected, check_exact=True)
    first = [path.read_bytes() for path in leaderboard.write(save(runs, tmp_path / "a"))]
    second = [path.read_bytes() for path in leaderboard.write(save(runs[::-1], tmp_path / "b"))]
    again = [path.read_bytes() for path in leaderboard.write(tmp_path / "b")]
    assert first == second == again


def test_the_files_hold_the_table(tmp_path: Path) -> None:
    markdown, csv = leaderboard.write(save(EXAMPLE, tmp_path))
    assert (markdown, csv) == (tmp_path / "leaderboard.md", tmp_path / "leaderboard.csv")
    assert markdown.read_text() == leaderboard.to_markdown(table(EXAMPLE))
    numbers = ("target_gain_sd", "preserved_gain_low", "preserved_gain_high")
    read = pd.read_csv(csv, keep_default_na=False, na_values=dict.fromkeys(numbers, ""), float_precision="round_trip")
    pd.testing.assert_frame_equal(read, table(EXAMPLE), check_exact=True, check_dtype=False)


def test_no_records(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="make records with"):
        leaderboard.write(tmp_path)
    assert list(table([]).columns) == leaderboard.COLUMNS
    assert "There are no records yet." in leaderboard.to_markdown(table([]))


HOSTILE = "a|b\n# x <img src=x> [red]y[/red] `z` *w* _v_ __u__ \x1b[2J\u2028\\"


def test_hostile_names_stay_text() -> None:
    runs = [record(HOSTILE, 0, (1, 0, 0), scenario={"name": HOSTILE}, as_method={"settings": {HOSTILE: HOSTILE}})]
    runs += [record(HOSTILE, seed, (1, 0, 0), scenario={"name": HOSTILE}) for seed in (1, 2)]
    text = leaderboard.to_markdown(table(runs))
    safe = r"a\|b # x \<img src=x\> \[red\]y\[/red\] \`z\` \*w\* \_v\_ \_\_u\_\_ \[2J \\"
    body = text[text.index("## ") :].rstrip().split("\n")
    assert body[0] == f"## {safe}"
    assert len(body) == 6, "a heading, a blank line, two lines of table head and two rows"
    assert body[4].startswith(f"| {safe} | 2 |")
    assert body[5].startswith(rf"| {safe} (other settings: ")
    printed, record_ = shown(leaderboard.print_table, table(runs[1:])), shown(leaderboard.print_record, runs[0])
    assert printed.count("[red]y[/red]") == 2, "as scenario and as method"
    assert record_.count("[red]y[/red]") == 4, "as scenario, method, setting and its value"
    assert "\x1b" not in printed + record_


def test_underscores_inside_names_stay_readable() -> None:
    assert "| weights_manipulation |" in leaderboard.to_markdown(table([record("weights_manipulation", 0, (1, 0, 0))]))


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if line[:1] == "│"]


def test_a_record_as_it_is_shown() -> None:
    test = a_round(12, 2, -3)["test"]
    test["clear"] = {"n": 100, "old_correct": 50, "new_correct": 52, "both_correct": 45}
    rounds = [a_round(12, 2, -3) | {"test": test}]
    text = shown(leaderboard.print_record, record("mds", 4, rounds=rounds))
    assert cells(text) == [
        ["foggy (target)", "100", "50.0", "62.0", "+12.0", "0", "12", "–"],
        ["clear", "100", "50.0", "52.0", "+2.0", "5", "7", "0.806"],  # 5 or more heads of 12: 3302 of 4096
        ["partly cloudy (worst protected)", "100", "50.0", "47.0", "−3.0", "3", "0", "0.125"],
    ]
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0] == "driving · mds · seed 4 · complete"
    assert lines[1] == "round 1 of 1: foggy, selected step 30"
    assert lines[-5:] == [
        "not preserved: partly cloudy −3.0 points",
        "no significant regression (McNemar, one-sided, with Holm's correction for 2 classes, α 0.05)",
        # ½ (1 + 924 / 4096) for the 12 flips of clear, with 924 ways to a tie, times ½ for 3 flips
        "luck rate 30.6 %: the chance of strict preservation if as many predictions flip for no true change",
        "smallest true drops found with probability 0.8, in points: clear 9.8, "
        "none in 1 of 2 classes, which flip too little",
        "settings: lr=0.01",
    ]


def test_the_second_verdict_names_what_got_significantly_worse() -> None:
    harmed, unharmed = record("mds", 0, (9, -6, -20), (9, -5, 0)).rounds
    words = record_view.second_verdict(harmed)
    assert words.startswith("significant regression: partly cloudy −20.0 points, clear −6.0 points (")
    assert not record_view.without_regression(harmed)
    # 5 of 5 flips are negative: p is 1/32, below α but not below α / 2, as Holm demands of the smaller of two
    assert record_view.second_verdict(unharmed).startswith("no significant regression")
    assert record_view.without_regression(unharmed)
    text = shown(leaderboard.print_record, record("mds", 0, (9, -6, -20), (9, -5, 0)))
    assert [line[-1] for line in cells(text)] == ["–", "0.016", "<0.001", "–", "0.031", "1.000"]


def test_several_rounds_are_summed_up() -> None:
    text = shown(leaderboard.print_record, record("mds", 0, (9, 0, 0), (9, -10, 0), (9, -1, 0)))
    assert (  # luck: no flips 1, ten flips ½ (1 + 252 / 1024), one flip ½; 1 − (1 − p)³ = 0.025 below one of three
        "strictly preserved: 1 of 3 rounds, 33.3 % [0.8, 90.6], by luck 70.8 %; no significant regression: 2 of 3\n"
    ) in text
    assert "rounds, " not in shown(leaderboard.print_record, record("mds", 0, (9, 0, 0))), "one round is no rate"
    assert "rounds, " not in shown(leaderboard.print_record, diverged("mds", 0, (9, 0, 0), (9, 0, 0)))


def test_many_classes_stay_on_one_line() -> None:
    """Of hundreds of classes the most sensitive are named, the rest counted."""
    names = [f"class {number}" for number in range(12)]
    flipping = {name: (5 * number, 5 * number) for number, name in enumerate(names)}
    flipping["foggy"] = 0, 10
    made = round_of({name: (400, 200, *flips) for name, flips in flipping.items()})
    text = shown(leaderboard.print_record, record("mds", 0, scenario={"classes": [*names, "foggy"]}, rounds=[made]))
    _, line = text.replace("\n", " ").split("smallest true drops")
    assert line.count("class ") == 8 and line.index("class 2 ") < line.index("class 3 ")
    assert "2 more up to" in line and "none in 2 of 12 classes" in line, "those with 0 and 10 flips"


def test_the_verdict_names_all_that_got_worse_worst_first() -> None:
    (result,) = record("mds", 0, (9, -1, -20)).rounds
    assert leaderboard.verdict(result) == "not preserved: partly cloudy −20.0 points, clear −1.0 points"
    text = shown(leaderboard.print_record, record("mds", 0, (9, 0, 0), (9, 0, -1)))
    assert "strictly preserved\n" in text
    assert "not preserved: partly cloudy −1.0 points\n" in text
    assert "round 2 of 2" in text


def test_a_diverged_record_says_so() -> None:
    text = shown(leaderboard.print_record, diverged("mds", 0))
    assert "seed 0 · diverged" in text
    assert "counts as not preserved, preserved gain 0. loss is NaN at step 7" in text


def test_importing_tables_is_cheap() -> None:
    heavy = {"torch", "avalanche", "pandas", "scipy", "rich"}
    code = f"import sys, benchmark.leaderboard; print(sorted({heavy} & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


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
        test = {name: own._asdict() for name, own in metrics.count_pairs(labels, old, new, CLASSES).items()}
        rounds.append(RoundResult.model_validate(a_round(0, 0, 0) | {"test": test}))
        worse = metrics.count_pairs(labels, old, np.where(rng.random(len(new)) < 0.02, labels + 1, new), CLASSES)
        harmed.append(metrics.strictly_preserved(worse, CLASSES[1:]))
    strict = np.array([result.strictly_preserved for result in rounds])
    error = math.sqrt(strict.var() / len(strict))
    assert 0.3 < strict.mean() < 0.5
    assert record_view.mean_luck_rate(rounds) == pytest.approx(strict.mean(), abs=4 * error)
    assert np.mean(harmed) < strict.mean() - 10 * error, "a model that truly lost 2 points falls short of it"


def test_committed_models_replaced_by_luck_are_preserved_at_the_luck_rate() -> None:
    """Each new model is the old one, with as many predictions flipped as the real new one flipped."""
    rng, draws = np.random.default_rng(1), 1000
    strict, by_luck, expected = [], [], []
    for name in ("mds-seed0", "mds-seed3", "rm-seed1", "joint-seed2"):
        (path,) = (COMMITTED / "records" / "driving-foggy").glob(f"{name}-*.json")
        (result,) = records.read(path).rounds
        found = records.read_predictions(path).query("split == 'test'")
        classes, real = sorted({result.target, *result.protected}), result.test_counts
        labels, old = (np.array([classes.index(value) for value in found[column]]) for column in ("label", "old"))
        shares = {classes.index(own): (real[own].lost + real[own].won) / real[own].n for own in result.protected}
        chances = flip_chances(labels, old, shares)
        expected.append(simulated_luck_rate(real, result.protected).rate)
        for _ in range(draws):
            counts = metrics.count_pairs(labels, old, perturbed(labels, old, chances, rng), classes)
            strict.append(metrics.strictly_preserved(counts, result.protected))
            by_luck.append(luck_rate(counts, result.protected).rate)
    error = math.sqrt(np.var(strict) / len(strict))
    assert np.mean(strict) == pytest.approx(0.04, abs=0.02), "or the comparison would show little"
    assert np.mean(strict) == pytest.approx(np.mean(by_luck), abs=4 * error)
    assert np.mean(strict) == pytest.approx(np.mean(expected), abs=4 * error)


def test_showing_a_record_is_cheap() -> None:
    path = next((COMMITTED / "records" / "driving-foggy").glob("mds-*.json"))
    code = (
        "import sys; from pathlib import Path; from rich.console import Console\n"
        "from benchmark import leaderboard, records\n"
        f"leaderboard.print_record(records.read(Path({str(path)!r})), Console(stderr=True))\n"
        "print(sorted({'torch', 'avalanche', 'open_clip'} & sys.modules.keys()))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "luck rate" in found.stderr and found.stdout.strip() == "[]"


class TestOlderStreams:
    """Records that were made on another version of a stream say so, in the table and when shown."""

    @pytest.mark.parametrize(
        ("scenario", "words"),
        [
            ({"version": 1, "fingerprint": "f1"}, "of version 1 of the stream, which is at 2 now"),
            ({"version": 2, "fingerprint": "f1"}, "of other pictures (f1) than today's (f2)"),
            ({"version": 2, "fingerprint": "f2"}, ""),
            ({"version": 1, "fingerprint": "f1", "options": {"image_size": 32}}, ""),
            ({"version": 1, "fingerprint": "f1", "name": "mine"}, ""),
        ],
        ids=["another version", "other pictures", "today's", "other sizes", "a stream of one's own"],
    )
    def test_they_are_marked(self, monkeypatch, scenario, words):
        today = {"driving": {"version": 2, "fingerprint": "f2", "options": {"image_size": 64}}}
        monkeypatch.setattr(record_view, "fingerprints", lambda: today)
        made = record("mds", 0, (1, 1, 1), scenario=scenario)
        (note,) = table([made])["note"]
        assert note == words
        out = io.StringIO()
        leaderboard.print_record(made, Console(file=out, width=200))
        assert (words in out.getvalue()) and ("cannot be compared" in out.getvalue()) == bool(words)
