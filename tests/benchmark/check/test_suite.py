"""Regression checks: what has not changed passes, what was broken on purpose is caught, on this platform and others."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from tests import ROOT

CELL = {
    "scenario": "toy",
    "options": {"protected_per_class": 16},
    "method": "mds",
    "settings": {"steps": 12, "batch_size": 24, "lr": 3e-4},
    "seeds": [0, 1, 2],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory, toy_base):
    """A folder with a suite on the toy stream, its baseline made by this code."""
    from benchmark.check.suite import run_check
    from methods.checkpoints import checkpoint_bytes
    from scenarios import SCENARIOS, Scenario

    folder = tmp_path_factory.mktemp("baselines")
    base = folder / "toy.safetensors"
    base.write_bytes(checkpoint_bytes(toy_base, "mds-tiny"))
    (folder / "toy.json").write_text(json.dumps({"cells": [CELL | {"base": str(base)}]}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SCENARIOS, "toy", Scenario("tests.conftest:toy_scenario", "coloured noise"))
        assert run_check("toy", folder, update=True, quiet=True)
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """A copy of it, to be changed."""
    return Path(shutil.copytree(made, tmp_path / "baselines"))


@pytest.fixture
def check(command, folder, monkeypatch):
    """``check(*arguments)`` on the toy suite, with a wide terminal and a yardstick that finds nothing slow."""
    from benchmark.check.yardstick import Yardstick

    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(Yardstick, "seconds", lambda self: 1e6)

    def call(*arguments: str):
        named = () if "--suite" in arguments else ("--suite", "toy")
        return command("check", *named, "--baselines", str(folder), "--quiet", *arguments)

    return call


def edit(folder: Path, change) -> None:
    """Change the suite's file as a user would."""
    suite = json.loads((folder / "toy.json").read_text())
    change(suite)
    (folder / "toy.json").write_text(json.dumps(suite))


def move_to_another_platform(suite) -> None:
    suite["platform"]["torch"] = "0.1"


def drop_the_constraints(patch) -> None:
    from methods.mds import MDS

    patch.setattr(MDS, "penalty", staticmethod(lambda losses, *arguments: 0.0 * losses.sum()))


def ignore_the_seed_in_batches(patch) -> None:
    from methods import batches

    generator = batches.generator
    patch.setattr(batches, "generator", lambda seed, purpose: generator(0, purpose))


def ignore_the_seed_in_the_stream(patch) -> None:
    from tests import conftest

    make = conftest.make_toy_stream
    patch.setattr(conftest, "make_toy_stream", lambda seed, *arguments: make(0, *arguments))


def ignore_the_seed_everywhere(patch) -> None:
    """The run is that of seed 0, but says it is another's."""
    from benchmark.running import runner

    execute, kept = runner.Run.execute, []

    def first(self, *arguments):
        kept.append(execute(self, *arguments)) if not kept else None
        record, predictions = kept[0]
        return record.model_copy(update={"seed": self.stream.seed, "scenario": self.scenario_info}), predictions

    patch.setattr(runner.Run, "execute", first)


def select_on_test(patch) -> None:
    """Test images are given where validation images belong."""
    from benchmark.running import rounds

    branch, selection = rounds._branch, rounds.Selection

    def peeking(run, number, *rest):
        old = run.old(run.base, number, "test")

        def on_test(images, _, *arguments):
            return selection(run.stream.data[number].test, old, *arguments)

        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(rounds, "Selection", on_test)
            return branch(run, number, *rest)

    patch.setattr(rounds, "_branch", peeking)


def choose_by_test(patch) -> None:
    """Everything in the record is of validation, but the point that is kept is the best on test."""
    from benchmark.metrics import preservation
    from benchmark.metrics.counts import count_pairs
    from benchmark.records.schema import Checkpoint
    from benchmark.running import rounds, selection
    from methods.clip import predict_logits

    develop = rounds._round

    def peeking(runs, number, model, *rest):
        stream = runs[0].stream
        data, round_, old = stream.data[number], stream.rounds[number], runs[0].old(model, number, "test")
        score = selection.Selection._score

        def by_test(plugin, strategy, candidate=""):
            new = predict_logits(strategy.model, data.test.images).argmax(dim=1)
            counts = count_pairs(data.test.labels.numpy(), old.numpy(), new.numpy(), stream.classes)
            figures = preservation.devsafety(counts, round_.protected), counts[round_.target].new_accuracy
            with pytest.MonkeyPatch.context() as inner:
                inner.setattr(Checkpoint, "merit", property(lambda point: preservation.merit(*figures)))
                return score(plugin, strategy, candidate)

        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(selection.Selection, "_score", by_test)
            yield from develop(runs, number, model, *rest)

    patch.setattr(rounds, "_round", peeking)


