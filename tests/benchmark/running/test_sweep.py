"""Commands of many runs: the same records by any number of workers, and what is told of those that fail."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import methods
from benchmark.cli.options import methods_of, scenarios_of
from benchmark.records import files
from scenarios import SCENARIOS
from tests.benchmark.running.commands import SHORT, outcomes

METHODS = ("mds", "finetune+ties")
TOYS = ("toy", "toy-rounds")
QUICK = (*SHORT, "--set", "steps=3", "--quiet")
FAILING = """
import sys
from methods.finetune import Finetune

class Fails(Finetune):
    def round_loss(self, logits, labels):
        if self.seed == 1:
            {failure}
        return super().round_loss(logits, labels)
"""


def test_any_number_of_workers_keeps_the_records_of_separate_commands(toys):
    for scenario in TOYS:
        for method in METHODS:
            code, _, err = toys("run", "-m", method, "-s", scenario, "--seeds", "2", *QUICK, "--results", "apart")
            assert code == 0, err
    assert len(outcomes("apart")) == 8
    for workers in ("1", "2", "auto"):
        many = ("-m", ",".join(METHODS), "-s", ",".join(TOYS), "--seeds", "2", "--workers", workers)
        code, _, err = toys("run", *many, *QUICK, "--results", workers)
        assert code == 0, err
        assert outcomes(workers) == outcomes("apart") and not Path(workers, "checkpoints").exists()


def test_each_scenario_has_its_table_and_its_objects(toys):
    many = ("run", "-m", "finetune", "-m", "rm", "-s", "toy,toy-rounds", "--seeds", "2", *SHORT, "--set", "steps=2")
    code, out, err = toys(*many, "--json")
    assert code == 0, err
    told = [json.loads(line) for line in out.splitlines()]
    assert [(one["scenario"], one["method"]) for one in told] == [(s, m) for s in TOYS for m in ("finetune", "rm")]
    assert [[len(run["rounds"]) for run in one["runs"]] for one in told] == [[1, 1], [1, 1], [2, 2], [2, 2]]
    code, out, err = toys(*many, "--quiet")
    assert code == 0 and err == ""
    titles = [line.strip() for line in out.splitlines() if line.strip() in TOYS]
    assert titles == list(TOYS) and out.count("│ finetune") == 2 and "records: runs/records\n" in out


def test_all_stands_for_every_method_and_every_rendered_scenario(monkeypatch):
    monkeypatch.setattr("methods.installed", lambda extra: True)
    every = methods_of(["all"]).split(",")
    assert {methods.one_name(name) for name in every} == set(every) and all(map(methods.is_method, every))
    trained = {name.rpartition("+")[2] if name not in methods.METHODS else name for name in every}
    assert trained == set(methods.METHODS) and "finetune+ties" in every and "ties" not in every
    assert methods_of(["all", "mds+ties"]).split(",") == [*every, "mds+ties"]
    rendered = scenarios_of(["all"])
    assert "driving-foggy" in rendered and "folder" not in rendered and not any(SCENARIOS[s].flags for s in rendered)
    assert scenarios_of(["all,driving-foggy", "folder"]) == (*rendered, "folder")
    assert scenarios_of(None) == ("driving-foggy",)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    ("failure", "expected", "last"),
    [
        ("raise RuntimeError('no such luck')", 70, "error: unforeseen RuntimeError, which is no verdict: see above"),
        ("raise ValueError('not so')", 2, "error: not so"),
        ("sys.exit(3)", 2, "failing.py:8 ended the program with SystemExit(3): raise an error instead"),
    ],
)
def test_a_run_that_fails_is_told_and_does_not_keep_the_others_from_being_made(toys, workers, failure, expected, last):
    Path("failing.py").write_text(FAILING.format(failure=failure))
    code, out, err = toys("run", "-m", "failing.py:Fails,rm", "-s", "toy", "--seeds", "3", *QUICK, "--workers", workers)
    kept = [(record.method.name, record.seed) for record in files.read_all(Path("runs"))]
    assert kept == [("failing.py:Fails", 0), ("failing.py:Fails", 2), ("rm", 0), ("rm", 1), ("rm", 2)]
    assert code == expected and out == "" and err.splitlines()[-1].endswith(last)
    if expected == 2:
        assert len(err.splitlines()) == 1
    else:
        assert "failing.py" in err and "no such luck" in err  # the traceback, from whichever process


def test_an_error_that_no_other_process_can_read_is_told_as_what_it_is(toys):
    own = "class Odd(ValueError):\n    def __init__(self, one, two):\n        super().__init__(one + two)\n"
    Path("failing.py").write_text(own + FAILING.format(failure="raise Odd('not ', 'so')"))
    for workers in ("1", "2"):
        code, _, err = toys("run", "-m", "failing.py:Fails", "-s", "toy", "--seeds", "2", *QUICK, "--workers", workers)
        assert code == 2 and len(err.splitlines()) == 1 and "not so" in err, err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--workers", "0"), "--workers must be auto or a whole number from 1, not 0"),
        (("--workers", "-1"), "--workers must be auto or a whole number from 1, not -1"),
        (("--workers", "x"), "--workers must be auto or a whole number from 1, not 'x'"),
        (("--workers", "1.5"), "--workers must be auto or a whole number from 1, not '1.5'"),
        (("--engine", "nope"), "--engine must be local or ray, not 'nope'"),
        (("--address", "10.0.0.1:6379"), "--address is of a Ray cluster: give it with --engine ray"),
        (("--checkpoint-every", "0"), "--checkpoint-every must be 1 step or more, not 0"),
        (("--log", "wandb"), "--log must be tensorboard, not 'wandb'"),
        (("-s", "toy,toys"), "did you mean 'toy'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_means_nothing_is_refused_before_anything_is_written(toys, arguments, message):
    code, out, err = toys("run", "-m", "finetune", "-s", "toy", *QUICK, *arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1) and message in err
    assert not Path("runs").exists()


def test_all_leaves_out_what_needs_a_missing_extra_and_says_so(monkeypatch, capsys):
    monkeypatch.setattr("methods.installed", lambda extra: True)
    whole, told = methods_of(["all"]).split(","), capsys.readouterr().err
    monkeypatch.setattr("methods.installed", lambda extra: extra != "cooper")
    part = methods_of(["all"]).split(",")
    without = [name for name in whole if name not in part]
    assert (
        without
        == ["primal-dual", "augmented-lagrangian"]
        == [n for n, extra in methods.EXTRAS.items() if extra == "cooper"]
    )
    remedy = '--method all: without primal-dual, augmented-lagrangian: pip install "mds-bench[cooper]"\n'
    assert (told, capsys.readouterr().err) == ("", remedy)
    assert methods_of(["primal-dual,mds"]) == "primal-dual,mds" and capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "arguments",
    [("run", "-m", "mds,primal-dual", "-s", "toy", *QUICK), ("run", "-m", "primal-dual+ties", "--dry-run"), ("try",)],
    ids=" ".join,
)
def test_a_missing_extra_is_named_before_any_work_with_what_installs_it(arguments, toys, monkeypatch):
    monkeypatch.setattr("methods.unavailable.find_spec", lambda name: None)
    name = "primal-dual+ties" if "--dry-run" in arguments else "primal-dual"
    code, out, err = toys(*arguments, *([name] if arguments == ("try",) else []))
    wanted = f'error: --method {name}: cooper is not installed: pip install "mds-bench[cooper]"\n'
    assert (code, out, err) == (2, "", wanted) and not Path("runs/records").exists()


def test_settings_of_a_method_are_told_without_its_extra(toys, monkeypatch):
    monkeypatch.setattr("methods.unavailable.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "cooper", None)  # an import fails
    code, out, err = toys("list", "methods", "augmented-lagrangian")
    assert code == 0 and "multiplier_lr" in out and err == ""


def test_ray_that_is_not_installed_is_named_with_what_installs_it(toys, monkeypatch):
    monkeypatch.setattr("benchmark.running.request.find_spec", lambda name: None)
    code, _, err = toys("run", "-m", "finetune", "-s", "toy", *QUICK, "--engine", "ray")
    assert code == 2 and err == 'error: --engine ray: Ray is not installed: pip install "mds-bench[ray]"\n'


@pytest.mark.parametrize("size", ["abc", "", "0", "²", "1.5"])
def test_what_is_no_number_of_processes_is_refused_by_the_name_of_its_variable(toys, monkeypatch, size):
    monkeypatch.setenv("WORLD_SIZE", size)
    code, out, err = toys("run", "-m", "finetune", "-s", "toy", *QUICK)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith("error: WORLD_SIZE must be a whole number from 1, ") and f"not {size!r}: unset it" in err


@pytest.mark.parametrize("arguments", [("run", "-m", "finetune"), ("pretrain",)], ids=" ".join)
def test_a_batch_that_no_memory_holds_is_refused(toys, arguments):
    code, _, err = toys(*arguments, "-s", "toy", "--quiet", "--set", "batch_size=99999999999")
    told = "error: --set batch_size=99999999999: input should be less than or equal to 65536\n"
    assert (code, err) == (2, told)


def test_processes_of_torchrun_take_no_workers(toys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    for more in (("--workers", "2"), ("--engine", "ray"), ("--checkpoint-every", "5")):
        code, _, err = toys("run", "-m", "finetune", "-s", "toy", *QUICK, *more)
        assert code == 2 and len(err.splitlines()) == 1 and "torchrun" in err and more[0] in err
