"""One record as it is shown."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from rich.console import Console

from benchmark.leaderboard import one_run, summary, verdicts
from benchmark.leaderboard.aggregation import table
from tests.benchmark.example_records import (
    VERSION_1,
    a_round,
    diverged,
    record,
    round_of,
    shown,
)


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if line[:1] == "│"]


def test_a_record_as_it_is_shown() -> None:
    test = a_round(12, 2, -3)["test"]
    test["clear"] = {"n": 100, "old_correct": 50, "new_correct": 52, "both_correct": 45}
    rounds = [a_round(12, 2, -3) | {"test": test}]
    text = shown(one_run.print_record, record("mds", 4, rounds=rounds))
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


def test_what_show_prints_fits_100_columns(capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = (VERSION_1 / "records/driving-foggy").glob("mds-seed0-*.json")
    one_run.show(path)
    lines = capsys.readouterr().out.splitlines()
    assert any("Meaning" in line for line in lines) and max(map(len, lines)) <= 100


def test_preferences_over_scene_pairs_stand_beside_what_chance_gives() -> None:
    preferences = {"text": {"n": 200, "old_correct": 90, "new_correct": 110, "both_correct": 80}}
    text = shown(one_run.print_record, record("mds", 0, rounds=[a_round(1, 0, 0) | {"scene_pairs": preferences}]))
    assert "200 scenes, each once as foggy and once as a protected class" in text
    assert cells(text)[-1] == [
        *("text", "both images prefer their own text", "25.0", "45.0", "55.0", "+10.0", "10", "30")
    ]
    assert "scenes" not in shown(one_run.print_record, record("mds", 0, (1, 0, 0)))
    with pytest.raises(ValueError, match=r"no such preferences over scene pairs: \['txt'\]"):
        record("mds", 0, rounds=[a_round(1, 0, 0) | {"scene_pairs": {"txt": preferences["text"]}}])


def test_the_second_verdict_names_what_got_significantly_worse() -> None:
    harmed, unharmed = record("mds", 0, (9, -6, -20), (9, -5, 0)).rounds
    words = verdicts.second_verdict(harmed)
    assert words.startswith("significant regression: partly cloudy −20.0 points, clear −6.0 points (")
    assert not verdicts.without_regression(harmed)
    # 5 of 5 flips are negative: p is 1/32, below α but not below α / 2, as Holm demands of the smaller of two
    assert verdicts.second_verdict(unharmed).startswith("no significant regression")
    assert verdicts.without_regression(unharmed)
    text = shown(one_run.print_record, record("mds", 0, (9, -6, -20), (9, -5, 0)))
    assert [line[-1] for line in cells(text)] == ["–", "0.016", "<0.001", "–", "0.031", "1.000"]


def test_several_rounds_are_summed_up() -> None:
    text = shown(one_run.print_record, record("mds", 0, (9, 0, 0), (9, -10, 0), (9, -1, 0)))
    assert (  # luck: no flips 1, ten flips ½ (1 + 252 / 1024), one flip ½; 1 − (1 − p)³ = 0.025 below one of three
        "strictly preserved: 1 of 3 rounds, 33.3 % [0.8, 90.6], by luck 70.8 %; no significant regression: 2 of 3\n"
    ) in text
    assert "rounds, " not in shown(one_run.print_record, record("mds", 0, (9, 0, 0))), "one round is no rate"
    assert "rounds, " not in shown(one_run.print_record, diverged("mds", 0, (9, 0, 0), (9, 0, 0)))


def test_what_is_earned_is_told_from_luck() -> None:
    """Ten flips of a class that truly changed nothing leave it as good with probability ½ (1 + 252 / 1024) = 0.623."""
    kept, lost = ({"clear": (100, 50, *flips), "foggy": (100, 50, 0, 5)} for flips in ((5, 5), (6, 4)))

    def of(*rounds):
        return [record("mds", 0, rounds=[round_of(one)]).rounds[0] for one in rounds]

    assert verdicts.earned(of(kept, lost)) == (
        "strictly preserved in 1 of 2 rounds, where luck would give 62.3 %: cannot be told from luck"
    )
    assert verdicts.earned(of(*[kept] * 6)).endswith("cannot be told from luck"), "0.623 ** 6 = 0.058"
    assert verdicts.earned(of(*[kept] * 7)).endswith(": more than luck"), "0.623 ** 7 = 0.036"


def test_a_diverged_run_is_counted_where_runs_are_told_from_luck(tmp_path, capsys) -> None:
    """Round by round, as in tables: its complete rounds, too, were not preserved."""
    kept = [record("mds", seed, (5, 1, 1), (5, 1, 1)) for seed in range(3)]
    for runs, told in ((kept, "6 of 6 rounds"), ([*kept, diverged("mds", 3, (5, 1, 1))], "6 of 8 rounds")):
        summary.print_runs(runs, tmp_path, as_json=False, quiet=True)
        (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("mds on driving: "))
        assert line.startswith(f"mds on driving: strictly preserved in {told}, where luck would give 25.0 %")
    summary.print_runs([diverged("mds", 3, (5, 1, 1))], tmp_path, as_json=False, quiet=True)
    assert "told from luck" not in capsys.readouterr().out, "nothing was measured"


def test_many_classes_stay_on_one_line() -> None:
    """Of hundreds of classes the most sensitive are named, the rest counted."""
    names = [f"class {number}" for number in range(12)]
    flipping = {name: (5 * number, 5 * number) for number, name in enumerate(names)}
    flipping["foggy"] = 0, 10
    made = round_of({name: (400, 200, *flips) for name, flips in flipping.items()})
    text = shown(one_run.print_record, record("mds", 0, scenario={"classes": [*names, "foggy"]}, rounds=[made]))
    _, line = " ".join(text.split()).split("smallest true drops")
    assert line.count("class ") == 8 and line.index("class 2 ") < line.index("class 3 ")
    assert "2 more up to" in line and "none in 2 of 12 classes" in line, "those with 0 and 10 flips"


def test_the_verdict_names_all_that_got_worse_worst_first() -> None:
    (result,) = record("mds", 0, (9, -1, -20)).rounds
    assert verdicts.verdict(result) == "not preserved: partly cloudy −20.0 points, clear −1.0 points"
    text = shown(one_run.print_record, record("mds", 0, (9, 0, 0), (9, 0, -1)))
    assert "strictly preserved\n" in text
    assert "not preserved: partly cloudy −1.0 points\n" in text
    assert "round 2 of 2" in text


def test_a_diverged_record_says_so() -> None:
    text = shown(one_run.print_record, diverged("mds", 0))
    assert "seed 0 · diverged" in text
    assert "counts as not preserved, preserved gain 0. loss is NaN at step 7" in text


def test_showing_a_record_is_cheap() -> None:
    path = next((VERSION_1 / "records" / "driving-foggy").glob("mds-*.json"))
    code = (
        "import sys; from pathlib import Path; from rich.console import Console\n"
        "from benchmark.leaderboard.one_run import print_record\n"
        "from benchmark.records.files import read\n"
        f"print_record(read(Path({str(path)!r})), Console(stderr=True))\n"
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
            (
                {"version": 1, "fingerprint": "f1", "options": {"image_size": 32}},
                "of version 1 of the stream, which is at 2 now",
            ),
            ({"version": 2, "fingerprint": "f1", "options": {"image_size": 32}}, ""),
            ({"version": 2, "fingerprint": "f1", "options": {"image_size": 64, "scored": "probe"}}, ""),
            ({"version": 1, "fingerprint": "f1", "name": "mine"}, ""),
        ],
        ids=[
            "another version",
            "other pictures",
            "today's",
            "another version in other sizes",
            "other sizes",
            "pictures that calibrate",
            "a stream of one's own",
        ],
    )
    def test_they_are_marked(self, monkeypatch, scenario, words):
        today = {"driving": {"version": 2, "fingerprint": "f2", "options": {"image_size": 64}}}
        monkeypatch.setattr(verdicts, "fingerprints", lambda: today)
        made = record("mds", 0, (1, 1, 1), scenario=scenario)
        (note,) = table([made])["note"]
        assert note == "; ".join(filter(None, (words, "only 1 seed")))
        out = io.StringIO()
        one_run.print_record(made, Console(file=out, width=200))
        assert (words in out.getvalue()) and ("cannot be compared" in out.getvalue()) == bool(words)
