"""Requests that contradict themselves, and the names of methods."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.running.request import BaseChoice, Request


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"file": Path("a.safetensors"), "pretrained": "openai"},
            "--base a.safetensors and --pretrained openai",
        ),
        ({"model": "ViT-B-16", "like": "openai"}, "--like openai.*with --base FILE"),
    ],
)
def test_two_bases_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        BaseChoice(**given)


@pytest.mark.parametrize("command_", ["run", "tune"])
def test_on_the_command_line_too(command, command_):
    code, _, err = command(command_, "--method", "mds", "--base", "toy.safetensors", "--pretrained", "openai")
    assert code == 2 and "are two bases: give one" in err


def test_one_file_is_asked_for_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    request = Request(f"mds, m.py:C,./m.py:C,{tmp_path}/m.py:C, mds", "driving-foggy", (0,))
    assert request.methods == ("mds", "m.py:C")
