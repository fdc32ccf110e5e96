"""Ray: the same records as by processes of one machine, and what becomes of tasks and commands that are killed."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests import ROOT
from tests.benchmark.running.commands import SHORT, noted, outcomes, runs, soon

pytest.importorskip("ray", reason='needs Ray: pip install "mds-bench[ray]"')
pytestmark = pytest.mark.slow

STEPS = 8
AGENTS = ("ray::DashboardA", "ray::RuntimeEnv")  # as the system cuts their names
QUICK = (*SHORT, "--set", f"steps={STEPS}", "--quiet")
MANY = ("run", "-m", "finetune,finetune+ties,rm", "-s", "toy,toy-rounds", "--seeds", "2", *QUICK)
RAY = ("--engine", "ray", "--workers", "2")
ENTRIES = """[mds_bench.scenarios]
toy = tests.conftest:toy_scenario
toy-rounds = tests.benchmark.running.commands:toy_rounds
"""
Start = Callable[..., subprocess.Popen]


@pytest.fixture
def program(toys, monkeypatch) -> Start:
    """``program(*arguments)``: the program with what it starts, which know of the toys as of another package's."""
    package = Path("packages/toys-1.dist-info")
    package.mkdir(parents=True)
    (package / "entry_points.txt").write_text(ENTRIES)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(package.parent.resolve()), str(ROOT))))

    def start(*arguments: str) -> subprocess.Popen:
        command = (sys.executable, "-m", "benchmark", *arguments)
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # jobs in the background ignore it
        )

    return start


def finished(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def group(leader: int) -> list[int]:
    """The processes at work in the session of a process; not Ray's agents, which take minutes to end."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            _, name, rest = re.split(r"[()]", (place / "stat").read_text(), maxsplit=2)
        except OSError:
            continue
        if int(rest.split()[3]) == leader and runs(int(place.name)) and not name.startswith(AGENTS):
            found.append(int(place.name))
    return found


def test_ray_makes_the_same_records(toys, program):
    code, _, err = toys(*MANY, "--workers", "1", "--results", "expected")
    assert code == 0, err
    code, out, err = finished(process := program(*MANY, *RAY))
    assert code == 0 and err == "", err
    assert outcomes("runs") == outcomes("expected") and len(outcomes("runs")) == 12 and "finetune+ties" in out
    assert not Path("runs/checkpoints").exists()
    soon(lambda: not group(process.pid), "the end of Ray's processes")


def test_a_task_that_is_killed_is_made_again_from_where_it_was(toys, program, monkeypatch):
    one = ("run", "-m", "noting.py:Noting", "-s", "toy", "--seeds", "1", "--checkpoint-every", "1", *QUICK)
    assert toys(*one, "--workers", "1", "--results", "expected")[0] == 0
    Path("steps").unlink()
    monkeypatch.setenv("KILLED_AT", "6")
    code, _, err = finished(program(*one, *RAY))
    assert code == 0 and err == "", err
    assert noted() == [*range(6), *range(5, STEPS)] and outcomes("runs") == outcomes("expected")


def test_a_command_that_is_killed_leaves_nobody_and_goes_on(toys, program):
    many = (*MANY, "--checkpoint-every", "1")
    assert toys(*many, "--workers", "1", "--results", "expected")[0] == 0
    process = program(*many, *RAY)
    soon(lambda: outcomes("runs"), "the first record")
    process.send_signal(signal.SIGKILL)
    finished(process)
    soon(lambda: not group(process.pid), "the end of Ray's processes")
    assert 0 < len(outcomes("runs")) < 12
    code, _, err = finished(program(*many, *RAY))
    assert code == 0 and err == "", err
    assert outcomes("runs") == outcomes("expected") and not Path("runs/checkpoints").exists()


def test_an_interruption_ends_it_within_seconds(program):
    process = program(*MANY, *RAY)
    soon(lambda: outcomes("runs"), "the first record")
    since = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    code, out, err = finished(process)
    assert (code, out) == (130, "") and time.monotonic() - since < 20
    assert err.splitlines()[-1] == "error: interrupted; finished runs are kept, the same command goes on from there"
    soon(lambda: not group(process.pid), "the end of Ray's processes")
    assert 0 < len(outcomes("runs")) < 12


@pytest.mark.parametrize("failure", ["raise RuntimeError('no such luck')", "raise ValueError('not so')"])
def test_an_error_is_told_as_by_processes(program, failure):
    code = "from methods.finetune import Finetune\n\nclass Fails(Finetune):\n    def prepare_round(self):\n"
    Path("failing.py").write_text(f"{code}        if self.seed == 0:\n            {failure}\n")
    arguments = ("run", "-m", "failing.py:Fails", "-s", "toy", "--seeds", "2", *QUICK)
    code, out, err = finished(program(*arguments, *RAY))
    assert out == "" and len(outcomes("runs")) == 1
    if "Value" in failure:
        assert (code, err) == (2, "error: not so\n")
    else:
        assert code == 70 and "failing.py" in err and "no such luck" in err


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}", "nonsense", "127.0.0.1:99999"])
def test_an_address_where_nobody_answers_is_told_in_seconds(program, address):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = address.format(port=free.getsockname()[1])
    since = time.monotonic()
    code, out, err = finished(program(*MANY, "--engine", "ray", "--address", address))
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert err.startswith(f"error: --address {address}: no Ray cluster answers there")
    assert time.monotonic() - since < 30


def test_a_cluster_that_runs_is_joined(toys, program, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")  # as `ray start` has it
    ray = (sys.executable, "-m", "ray.scripts.scripts")
    head = ("start", "--head", "--port=0", "--num-cpus=2", "--include-dashboard=false", "--block")
    cluster = subprocess.Popen((*ray, *head), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
    try:
        address = next(line.split("'")[1] for line in cluster.stdout if "--address='" in line)
        assert toys(*MANY, "--workers", "1", "--results", "expected")[0] == 0
        code, _, err = finished(program(*MANY, "--engine", "ray", "--address", address))
        assert code == 0 and err == "", err
        assert outcomes("runs") == outcomes("expected")
    finally:
        cluster.terminate()
        cluster.wait()
