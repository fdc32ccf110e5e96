"""The examples in docstrings of metrics give what they say."""

from __future__ import annotations

import ast
import doctest
from importlib import import_module

import pytest

from tests import ROOT

MODULES = sorted(
    file.stem for file in (ROOT / "benchmark" / "metrics").glob("*.py") if file.stem not in ("__init__", "plugins")
)
WITHOUT = {"scored", "mean_preserved_gain_interval", "simulated_luck_rate", "plan", "lines", "preferences", "count"}


@pytest.mark.parametrize("name", MODULES)
def test_examples_hold(name):
    module = import_module(f"benchmark.metrics.{name}")
    found = doctest.testmod(module)
    assert found.attempted and not found.failed


def test_nearly_every_public_function_has_one():
    lacking = {
        node.name
        for name in MODULES
        for node in ast.parse((ROOT / "benchmark" / "metrics" / f"{name}.py").read_text()).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
        if ">>> " not in (ast.get_docstring(node) or "")
    }
    assert lacking == WITHOUT
