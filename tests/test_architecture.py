"""Imports run one way, and the command line does not pay for what it does not use."""

from __future__ import annotations

import ast
import subprocess
import sys
from operator import attrgetter
from pathlib import Path

import pytest

from tests import ROOT

FORBIDDEN = {"methods": {"benchmark", "scenarios"}, "scenarios": {"benchmark", "methods"}}


def imported(path: Path) -> set[str]:
    """Top-level names of everything a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_run_one_way(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    wrong = {str(f.relative_to(ROOT)): imported(f) & FORBIDDEN[package] for f in files}
    assert not {f: names for f, names in wrong.items() if names}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["list", "methods"], ["list", "scenarios"], ["leaderboard"], ["run", "--method", "nope"]]
)
def test_light_commands_import_neither_torch_nor_avalanche(arguments, tmp_path):
    (tmp_path / "results" / "records").mkdir(parents=True)
    script = (
        "import sys, runpy; sys.argv = ['benchmark', *sys.argv[1:]]\n"
        "try: runpy.run_module('benchmark', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'avalanche', 'open_clip', 'torchvision'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_name_in_the_registries_loads():
    import scenarios
    from methods import METHODS, load, plugins
    from methods.strategy import RoundStrategy

    names = [f"finetune+{name}" if name in plugins() else name for name in METHODS]
    assert all(issubclass(load(name), RoundStrategy) for name in names)
    for entry in scenarios.SCENARIOS.values():
        path, _, function = entry.builder.partition(":")
        assert callable(attrgetter(function)(__import__(path, fromlist=[function])))
