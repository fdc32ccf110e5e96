"""Memory kept between training steps: seen in processes of their own, as it is the C library's."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")

STEPS = """
import resource, sys
import torch
from contextlib import nullcontext
from benchmark.running.memory import kept_memory

def steps(number):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(number):
        activations = [torch.ones(2_000_000 * size) for size in (1, 3, 9)]  # 8, 24 and 72 MB
        del activations
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def held():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * resource.getpagesize() // 2**20

steps(1)
at_first = held()
with kept_memory() if sys.argv[1] == "kept" else nullcontext():
    steps(10)
    faults, within = steps(5), held()
print(faults, within - at_first, held() - at_first)
"""


def measured(mode: str, **environment: str) -> tuple[int, int, int]:
    """Page faults of five steps after ten, and MiB more than before them that are held at their end and afterwards."""
    command = [sys.executable, "-c", STEPS, mode]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(command, env=inherited | environment, capture_output=True, text=True, check=True)
    faults, within, afterwards = map(int, done.stdout.split())
    return faults, within, afterwards


def test_steps_meet_the_memory_of_those_before_them_and_it_is_given_back():
    pages = 5 * 104_000_000 // os.sysconf("SC_PAGE_SIZE")
    faults, within, afterwards = measured("kept")
    assert faults < 0.01 * pages and within > 80 and afterwards < 20
    assert measured("usual")[0] > 0.5 * pages


def test_what_the_user_has_set_stays():
    pages = 5 * 104_000_000 // os.sysconf("SC_PAGE_SIZE")
    assert measured("kept", MALLOC_ARENA_MAX="2")[0] > 0.5 * pages
