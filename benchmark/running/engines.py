"""Engines: who does the work of a command. All give the same results; they differ in how many work at a time."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from sysconfig import get_path
from typing import Any, NamedTuple, Protocol

from benchmark.output.progress import Reporter

Tell = Callable[[int, int], None]  # steps done, steps in all


@dataclass(frozen=True)
class Task:
    """Cells of a command that are worked on together, as they share a training.

    Attributes:
        label: names it to people.
        job: which of the command's requests it belongs to.
        seed: of the stream.
        cells: what a result is given for.
        names: of what is kept on disk until it is over.
    """

    label: str
    job: int
    seed: int
    cells: tuple[Any, ...]
    names: tuple[str, ...] = ()

    def without(self, done: Iterable[Any]) -> Task:
        """What is left of it."""
        return replace(self, cells=tuple(cell for cell in self.cells if cell not in set(done)))


class Result(NamedTuple):
    """What came of a cell; of a whole task where ``cell`` is None: an error, or nothing once it is over."""

    task: Task
    cell: Any
    value: Any


Work = Callable[[Task, Tell], Iterator[tuple[Any, Any]]]  # (cell, value) of each cell, as it is finished


class Engine(Protocol):
    """Works on tasks."""

    inherits: bool  # whether those who work see what this process has in memory

    def map(self, work: Work, tasks: Iterator[Task]) -> Generator[Result]:
        """The results of all tasks, as they come; ``tasks`` is asked for the next one when somebody is free."""
        ...


class Serial:
    """This process, one task after the other."""

    inherits = True

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter

    def map(self, work: Work, tasks: Iterator[Task]) -> Generator[Result]:
        """See ``Engine``."""
        for task in tasks:
            value: Any = None
            try:
                for cell, found in work(task, partial(self.reporter.report, task.label)):
                    yield Result(task, cell, found)
            except Exception as error:
                value = error
            except SystemExit as ended:
                value = ValueError(who_ended(ended))
            self.reporter.finish(task.label)
            yield Result(task, None, value)


def portable(error: BaseException) -> BaseException:
    """An error as it can be told in another process: with its traceback as a note, where it is not a user's mistake."""
    import pickle

    if isinstance(error, SystemExit):
        return ValueError(who_ended(error))
    if not isinstance(error, (ValueError, OSError, KeyboardInterrupt)):
        error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:  # of other people's classes
        if isinstance(error, ValueError | OSError):
            return ValueError(str(error))
        told = RuntimeError(f"{type(error).__name__}: {error}")
        told.add_note("".join(traceback.format_exception(error)))
        return told


def who_ended(ended: SystemExit) -> str:
    """No command raises SystemExit: the line that did, of code that does not come with Python."""
    frames, pythons = traceback.extract_tb(ended.__traceback__), (get_path("stdlib"), "<frozen")
    others = [one for one in frames if "site-packages" in one.filename or not one.filename.startswith(pythons)]
    last = (others or frames)[-1]
    return f"{last.filename}:{last.lineno} ended the program with SystemExit({ended.code!r}): raise an error instead"


def forks() -> bool:
    """Whether processes can start as copies of this one, with all that it has in memory."""
    return sys.platform == "linux"
