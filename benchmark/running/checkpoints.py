"""Trainings on their way, kept on disk: a run that is killed goes on from there, bit for bit."""

from __future__ import annotations

import hashlib
import pickle
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmark.output.files import replace_file, replacing
from benchmark.records.files import saving
from benchmark.running.development import Branches
from benchmark.running.rounds import Past
from benchmark.running.runner import Run
from methods.strategy import RoundStrategy
from methods.suspension import restore, suspend

EVERY = 120.0  # seconds between checkpoints, where no number of steps is asked for
PACKAGES = ("torch", "avalanche-lib", "open_clip_torch", "numpy")  # on whose code and pickles a checkpoint depends
PAST = ".past"  # ending of the file beside a checkpoint that no method sees
HERE = Path(__file__).parent


class Kept(NamedTuple):
    """A training on its way, in the round ``number``, with the methods that share it."""

    number: int
    strategy: RoundStrategy
    branches: Branches
    past: dict[str, Past]  # by run id


class Checkpoints:
    """The checkpoints of runs that share their first training.

    Args:
        folder: where they lie.
        runs: all that share it; those that are to be executed may be fewer.
        every: steps from one to the next; None for two minutes.
        say: told of a checkpoint that cannot be used.

    Raises:
        OSError: from ``between_steps``, where the disk does not take a checkpoint; the one before is kept.
    """

    def __init__(
        self, folder: Path, runs: Sequence[Run], every: int | None = None, say: Callable[[str], None] = print
    ) -> None:
        self.folder, self.every, self.say = folder, every, say
        self._outside: dict[str, Any] = {run.run_id: run for run in runs}
        self._impossible = False

    def first(self, runs: Sequence[Run]) -> Kept | None:
        """The first training of ``runs``, if it is on its way."""
        kept = self._load(self._path(runs, 0), 0)
        known = {branch.name: branch for branch in kept.branches.branches} if kept is not None else {}
        if kept is None or not all(run.run_id in known and run.run_id in kept.past for run in runs):
            return None
        kept.branches.branches = tuple(known[run.run_id] for run in runs)  # others are finished
        return kept

    def later(self, run: Run) -> Kept | None:
        """The training of a later round of ``run`` alone, if one is on its way."""
        for number in reversed(range(1, len(run.stream.rounds))):
            if (kept := self._load(self._path([run], number), number)) is not None:
                return kept
        return None

    def between_steps(self, number: int, past: Mapping[Run, Past]) -> Callable[[RoundStrategy], None]:
        """Keeps a strategy's training, when it is time, after the step that it has done.

        Args:
            number: of the round.
            past: the runs that share the training, and what was known of each when it began.
        """
        runs = list(past)
        path, last = self._path(runs, number), time.monotonic()
        known: dict[str, Past] | None = {run.run_id: Past(one.before, list(one.results)) for run, one in past.items()}
        earlier = [self._path(runs, n) for n in range(1, number)] if number else []

        def keep(strategy: RoundStrategy) -> None:
            nonlocal last, known
            done = len(strategy.losses)
            due = time.monotonic() - last > EVERY if self.every is None else done % self.every == 0
            if due or (number > 0 and done == 1):  # the rounds before are kept with it
                last = time.monotonic()
                if self._keep(strategy, known, path):
                    known = None  # does not change
                    for old in earlier:
                        old.unlink(missing_ok=True)
                        old.with_suffix(PAST).unlink(missing_ok=True)

        return keep

    def _keep(self, strategy: RoundStrategy, past: dict[str, Past] | None, path: Path) -> bool:
        """Whether it is kept, with ``past`` if given; a method that cannot be is told of once, and goes on without."""
        if self._impossible:
            return False
        try:
            with saving(path):
                self.folder.mkdir(parents=True, exist_ok=True)
                if past is not None:
                    content = pickle.dumps(past)
                    replace_file(path.with_suffix(PAST), hashlib.sha256(content).digest() + content)
                with replacing(path) as file, _refusals():
                    suspend(strategy, self._outside, file)
            return True
        except FileNotFoundError:  # another process has finished the run, and cleared away what was half-written
            return False
        except ValueError as error:
            self._impossible = True
            self.say(str(error))
            return False

    @property
    def names(self) -> tuple[str, ...]:
        """What the names of its files start with."""
        return (_training_name(next(iter(self._outside.values()))), *self._outside)

    def _path(self, runs: Sequence[Run], number: int) -> Path:
        """A checkpoint is of one code, torch and number of threads: others are not found."""
        name = runs[0].run_id if number else _training_name(runs[0])
        return self.folder / f"{name}-{number}-{_environment(torch.get_num_threads())}.checkpoint"

    def _load(self, path: Path, number: int) -> Kept | None:
        if not path.is_file():
            return None
        for run in self._outside.values():
            run.stream.experiences(number, run.training.held_out)  # what was divided then is outside, too
        try:
            past = _read_past(path.with_suffix(PAST))
            with path.open("rb") as file:
                strategy = restore(file, self._outside)
        except ValueError as error:
            self.say(f"{path}: {error}; the training starts again")
            return None
        (branches,) = (plugin for plugin in strategy.plugins if isinstance(plugin, Branches))
        return Kept(number, strategy, branches, past)


def _read_past(path: Path) -> dict[str, Past]:
    """What ``_keep`` wrote.

    Raises:
        ValueError: it is missing or damaged.
    """
    whole = path.read_bytes() if path.is_file() else b""
    digest, content = whole[:32], whole[32:]
    if hashlib.sha256(content).digest() != digest:
        raise ValueError(f"{path.name} beside it is missing or damaged")
    past: dict[str, Past] = pickle.loads(content)
    return past


@contextmanager
def _refusals() -> Iterator[None]:
    """Within it, an error of torch's writer that comes from one of the system is the latter."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def _training_name(run: Run) -> str:
    s = run.stream
    decisive = f"{run.training.key} {run.base_info.sha256} {s.fingerprint} {s.training_fingerprint} {s.seed}"
    return hashlib.sha256(decisive.encode()).hexdigest()[:16]


@cache
def _environment(threads: int) -> str:
    """A mark of everything that decides how a training goes on."""
    sha = hashlib.sha256(" ".join([str(threads), *map(version, PACKAGES)]).encode())
    for folder in (HERE, HERE.parents[1] / "methods"):
        for path in sorted(folder.glob("*.py")):
            sha.update(path.read_bytes())
    return sha.hexdigest()[:8]
