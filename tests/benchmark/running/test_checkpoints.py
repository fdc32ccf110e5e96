"""Runs that are killed go on from their last checkpoint and end in the same records, bit for bit."""

from __future__ import annotations

import errno
import os
import signal
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from benchmark.output.files import replacing
from methods.batches import generator
from tests.benchmark.running.commands import SHORT, children, noted, outcomes, runs, soon

STEPS = 12
DRAWS = [int(n) for n in torch.randint(2, STEPS + 1, (3,), generator=generator(0, "step that is killed"))]
MANY = ("run", "-m", "finetune,finetune+ties,mds", "-s", "toy-rounds", "--seeds", "2", "--checkpoint-every", "1")
BUSY = (*SHORT, "--set", f"steps={STEPS}", "--quiet")
NOTED = ("run", "-m", "noting.py:Noting", "--checkpoint-every", "1", *BUSY)


def files_in(folder: str) -> list[Path]:
    return [path for path in Path(folder).rglob("*") if path.is_file()]


def undisturbed(toys, *arguments: str) -> dict[str, tuple[str, bytes]]:
    """The outcomes of a command by one process that nobody ends."""
    code, _, err = toys(*arguments, "--workers", "1", "--results", "undisturbed")
    assert code == 0, err
    Path("steps").unlink(missing_ok=True)
    return outcomes("undisturbed")


@pytest.mark.parametrize(
    ("scenario", "killed"), [("toy", n) for n in DRAWS] + [("toy-rounds", STEPS + n) for n in DRAWS]
)
def test_a_run_that_is_killed_goes_on_from_its_last_step(toys, start, monkeypatch, scenario, killed):
    one = (*NOTED, "-s", scenario, "--seed", "4")
    expected = undisturbed(toys, *one)
    monkeypatch.setenv("KILLED_AT", str(killed))
    process = start(*one)
    process.join()
    assert process.exitcode == -signal.SIGKILL and len(noted()) == killed and not outcomes("runs")
    assert toys(*one)[0] == 0
    every = list(range(STEPS)) * (1 if scenario == "toy" else 2)
    assert noted() == every[:killed] + every[killed - 1 :]  # the one that was not finished is made again, alone
    assert outcomes("runs") == expected and not Path("runs/checkpoints").exists()


def test_a_worker_that_is_killed_is_started_again_where_it_was(toys, monkeypatch):
    two = (*NOTED, "-s", "toy", "--seeds", "2")
    expected = undisturbed(toys, *two)
    monkeypatch.setenv("KILLED_AT", "9")
    code, _, err = toys(*(word for word in two if word != "--quiet"), "--workers", "2")
    assert code == 0 and "its process was ended by SIGKILL; started again" in err
    assert len(noted()) == 2 * STEPS + 1 and outcomes("runs") == expected


def test_a_worker_that_is_killed_each_time_is_given_up_and_the_others_are_kept(toys):
    code = "import os, signal\nfrom methods.finetune import Finetune\n\nclass Dies(Finetune):\n"
    code += "    def prepare_round(self):\n        self.seed or os.kill(os.getpid(), signal.SIGKILL)\n"
    Path("dies.py").write_text(code)
    code, _, err = toys("run", "-m", "dies.py:Dies,rm", "-s", "toy", "--seeds", "2", "--workers", "2", *BUSY)
    assert code == 2 and err.startswith("error: dies.py:Dies seed 0: its process was ended by SIGKILL, 3 times")
    assert len(err.splitlines()) == 1 and len(outcomes("runs")) == 3


