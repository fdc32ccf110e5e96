"""A stream's budget on the way from the command line to the record."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from benchmark.cli.options import in_budget, scenarios_of
from benchmark.leaderboard.summary import seconds_in_full
from benchmark.output.progress import Reporter
from benchmark.records.files import read
from benchmark.records.schema import Record
from benchmark.running.jobs import Jobs
from benchmark.running.request import Request
from scenarios import SCENARIOS, Scenario, rendered
from scenarios.cores import available
from tests.benchmark.example_records import record
from tests.conftest import make_toy_stream

TOY = ("--scenario", "toy", "--base", "toy.safetensors", "--quiet")
SMALL = ("target_images=8", "protected_per_class=2", "val_per_class=1", "test_per_class=2")
TINY = [word for option in SMALL for word in ("--option", option)]


@pytest.fixture
def budgets(command, monkeypatch):
    """``command`` with a toy stream in two budgets; the full one has three steps."""
    builder = "tests.benchmark.running.test_budgets:full_toy"
    monkeypatch.setitem(SCENARIOS, "toy-full", Scenario(builder, "coloured noise", steps=3))
    return command


def full_toy(seed: int = 0, per_class: int = 8, image_size: int = 64):
    return dataclasses.replace(make_toy_stream(seed, per_class), name="toy-full")


def test_a_budget_chooses_among_names():
    assert in_budget("driving-foggy", None) == in_budget("driving-foggy", "quick") == "driving-foggy"
    assert in_budget("driving-foggy", "full") == in_budget("driving-foggy-full", "full") == "driving-foggy-full"
    assert in_budget("driving-foggy-full", None) == "driving-foggy-full" and in_budget("folder", None) == "folder"
    assert scenarios_of(["all"], "full") == tuple(rendered("full"))
    assert scenarios_of(["all"]) == scenarios_of(["all"], "quick") == tuple(rendered())
    assert scenarios_of(["driving-foggy,driving-foggy-full"], "full") == ("driving-foggy-full",)
    assert scenarios_of(None, "full") == ("driving-foggy-full",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--scenario", "bdd100k-foggy", "--budget", "full"), "--budget full: bdd100k-foggy has no budgets"),
        (("--scenario", "folder", "--budget", "full"), "--budget full: folder has no budgets"),
        (("--scenario", "toy", "--budget", "quick"), "--budget quick: toy has no budgets"),
        (("--scenario", "driving-foggy", "--budget", "huge"), "--budget must be quick or full, not 'huge'"),
        (("--scenario", "driving-foggy", "--budget", "6"), "not '6'; tune has --trials for a number of trials"),
        (("--scenario", "driving-foggy-full", "--budget", "quick"), "leave one of the two out"),
        (("--scenario", "driving-fogy", "--budget", "full"), "did you mean 'driving-foggy'"),
    ],
)
@pytest.mark.parametrize("name", ["run", "tune", "calibrate"])
def test_mistakes_are_told_in_one_line(command, name, arguments, message):
    method = () if name == "calibrate" else ("--method", "mds")
    code, out, err = command(name, *method, *arguments)
    assert code == 2 and out == "" and len(err.splitlines()) == 1 and message in err


def test_the_steps_of_a_budget_are_those_of_the_record(budgets):
    code, _, err = budgets("run", "--method", "finetune,frozen", *TOY, "--budget", "full", "--seeds", "1")
    assert code == 0, err
    made = {name: read(next(Path("runs/records/toy-full").glob(f"{name}-*.json"))) for name in ("finetune", "frozen")}
    assert made["finetune"].method.settings["steps"] == 3 == made["finetune"].rounds[0].checkpoints[-1].step
    assert made["frozen"].method.settings["steps"] == 0


def test_tuned_settings_and_those_asked_for_go_before_the_budgets(budgets, monkeypatch, tmp_path):
    def steps(**settings: int) -> int:
        request = Request("finetune", "toy-full", (0,), settings=settings)
        return Jobs(request, Reporter(quiet=True)).settings["finetune"].steps

    assert (steps(), steps(steps=7)) == (3, 7)
    monkeypatch.setenv("MDS_BENCH_CACHE", str(tmp_path))
    (tmp_path / "tuned.json").write_text(json.dumps({"toy-full": {"finetune": {"steps": 5}}}))
    assert (steps(), steps(steps=7)) == (5, 7)


@pytest.mark.parametrize("scenario", ["driving-foggy", "places-mini-full"])
def test_rendered_streams_decide_the_learning_rate_of_methods_without_one_of_their_own(command, scenario):
    def lr(method: str, scenario: str = scenario) -> float:
        return Jobs(Request(method, scenario, (0,), tuned=False), Reporter(quiet=True)).settings[method].lr

    assert lr("finetune") == lr("joint") == lr("mds+wise-ft") == 3e-4
    assert lr("linear-probe") == lr("linear-probe", "folder") == 3e-2 and lr("finetune", "folder") == 3e-5


def test_a_preset_goes_before_the_budget(command):
    request = Request("finetune", "driving-foggy-full", (0,), preset="paper")
    assert Jobs(request, Reporter(quiet=True)).settings["finetune"].steps == 24_000


def test_trials_of_a_search_take_the_steps_of_the_budget(budgets):
    arguments = ("tune", "--method", "finetune", *TOY[:-1], "--budget", "full", "--trials", "2", "--seed", "7")
    code, _, err = budgets(*arguments, "--workers", "1")
    assert code == 0 and "3/3" in err and "4/" not in err, err
    kept = json.loads(Path("runs/tuning/toy-full/finetune.json").read_text())
    assert len(kept["trials"]) == 2 and all("steps" not in trial["settings"] for trial in kept["trials"])


def test_a_quick_run_says_what_full_takes_unless_it_must_be_quiet(command):
    run = ("run", "--method", "finetune", "--scenario", "driving-foggy", *TINY, "--seeds", "1", "--set", "steps=2")
    code, out, err = command(*run)
    assert code == 0 and "\nwith --budget full: about " in out, err
    assert "with --budget" not in command(*run, "--quiet")[1]
    assert "with --budget" not in command(*run, "--json")[1]


def quick(method: str, steps: int, **changes) -> Record:
    made = record(
        method,
        0,
        (0, 0, 0),
        scenario={"name": "driving-foggy", "options": {"val_per_class": 100, "test_per_class": 100}},
        as_method={"settings": {"steps": steps, "batch_size": 10}},
        seconds=10.0,
    )
    return made.model_copy(update=changes)


def test_the_forecast_counts_images_of_training_and_of_scoring():
    alone = seconds_in_full([quick("finetune", 96)])
    assert alone == pytest.approx(10 * (3 * 9_600 + 300 * 20) / (3 * 960 + 300))  # 2,000 test images a class, not 100
    assert seconds_in_full([quick("frozen", 0)]) == pytest.approx(10 * 20)
    many = [quick("finetune", 96)] * (2 * available())
    assert seconds_in_full(many) == pytest.approx(2 * alone)  # one thread each
    full = quick("finetune", 960, scenario=many[0].scenario.model_copy(update={"name": "driving-foggy-full"}))
    assert seconds_in_full([full]) == seconds_in_full([record("finetune", 0, (0, 0, 0))]) == 0
