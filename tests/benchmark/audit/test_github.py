"""The gate on GitHub Actions: annotations, the composite action's script, and how little it installs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from benchmark.audit import github
from benchmark.audit.evidence import ImageEvidence
from benchmark.audit.rule import Pinned, Requirement, audit
from benchmark.audit.words import images_to_decide
from benchmark.metrics.counts import Counts
from tests import ROOT
from tests.test_dependencies import normalised

ACTION = ROOT / ".github/actions/release-gate"


def evidence(lost: int, n: int = 400) -> ImageEvidence:
    return ImageEvidence(Counts(n, n // 2, n // 2 - lost, n // 2 - lost))


def test_each_class_that_did_not_pass_is_annotated() -> None:
    classes = {"a,b: 50 %": evidence(40), "dog": evidence(3), "fox": evidence(0), "owl": evidence(30)}
    waived = {"owl": Requirement(waived="relabelled,\nsee the list")}
    found = audit(classes, special=waived, pinned=Pinned(("7", "8"), ("8",)))
    needed = images_to_decide(found, found.classes[1])
    assert list(github.lines(found)) == [
        "::error title=a%2Cb%3A 50 %25%3A regressed::−10.0 points, 40 lost and 0 won of 400 images; Holm p <0.001",
        "::error title=8%3A regressed::a pinned image is wrong",
        "::warning title=dog%3A undecided::−0.8 points, 3 lost and 0 won of 400 images; images that would decide: "
        f"{needed}",
        "::notice title=owl%3A waived::−7.5 points, 30 lost and 0 won of 400 images; else regressed; waived: "
        "relabelled,%0Asee the list",
    ]


def test_no_more_than_are_shown_are_written() -> None:
    found = list(github.lines(audit({f"c{k}": evidence(100 + k) for k in range(30)})))
    assert len(found) == 10 and found[0].startswith("::error title=c29%3A regressed")
    assert found[-1].startswith("::error title=21 more%3A regressed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for model, vans in (("old", 90), ("same", 90), ("open", 88), ("worse", 60)):
        lines = ["id,label,prediction"]
        for name, right in (("car", 95), ("van", vans)):
            lines += [f"{name}{k}a,{name},{name if k < right else 'other'}" for k in range(100)]
        (tmp_path / f"{model}.csv").write_text("\n".join(lines))
    return tmp_path


def run(folder: Path, **inputs: str) -> tuple[int, str, str, str]:
    """The action's script: exit code, output, summary of the job, outputs of the step."""
    given = {"OLD": "old.csv", "NEW": "", "POLICY": "", "ARGUMENTS": "", "UNDECIDED": "fail"} | inputs
    files = {"GITHUB_STEP_SUMMARY": folder / "summary", "GITHUB_OUTPUT": folder / "output"}
    for file in files.values():
        file.write_text("")
    environment = os.environ | given | {name: str(file) for name, file in files.items()} | {"PYTHON": sys.executable}
    done = subprocess.run(
        [ACTION / "gate.sh"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr, *(file.read_text() for file in files.values())


@pytest.mark.parametrize(
    ("inputs", "code", "verdict"),
    [
        ({"NEW": "same.csv"}, 0, "preserved"),
        ({"NEW": "worse.csv"}, 1, "regressed"),
        ({"NEW": "worse.csv\nsame.csv\n"}, 0, "preserved"),
        ({"NEW": "open.csv"}, 3, "undecided"),
        ({"NEW": "open.csv", "UNDECIDED": "pass"}, 0, "undecided"),
        ({"NEW": "open.csv", "ARGUMENTS": "--margin 0.1"}, 0, "preserved"),
        ({"NEW": "open.csv", "POLICY": "gate.toml"}, 0, "preserved"),
        ({"NEW": "gone.csv"}, 2, "error"),
    ],
)
def test_the_action_shows_the_verdict_and_ends_with_it(
    folder: Path, inputs: dict[str, str], code: int, verdict: str
) -> None:
    (folder / "gate.toml").write_text("margin = 0.1")
    found, out, summary, outputs = run(folder, **inputs)
    assert found == code, out
    assert outputs == f"verdict={verdict}\n"
    assert summary.startswith(f"## Release gate: {verdict}") if verdict != "error" else not summary
    assert ("::error" in out) == (verdict == "regressed")


def test_the_action_refuses_another_word_for_undecided(folder: Path) -> None:
    assert run(folder, NEW="open.csv", UNDECIDED="ignore")[0] == 2


def test_the_inputs_of_the_action_are_those_that_its_script_reads() -> None:
    text = (ACTION / "action.yml").read_text()
    passed = dict(re.findall(r"^ +([A-Z]+): \$\{\{ inputs\.(\w+) \}\}$", text, flags=re.MULTILINE))
    declared = re.findall(r"^  (\w+):$", text[: text.index("outputs:")], flags=re.MULTILINE)
    assert sorted(passed.values()) == sorted(declared)
    assert all(f"${name}" in (ACTION / "gate.sh").read_text() for name in passed)


def test_audit_needs_no_more_than_the_action_installs(folder: Path) -> None:
    lines = [line for line in (ACTION / "requirements.txt").read_text().splitlines() if line[0] != "#"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {*project["dependencies"], *project["optional-dependencies"]["parquet"]}
    assert set(lines) <= asked, "other bounds than those of pyproject.toml"
    installed = {normalised(line) for line in lines}
    absent = {
        "torch",
        "avalanche",
        "open_clip",
        "torchvision",
        "pandas",
        "seaborn",
        "matplotlib",
        "timm",
        "PIL",
        "ijson",
    }
    assert not installed & absent
    script = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {sorted(absent)}: raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from benchmark.cli import main\n"
        "sys.argv = ['benchmark', 'audit', '--old', 'old.csv', '--new', 'same.csv', '--policy', 'gate.toml', "
        "'--html', 'a.html', '--junit', 'a.xml', '--markdown', 'a.md', '--history', 'a.jsonl']; main()"
    )
    (folder / "gate.toml").write_text("margin = 0.1")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