@pytest.mark.slow
def test_a_command_whose_workers_and_head_are_killed_goes_on(toys, start):
    expected = undisturbed(toys, *MANY, *BUSY)
    process = start(*MANY, *BUSY, "--workers", "2")
    soon(lambda: any(Path("runs/checkpoints").glob("[!.]*.checkpoint")), "the first checkpoint")
    worker = children(process.pid)[0]
    os.kill(worker, signal.SIGKILL)
    soon(lambda: set(children(process.pid)) - {worker}, "another worker")
    soon(lambda: outcomes("runs"), "the first record")
    workers = children(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    soon(lambda: not any(map(runs, workers)), "the end of the workers of a command that is gone")
    kept = outcomes("runs")
    assert 0 < len(kept) < len(expected)
    code, _, err = toys(*MANY, *BUSY, "--workers", "2")
    assert code == 0, err
    assert outcomes("runs") == expected and not Path("runs/checkpoints").exists()


@pytest.mark.slow
def test_an_interruption_ends_all_workers_at_once_and_keeps_what_is_finished(toys, start):
    expected = undisturbed(toys, *MANY, *BUSY)
    process = start(*MANY, *BUSY, "--workers", "2")
    soon(lambda: outcomes("runs") and len(children(process.pid)) == 2, "the first record")
    workers, since = children(process.pid), time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
    process.join(30)
    assert process.exitcode == 130 and time.monotonic() - since < 10 and not any(map(runs, workers))
    said = "error: interrupted; finished runs are kept, the same command goes on from there\n"
    assert Path("said").read_text() == said
    kept = outcomes("runs")
    assert 0 < len(kept) < len(expected) and kept.items() <= expected.items()
    assert toys(*MANY, *BUSY)[0] == 0 and outcomes("runs") == expected


@pytest.fixture
def halfway(toys, start, monkeypatch) -> Path:
    """The checkpoint of a run that was killed in its ninth step."""
    monkeypatch.setenv("KILLED_AT", "9")
    start(*NOTED, "-s", "toy", "--seed", "0").join()
    (path,) = (path for path in files_in("runs") if path.suffix == ".checkpoint")
    return path


@pytest.mark.parametrize("ending", [".checkpoint", ".past"])
def test_a_damaged_checkpoint_is_told_and_not_used(toys, halfway, ending):
    damaged = halfway.with_suffix(ending)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    code, _, err = toys(*NOTED, "-s", "toy", "--seed", "0", "--workers", "1")
    assert code == 0 and noted()[9:] == list(range(STEPS))
    (line,) = err.splitlines()
    assert line.startswith(f"{halfway}: ") and line.endswith("the training starts again")
    assert outcomes("runs") == undisturbed(toys, *NOTED, "-s", "toy", "--seed", "0")
    assert not Path("runs/checkpoints").exists()


@pytest.mark.parametrize("changed", ["code", "threads"])
def test_a_checkpoint_of_other_code_is_not_used(toys, halfway, monkeypatch, changed):
    if changed == "code":  # of the method
        with Path("noting.py").open("a") as file:
            file.write("\nTHEN = 1\n")
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert toys(*NOTED, "-s", "toy", "--seed", "0", "--workers", "1")[0] == 0
    assert noted()[9:] == list(range(STEPS))


def test_a_checkpoint_of_another_release_is_not_used_and_goes_with_the_finished_run(toys, halfway):
    name, _, environment = halfway.stem.rpartition("-")
    halfway.rename(halfway.with_name(f"{name}-{environment[::-1]}.checkpoint"))
    assert toys(*NOTED, "-s", "toy", "--seed", "0", "--workers", "1")[0] == 0
    assert noted()[9:] == list(range(STEPS)) and not Path("runs/checkpoints").exists()


def test_what_was_half_written_goes_with_the_finished_run(toys, halfway):
    with replacing(halfway) as file:
        file.write(halfway.read_bytes())
    Path(file.name).write_bytes(b"as a process leaves it that is killed within")
    assert toys(*NOTED, "-s", "toy", "--seed", "0", "--workers", "1")[0] == 0
    assert not Path("runs/checkpoints").exists()


def test_another_command_may_finish_the_run_while_a_checkpoint_is_written(toys, monkeypatch):
    """It takes away all that it finds of the run, half-written or not."""
    written: list[Path] = []

    @contextmanager
    def taken(path):
        written.append(path)
        with replacing(path) as file:
            yield file
            if len(written) % 2:
                Path(file.name).unlink()

    one = (*NOTED, "-s", "toy", "--seed", "0")
    expected = undisturbed(toys, *one)
    monkeypatch.setattr("benchmark.running.checkpoints.replacing", taken)
    code, _, err = toys(*one, "--workers", "1")
    assert code == 0 and err == "" and len(written) == STEPS, err
    assert outcomes("runs") == expected and not Path("runs/checkpoints").exists()


def test_a_checkpoint_is_left_to_the_run_that_it_is_of(toys, halfway):
    assert toys(*NOTED, "-s", "toy", "--seed", "1", "--workers", "1")[0] == 0
    assert halfway.is_file() and len(outcomes("runs")) == 1
    assert toys(*NOTED, "-s", "toy", "--seed", "0", "--workers", "1")[0] == 0
    assert not Path("runs/checkpoints").exists()


def test_what_is_left_of_a_run_that_is_finished_goes_too(toys, halfway):
    content = halfway.read_bytes()
    assert toys(*NOTED, "-s", "toy", "--seed", "0")[0] == 0
    halfway.parent.mkdir()
    halfway.write_bytes(content)  # as when the command is killed between the record and this
    assert toys(*NOTED, "-s", "toy", "--seed", "0")[0] == 0
    assert not Path("runs/checkpoints").exists()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_full_disk_ends_a_run_with_one_line_and_leaves_the_checkpoint_before(toys, monkeypatch, workers):
    """The disk is full in the middle of the fifth checkpoint."""
    written: list[Path] = []

    class Full:
        def __init__(self, file) -> None:
            self.file = file

        def __getattr__(self, name: str):
            return getattr(self.file, name)

        def write(self, content) -> int:
            if len(written) >= 5 and self.file.tell() > 10_000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self.file.write(content)

    @contextmanager
    def full(path):
        written.append(path)
        with replacing(path) as file:
            yield Full(file)

    two = (*NOTED, "-s", "toy", "--seeds", "2")
    expected = undisturbed(toys, *two)
    with monkeypatch.context() as patch:
        patch.setattr("benchmark.running.checkpoints.replacing", full)
        code, _, err = toys(*two, "--workers", workers)
    assert code == 2 and "runs/checkpoints/" in err
    assert len(err.splitlines()) == 1 and "No space left on device" in err and "--results" in err
    assert ".checkpoint" in {kept.suffix for kept in files_in("runs")}
    Path("steps").unlink()
    assert toys(*two, "--workers", workers)[0] == 0
    assert outcomes("runs") == expected and len(noted()) < 2 * STEPS


def test_a_folder_that_takes_no_checkpoints_is_told_before_anything_slow(toys):
    Path("runs").mkdir()
    Path("runs/checkpoints").touch()
    code, out, err = toys(*NOTED, "-s", "toy", "--seed", "0")
    assert (code, out) == (2, "") and err.startswith("error: cannot write to runs/checkpoints: ")
    assert len(err.splitlines()) == 1 and not Path("steps").exists()


def test_a_method_that_cannot_be_put_aside_goes_on_without(toys):
    code = "from methods.finetune import Finetune\n\nclass Own(Finetune):\n"
    code += "    def prepare_round(self):\n        self.mine = lambda: None\n"
    Path("own.py").write_text(code)
    arguments = ("run", "-m", "own.py:Own", "-s", "toy", "--seeds", "1", "--checkpoint-every", "1", *BUSY)
    code, _, err = toys(*arguments, "--workers", "1")
    assert code == 0 and len(outcomes("runs")) == 1
    (line,) = err.splitlines()
    assert "its mine, a function, cannot be kept on disk" in line
