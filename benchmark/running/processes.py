"""The engine of one machine: a process for each task, several at a time."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Any

from benchmark.output.progress import Reporter
from benchmark.running.engines import Result, Task, Work, forks, portable
from benchmark.running.gpu import Room

ATTEMPTS = 3  # to finish a task whose process is killed
TOLD_EVERY = 0.2  # seconds between two messages about steps
PATIENCE = 5.0  # seconds that a process has to end


@dataclass(eq=False)
class _Worker:
    """A process at work on a task."""

    process: Any
    task: Task
    attempt: int
    done: list[Any] = field(default_factory=list)


class Processes:
    """Processes of this machine, each for one task.

    On Linux they start as copies of this process, so that streams, bases and all else in its memory are shared with
    them, not copied: but only where each computes on one thread, as OpenMP's threads do not survive the copying, and
    not on a GPU, which does not either. Else they start afresh, and ``work`` brings what it needs.

    Args:
        workers: how many tasks to work on at a time. The last few, if they would leave cores idle, share them.
        threads: of each process.
        reporter: told how far they are.
        device: that they compute on.
        room: of the GPU that they share, which says after the first steps how many fit; None to take ``workers``.
    """

    def __init__(
        self, workers: int, threads: int, reporter: Reporter, device: str = "cpu", room: Room | None = None
    ) -> None:
        self.room, self._most = room, workers
        workers = workers if room is None else 1
        self.workers, self.threads, self.reporter = workers, threads, reporter
        self.inherits = forks() and threads == 1 and device == "cpu"
        self._context: Any = multiprocessing.get_context("fork" if self.inherits else "spawn")
        self._running: dict[Connection, _Worker] = {}

    def map(self, work: Work, tasks: Iterator[Task]) -> Generator[Result]:
        """See ``Engine``. A task whose process was killed is tried again.

        Raises:
            KeyboardInterrupt: here or in a process; all of them are ended.
        """
        waiting: deque[tuple[Task, int]] = deque()
        coming = ((task, 1) for task in tasks)
        try:
            while True:
                while len(self._running) < self.workers:
                    task = waiting.popleft() if waiting else next(coming, None)
                    if task is None:
                        break
                    self._start(work, *task)  # before the next one is made ready
                waiting.extend(islice(coming, max(0, self._few + 1 - len(waiting))))
                while len(waiting) <= self._few and waiting:
                    self._start(work, *waiting.popleft())
                if not self._running:
                    return
                for connection in wait(list(self._running)):
                    yield from self._receive(connection, waiting)  # type: ignore[arg-type]
        finally:
            self._end_all()

    @property
    def _few(self) -> int:
        """So many tasks at the end would have a turn of their own with cores idle: they start early and share them."""
        return self.workers // 2

    def _start(self, work: Work, task: Task, attempt: int) -> None:
        ours, theirs = self._context.Pipe()
        inherited = [ours, *self._running] if self.inherits else []
        process = self._context.Process(target=_work, args=(work, task, self.threads, theirs, inherited, os.getpid()))
        gc.freeze()  # a collection in the copy would write to, and so copy, all that both share
        process.start()
        gc.unfreeze()
        theirs.close()
        self._running[ours] = _Worker(process, task, attempt)

    def _receive(self, connection: Connection, waiting: deque[tuple[Task, int]]) -> Iterator[Result]:
        worker = self._running[connection]
        try:
            kind, *content = connection.recv()
        except (EOFError, OSError):  # it ended without a word
            kind, content = "killed", []
        if kind == "step":
            self.reporter.report(worker.task.label, *content)
            if self.room is not None:
                self.workers, self.room = min(self._most, self.room.trainings()), None
            return
        if kind == "result":
            cell, value = content
            worker.done.append(cell)
            yield Result(worker.task, cell, value)
            with suppress(OSError):
                connection.send("kept")
            return
        self._forget(connection)
        self.reporter.finish(worker.task.label)
        if kind == "killed" and worker.attempt < ATTEMPTS:
            self.reporter.say(f"{worker.task.label}: {_how_ended(worker.process)}; started again")
            waiting.append((worker.task.without(worker.done), worker.attempt + 1))
            return
        error = content[0] if content else None
        if kind == "killed":
            error = OSError(
                f"{worker.task.label}: {_how_ended(worker.process)}, {ATTEMPTS} times: if memory is short, "
                "take fewer --workers; the same command goes on from there"
            )
        if isinstance(error, KeyboardInterrupt):
            raise error
        yield Result(worker.task, None, error)

    def _forget(self, connection: Connection) -> None:
        worker = self._running.pop(connection)
        connection.close()
        worker.process.join(PATIENCE)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()

    def _end_all(self) -> None:
        for worker in self._running.values():
            worker.process.terminate()
        for connection in list(self._running):
            self._forget(connection)


def _how_ended(process: Any) -> str:
    code = process.exitcode
    return f"its process was ended by {signal.Signals(-code).name}" if code and code < 0 else "its process ended"


def _work(
    work: Work, task: Task, threads: int, connection: Connection, inherited: list[Connection], parent: int
) -> None:
    """In the process: work on the task and tell of it; end when there is nobody left to tell."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends all
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for other in inherited:
        other.close()
    import torch

    torch.set_num_threads(threads)
    told = 0.0

    def tell(done: int, total: int) -> None:
        nonlocal told
        if os.getppid() != parent:
            raise BrokenPipeError
        if (now := time.monotonic()) - told > TOLD_EVERY or done == total:
            told = now
            connection.send(("step", done, total))

    try:
        for cell, value in work(task, tell):
            connection.send(("result", cell, value))
            connection.recv()
        connection.send(("over",))
    except (BrokenPipeError, EOFError):
        os._exit(1)
    except BaseException as error:
        connection.send(("failed", portable(error)))
