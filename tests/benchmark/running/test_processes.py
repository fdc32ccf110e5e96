"""Processes that work on tasks: how many at a time, what becomes of their results, and that none outlives its head."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmark.output.progress import Reporter
from benchmark.running.engines import Result, Serial, Task, Tell, Work, portable
from benchmark.running.gpu import Room
from benchmark.running.processes import ATTEMPTS, Processes
from tests.benchmark.running.commands import runs, soon

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="its processes start afresh, without this module")


class Fitting(Room):
    """Room for so many trainings."""

    def __init__(self, number: int) -> None:
        self.number, self.asked = number, 0

    def trainings(self) -> int:
        self.asked += 1
        return self.number


@pytest.fixture
def quiet() -> Reporter:
    return Reporter(quiet=True)


def tasks(count: int, cells: int = 1) -> Iterator[Task]:
    return (Task(f"task {n}", 0, n, tuple(range(cells))) for n in range(count))


def squares(task: Task, tell: Tell) -> Iterator[tuple[int, int]]:
    for cell in task.cells:
        tell(cell + 1, len(task.cells))
        yield cell, (10 * task.seed + cell) ** 2


def at_work(expected: int) -> Work:
    """Work that gives the number of those that work at the same time; it waits until once there were ``expected``."""

    def work(task: Task, tell: Tell) -> Iterator[tuple[int, int]]:
        place, enough = Path(f"at-work-{task.seed}"), Path("enough")
        place.touch()
        tell(1, 2)
        end = time.monotonic() + 10
        while len(list(Path().glob("at-work-*"))) < expected and not enough.exists() and time.monotonic() < end:
            time.sleep(0.01)
        enough.touch()
        time.sleep(0.1)  # for more than those
        number = len(list(Path().glob("at-work-*")))
        place.unlink()
        yield 0, number

    return work


def most(engine: Processes, expected: int, count: int) -> int:
    """The greatest number that work on ``count`` tasks at the same time."""
    Path("enough").unlink(missing_ok=True)
    numbers = found(engine.map(at_work(expected), tasks(count)))
    assert len(numbers) == count
    return max(numbers.values())


def found(results: Iterator[Result]) -> dict[tuple[int, int], Any]:
    return {(task.seed, cell): value for task, cell, value in results if cell is not None}


@pytest.mark.parametrize("workers", [1, 2, 3, 9])
def test_every_cell_has_its_result_and_every_task_its_end(quiet, workers):
    results = list(Processes(workers, 1, quiet).map(squares, tasks(7, cells=3)))
    assert found(iter(results)) == found(Serial(quiet).map(squares, tasks(7, cells=3)))
    assert found(iter(results)) == {(n, cell): (10 * n + cell) ** 2 for n in range(7) for cell in range(3)}
    ends = [task.seed for task, cell, value in results if cell is None and value is None]
    assert sorted(ends) == list(range(7)) and len(results) == 28


def test_without_tasks_there_are_no_results(quiet):
    assert list(Processes(2, 1, quiet).map(squares, tasks(0))) == []


def test_tasks_are_asked_for_when_somebody_is_free(quiet):
    asked = []

    def slowly() -> Iterator[Task]:
        for task in tasks(20):
            asked.append(task)
            yield task

    results = Processes(2, 1, quiet).map(squares, slowly())
    next(results)
    assert len(asked) <= 4
    results.close()


def test_so_many_work_at_a_time_but_the_last_few_share_the_cores(quiet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert most(Processes(2, 1, quiet), 2, 2) == 2
    assert most(Processes(2, 1, quiet), 3, 3) == 3
    assert 4 <= most(Processes(4, 1, quiet), 4, 12) <= 6


def test_a_first_one_alone_says_how_many_have_room(quiet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for fitting, workers, expected, allowed in ((3, 8, 3, (3, 4)), (1, 8, 1, (1,)), (99, 2, 2, (2, 3))):
        room = Fitting(fitting)
        assert most(Processes(workers, 1, quiet, room=room), expected, 7) in allowed
        assert room.asked == 1


def test_a_killed_process_goes_on_with_the_cells_that_are_left(quiet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def dying(task: Task, tell: Tell) -> Iterator[tuple[int, tuple[int, ...]]]:
        for cell in task.cells:
            if cell == 1 and not Path("died").exists():
                Path("died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield cell, task.cells

    results = list(Processes(2, 1, quiet).map(dying, tasks(1, cells=3)))
    assert found(iter(results)) == {(0, 0): (0, 1, 2), (0, 1): (1, 2), (0, 2): (1, 2)}
    assert [value for _, cell, value in results if cell is None] == [None]


def test_one_that_is_always_killed_is_given_up(quiet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def dying(task: Task, tell: Tell) -> Iterator[tuple[int, int]]:
        with Path("attempts").open("a") as file:
            file.write(f"{task.seed}\n")
        if task.seed == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        yield 0, task.seed

    results = list(Processes(2, 1, quiet).map(dying, tasks(3)))
    assert found(iter(results)) == {(0, 0): 0, (2, 0): 2}
    assert Counter(Path("attempts").read_text().split()) == {"0": 1, "1": ATTEMPTS, "2": 1}
    (error,) = [value for _, _, value in results if isinstance(value, OSError)]
    assert "task 1: its process was ended by SIGKILL, 3 times" in str(error) and "--workers" in str(error)


def test_errors_arrive_with_the_line_that_made_them(quiet):
    def failing(task: Task, tell: Tell) -> Iterator[tuple[int, int]]:
        yield 0, 1
        raise {0: ZeroDivisionError("no"), 1: ValueError("not so"), 2: SystemExit(4)}[task.seed]

    results = list(Processes(2, 1, quiet).map(failing, tasks(3)))
    assert found(iter(results)) == {(n, 0): 1 for n in range(3)}
    errors = {task.seed: value for task, cell, value in results if cell is None}
    assert isinstance(errors[0], ZeroDivisionError) and f"{Path(__file__).name}" in errors[0].__notes__[0]
    assert type(errors[1]) is ValueError and str(errors[1]) == "not so"
    assert type(errors[2]) is ValueError and "ended the program with SystemExit(4)" in str(errors[2])


def test_an_interruption_in_a_process_is_one_of_the_command(quiet):
    def interrupted(task: Task, tell: Tell) -> Iterator[tuple[int, int]]:
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt), closing(Processes(2, 1, quiet).map(interrupted, tasks(2))) as results:
        list(results)


def test_a_method_may_start_processes_of_its_own(quiet):
    def helped(task: Task, tell: Tell) -> Iterator[tuple[int, int]]:
        helper = multiprocessing.get_context("fork").Process(target=os._exit, args=(3,))
        helper.start()
        helper.join()
        yield 0, helper.exitcode

    assert found(Processes(2, 1, quiet).map(helped, tasks(2))) == {(0, 0): 3, (1, 0): 3}


def test_no_process_outlives_the_one_who_listens(quiet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def endless(task: Task, tell: Tell) -> Iterator[tuple[int, int]]:
        yield 0, os.getpid()
        time.sleep(3600)

    results = Processes(2, 1, quiet).map(endless, tasks(4))
    workers = [next(results).value for _ in range(2)]
    assert all(map(runs, workers))
    results.close()
    soon(lambda: not any(map(runs, workers)), "their end")


@pytest.mark.parametrize(
    ("error", "kind"),
    [(OSError(28, "full", "file"), OSError), (KeyError("x"), KeyError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_portable_errors_are_of_their_kind(error, kind):
    told = portable(error)
    assert type(told) is kind and told.args == error.args
