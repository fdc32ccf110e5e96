"""Graded answers: their tests, tables of scores, and the logs of evaluation harnesses."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test

from benchmark.audit.evidence import Evidence
from benchmark.audit.rows import Rows

Call = Callable[..., tuple[int, str, str]]
halves = st.sampled_from([0.0, 0.5, 1.0])


def evidence(old: Any, new: Any, groups: Any = None) -> Evidence:
    old, new = np.asarray(old, dtype=float), np.asarray(new, dtype=float)
    return Rows(("task",), np.zeros(len(old), dtype=np.int64), old, new, groups).of_classes()["task"]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(halves, halves), min_size=2, max_size=11))
def test_the_signs_of_changes_are_flipped_as_scipy_does(pairs: list[tuple[float, float]]) -> None:
    old, new = np.array(pairs).T
    found = evidence(old, new).p_worse
    if (old == new).all():
        assert found == 1
        return
    theirs = permutation_test((new - old,), np.sum, permutation_type="samples", alternative="less", n_resamples=np.inf)
    assert found == pytest.approx(theirs.pvalue, abs=1e-9)


def test_scores_of_any_kind_are_tested_nearly_exactly() -> None:
    rng = np.random.default_rng(0)
    old, new = rng.random(13), rng.random(13)
    theirs = permutation_test((new - old,), np.sum, permutation_type="samples", alternative="less", n_resamples=np.inf)
    assert evidence(old, new).p_worse == pytest.approx(theirs.pvalue, abs=1e-3)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=80))
def test_scores_of_right_and_wrong_are_mcnemars(pairs: list[tuple[bool, bool]]) -> None:
    old, new = np.array(pairs).T
    image = Rows(("task",), np.zeros(len(old), dtype=np.int64), old, new).of_classes()["task"]
    graded = evidence(old, new)
    assert graded.p_worse == image.p_worse and graded.counts.change == image.counts.change
    assert (graded.counts.lost, graded.counts.won) == (image.counts.lost, image.counts.won)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10**6), st.integers(2, 60), st.integers(2, 5), st.booleans())
def test_answers_that_are_repeated_alike_tell_nothing_more(seed: int, n: int, times: int, halved: bool) -> None:
    rng = np.random.default_rng(seed)
    old, change = rng.uniform(0.4, 0.6, n), rng.uniform(-0.4, 0.4, n)
    if halved:
        old, change = rng.choice([0.5, 1.0], n), rng.choice([-0.5, 0, 0.5], n)
    once = evidence(old, old + change)
    often = evidence(np.repeat(old, times), np.repeat(old + change, times), np.arange(n * times) // times)
    for p in ("p_worse", "p_lost_no_more", "p_lost_as_much"):
        found, wanted = (getattr(e, p) if p == "p_worse" else getattr(e, p)(0.1) for e in (often, once))
        assert found == pytest.approx(wanted, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("n", [30, 100, 400])
@pytest.mark.parametrize(
    ("kind", "repeated"), [("halves", 1), ("halves", 4), ("anything", 1), ("rare", 1), ("rare", 4)]
)
def test_verdicts_on_scores_are_wrong_no_more_often_than_alpha(n: int, kind: str, repeated: int) -> None:
    """Answers to one question are the same; the new model truly loses nothing, or the margin of 10 points."""
    rng, repeats, wrong = np.random.default_rng([n, repeated]), 1500, np.zeros(3)
    groups = np.arange(n * repeated) // repeated if repeated > 1 else None
    for _ in range(repeats):
        if kind == "halves":
            old, change = rng.choice([0.5, 1.0], n), rng.choice([-0.5, 0, 0.5], n, p=[0.15, 0.7, 0.15])
        elif kind == "anything":
            old, change = rng.uniform(0.4, 0.6, n), rng.uniform(-0.4, 0.4, n)
        else:
            old, change = np.full(n, 1.0), np.zeros(n)
        worse = np.where(rng.random(n) < 0.1, -1.0, 0.0) if kind == "rare" else change - 0.1
        for k, moved in enumerate((change, worse, worse)):
            own = evidence(np.repeat(old, repeated), np.repeat(old + moved, repeated), groups)
            p = (own.p_worse, own.p_lost_no_more(0.1), own.p_lost_as_much(0.1))[k]
            wrong[k] += p <= 0.05
    assert (wrong / repeats <= 0.06 + 2 * np.sqrt(0.05 * 0.95 / repeats)).all(), wrong / repeats


def table(path: str, mean: float, n: int = 100) -> None:
    scores = [min(1.0, mean + 0.2 * (k % 3 - 1)) for k in range(n)]
    lines = [f"{task}{k}q,{task},{score:.3f},other" for task in ("maths", "law") for k, score in enumerate(scores)]
    Path(path).write_text("\n".join(["id,label,judge,prediction", *lines]))


def test_a_table_of_scores_is_judged(call: Call) -> None:
    table("old.csv", 0.7)
    table("same.csv", 0.71)
    table("worse.csv", 0.6)
    files = ("--old", "old.csv", "--score", "judge")
    code, out, _ = call(*files, "--new", "same.csv")
    assert code == 0 and "preserved: each protected class lost no net prediction" in out
    assert " Both " not in out and " Neither " not in out
    code, out, _ = call(*files, "--new", "worse.csv", "--json")
    law = json.loads(out)["classes"]["law"]
    assert code == 1 and law["both_right"] is None
    assert law["change"] == pytest.approx(-0.1, abs=0.01)
    assert law["old_accuracy"] == pytest.approx(0.7, abs=0.01) and law["lost"] == 100
    assert call(*files, "--new", "worse.csv", "--margin", "0.2")[0] == 0
    Path("gate.toml").write_text('margin = 0.2\nfloor = 0.4\npinned = ["law3q"]')
    code, out, _ = call(*files, "--new", "worse.csv", "--policy", "gate.toml")
    assert code == 1 and "1 of 1 pinned images are wrong: 'law3q'" in out
    table("few.csv", 0.69, n=100)
    code, out, _ = call(*files, "--new", "few.csv", "--margin", "0.005")
    assert code in (1, 3)


@pytest.mark.parametrize(
    ("lost", "won", "code", "line"),
    [
        ([0.0] * 4, [0.51] * 5, 3, "undecided: net predictions were lost, which chance may explain: law −0.2 points"),
        ([0.49] * 6, [1.0] * 5, 0, "preserved: each protected class lost no net prediction"),
        ([0.0] * 4, [0.51] * 5 + [0.5] * 3, 3, "not strictly preserved: 1 of 1 protected classes"),
    ],
)
def test_what_is_lost_is_the_mean_score_and_not_the_number_of_answers_that_fell(
    call: Call, lost: list[float], won: list[float], code: int, line: str
) -> None:
    for name, first in (("old", [0.5] * len(lost + won)), ("new", lost + won)):
        scores = [*first, *[0.5] * 800]
        Path(f"{name}.csv").write_text("\n".join(["id,label,judge", *(f"{k},law,{s}" for k, s in enumerate(scores))]))
    found = call("--old", "old.csv", "--new", "new.csv", "--score", "judge")
    assert found[0] == code and line in found[1] and "floor" not in found[1]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_scores_may_be_numbers(call: Call, kind: str) -> None:
    from pyarrow import Table, parquet

    for name, score in (("old", 0.5), ("new", 0.25)):
        rows: list[dict[str, Any]] = [{"id": f"{k}", "label": "law", "judge": score, "answer": 0.5} for k in range(80)]
        Path(f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        parquet.write_table(Table.from_pylist(rows), f"{name}.parquet")
    files = ("--old", f"old.{kind}", "--new", f"new.{kind}")
    code, out, err = call(*files, "--score", "judge", "--json")
    law = json.loads(out)["classes"]["law"]
    assert code == 1 and (law["old_accuracy"], law["new_accuracy"]) == (0.5, 0.25), err
    code, _, err = call(*files, "--score", "judge", "--columns", "id=answer")
    assert code == 2 and "store it as text" in err, "names stay text"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,law,1.5", "line 2 (id '1'): the score '1.5' is no number from 0 to 1"),
        ("1,law,good", "line 2 (id '1'): the score 'good' is no number from 0 to 1"),
        ("1,law,nan", "is no number from 0 to 1"),
        ("1,law,", "is no number from 0 to 1"),
        (",law,1", "has no id or label"),
        ("1,law,1\n1,law,1", "id '1' there more than once"),
        ("", "holds no answers"),
    ],
)
def test_scores_that_cannot_be_read_are_one_line(call: Call, line: str, message: str) -> None:
    Path("old.csv").write_text(f"id,label,judge\n{line}\n")
    code, out, err = call("--old", "old.csv", "--new", "old.csv", "--score", "judge")
    assert (code, out, err.count("\n")) == (2, "", 1) and message in err
    code, _, err = call("--old", "old.csv", "--new", "old.csv", "--score", "grade")
    assert code == 2 and "column grade is missing" in err and "--columns" not in err


def lm_eval(folder: str, right: int, metrics: tuple[str, ...] = ("acc",), n: int = 100) -> None:
    """As the harness writes with --log_samples: a file for each task, a line for each document."""
    Path(folder, "model").mkdir(parents=True)
    for task in ("arc_easy", "hella_swag"):
        lines = [
            {
                "doc_id": k,
                "doc": {"question": "?"},
                "target": "a",
                "arguments": {},
                "resps": [[["-1.0", "False"]]],
                "filtered_resps": [["-1.0", "False"]],
                "filter": "none",
                "metrics": list(metrics),
                "doc_hash": "0",
            }
            | dict.fromkeys(metrics, float(k < right))
            for k in range(n)
        ]
        name = f"samples_{task}_2026-01-31T10-20-30.123456.jsonl"
        Path(folder, "model", name).write_text("\n".join(map(json.dumps, lines)))
    Path(folder, "model", "results_2026-01-31T10-20-30.123456.json").write_text("{}")


def test_samples_of_lm_eval_are_judged_by_task(call: Call) -> None:
    lm_eval("old", 90)
    lm_eval("new", 80)
    code, out, err = call("--old", "old", "--new", "new", "--format", "lm-eval", "--json")
    classes = json.loads(out)["classes"]
    assert code == 1 and err == "" and sorted(classes) == ["arc_easy", "hella_swag"]
    assert (classes["arc_easy"]["n"], classes["arc_easy"]["lost"], classes["arc_easy"]["old_accuracy"]) == (
        100,
        10,
        0.9,
    )
    file = "model/samples_arc_easy_2026-01-31T10-20-30.123456.jsonl"
    assert call("--old", f"old/{file}", "--new", f"new/{file}", "--format", "lm-eval", "--margin", "0.3")[0] == 0


def test_one_of_several_metrics_must_be_chosen(call: Call) -> None:
    lm_eval("old", 90, ("acc", "acc_norm"))
    files = ("--old", "old", "--new", "old", "--format", "lm-eval")
    code, _, err = call(*files)
    assert code == 2 and "has the metrics acc, acc_norm: choose one with --score" in err
    assert call(*files, "--score", "acc_norm")[0] == 0
    code, _, err = call(*files, "--score", "f1")
    assert code == 2 and "--score f1: there is no such metric, but acc, acc_norm" in err


def test_each_filter_of_a_task_is_a_class(call: Call) -> None:
    """What a task lost by one of its filters would be half as much of both."""
    for model, right in (("old", 80), ("new", 72)):
        lines = [
            {"doc_id": k, "filter": name, "metrics": ["exact_match"], "exact_match": float(k < own)}
            for name, own in (("strict-match", right), ("flexible-extract", 80))
            for k in range(80)
        ]
        Path(model).mkdir()
        Path(model, "samples_gsm8k.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8-sig")
        Path(model, "left-over.parquet").write_bytes(b"")
    code, out, _ = call("--old", "old", "--new", "new", "--format", "lm-eval", "--json")
    told = json.loads(out)
    assert code == 1 and told["old"]["sha256"] != told["new"]["sha256"]
    found = {name: (one["status"], one["n"], one["groups"], one["lost"]) for name, one in told["classes"].items()}
    assert found == {
        "gsm8k/flexible-extract": ("kept", 80, None, 0),
        "gsm8k/strict-match": ("regressed", 80, None, 8),
    }


def inspect(path: str, right: int, epochs: int = 1, n: int = 80) -> None:
    """A log of Inspect, packed or as JSON."""
    samples = [
        {"id": k + 1, "epoch": epoch + 1, "input": "?", "scores": {"match": {"value": "C" if k < right else "I"}}}
        for k in range(n)
        for epoch in range(epochs)
    ]
    header = {"version": 2, "status": "success", "eval": {"task": "security", "model": "m"}}
    if path.endswith(".json"):
        Path(path).write_text(json.dumps(header | {"samples": samples}))
        return
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps(header))
        archive.writestr("summaries.json", "[]")
        for sample in samples:
            archive.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", json.dumps(sample))


def test_logs_of_inspect_are_judged_and_epochs_belong_together(call: Call) -> None:
    inspect("old.json", 70)
    inspect("new.eval", 70)
    code, out, _ = call("--old", "old.json", "--new", "new.eval", "--format", "inspect", "--json")
    security = json.loads(out)["classes"]["security"]
    assert code == 0 and (security["n"], security["groups"], security["both_right"]) == (80, None, 70)
    inspect("old.eval", 70, epochs=4)
    inspect("new.eval", 66, epochs=4)
    code, out, _ = call("--old", "old.eval", "--new", "new.eval", "--format", "inspect", "--json")
    security = json.loads(out)["classes"]["security"]
    assert (security["n"], security["groups"], security["lost"]) == (320, 80, 16)
    assert code == 3 and security["p"] == pytest.approx(1 / 16), "four questions, not sixteen answers"


def test_a_line_of_a_log_ends_where_json_says_it_does(call: Call) -> None:
    line = json.dumps({"doc_id": 1, "doc": "a\u2028b\x85c", "metrics": ["acc"], "acc": 1.0}, ensure_ascii=False)
    Path("a.jsonl").write_text(line + "\n", encoding="utf-8")
    code, out, err = call("--old", "a.jsonl", "--new", "a.jsonl", "--format", "lm-eval", "--json")
    assert code == 3 and json.loads(out)["classes"]["a"]["n"] == 1, err


@pytest.mark.parametrize("content", ["[]", "5"])
def test_a_packed_log_of_other_things_is_one_line(call: Call, content: str) -> None:
    with zipfile.ZipFile("a.eval", "w") as archive:
        archive.writestr("header.json", content)
        archive.writestr("samples/1_epoch_1.json", content)
    code, out, err = call("--old", "a.eval", "--new", "a.eval", "--format", "inspect")
    assert (code, out, err.count("\n")) == (2, "", 1) and "a sample is no JSON object" in err


@pytest.mark.parametrize(
    ("name", "content", "kind", "message"),
    [
        ("a.jsonl", b'{"doc": 1}\n', "lm-eval", "line 1: has no doc_id"),
        ("a.jsonl", b"{\n", "lm-eval", "line 1: is not JSON"),
        ("a.jsonl", b"\xff\n", "lm-eval", "cannot be read"),
        (
            "a.jsonl",
            b'{"doc_id": 1, "metrics": ["acc"], "acc": 3}\n',
            "lm-eval",
            "the score 3 is no number from 0 to 1",
        ),
        ("a.jsonl", b"", "lm-eval", "holds no answers"),
        ("a.txt", b"", "lm-eval", "no samples_*.jsonl"),
        ("a.eval", b"PK", "inspect", "cannot be read"),
        ("a.json", b"[]", "inspect", "has no samples"),
        ("a.json", b'{"samples": [{"id": 1}]}', "inspect", "sample 1: has no scores"),
        ("a.json", b'{"samples": [{"id": 1, "scores": {"m": {"value": [1]}}}]}', "inspect", "is no number from 0 to 1"),
        ("a.jsonl", b'{"doc_id": 1, "metrics": 5}\n', "lm-eval", "has the metrics none"),
        (
            "a.jsonl",
            b'{"doc_id": 1, "metrics": ["acc"], "acc": 1' + b"0" * 400 + b"}\n",
            "lm-eval",
            "is no number from 0 to 1",
        ),
        ("a.json", b'{"samples": [5]}', "inspect", "a sample is no JSON object"),
        ("a.csv", b"", "csv", "--format must be lm-eval or inspect, not 'csv'"),
    ],
)
def test_logs_that_cannot_be_read_are_one_line(call: Call, name: str, content: bytes, kind: str, message: str) -> None:
    Path(name).write_bytes(content)
    code, out, err = call("--old", name, "--new", name, "--format", kind)
    assert (code, out, err.count("\n")) == (2, "", 1) and message in err, err


def test_images_on_which_a_model_abstains_are_left_out_and_counted(call: Call) -> None:
    for name, silent in (("old", 10), ("new", 30)):
        lines = [f"{k}a,car,{'unsure' if k < silent else 'car' if k < 90 else 'Bus'}" for k in range(100)]
        lines += [f"{k}b,bus,Bus" for k in range(100)]
        Path(f"{name}.csv").write_text("\n".join(["id,label,prediction", *lines]))
    files = ("--old", "old.csv", "--new", "new.csv")
    assert call(*files, "--abstain", "unsure")[0] == 2, "'Bus' is 'bus' but for its spelling"
    Path("gate.toml").write_text('abstain = ["unsure"]\n[read_as]\nBus = "bus"\n')
    code, out, err = call(*files, "--policy", "gate.toml")
    assert code == 0
    assert "left out: 30 images on which a model abstains: the old one on 10, the new one on 30" in out
    assert "read Bus as bus: 110 times in old.csv, 110 in new.csv" in out
    assert "warning: the new model abstains on 30 images and the old one on 10" in err
    assert call(*files, "--policy", "gate.toml", "--abstain", "x")[0] == 2
    Path("gate.toml").write_text('abstain = ["unsure"]\npinned = ["5a", "95b"]\n[read_as]\nBus = "bus"\n')
    assert "1 of 2 pinned images are wrong: '5a'" in call(*files, "--policy", "gate.toml")[1]
    Path("gate.toml").write_text('[read_as]\nBus = "bus"\n')
    assert call(*files, "--policy", "gate.toml")[0] == 1, "to say nothing is not right"
    for text, message in (
        ('[read_as]\nBuss = "bus"\n', "nothing is called 'Buss'"),
        ('abstain = ["bus"]\n[read_as]\nBus = "bus"\n', "'bus' is a label"),
        ('abstain = ["unsure", "car"]\n', "'car' is a label"),
    ):
        Path("gate.toml").write_text(text)
        code, _, err = call(*files, "--policy", "gate.toml")
        assert code == 2 and message in err