@pytest.mark.parametrize(
    ("mutate", "told"),
    [
        (drop_the_constraints, "first losses"),
        (ignore_the_seed_in_batches, "seed 1: first losses"),
        (ignore_the_seed_in_the_stream, "data, base, a default or a version is another"),
        (ignore_the_seed_everywhere, "seeds 0 and 1 give the same run"),
        (select_on_test, "validation counts give DevSafety"),
        (choose_by_test, "but by validation (highest min(DevSafety, 0), then target accuracy) it is step"),
    ],
)
def test_what_is_broken_on_purpose_is_caught_on_another_platform(check, folder, monkeypatch, mutate, told):
    edit(folder, move_to_another_platform)
    mutate(monkeypatch)
    code, out, err = check("--junit", str(folder / "check.xml"))
    assert code == 1, err + out
    (case,) = ElementTree.parse(folder / "check.xml").getroot().iter("testcase")
    assert "regression" in out and told in case.find("failure").attrib["message"]


@pytest.mark.parametrize("mutate", [drop_the_constraints, ignore_the_seed_in_batches, select_on_test, choose_by_test])
def test_what_is_broken_on_purpose_is_caught_on_the_same_platform(check, monkeypatch, mutate):
    mutate(monkeypatch)
    code, out, err = check()
    assert code == 1 and "regression" in out and "→" in out, err + out


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same platform", "other platform"])
def test_what_has_not_changed_passes(check, folder, elsewhere):
    if elsewhere:
        edit(folder, move_to_another_platform)
    before = (folder / "toy.json").read_bytes()
    code, out, err = check("--junit", str(folder / "check.xml"))
    assert code == 0, err + out
    assert ("torch 0.1 →" in out) if elsewhere else ("exactly" in out)
    assert ElementTree.parse(folder / "check.xml").getroot().attrib["failures"] == "0"
    assert (folder / "toy.json").read_bytes() == before


def test_a_flipped_prediction_fails_on_the_same_platform_and_passes_on_another(check, folder):
    def flip(suite):
        outcome = suite["cells"][0]["outcomes"][0]
        outcome["digest"] = "0" * 16
        counts = outcome["rounds"][0]["test"]["a"]
        counts[2] += 1 if counts[2] < counts[0] - counts[1] + counts[3] else -1

    edit(folder, flip)
    code, out, _ = check()
    assert code == 1 and "seed 0: test a" in out
    edit(folder, move_to_another_platform)
    assert check()[0] == 0


def test_a_slower_method_is_caught_and_junit_says_so(check, folder, monkeypatch):
    from benchmark.check.yardstick import Yardstick
    from methods.strategy import RoundStrategy

    step = RoundStrategy.optimizer_step

    def slow(self):
        time.sleep(0.5)
        step(self)

    edit(folder, lambda suite: suite["cells"][0].update(time=2.0))
    monkeypatch.setattr(Yardstick, "seconds", lambda self: 1.0)  # a run of 12 such steps takes 6 of these and more
    monkeypatch.setattr(RoundStrategy, "optimizer_step", slow)
    code, out, _ = check("--junit", str(folder / "check.xml"))
    assert code == 1 and "yardsticks" in out
    (case,) = ElementTree.parse(folder / "check.xml").getroot().iter("testcase")
    assert case.attrib["name"].startswith("mds on toy") and "yardsticks" in case.find("failure").attrib["message"]


