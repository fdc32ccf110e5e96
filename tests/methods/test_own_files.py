"""Methods in files: all code that counts is hashed and is what runs; one file has one name."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest

import methods
from methods import load, one_name
from methods.own_files import code_files, digest_of

OWN = '''
"""M."""
import torch.nn.functional as F
from methods.strategy import RoundStrategy
{imports}

class Mine(RoundStrategy):
    """Cross-entropy."""

    def round_loss(self, logits, labels):
        return F.cross_entropy(logits, labels)
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("methods.own_files._owners", {})
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def write(folder: Path, **files: str) -> str:
    """Files by their dotted names; the method's own is ``mine``."""
    for name, content in files.items():
        path = folder / (name.replace("__dot__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return f"{folder / 'mine.py'}:Mine"


def test_a_file_alone_has_the_hash_of_its_content(folder):
    (folder / "methods").mkdir()
    name = write(folder, mine=OWN.format(imports="import json"), json="1 / 0", unused="", methods__dot__strategy="")
    content = (folder / "mine.py").read_bytes()
    assert hashlib.sha256(content).hexdigest()[:16] == load(name).CODE


@pytest.mark.parametrize(
    ("imports", "counted"),
    [
        ("import helper_a", {"helper_a.py", "helper_b.py"}),
        ("from helper_a import W", {"helper_a.py", "helper_b.py"}),
        ("def late():\n    import helper_b", {"helper_b.py"}),
        ("from own_parts.losses import W", {"own_parts/__init__.py", "own_parts/losses.py", "own_parts/deep.py"}),
        ("from own_parts import deep", {"own_parts/__init__.py", "own_parts/deep.py"}),
        ("import own_bare.one", {"own_bare/one.py"}),
        ("import os, torch", set()),
    ],
)
def test_modules_of_its_folder_count_with_what_they_import(folder, imports, counted):
    name = write(
        folder,
        mine=OWN.format(imports=imports),
        helper_a="from helper_b import W\nimport helper_a",
        helper_b="W = 1",
        own_parts__dot____init__="",
        own_parts__dot__losses="from .deep import W\nfrom . import deep",
        own_parts__dot__deep="W = 1",
        own_bare__dot__one="W = 1",
    )
    found = code_files(folder / "mine.py")
    assert set(found) == counted | {"mine.py"}
    first = load(name).CODE
    assert first == digest_of(found)
    for file in counted:
        before = (folder / file).read_bytes()
        (folder / file).write_bytes(before + b"\n")
        assert first != load(name).CODE
        (folder / file).write_bytes(before)
    assert first == load(name).CODE


def test_what_runs_is_what_was_hashed(folder):
    name = write(folder, mine=OWN.format(imports="import helper_a") + "    W = helper_a.W\n", helper_a="W = 1")
    assert load(name).W == 1
    write(folder, helper_a="W = 2")  # same size, same second
    assert load(name).W == 2 and not list(folder.rglob("*.pyc"))


def test_folders_do_not_mix(folder):
    first = write(folder / "a", mine=OWN.format(imports="import helper_a"), helper_a="W = 1")
    second = write(folder / "b", mine=OWN.format(imports="import helper_a"), helper_a="W = 2")
    load(first)
    with pytest.raises(ValueError, match=r"its module helper_a has the name of one that is loaded from .*/a"):
        load(second)


def test_a_module_named_like_a_loaded_library_is_refused(folder):
    name = write(folder, mine=OWN.format(imports="import torch"), torch="W = 1")
    with pytest.raises(ValueError, match="its module torch has the name"):
        load(name)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import sys; sys.exit()", "SystemExit"),
        ("class Odd(BaseException): pass\nraise Odd('no')", "Odd: no"),
        ("from .helper import x", "ImportError"),
        ("import helper_a", "SystemExit"),
    ],
)
def test_whatever_a_file_raises_is_one_line(folder, content, reason):
    name = write(folder, mine=content, helper_a="raise SystemExit")
    with pytest.raises(ValueError, match=f"cannot be imported: {reason}"):
        load(name)


def test_an_interruption_passes(folder):
    with pytest.raises(KeyboardInterrupt):
        load(write(folder, mine="raise KeyboardInterrupt"))


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("mine.py:C", "mine.py:C"),
        ("sub/mine.py:C", "sub/mine.py:C"),
        ("./mine.py:C", "mine.py:C"),
        ("sub/../mine.py:C", "mine.py:C"),
        ("{here}/sub/mine.py:C", "sub/mine.py:C"),
        ("{here}/mine.py:C+ties", "mine.py:C+ties"),
        ("../{name}/mine.py:C", "mine.py:C"),
        ("../other/mine.py:C", "../other/mine.py:C"),
        ("{here}/../other/mine.py:C", "../other/mine.py:C"),
        ("mds", "mds"),
        ("finetune+ties", "finetune+ties"),
        ("der++", "der++"),
    ],
)
def test_one_file_has_one_name(tmp_path, monkeypatch, typed, name):
    monkeypatch.chdir(tmp_path)
    typed = typed.format(here=tmp_path, name=tmp_path.name)
    assert one_name(typed) == name == one_name(name)


def test_a_home_folder_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write(tmp_path, mine=OWN.format(imports=""))
    assert one_name("~/mine.py:Mine") == "mine.py:Mine" and load("~/mine.py:Mine").CODE
    assert methods.is_method(f"~{os.sep}mine.py:Mine")
