"""The house: imports run one way, nothing heavy is loaded unasked, and files stay small and where they belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from itertools import permutations
from operator import attrgetter
from pathlib import Path

import pytest

from tests import ROOT

OURS = ("benchmark", "methods", "scenarios")
FORBIDDEN = {"methods": {"benchmark", "scenarios"}, "scenarios": {"benchmark", "methods"}}

# Inside benchmark/ each imports only those before it.
ORDER = (
    *("output", "metrics", "arguments", "records", "running"),
    *("leaderboard", "catalogue", "audit", "check", "cli"),
)
APART = {*permutations(("output", "metrics", "arguments"), 2), ("leaderboard", "running")}
APART |= {*permutations(("leaderboard", "catalogue", "audit", "check"), 2)}  # each could be left out
FLAT = {"__init__.py", "__main__.py", "arguments.py"}
LONGEST = 300  # lines of a module

HEAVY = {"torch", "avalanche", "open_clip", "torchvision"}
LIGHT = (
    [f"benchmark.{package}" for package in ("output", "metrics", "records", "leaderboard")],
    [
        f"benchmark.audit.{module}"
        for module in ("gate", "judging", "rule", "words", "report", "predictions", "checkpoints", "policy")
    ],
)
LOADS_TORCH = "benchmark.metrics.plugins"  # Avalanche metrics: for whom has loaded it anyway


def modules(package: str) -> Iterator[tuple[str, Path]]:
    """Dotted name and file of every module."""
    for file in sorted((ROOT / package).rglob("*.py")):
        yield ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), file


def imported(file: Path) -> set[str]:
    """What a file imports, anywhere in it: dotted names, of modules and of what is taken from them."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def part(name: str) -> str:
    """What a dotted name inside ``benchmark`` belongs to."""
    return name.split(".")[1]


def wrong_imports(name: str, names: set[str]) -> set[str]:
    """Of what the module ``name`` of ``benchmark`` imports, what it may not."""
    own = part(name)
    theirs = {other for other in names if other.startswith("benchmark.") and part(other) != own}
    return {other for other in theirs if ORDER.index(part(other)) > ORDER.index(own) or (own, part(other)) in APART}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_run_one_way(package):
    wrong = {
        name: found
        for name, file in modules(package)
        if (found := {other for other in imported(file) if other.split(".")[0] in FORBIDDEN[package]})
    }
    assert not wrong


def test_packages_of_the_benchmark_import_earlier_ones_alone():
    inside = [(name, file) for name, file in modules("benchmark") if name.count(".") and not name.endswith("__main__")]
    assert {part(name) for name, _ in inside} == set(ORDER)
    assert not {name: found for name, file in inside if (found := wrong_imports(name, imported(file)))}


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("benchmark.metrics.luck", "benchmark.records.schema.Record"),
        ("benchmark.records.files", "benchmark.running.runner.Run"),
        ("benchmark.leaderboard.text", "benchmark.running.jobs.run"),
        ("benchmark.audit.gate", "benchmark.check.suite"),
        ("benchmark.check.suite", "benchmark.audit.gate"),
        ("benchmark.catalogue.cards", "benchmark.cli.app"),
        ("benchmark.output.tables", "benchmark.metrics.counts"),
    ],
)
def test_an_import_turned_round_would_be_found(name, other):
    assert wrong_imports(name, {other, "numpy"}) == {other}


def test_no_flat_file_returns_and_tests_stand_in_the_same_folders():
    assert {file.name for file in (ROOT / "benchmark").glob("*.py")} == FLAT
    packages = {file.parent.name for file in (ROOT / "benchmark").glob("*/__init__.py")}
    assert packages == set(ORDER) - {"arguments"}
    assert {file.parent.name for file in (ROOT / "tests" / "benchmark").glob("*/__init__.py")} == packages


@pytest.mark.parametrize("package", OURS)
def test_no_module_is_long(package):
    lengths = {name: len(file.read_text().splitlines()) for name, file in modules(package)}
    assert not {name: length for name, length in lengths.items() if length > LONGEST}


@pytest.mark.parametrize("group", LIGHT, ids=["packages", "audit of predictions"])
def test_what_reads_records_and_predictions_loads_without_torch(group):
    names = [name for root in group for name, _ in modules(root.replace(".", "/"))] or group
    names = [name for name in names if name != LOADS_TORCH]
    assert len(names) >= len(group)
    code = f"import sys\nfor name in {names}: __import__(name)\nsys.exit(str({HEAVY} & set(sys.modules) or ''))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["list", "methods"],
        ["list", "scenarios"],
        ["leaderboard"],
        ["run", "--method", "nope"],
        ["run", "--method", "mds", "--scenario", "nope"],
        ["try", "nope"],
        ["pretrain", "--scenario", "nope"],
        ["list", "methods", "nope"],
    ],
)
def test_light_commands_import_neither_torch_nor_avalanche(arguments, tmp_path):
    (tmp_path / "results" / "records").mkdir(parents=True)
    script = (
        "import sys, runpy; sys.argv = ['benchmark', *sys.argv[1:]]\n"
        "try: runpy.run_module('benchmark', run_name='__main__')\n"
        "except SystemExit: pass\n"
        f"heavy = {HEAVY} & set(sys.modules)\n"
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
    from methods import METHODS, load, run_as
    from methods.strategy import RoundStrategy

    names = [run_as(name) for name in METHODS]
    assert all(issubclass(load(name), RoundStrategy) for name in names)
    for entry in scenarios.SCENARIOS.values():
        path, _, function = entry.builder.partition(":")
        assert callable(attrgetter(function)(__import__(path, fromlist=[function])))
