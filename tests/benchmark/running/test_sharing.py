"""Methods that differ after their training alone share it, and nobody can tell from what is kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

import methods
from benchmark.records import files
from benchmark.records.schema import Record
from benchmark.running.tuning import read
from methods import METHODS, Method
from methods.strategy import RoundStrategy
from methods.weight_space import State, WeightSpace
from tests.benchmark.running.commands import FAMILY, SHORT, outcomes

STEPS = 5
QUICK = (*SHORT, "--set", f"steps={STEPS}", "--quiet", "--workers", "1")
QUICKLY = """
from typing import ClassVar

from methods.finetune import Finetune, FinetuneSettings


class Quick(FinetuneSettings):
    steps: int = 4
    batch_size: int = 16
    GRID: ClassVar = {"lr": (3e-5, 3e-4)}


class Quickly(Finetune):
    SETTINGS = Quick
    settings: Quick


class Breaks(Quickly):
    def round_loss(self, logits, labels):
        return super().round_loss(logits, labels) * (1 if len(self.losses) < 2 else float("nan"))
"""


class NotANumber(WeightSpace):
    """Proposes nothing of use."""

    def merge(self, coefficient: float) -> State:
        return {name: weight * math.nan for name, weight in self.new.items()}


class Bad(WeightSpace):
    """Fails once the training is over."""

    def prepare(self, strategy: RoundStrategy) -> None:
        raise ValueError("no merge today")


@pytest.fixture
def steps(monkeypatch) -> Callable[[], int]:
    """``steps()``: how many optimizer steps this process has made since the last time."""
    taken = []
    step = RoundStrategy.optimizer_step

    def counted(strategy: RoundStrategy) -> None:
        taken.append(strategy)
        step(strategy)

    def count() -> int:
        number = len(taken)
        taken.clear()
        return number

    monkeypatch.setattr(RoundStrategy, "optimizer_step", counted)
    return count


def plugin(monkeypatch, name: str, of: type[WeightSpace]) -> None:
    """Let ``finetune+NAME`` be a method."""
    monkeypatch.setitem(METHODS, name, Method(f"{__name__}:{of.__name__}", "weight space", "of a test"))


def kept(results: str = "runs") -> dict[str, Record]:
    """Records by method."""
    return {record.method.name: record for record in files.read_all(Path(results))}


@pytest.mark.parametrize(("scenario", "rounds"), [("toy", 1), pytest.param("toy-rounds", 2, marks=pytest.mark.slow)])
def test_a_family_of_methods_takes_the_steps_of_one_and_keeps_the_records_of_each_alone(toys, steps, scenario, rounds):
    for method in (*FAMILY, "mds+wise-ft"):
        code, _, err = toys("run", "-m", method, "-s", scenario, "--seed", "3", *QUICK, "--results", "apart")
        assert code == 0, err
    assert steps() == 8 * rounds * STEPS
    code, _, err = toys("run", "-m", ",".join((*FAMILY, "mds+wise-ft")), "-s", scenario, "--seed", "3", *QUICK)
    assert code == 0, err
    assert steps() == 2 * STEPS + 8 * (rounds - 1) * STEPS  # fine-tuning and mds; later rounds start from other models
    assert len(outcomes("runs")) == 8 and outcomes("runs") == outcomes("apart")


def test_methods_that_are_there_are_left_out_of_what_is_shared(toys, steps):
    assert toys("run", "-m", "finetune+ties", "-s", "toy", "--seeds", "1", *QUICK)[0] == 0
    before = outcomes("runs")
    assert steps() == STEPS
    assert toys("run", "-m", "finetune,finetune+ties,finetune+wise-ft", "-s", "toy", "--seeds", "1", *QUICK)[0] == 0
    assert steps() == STEPS and len(outcomes("runs")) == 3 and before.items() <= outcomes("runs").items()
    assert toys("run", "-m", "finetune,finetune+ties,finetune+wise-ft", "-s", "toy", "--seeds", "1", *QUICK)[0] == 0
    assert steps() == 0


def test_other_settings_are_another_training(toys, steps, monkeypatch):
    chosen = {"finetune+ties": {"lr": 1e-3}, "finetune+wise-ft": {"coefficients": (0.5,)}}
    monkeypatch.setattr("benchmark.running.jobs.tuned", lambda scenario, method: chosen.get(method, {}))
    assert toys("run", "-m", "finetune,finetune+ties,finetune+wise-ft", "-s", "toy", "--seeds", "1", *QUICK)[0] == 0
    assert steps() == 2 * STEPS  # a setting of the plugin's alone makes no other training
    found = kept()
    assert found["finetune"].rounds[0].losses == found["finetune+wise-ft"].rounds[0].losses
    assert found["finetune"].rounds[0].losses != found["finetune+ties"].rounds[0].losses


def test_methods_that_hold_out_the_same_images_share_a_training_and_keep_the_records_of_each_alone(toys, steps):
    chosen = ("replay+balanced", "replay+certified")
    held = ("--set", "held_out=0.4")
    for method in ("replay", *chosen):
        more = () if method == "replay" else held
        code, _, err = toys("run", "-m", method, "-s", "toy-rounds", "--seed", "3", *QUICK, *more, "--results", "apart")
        assert code == 0, err
    steps()
    assert toys("run", "-m", "replay", "-s", "toy-rounds", "--seed", "3", *QUICK)[0] == 0
    assert toys("run", "-m", ",".join(chosen), "-s", "toy-rounds", "--seed", "3", *QUICK, *held)[0] == 0
    assert steps() == 2 * STEPS + STEPS + 2 * STEPS
    assert outcomes("runs") == outcomes("apart")
    assert kept()["replay"].rounds[0].losses != kept()["replay+balanced"].rounds[0].losses


def test_equal_models_that_several_methods_propose_are_scored_once(toys, monkeypatch):
    from benchmark.running import selection

    scored, predict_logits = [], selection.predict_logits

    def counted(model, images, *args):
        scored.append(len(images))
        return predict_logits(model, images, *args)

    monkeypatch.setattr(selection, "predict_logits", counted)
    both = ("finetune+wise-ft", "finetune+task-arithmetic")
    for method in both:
        assert toys("run", "-m", method, "-s", "toy", "--seeds", "1", *QUICK, "--results", "apart")[0] == 0
    alone = len(scored)
    scored.clear()
    assert toys("run", "-m", ",".join(both), "-s", "toy", "--seeds", "1", *QUICK)[0] == 0
    tried = [methods.load(method).SETTINGS().coefficients for method in both]
    assert alone == sum(map(len, tried)) and len(scored) == len({*tried[0], *tried[1]})
    assert outcomes("runs") == outcomes("apart")


def test_seeds_and_scenarios_do_not_share(toys, steps):
    assert toys("run", "-m", "finetune", "-s", "toy,toy-rounds", "--seeds", "2", *QUICK)[0] == 0
    assert steps() == 2 * STEPS + 2 * 2 * STEPS


def test_a_method_that_diverges_does_not_end_those_that_share_its_training(toys, steps, monkeypatch):
    plugin(monkeypatch, "nan", NotANumber)
    three = ("finetune+nan", "finetune", "finetune+ties")
    for method in three:
        assert toys("run", "-m", method, "-s", "toy-rounds", "--seeds", "1", *QUICK, "--results", "apart")[0] == 0
    steps()
    code, _, err = toys("run", "-m", ",".join(three), "-s", "toy-rounds", "--seeds", "1", *QUICK)
    assert code == 0, err
    assert steps() == 3 * STEPS  # round one together, round two of the two that go on
    assert {name: record.status for name, record in kept().items()} == {
        "finetune": "complete",
        "finetune+ties": "complete",
        "finetune+nan": "diverged",
    }
    assert outcomes("runs") == outcomes("apart")


def test_a_training_that_diverges_ends_for_all_that_share_it(toys, steps):
    Path("quick.py").write_text(QUICKLY)
    two = ("quick.py:Breaks", "quick.py:Breaks+wise-ft")
    arguments = ("-s", "toy", "--seeds", "1", *SHORT, "--set", "steps=40", "--quiet", "--workers", "1")
    for method in two:
        assert toys("run", "-m", method, *arguments, "--results", "apart")[0] == 0
    apart = steps()
    assert toys("run", "-m", ",".join(two), *arguments)[0] == 0
    assert [record.status for record in kept().values()] == ["diverged"] * 2 and outcomes("runs") == outcomes("apart")
    assert steps() < apart and apart < 80


def test_those_finished_before_another_one_fails_are_kept(toys, monkeypatch):
    plugin(monkeypatch, "bad", Bad)
    code, _, err = toys("run", "-m", "finetune,finetune+bad,rm", "-s", "toy", "--seeds", "1", *QUICK)
    assert code == 2 and err == "error: no merge today\n"
    assert "rm" in kept() and "finetune+bad" not in kept()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_trials_that_differ_after_their_training_alone_share_it(toys, steps, workers):
    Path("quick.py").write_text(QUICKLY)
    family = ("quick.py:Quickly", "quick.py:Quickly+wise-ft", "quick.py:Quickly+ties")
    given = ("-s", "toy", "--base", "toy.safetensors", "--option", "per_class=8", "--trials", "3", "--quiet")
    for method in family:
        code, _, err = toys("tune", "-m", method, *given, "--workers", "1", "--results", "apart")
        assert code == 0, err
    apart = steps()
    code, out, err = toys("tune", "-m", ",".join(family), *given, "--workers", workers)
    assert code == 0, err
    assert out.count("* chosen") == 3
    if workers == "1":
        rates = [{trial.settings.get("lr") for trial in read(path).trials} for path in Path("runs").rglob("*.json")]
        assert apart == 2 * 4 * sum(map(len, rates))  # also the trials of one method share, where it is a plugin's
        assert steps() == 2 * 4 * len(set().union(*rates)) < apart
    found = {path.name: path.read_text() for path in Path("runs/tuning/toy").iterdir()}
    assert found == {path.name: path.read_text() for path in Path("apart/tuning/toy").iterdir()} and len(found) == 3
