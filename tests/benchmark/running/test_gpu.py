"""How many trainings fit on a GPU, by a driver's tool that a test puts in place of the real one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.running.gpu import Room

Tell = Callable[[str], None]


@pytest.fixture
def tool(monkeypatch, tmp_path) -> Tell:
    """``tool(text)``: what ``nvidia-smi`` prints from now on."""
    told = tmp_path / "told"
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" > "{tmp_path}/asked"\ncat "{told}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return lambda text: (told.write_text(text), None)[1]


@pytest.mark.parametrize(
    ("before", "now", "fitting"),
    [
        ("0, 80000", "8000, 80000", 9),  # a tenth of the memory stays free
        ("500, 80000", "8500, 80000", 8),
        ("500, 80000\n70000, 80000", "8500, 80000\n0, 80000", 8),  # of two, the first is in use
        ("0, 80000", "79000, 80000", 1),
        ("60000, 80000", "75000, 80000", 1),
        ("500, 80000", "500, 80000", 1),  # nothing to measure
        ("500, 80000", "400, 80000", 1),
        ("500, 80000", "[N/A], [N/A]", 1),
        ("No devices were found", "8000, 80000", 1),
        ("", "", 1),
    ],
)
def test_as_many_fit_as_the_first_leaves_room_for(tool, tmp_path, before, now, fitting):
    tool(before)
    room = Room()
    tool(now)
    assert room.trainings() == fitting
    asked = (tmp_path / "asked").read_text()
    assert "--query-gpu=memory.used,memory.total" in asked and "nounits" in asked


def test_without_the_tool_there_is_one_at_a_time(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Room().trainings() == 1


def test_a_tool_that_fails_is_none(tool, tmp_path):
    tool("0, 80000")
    room = Room()
    (tmp_path / "bin" / "nvidia-smi").write_text("#!/bin/sh\necho 8000, 80000\nexit 9\n")
    assert room.trainings() == 1


def test_memory_is_that_of_the_devices_that_are_visible(tool, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    tool("0, 80000")
    Room()
    assert Path(tmp_path, "asked").read_text().split()[:2] == ["--id=1", "--query-gpu=memory.used,memory.total"]
