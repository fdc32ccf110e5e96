"""Streams of published data sets from the command line, on miniature copies of their folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.scenarios.test_bdd100k import write_bdd100k
from tests.scenarios.test_places365 import write_places365

BDD100K = ("bdd100k-foggy", "bdd100k-overcast", "bdd100k-tunnel", "bdd100k-rounds")
STREAMS = (*BDD100K, "places365-dressing-room")


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    bdd, places = write_bdd100k(tmp_path_factory.mktemp("bdd")), write_places365(tmp_path_factory.mktemp("places"))
    return dict.fromkeys(BDD100K, bdd) | {"places365-dressing-room": places}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("method", ["mds", "finetune"])
def test_it_runs(command, folders, name, method):
    base = ("--base", "toy.safetensors", "--seeds", "1", "--set", "steps=2", "--json")
    small = ("--option", "val_per_class=3") if name.startswith("places") else ()
    code, out, err = command("run", "--method", method, "--scenario", name, "--data", str(folders[name]), *small, *base)
    assert code == 0, err
    (run,) = json.loads(out)["runs"]
    assert len(run["rounds"]) == (4 if name == "bdd100k-rounds" else 1)


def test_the_folder_may_come_from_the_environment(command, folders, monkeypatch):
    arguments = ("data", "verify", "--scenario", "bdd100k-foggy")
    code, _, err = command(*arguments)
    assert code == 2 and "MDS_BENCH_DATA" in err and "bdd100k.com" in err and len(err.splitlines()) == 1
    monkeypatch.setenv("MDS_BENCH_DATA", str(folders["bdd100k-foggy"]))
    code, out, err = command(*arguments)
    assert code == 0, out + err
    assert "foggy" in out and "undefined" in out


@pytest.mark.parametrize("name", STREAMS)
def test_verify_finds_what_is_broken_and_missing(command, folders, name, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(folders[name], damaged)
    first, second, *_ = sorted(damaged.rglob("*.jpg"))  # clear city streets, which every stream has, or airfields
    first.unlink()
    second.write_bytes(second.read_bytes()[:200])
    code, out, _ = command("data", "verify", "--scenario", name, "--data", str(damaged))
    assert code == 1
    assert first.name in out and second.name in out
    code, out, _ = command("data", "verify", "--scenario", name, "--data", str(damaged), "--no-decode")
    assert code == 1 and first.name in out and second.name not in out


def test_a_stream_without_a_base_asks_for_one(command, folders):
    name = "bdd100k-tunnel"
    code, _, err = command("run", "--method", "mds", "--scenario", name, "--data", str(folders[name]))
    assert code == 2 and "--base" in err and len(err.splitlines()) == 1
