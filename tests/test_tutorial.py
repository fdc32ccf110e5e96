"""The tutorial for authors of methods does what it says."""

from __future__ import annotations

import csv
import importlib
import re
from pathlib import Path

import pytest

import methods
from scenarios.mock import one_round
from tests import ROOT
from tests.pages import files_of, importable

TEXT = (ROOT / "docs" / "your-own-method.md").read_text(encoding="utf-8")
FILES = files_of(TEXT)


@pytest.fixture
def tutorial(tmp_path):
    """The document's files on disk, ready to be imported."""
    with importable(FILES, tmp_path):
        yield importlib.import_module


def test_the_method_is_short():
    assert len(FILES["my_method.py"].splitlines()) < 60


def test_its_tests_pass(tutorial):
    tests = [test for name, test in vars(tutorial("test_my_method")).items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        test()


def test_its_method_runs_and_keeps_a_record(tutorial):
    from benchmark.records.schema import BaseInfo
    from benchmark.running.promises import random_base
    from benchmark.running.runner import Run

    method, stream = tutorial("my_method").KeepMargin, one_round()
    info = BaseInfo(name="random", sha256="0" * 64, model="mds-tiny")
    settings = method.SETTINGS(steps=2, batch_size=16, strength=100)
    record, _ = Run(stream, random_base(stream), info, "my_method.py:KeepMargin", method, settings).execute()
    assert record.status == "complete" and record.method.settings["strength"] == 100


def test_its_line_for_the_table_is_one_the_table_takes():
    table = (Path(methods.__file__).parent / "methods.csv").read_text().splitlines()
    (line,) = re.findall(r"^```csv\n(.*?)\n```$", TEXT, re.M | re.S)
    (row,) = csv.DictReader([table[0], line])
    assert row["name"] == "keep-margin" and None not in row and None not in row.values()
    assert row["family"] in {method.family for method in methods.METHODS.values()}
    assert set(row["access"].split(";")) <= set(methods.ACCESS)
