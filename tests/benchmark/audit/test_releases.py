"""Several candidates for a release, and releases one after the other: alpha is shared, and what it bought is told."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmark.audit import gate, releases, report
from benchmark.audit.evidence import ImageEvidence
from benchmark.audit.judging import Request
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


def test_what_was_not_asked_before_is_another_release(call: Call) -> None:
    write("new.csv", 90, 90, 60)

    def release(*flags: str) -> int:
        code, out, err = call("--new", "new.csv", "--history", "history.jsonl", *flags)
        assert code in (0, 1, 3), err
        return int(re.findall(r"release (\d+) of", out)[0])

    Path("gate.toml").write_text("margin = 0.02")
    questions = [(), ("--margin", "0.02"), ("--drop", "0.1"), ("--alpha", "0.1"), ("--protected", "car,bus")]
    questions += [("--abstain", "other"), ("--protected", "car")]
    for _ in range(2):
        assert [release(*question) for question in questions] == list(range(1, 8))
    assert release("--alpha", "0.05", "--margin", "0") == 1, "the defaults, said"
    lines = [json.loads(line) for line in Path("history.jsonl").read_text().splitlines()]
    for line in lines:
        del line["asked"]  # as before it was kept
    Path("history.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert [release(), release()] == [8, 8]


def test_models_judged_on_other_photos_are_another_question(tmp_path: Path) -> None:
    for name in ("a.safetensors", "photos/cat/1.png", "photos/cat/2.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    model, found = tmp_path / "a.safetensors", []
    for content in (b"1", b"1", b"another photo"):
        (tmp_path / "photos/cat/1.png").write_bytes(content)
        request = Request(model, model, scenario="folder", data=tmp_path / "photos")
        found.append(releases.upcoming(tmp_path / "h.jsonl", request, [model]).question)
    assert found[0] == found[1] != found[2]


def test_audits_at_the_same_time_are_releases_of_their_own(call: Call) -> None:
    names = [f"new{k}.csv" for k in range(4)]
    for k, name in enumerate(names):
        write(name, 90, 90, 50 + k)

    def judge(name: str) -> int:
        request = Request(Path("old.csv"), Path(name), target="van")
        return gate.run(request, [Path(name)], gate.Output(as_json=True), Path("history.jsonl"))

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(judge, names)) <= {0, 3}
    lines = [json.loads(line) for line in Path("history.jsonl").read_text().splitlines()]
    assert [line["release"] for line in lines] == [1, 2, 3, 4]
    assert sorted(line["model"] for line in lines) == names


def test_a_verdict_is_remembered_before_it_is_told(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    write("new.csv", 90, 90)
    arguments = ("--new", "new.csv", "--history", "history.jsonl", "--html", "gate.html")
    with monkeypatch.context() as patched:
        patched.setattr(releases, "replace_file", full)
        code, out, err = call(*arguments)
        assert (code, out) == (2, "") and "history.jsonl: No space left" in err and not Path("history.jsonl").exists()
    monkeypatch.setattr(report, "replace_file", full)
    code, out, err = call(*arguments)
    assert code == 2 and "preserved: " in out and "gate.html: No space left" in err
    assert json.loads(Path("history.jsonl").read_text())["release"] == 1


@pytest.mark.parametrize("start", ["", "\n", "\ufeff"])
def test_an_empty_history_is_none_and_a_byte_order_mark_is_no_matter(call: Call, start: str) -> None:
    write("new.csv", 90, 90)
    Path("history.jsonl").write_text(start, encoding="utf-8")
    assert "release 1 of history.jsonl: " in call("--new", "new.csv", "--history", "history.jsonl")[1]
    Path("history.jsonl").write_text("\ufeff" + Path("history.jsonl").read_text(), encoding="utf-8")
    assert "release 1 of history.jsonl, judged again" in call("--new", "new.csv", "--history", "history.jsonl")[1]


@pytest.mark.skipif(sys.platform == "darwin", reason="its files have names in UTF-8")
def test_a_file_whose_name_is_no_text_is_reported_all_the_same(call: Call) -> None:
    name = os.fsdecode(b"\xff.csv")
    write("worse.csv", 60, 90)
    write(name, 90, 90)
    reports = {"--html": "gate.html", "--markdown": "gate.md", "--junit": "gate.xml", "--history": "history.jsonl"}
    code, _, err = call(
        "--new", "worse.csv", "--new", name, "--json", *(word for pair in reports.items() for word in pair)
    )
    assert code == 0, err
    assert all("?.csv" in Path(file).read_text(encoding="utf-8") for file in ("gate.html", "history.jsonl"))


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
