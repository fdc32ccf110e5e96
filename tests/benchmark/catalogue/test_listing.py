"""What there is to choose from, on the command line and in the documents; and what methods cost."""

from __future__ import annotations

import csv
import json
import re

import pytest

import methods
from benchmark.catalogue import costs, listing, method_table
from benchmark.catalogue.method_table import COMMAND, document
from benchmark.records.schema import BaseInfo
from benchmark.running.runner import Run
from tests import ROOT


def test_every_method_is_listed_under_its_family_with_source_and_cost(command):
    code, out, _ = command("list", "methods")
    assert code == 0
    for name, method in methods.METHODS.items():
        assert f"  {name} " in out and method.description in out and method.source in out
        assert not method.passes or f"extra passes: {method.passes}" in out
    assert out.index("regularisation\n") < out.index("  ewc ") < out.index("replay\n")


def test_the_document_is_what_the_command_prints(command):
    assert (ROOT / "docs" / "methods.md").read_text() == document(), f"run: {COMMAND}"
    assert command("list", "methods", "--markdown")[1] == document()


def test_the_document_tells_which_methods_were_left_out_and_why(monkeypatch, tmp_path):
    monkeypatch.setattr(method_table, "LEFT_OUT", tmp_path / "left_out.csv")
    method_table.LEFT_OUT.write_text("name,source,reason\n")
    assert "Left out" not in document()
    method_table.LEFT_OUT.write_text(
        'name,source,reason\nsome-method,arXiv 0000.00000,"a step, or | two, are unpublished"\n'
    )
    section = document().split("## Left out\n")[1].split("\n## Settings")[0]
    assert "\n| `some-method` | arXiv 0000.00000 | a step, or \\| two, are unpublished |\n" in section


def test_a_method_that_was_left_out_is_not_here_and_a_source_and_a_reason_are_given():
    with method_table.LEFT_OUT.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        assert rows.fieldnames == ["name", "source", "reason"]
        assert all(row["name"] not in methods.METHODS and row["source"] and row["reason"] for row in rows)


def test_costs_were_measured_of_methods_that_there_are():
    measured = json.loads(listing.COSTS.read_bytes())
    assert measured["rounds"].keys() <= {methods.run_as(name) for name in methods.METHODS}
    assert measured["steps"]["finetune"] == 1.0 and min(measured["steps"].values()) > 0


def test_a_method_whose_cost_was_not_measured_is_listed_all_the_same(command, monkeypatch):
    monkeypatch.setattr(listing, "costs", lambda: {})
    code, out, _ = command("list", "methods")
    assert code == 0 and "  mds " in out and "x finetune" not in out


def test_costs_are_relative_to_finetuning_and_apart_from_what_a_round_costs_once(toy_stream, toy_base, monkeypatch):
    monkeypatch.setattr(costs, "REPEATS", 1)
    info = BaseInfo(name="toy", sha256="0" * 64, model="mds-tiny")
    chosen = {name: methods.load(name) for name in ("finetune", "frozen", "gem", "ewc")}
    runs = [Run(toy_stream, toy_base, info, name, cls, cls.SETTINGS()) for name, cls in chosen.items()]
    seen = []
    found = costs.measure(runs, lambda done, total: seen.append((done, total)))
    assert found["steps"].keys() == {"finetune", "gem", "ewc"} and found["steps"]["finetune"] == 1.0
    assert found["rounds"].keys() == chosen.keys() and seen[-1] == (4, 4)
    assert found["rounds"]["ewc"] > found["rounds"]["finetune"]  # Fisher information, an image at a time
    json.dumps(found)


@pytest.mark.parametrize("what", ["methods", "scenarios", "nothing"])
def test_only_what_there_is_can_be_listed(what, command):
    code, _, err = command("list", what)
    assert (code, "list what?" in err) == ((2, True) if what == "nothing" else (0, False))


def test_a_method_is_shown_with_all_its_settings(command, monkeypatch, tmp_path):
    monkeypatch.setenv("MDS_BENCH_CACHE", str(tmp_path))
    (tmp_path / "tuned.json").write_text('{"places-mini": {"mds": {"beta": 100.0}}}')
    code, out, _ = command("list", "methods", "mds")
    assert code == 0
    for name, field in methods.load("mds").SETTINGS.model_fields.items():
        (line,) = (line for line in out.splitlines() if line.startswith(f"│ {name} "))
        assert f"│ {field.default:g} " in line and field.description[:20] in line
    assert "100, 300, 600, 2000" in out and "above 0, below 1" in out
    assert "on places-mini run starts from: beta=100" in out


def test_a_plugin_is_shown_with_the_method_that_trains(command):
    alone, combined = (command("list", "methods", name)[1] for name in ("ties", "mds+ties"))
    assert "│ trim " in alone and "│ trim " in combined and "│ beta " in combined and "│ beta " not in alone


def test_a_scenario_is_shown_with_all_its_options(command):
    code, out, _ = command("list", "scenarios", "driving-foggy")
    assert code == 0
    for name, default in {"image_size": 64, "protected_per_class": 2000, "test_per_class": 1000}.items():
        assert re.search(rf"│ {name} +│ whole number +│ {default} +│ \w", out), out
    assert re.search(
        r"│ target +│ text +│ required +│ the class to be learned", command("list", "scenarios", "folder")[1]
    )


def test_both_budgets_of_a_stream_stand_in_one_line_and_each_tells_its_steps(command):
    lines = command("list", "scenarios")[1].splitlines()
    (line,) = (line for line in lines if "foggy" in line and line.startswith("driving-foggy"))
    assert re.match(r"driving-foggy +quick, full +rendered road scenes", line)
    assert not any(line.startswith("folder") and "quick" in line for line in lines) and "NAME-full" in lines[-1]
    lr = "learning rate 0.0003 unless a method has its own"
    for name, told in {
        "driving-foggy": f"240, {lr}; in full budget, driving-foggy-full: 960 steps",
        "driving-foggy-full": f"960, {lr}",
        "folder": "as many as a method has by default",
    }.items():
        assert f"\nsteps of a round: {told}\n" in command("list", "scenarios", name)[1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("methods", "mdss"), "did you mean 'mds'?"),
        (("scenarios", "driving-fog"), "did you mean 'driving-foggy'?"),
        (("scenarios", "folder", "--markdown"), "--markdown is for the list of methods"),
    ],
)
def test_what_there_is_not_is_refused_in_one_line(arguments, told, command):
    code, out, err = command("list", *arguments)
    assert code == 2 and not out and told in err and len(err.splitlines()) == 1