def test_update_shows_the_difference_and_is_the_baseline_from_then_on(check, folder, monkeypatch):
    from benchmark.check.yardstick import Yardstick

    drop_the_constraints(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(Yardstick, "seconds", lambda self: 1.0)  # or the new baseline's time would round to nothing
        code, out, err = check("--update")
    assert code == 0, err
    assert "changed" in out and "seed 0: test" in out and "→" in out
    code, _, err = check()
    assert code == 0, err


def test_a_diverged_run_is_no_baseline(check, folder, monkeypatch):
    from methods.mds import MDS

    before = (folder / "toy.json").read_bytes()
    monkeypatch.setattr(MDS, "protected_loss", lambda self, losses: losses.sum() * float("nan"))
    code, _, err = check("--update")
    assert code == 2 and "stays as it was" in err and "diverged" in err
    assert (folder / "toy.json").read_bytes() == before


def test_a_method_that_raises_is_a_regression_and_no_baseline(check, folder, monkeypatch):
    from methods.mds import MDS

    before = (folder / "toy.json").read_bytes()
    monkeypatch.setattr(MDS, "protected_loss", lambda self, losses: 1 / 0)
    code, out, _ = check()
    assert code == 1 and "ZeroDivisionError" in out
    code, _, err = check("--update")
    assert code == 2 and "stays as it was" in err and (folder / "toy.json").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda suite: suite["cells"][0].update(seeds=[0]), "seeds"),
        (lambda suite: suite["cells"][0].update(seeds=[0, 0]), "distinct"),
        (lambda suite: suite["cells"][0].update(sceanrio="toy"), "sceanrio"),
        (
            lambda suite: suite["cells"][0].update(method="mdss"),
            "toy.json: cell 1: unknown method 'mdss': did you mean 'mds'",
        ),
        (lambda suite: suite["cells"][0]["settings"].update(stepps=3), "did you mean 'steps'"),
        (lambda suite: suite["cells"][0].update(outcomes=[]), "--update"),
        (lambda suite: suite.update(cells=suite["cells"] * 2), "twice"),
        (lambda suite: suite.update(cells=[]), "cells"),
    ],
)
def test_a_suite_that_cannot_be_used_is_refused_in_one_line(check, folder, change, told):
    edit(folder, change)
    code, out, err = check()
    assert code == 2 and told in err and err.count("\n") == 1 and not out


def test_a_file_or_folder_that_is_not_there_is_refused_before_anything_runs(check, folder):
    code, _, err = check("--junit", str(folder / "none" / "check.xml"))
    assert code == 2 and "--junit" in err
    code, _, err = check("--suite", "tyo")
    assert code == 2 and "suites in" in err and "toy" in err
    (folder / "toy.json").write_text("{")
    code, _, err = check()
    assert code == 2 and "toy.json" in err


def test_means_of_other_seeds_raise_a_false_alarm_as_rarely_as_promised():
    from benchmark.check.comparison import ALPHA, tolerance

    rng = np.random.default_rng(0)
    cells, classes, seeds, checks, alarms = 4, 6, 3, 1500, 0
    for _ in range(checks):
        then, now = rng.normal(size=(2, cells, classes, seeds))
        limits = [tolerance({str(k): list(row) for k, row in enumerate(cell)}, cells * classes) for cell in then]
        alarms += bool((abs(then.mean(axis=2) - now.mean(axis=2)) > np.array(limits)[:, None]).any())
    assert alarms / checks < 2 * ALPHA


def test_the_tolerance_is_students_and_grows_with_the_spread():
    from scipy.stats import t

    from benchmark.check.comparison import ALPHA, tolerance

    of_classes = {"a": [0.5, 0.6, 0.7], "b": [0.9, 0.9, 0.9]}  # variances 0.01 and 0
    expected = t.ppf(1 - ALPHA / 2 / 10, 4) * np.sqrt(0.005 * 2 / 3)
    assert tolerance(of_classes, 10) == pytest.approx(expected)
    assert tolerance({"a": [0.5, 0.5]}, 10) == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_this_code_passes_the_committed_suite(command):
    code, out, err = command("check", "--suite", "ci", "--baselines", str(ROOT / "results/baselines"), "--quiet")
    assert code == 0, err + out


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_choosing_by_test_is_caught_in_the_committed_suite(command, monkeypatch, tmp_path):
    suite = json.loads((ROOT / "results/baselines/ci.json").read_text())
    suite["cells"] = [cell for cell in suite["cells"] if cell["method"] == "mds"]
    (tmp_path / "ci.json").write_text(json.dumps(suite))
    choose_by_test(monkeypatch)
    code, out, err = command("check", "--suite", "ci", "--baselines", str(tmp_path), "--quiet")
    assert code == 1 and "but by validation" in out, err + out
