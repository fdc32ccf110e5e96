"""Exit codes mean one thing: no error ends with that of a verdict, and nobody who reads changes one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from benchmark.cli import UNFORESEEN
from tests import ROOT

REGRESSED = 1
GATE = ("audit", "--old", "old.csv", "--new", "new.csv")


def write_predictions(folder: Path, lost: int) -> None:
    """Of class a, ``lost`` images of 100 are lost; of class b none."""
    for file, wrong in (("old.csv", 0), ("new.csv", lost)):
        rows = [f"{c}{k},{c},{'b' if c == 'a' and k < wrong else c}" for c in "ab" for k in range(100)]
        (folder / file).write_text("\n".join(("id,label,prediction", *rows, "")))


def shell(folder: Path, command: str, **environment: str) -> tuple[int, str]:
    """Exit code and standard error of the gate in a pipe: ``{gate}`` stands for it."""
    gate = " ".join((sys.executable, "-m", "benchmark", *GATE))
    done = subprocess.run(
        ["bash", "-c", command.format(gate=gate)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("command", "environment"),
    [
        ("{gate} | true; exit ${{PIPESTATUS[0]}}", {}),
        ("{gate} | head -1 >/dev/null; exit ${{PIPESTATUS[0]}}", {"PYTHONUNBUFFERED": "1"}),
        ("{gate} >&-", {}),
        ("{gate} >&- 2>&-", {}),
        ("{gate} >/dev/null", {"PYTHONIOENCODING": "ascii"}),
        ("{gate} >/dev/null", {"PYTHONIOENCODING": "cp1252"}),
    ],
    ids=["nobody reads", "only the first line is read", "closed", "both closed", "ascii", "cp1252"],
)
def test_a_verdict_does_not_depend_on_who_reads_it(tmp_path, command, environment):
    write_predictions(tmp_path, lost=30)
    assert shell(tmp_path, command, **environment) == (REGRESSED, "")


def test_what_an_encoding_has_not_is_shown_in_plainer_characters(tmp_path):
    write_predictions(tmp_path, lost=30)
    assert shell(tmp_path, "{gate} 1>&2", PYTHONIOENCODING="ascii")[1].count("-30.0") == 3


def test_a_full_disk_is_no_verdict(tmp_path):
    write_predictions(tmp_path, lost=30)
    code, err = shell(tmp_path, "{gate} >/dev/full")
    assert code == 2 and "No space left" in err and err.count("\n") == 1


@pytest.mark.parametrize("error", [RuntimeError("no"), MemoryError(), RecursionError(), GeneratorExit()], ids=repr)
def test_the_unforeseen_has_a_code_of_its_own(command, monkeypatch, error):
    from benchmark.audit import gate

    def fail(*_):
        raise error

    monkeypatch.setattr(gate, "run", fail)
    code, out, err = command(*GATE)
    assert code == UNFORESEEN and out == "" and "Traceback" in err and "which is no verdict" in err.splitlines()[-1]


ENDS = """
import sys
from methods.strategy import RoundStrategy

class Ends(RoundStrategy):
    "Ends the program."

    def round_loss(self, logits, labels):
        sys.exit(0)
"""


@pytest.mark.parametrize("where", ["in training", "at import"])
def test_a_method_that_ends_the_program_has_failed(command, where):
    Path("ends.py").write_text(ENDS + ("sys.exit(0)\n" if where == "at import" else ""))
    code, out, _ = command("try", "ends.py:Ends")
    assert code == 1 and "FAILED" in out and "SystemExit" in out and "failed" in out.splitlines()[-1]
    code, _, err = command("run", "-m", "ends.py:Ends", "--scenario", "toy", "--base", "toy.safetensors", "--quiet")
    assert code == 2 and err.count("\n") == 1 and "ends.py" in err and "SystemExit" in err


TEXT = st.text(st.characters(exclude_characters="\0/"), max_size=12) | st.sampled_from(
    ["nan", "inf", "-1", "1e999", "9" * 30, "~", "..", "a,b", '"', "=", "a=b", "--", "--x", "\udcff", "\u2028", "[red]"]
)
LIGHT = [
    *((*GATE, flag) for flag in ("--protected", "--target", "--alpha", "--margin", "--drop", "--html", "--junit")),
    *((*GATE, flag) for flag in ("--scenario", "--data", "--option", "--model", "--device")),
    ("audit", "--old", "old.csv", "--new"),
    ("plan", "--classes", "3", "--images", "100", "--flips", "0.1", "--drop"),
    ("plan", "--classes", "3", "--images", "100", "--drop", "0.01", "--flips"),
    ("plan", "--classes", "3", "--images", "100", "--flips", "0.1", "--drop", "0.01", "--certify"),
    ("list",),
    ("list", "methods"),
    ("list", "scenarios"),
    ("show",),
    ("leaderboard", "--results"),
    ("run", "--method"),
    ("run", "--method", "none", "--seed"),
    ("run", "--method", "none", "--option"),
    (),
]


def holds(command, arguments: tuple[str, ...], text: str) -> None:
    write_predictions(Path(), lost=0)
    code, _, err = command(*arguments, text)
    assert code in (0, 1, 2, 3) and err.count("\n") <= 1 and "Traceback" not in err
    assert code != 1 or arguments[0] == "audit"


def check_any_text(examples: int):
    @example(LIGHT[0], "[" * 50_000)
    @given(st.sampled_from(LIGHT), TEXT)
    @settings(
        max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
    )
    def check(command, arguments, text):
        holds(command, arguments, text)

    return check


test_any_text_is_a_value_or_one_line = check_any_text(200)
test_any_text_is_a_value_or_one_line_at_length = pytest.mark.slow(check_any_text(2_000))
