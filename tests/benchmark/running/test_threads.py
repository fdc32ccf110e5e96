"""Threads: as many as there are cores, asleep while they wait, shared out among trainings; set before torch counts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmark.running.threads import set_defaults, threads_of, torch_threads
from scenarios.cores import available
from tests import ROOT
from tests.benchmark.running.commands import SHORT

PROGRAMS = ((sys.executable, "-m", "benchmark"), (str(Path(sys.executable).with_name("mds-bench")),))
OURS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MDS_BENCH_THREADS")
COUNTING = f'''
import os
from pathlib import Path

import torch

from methods.finetune import Finetune


class Counting(Finetune):
    """Fine-tuning that tells of its threads; of a test."""

    def prepare_round(self):
        told = (torch.get_num_threads(), *map(os.environ.get, {OURS[:2]}))
        Path(f"threads-{{self.seed}}").write_text(" ".join(map(str, told)))
'''
SEEN_BY_A_METHOD = ("try", "counting.py:Counting")


@pytest.fixture
def untouched(monkeypatch):
    """An environment in which the user has set nothing, on a machine with eight cores."""
    for name in OURS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("benchmark.running.threads.available", lambda: 8)
    return monkeypatch


def test_there_are_as_many_threads_as_cores_and_they_wait_asleep(untouched):
    set_defaults()
    assert os.environ["OMP_NUM_THREADS"] == "8" and os.environ["OMP_WAIT_POLICY"] == "PASSIVE"


def test_what_the_user_has_set_stays(untouched):
    untouched.setenv("OMP_NUM_THREADS", "3")
    untouched.setenv("OMP_WAIT_POLICY", "ACTIVE")
    set_defaults()
    assert os.environ["OMP_NUM_THREADS"] == "3" and os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    assert [threads_of(n) for n in (1, 2, 100)] == [3, 3, 3]


@pytest.mark.parametrize("text", ["2,1", "2"])
def test_of_nested_numbers_the_first_counts(untouched, text):
    untouched.setenv("OMP_NUM_THREADS", text)
    assert threads_of(4) == 2


@pytest.mark.parametrize("text", ["0", "-1", "²", "many", "99999999999", "0,2", " "])
def test_what_is_no_number_of_threads_is_refused_by_the_name_of_its_variable(toys, monkeypatch, text):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    code, out, err = toys("run", "-m", "finetune", "-s", "toy", *SHORT, "--quiet")
    told = f"error: OMP_NUM_THREADS must be a whole number from 1 to 9999, not {text!r}: change or unset it\n"
    assert (code, out, err) == (2, "", told)


def test_trainings_share_the_cores(untouched):
    set_defaults()
    assert [threads_of(n) for n in (0, 1, 2, 3, 4, 5, 8, 9, 1000)] == [8, 8, 4, 2, 2, 1, 1, 1, 1]
    set_defaults()  # in a process that a command starts: its numbers are still the package's own
    assert threads_of(2) == 4


def test_torch_is_set_back(untouched):
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise ZeroDivisionError
    assert torch.get_num_threads() == before


def told_by(program: tuple[str, ...], *bound: str, **environment: str) -> str:
    """What a method sees in a program of its own: torch's threads and the two variables."""
    Path("counting.py").write_text(COUNTING)
    own = {name: value for name, value in os.environ.items() if name not in OURS}
    own |= {"PYTHONPATH": str(ROOT), **environment}
    subprocess.run([*bound, *program, *SEEN_BY_A_METHOD], env=own, capture_output=True, check=False)
    (told,) = {path.read_text() for path in Path().glob("threads-*")}
    return told


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=["module", "script"])
def test_a_program_sets_them_before_torch_counts(program, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if shutil.which(program[0]) is None:
        pytest.skip("the package is not installed as a program")
    assert told_by(program) == f"{available()} {available()} PASSIVE"
    assert told_by(program, OMP_NUM_THREADS="1", OMP_WAIT_POLICY="ACTIVE") == "1 1 ACTIVE"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("taskset") is None, reason="needs taskset, of util-linux")
def test_a_program_that_is_bound_to_a_core_has_one_thread(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    core = str(min(os.sched_getaffinity(0)))
    assert told_by(PROGRAMS[0], "taskset", "-c", core) == "1 1 PASSIVE"


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(("seeds", "threads"), [(1, 2), (2, 1), (3, 1)])
def test_each_training_has_its_share_however_many_are_made_at_a_time(toys, untouched, workers, seeds, threads):
    untouched.setattr("benchmark.running.threads.available", lambda: 2)
    Path("counting.py").write_text(COUNTING)
    arguments = ("-m", "counting.py:Counting", "-s", "toy", "--seeds", str(seeds), "--workers", workers)
    code, _, err = toys("run", *arguments, *SHORT, "--set", "steps=1", "--quiet")
    assert code == 0, err
    assert {path.read_text().split()[0] for path in Path().glob("threads-*")} == {str(threads)}
