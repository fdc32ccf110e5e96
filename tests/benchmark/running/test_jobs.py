"""Jobs that share a folder of results, and disks that take no more."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from benchmark.records import files, tuned
from benchmark.running import jobs, runner
from benchmark.running.bases import Bases

RUN = ("run", "--method", "finetune", "--scenario", "toy", "--base", "toy.safetensors", "--set", "steps=2", "--quiet")


def test_a_budget_is_of_the_methods_that_train(command):
    """So that ``--method all --set steps=10`` may be asked for."""
    run = [word if word != "finetune" else "frozen,finetune" for word in RUN]
    code, _, err = command(*run, "--seeds", "1", "--set", "t=0.1")
    assert code == 2 and "method frozen has no setting 't'" in err
    code, _, err = command(*run, "--seeds", "1")
    assert code == 0, err
    assert {r.method.name: r.method.settings["steps"] for r in files.read_all(Path("runs"))} == {
        "frozen": 0,
        "finetune": 2,
    }
    run[2] = "frozen"
    code, _, err = command(*run, "--seeds", "1")
    assert code == 2 and "--set steps=2" in err, "of one that does not train it means nothing"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_damaged_record_is_told_and_does_not_keep_the_others_from_being_made(command, workers):
    code, _, err = command(*RUN, "--seed", "1")
    assert code == 0, err
    (damaged,) = Path("runs/records").rglob("*.json")
    damaged.write_bytes(b"")
    code, out, err = command(*RUN, "--seed", "0,1,2", "--workers", workers)
    assert (code, out, len(err.splitlines())) == (2, "", 1) and err.startswith(f"error: {damaged}: "), err
    assert "delete it, or give --force" in err
    assert [files.read(path).seed for path in sorted(damaged.parent.glob("*.json")) if path != damaged] == [0, 2]
    assert damaged.read_bytes() == b""
    code, _, err = command(*RUN, "--seed", "1", "--force")
    assert code == 0 and len(files.read_all(Path("runs"))) == 3, err


def test_tuned_settings_that_a_method_does_not_have_are_told_with_their_file(command, monkeypatch, tmp_path):
    monkeypatch.setenv("MDS_BENCH_CACHE", str(tmp_path / "cache"))
    tuned.user_file().parent.mkdir()
    for settings, told in (({"learning_rate": 1e-4}, ": method finetune has no setting"), ({"lr": 7}, " lr=7: ")):
        tuned.user_file().write_bytes(tuned.as_bytes({"toy": {"finetune": settings}}))
        code, _, err = command(*RUN, "--seeds", "1")
        assert code == 2 and err.startswith(f"error: {tuned.user_file()}{told}"), err
        assert "take finetune out" in err and "--set" not in err and len(err.splitlines()) == 1
        code, _, err = command(RUN[0], "--method", "finetune+ties", *RUN[3:])  # which starts from them
        assert code == 2 and "take finetune out" in err and len(err.splitlines()) == 1
    assert command(*RUN, "--seeds", "1", "--set", "lr=1e-4")[0] == 2, "what stands there is wrong all the same"


def test_another_job_may_make_the_same_run_at_the_same_time(command, monkeypatch, tmp_path):
    execute = runner.execute

    def twice(*arguments):
        for run, record, predictions in execute(*arguments):
            files.write(record.model_copy(update={"seconds": 99.0}), predictions, tmp_path / "runs")
            yield run, record, predictions

    monkeypatch.setattr(runner, "execute", twice)
    code, _, err = command(*RUN, "--seeds", "2")
    assert code == 0, err
    assert [record.seconds for record in files.read_all(tmp_path / "runs")] == [99.0, 99.0]  # the first ones


def test_another_outcome_is_refused_once_the_other_seeds_are_done(command, monkeypatch, tmp_path):
    execute = runner.execute

    def other(*arguments):
        for run, record, predictions in execute(*arguments):
            if run.stream.seed == 0:
                files.write(record.model_copy(update={"message": "other"}), predictions, tmp_path / "runs")
            yield run, record, predictions

    monkeypatch.setattr(runner, "execute", other)
    code, _, err = command(*RUN, "--seeds", "2")
    assert code == 2 and "a different record of this run exists" in err
    assert [record.seed for record in files.read_all(tmp_path / "runs")] == [0, 1]


def test_a_full_disk_is_told_and_keeps_what_was_finished(command, monkeypatch, tmp_path):
    sync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = command(*RUN, "--seeds", "2", "--workers", "1")
    assert code == 2 and "seed1" in err and "--results" in err and len(err.splitlines()) == 1, err
    kept = [file.name for file in (tmp_path / "runs").rglob("*") if file.is_file()]
    assert len(kept) == 2 and all("seed0" in name for name in kept)


def test_the_requests_of_a_command_share_the_last_streams_and_let_go_of_others(monkeypatch):
    built = []
    monkeypatch.setattr(jobs, "build", lambda name, seed, *_: built.append((name, seed)) or object())
    loaded = jobs.Loaded(Bases())

    def stream(name, seed, **options):
        return loaded.stream(name, seed, options, None)

    assert stream("a", 0) is stream("a", 0) and stream("a", 1) is not stream("a", 0)
    assert built == [("a", 0), ("a", 1)]
    assert stream("a", 1, size=2) is not stream("a", 1) and stream("b", 1) is not stream("a", 1)
    assert len(loaded.streams) == jobs.KEPT
    stream("a", 0)
    assert built.count(("a", 0)) == 2
