"""What holds for every rendered stream: it runs, its base is shipped, its card and its fingerprint are today's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import scenarios
from benchmark.catalogue.cards import card
from benchmark.records.files import read
from benchmark.running.bases import shipped_base
from methods.checkpoints import load_checkpoint
from tests import ROOT

SMALL = ("target_images=8", "protected_per_class=2", "val_per_class=1", "test_per_class=2")
OPTIONS = [word for option in SMALL for word in ("--option", option)]
DRAWN = (*scenarios.rendered(), "driving-foggy-full")  # one full stream: the others take many minutes to draw


@pytest.mark.parametrize("method", ["mds", "finetune"])
@pytest.mark.parametrize("name", DRAWN)
def test_it_runs_from_the_command_line(command, name, method):
    steps = ("--seeds", "1", "--set", "steps=2", "--json")
    code, out, err = command("run", "--method", method, "--scenario", name, *OPTIONS, *steps)
    assert code == 0, err
    (run,) = json.loads(out)["runs"]
    assert all(round_["classes"][round_["target"]]["n"] == 2 for round_ in run["rounds"])
    record = read(next(Path("runs/records", name).glob("*.json")))
    assert record.base.name == f"{name.removesuffix('-full')}.safetensors"


@pytest.mark.parametrize("name", scenarios.rendered())
def test_its_base_is_shipped_and_small(name):
    stream = scenarios.build(name, **{option.split("=")[0]: 1 for option in SMALL})
    path = shipped_base(stream.base)
    assert path is not None and path.stat().st_size <= 10_000_000
    assert load_checkpoint(path, stream.prompts).image_size == stream.options["image_size"]


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWN)
def test_its_fingerprint_and_card_are_todays(name):
    stream = scenarios.build(name)
    known = scenarios.fingerprints()[name]
    assert (known["version"], known["fingerprint"]) == (stream.version, stream.fingerprint), (
        "pictures have changed: raise the stream's version, then run `python -m benchmark data fingerprints "
        "--out scenarios/fingerprints.json`, make its base and records anew"
    )
    for path in (ROOT / "results" / "records" / name).glob("frozen-seed0-*.json"):
        made = read(path).scenario
        assert made.version != stream.version or made.training_fingerprint == stream.training_fingerprint
    docs = "\n".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    assert card(stream) in docs, f"copy into the docs: python -m benchmark data card --scenario {name}"
