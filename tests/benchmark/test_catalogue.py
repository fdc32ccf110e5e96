"""What there is to choose from, on the command line and in the documents; and what methods cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import methods
from benchmark import catalogue, costs
from benchmark.method_table import markdown
from benchmark.runner import Run
from benchmark.schema import BaseInfo

ROOT = Path(__file__).parent.parent.parent


def test_every_method_is_listed_under_its_family_with_source_and_cost(command):
    code, out, _ = command("list", "methods")
    assert code == 0
    for name, method in methods.METHODS.items():
        assert f"  {name} " in out and method.description in out and method.source in out
        assert not method.passes or f"extra passes: {method.passes}" in out
    assert out.index("regularisation\n") < out.index("  ewc ") < out.index("replay\n")


def test_the_document_shows_the_table_that_the_command_prints(command):
    text = (ROOT / "docs" / "methods.md").read_text()
    assert text.endswith(markdown()), "run: python -m benchmark list methods --markdown"
    assert command("list", "methods", "--markdown")[1] == markdown()


def test_costs_were_measured_of_every_method():
    measured = json.loads(catalogue.COSTS.read_bytes())
    assert measured["rounds"].keys() == {catalogue.timed_as(name) for name in methods.METHODS}
    assert measured["steps"]["finetune"] == 1.0 and min(measured["steps"].values()) > 0


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
