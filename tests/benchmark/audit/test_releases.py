"""Several candidates for a release, and releases one after the other: alpha is shared, and what it bought is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmark.audit.evidence import ImageEvidence
from benchmark.audit.rule import Level, audit
from benchmark.metrics.counts import Counts

Call = Callable[..., tuple[int, str, str]]


def write(path: str, cars: int, buses: int, vans: int = 50, n: int = 100) -> None:
    """Predictions on ``n`` images of each class, of which the first so many are right."""
    lines = ["id,label,prediction"]
    for name, right in (("car", cars), ("bus", buses), ("van", vans)):
        lines += [f"{name} {k},{name},{name if k < right else 'other'}" for k in range(n)]
    Path(path).write_text("\n".join(lines))


@pytest.fixture
def call(in_folder: Call) -> Call:
    """``call(*arguments) -> (exit code, stdout, stderr)`` of ``audit`` with an old model, in a folder of its own."""
    write("old.csv", 90, 90)
    return partial(in_folder, "audit", "--old", "old.csv", "--target", "van")


def test_the_best_candidate_that_passes_is_named(call: Call) -> None:
    write("more.csv", 90, 80, 90)  # the greatest gain, and a loss of ten images
    write("good.csv", 90, 90, 70)
    write("less.csv", 91, 91, 60)
    code, out, _ = call("--new", "more.csv", "--new", "less.csv", "--new", "good.csv", "--markdown", "gate.md")
    assert code == 0
    assert (
        "candidate good.csv: the best of those that pass; 2 of 3 pass, each at α 0.0167: good.csv preserved (target "
        "+20.0, worst 0.0), less.csv preserved (target +10.0, worst +1.0), more.csv regressed (target +40.0, worst "
        "−10.0)"
    ) in out
    assert "good.csv preserved" in Path("gate.md").read_text()
    code, out, _ = call("--new", "more.csv", "--new", "less.csv", "--json")
    told = json.loads(out)
    assert code == 0 and told["new"]["path"] == "less.csv" and told["alpha"] == 0.025
    assert [one["verdict"] for one in told["candidates"]] == ["regressed", "preserved"]


def test_where_none_passes_the_nearest_is_shown(call: Call) -> None:
    write("worse.csv", 60, 90, 90)
    write("open.csv", 88, 90, 60)
    code, out, _ = call("--new", "worse.csv", "--new", "open.csv")
    assert code == 3 and "candidate open.csv: none passes, this one comes nearest; 0 of 2 pass" in out
    assert call("--new", "worse.csv")[0] == 1
    code, out, err = call("--new", "open.csv", "--new", "open.csv")
    assert (code, out) == (2, "") and "--new open.csv: is there twice" in err


def test_a_candidate_is_judged_at_its_share_of_alpha(call: Call) -> None:
    write("five.csv", 85, 90)  # p 1/32 of one class
    write("same.csv", 90, 90, 60)
    assert call("--new", "five.csv", "--protected", "car")[0] == 1
    code, out, _ = call("--new", "five.csv", "--new", "same.csv", "--protected", "car", "--json")
    assert code == 0 and [one["verdict"] for one in json.loads(out)["candidates"]] == ["undecided", "preserved"]


def test_releases_spend_alpha_once_for_each_question(call: Call) -> None:
    shares = []
    for number in range(1, 5):
        write("new.csv", 90, 90, 50 + number)
        code, out, _ = call("--new", "new.csv", "--history", "history.jsonl", "--json")
        shares.append(json.loads(out)["alpha"] / 0.05)
        assert code in (0, 3)
        text = Path("history.jsonl").read_text()
        code, out, _ = call("--new", "new.csv", "--history", "history.jsonl")
        assert f"release {number} of history.jsonl, judged again: spends 1/{number * (number + 1)} of α" in out
        assert Path("history.jsonl").read_text() == text, "a question that was asked before adds nothing"
    assert shares == pytest.approx([1 / 2, 1 / 6, 1 / 12, 1 / 20])
    lines = [json.loads(line) for line in Path("history.jsonl").read_text().splitlines()]
    assert [one["release"] for one in lines] == [1, 2, 3, 4]
    assert all(one["verdict"] in ("preserved", "undecided") and one["model"] == "new.csv" for one in lines)


@pytest.mark.parametrize("content", ["{}\n", "release 1\n", '{"release": 2}\n', "[]\n", "\xff"])
def test_a_file_that_is_no_history_is_refused_and_left_alone(call: Call, content: str) -> None:
    Path("history.jsonl").write_bytes(content.encode("latin-1"))
    code, out, err = call("--new", "old.csv", "--history", "history.jsonl")
    assert (code, out) == (2, "") and "history.jsonl: " in err and err.count("\n") == 1
    assert Path("history.jsonl").read_bytes() == content.encode("latin-1")
    assert call("--new", "old.csv", "--history", "old.csv")[0] == 2
    Path("history.jsonl").unlink()
    code, out, err = call("--new", "gone.csv", "--history", "history.jsonl")
    assert (code, out, err.count("\n")) == (2, "", 1) and "gone.csv" in err and not Path("history.jsonl").exists()


@pytest.mark.slow
def test_the_choice_among_candidates_passes_wrongly_no_more_often_than_alpha() -> None:
    """Of five models that all truly lost 5 points, one passes with probability alpha at most."""
    rng, passed = np.random.default_rng(0), {1.0: 0, 0.2: 0}
    for _ in range(2000):
        drawn = rng.multinomial(300, [0.1, 0.05, 0.85], 5)
        for share in passed:
            models = [
                audit({"a": ImageEvidence(Counts(300, 200 + lost, 200 + won, 200))}, None, None, Level(0.05, share))
                for lost, won, _ in drawn
            ]
            passed[share] += any(model.verdict == "preserved" for model in models)
    assert passed[1.0] > 0.06 * 2000
    assert passed[0.2] <= 0.06 * 2000
