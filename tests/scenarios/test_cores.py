"""The cores that a process may use, by its affinity and by control groups as files of both versions tell them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scenarios import cores
from scenarios.cores import available
from tests import ROOT

ONE = "0::/\n"
NESTED = "0::/kubepods/pod7/box\n"
OLD = "4:memory:/docker/a\n3:cpu,cpuacct:/docker/a\n1:name=systemd:/docker/a\n"
CORE = min(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0  # one that this process may use
V1, V2 = "sys/fs/cgroup/cpu,cpuacct", "sys/fs/cgroup"


@pytest.fixture(autouse=True)
def eight(monkeypatch):
    """A machine with eight cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


def tree(root: Path, groups: str, files: dict[str, str]) -> Path:
    """A file system with the groups of this process and their limits."""
    for name, content in {"proc/self/cgroup": groups, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        (ONE, {f"{V2}/cpu.max": "200000 100000\n"}, 2),
        (ONE, {f"{V2}/cpu.max": "150000 100000\n"}, 1),  # a second thread would be paused half of the time
        (ONE, {f"{V2}/cpu.max": "50000 100000\n"}, 1),  # never none
        (ONE, {f"{V2}/cpu.max": "400000 50000\n"}, 8),
        (ONE, {f"{V2}/cpu.max": "6400000 100000\n"}, 8),
        (ONE, {f"{V2}/cpu.max": "max 100000\n"}, 8),
        (ONE, {f"{V2}/cpu.max": ""}, 8),
        (ONE, {f"{V2}/cpu.max": "300000 0\n"}, 8),
        (ONE, {}, 8),
        ("", {}, 8),
        (NESTED, {f"{V2}/kubepods/pod7/box/cpu.max": "300000 100000\n"}, 3),
        (NESTED, {f"{V2}/kubepods/cpu.max": "500000 100000\n", f"{V2}/kubepods/pod7/box/cpu.max": "max 100000\n"}, 5),
        (NESTED, {f"{V2}/kubepods/cpu.max": "500000 100000\n", f"{V2}/kubepods/pod7/cpu.max": "400000 100000\n"}, 4),
        (NESTED, {f"{V2}/cpu.max": "700000 100000\n"}, 7),  # seen from within a container: the group is the root
        (OLD, {f"{V1}/docker/a/cpu.cfs_quota_us": "300000\n", f"{V1}/docker/a/cpu.cfs_period_us": "100000\n"}, 3),
        (OLD, {f"{V1}/cpu.cfs_quota_us": "250000\n", f"{V1}/cpu.cfs_period_us": "100000\n"}, 2),
        (OLD, {f"{V1}/docker/a/cpu.cfs_quota_us": "-1\n", f"{V1}/docker/a/cpu.cfs_period_us": "100000\n"}, 8),
        (OLD, {f"{V1}/docker/a/cpu.cfs_quota_us": "300000\n"}, 8),
    ],
)
def test_a_quota_counts_in_whole_cores(tmp_path, groups, files, expected):
    assert available(tree(tmp_path, groups, files)) == expected


def test_where_nothing_tells_of_groups_the_affinity_counts(tmp_path, monkeypatch):
    assert available(tmp_path) == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {5})
    assert available(tmp_path) == 1
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    monkeypatch.setattr(cores.os, "cpu_count", lambda: 6)
    assert available(tmp_path) == 6


def test_the_smaller_of_quota_and_affinity_counts(tmp_path, monkeypatch):
    tree(tmp_path, ONE, {f"{V2}/cpu.max": "600000 100000\n"})
    assert available(tmp_path) == 6
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 2, 3})
    assert available(tmp_path) == 3


@pytest.mark.skipif(shutil.which("taskset") is None, reason="needs taskset, of util-linux")
def test_a_process_bound_to_a_core_has_one():
    code = "from scenarios.cores import available; print(available())"
    bound = ("taskset", "-c", str(CORE), sys.executable, "-c", code)
    assert subprocess.run(bound, cwd=ROOT, capture_output=True, text=True, check=True).stdout == "1\n"
