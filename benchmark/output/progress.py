"""How far along: bars with the time left on a terminal, plain lines elsewhere, on standard error."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY = 10.0  # seconds between plain lines


class Reporter:
    """``report(what, done, total)`` for any number of named tasks.

    Args:
        quiet: say nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._bars: Progress | None = None
        self._tasks: dict[str, object] = {}
        self._last = 0.0
        if not quiet and sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
            self._bars = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True))

    def __enter__(self) -> Reporter:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def say(self, line: str) -> None:
        """One line, above any bars."""
        if self._bars is not None:
            self._bars.console.print(line, markup=False, highlight=False)
        elif not self.quiet:
            print(line, file=sys.stderr, flush=True)

    def report(self, what: str, done: int, total: int) -> None:
        """``done`` of ``total`` steps of the task ``what``."""
        if self._bars is not None:
            if what not in self._tasks:
                self._tasks[what] = self._bars.add_task(what, total=total)
            self._bars.update(self._tasks[what], completed=done, total=total)  # type: ignore[arg-type]
        elif not self.quiet and (time.monotonic() - self._last > LINE_EVERY or done == total):
            self._last = time.monotonic()
            self.say(f"{what}: {done}/{total}")

    def finish(self, what: str) -> None:
        """No more of the task ``what``: its bar makes room for others."""
        if self._bars is not None and what in self._tasks:
            self._bars.remove_task(self._tasks.pop(what))  # type: ignore[arg-type]
