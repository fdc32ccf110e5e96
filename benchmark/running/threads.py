"""How many threads compute, and that they wait asleep; set before torch is imported."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from scenarios.cores import available

COUNT = "OMP_NUM_THREADS"
OURS = "MDS_BENCH_THREADS"  # the value of COUNT where it is this package's, not the user's


def set_defaults() -> None:
    """As many threads as cores, for this process and its children; what the user has set stays.

    Threads that wait for work in a loop take the cores from whoever has some.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if COUNT not in os.environ:
        os.environ[COUNT] = os.environ[OURS] = str(available())


def threads_of(trainings: int) -> int:
    """Threads of each of so many trainings: the machine's cores shared by all, or what the user has set.

    They decide the last bits of sums. So they depend on how many trainings a command has, not on how many it makes at
    a time.

    Raises:
        ValueError: the user has set what is no number of threads.
    """
    count = os.environ.get(COUNT, "")
    if not count or count == os.environ.get(OURS):
        return max(1, available() // max(1, trainings))
    first = count.split(",")[0].strip()  # of nested numbers
    if not re.fullmatch("[1-9][0-9]{0,3}", first):
        raise ValueError(f"{COUNT} must be a whole number from 1 to 9999, not {count!r}: change or unset it")
    return int(first)


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """torch on ``number`` threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
