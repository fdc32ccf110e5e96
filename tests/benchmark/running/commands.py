"""What tests of commands share: other scenarios, methods in files, outcomes that were kept, and processes at work."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from benchmark.records import files
from scenarios.stream import DevelopmentStream
from tests.conftest import make_toy_stream

PATIENCE = 60.0  # seconds that something may take to happen
SHORT = ("--base", "toy.safetensors", "--set", "batch_size=16", "--option", "per_class=8")
PLUGINS = ("wise-ft", "ties", "soup", "uwm-protect", "fisher-merge", "ptm")
FAMILY = ("finetune", *(f"finetune+{name}" for name in PLUGINS))
NOTING = '''
"""Fine-tuning that notes its steps, and kills the process that notes a certain one."""

import os
import signal
from pathlib import Path

from methods.finetune import Finetune


class Noting(Finetune):
    def round_loss(self, logits, labels):
        with Path("steps").open("ab", buffering=0) as file:
            file.write(f"{self.seed:4} {len(self.losses):4}\\n".encode())
            number = file.tell() // 10  # of this line, whoever else writes
        if number == int(os.environ.get("KILLED_AT", "0")):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().round_loss(logits, labels)
'''


def toy_rounds(seed: int = 0, per_class: int = 30, image_size: int = 64) -> DevelopmentStream:
    """The toy stream with two rounds, as another scenario."""
    return dataclasses.replace(make_toy_stream(seed, per_class, rounds=2), name="toy-rounds")


def outcomes(results: str | Path) -> dict[str, tuple[str, bytes]]:
    """By file: what was measured in a run, times aside, and its predictions."""
    records = sorted((Path(results) / "records").rglob("*.json"))
    return {one.name: (files._outcome(files.read(one)), one.with_suffix(".csv.gz").read_bytes()) for one in records}


def noted() -> list[int]:
    """The steps that ``Noting`` has begun, within their rounds."""
    return [int(line.split()[1]) for line in Path("steps").read_text().splitlines()]


def soon(happens: Callable[[], object], what: str) -> None:
    """Wait until something happens."""
    end = time.monotonic() + PATIENCE
    while not happens():
        assert time.monotonic() < end, f"{what}: not within {PATIENCE:g} s"
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    """Processes that a process has started and that still run."""
    with suppress(OSError):
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def runs(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False
