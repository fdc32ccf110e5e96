"""The gate on GitHub Actions: annotations, the composite action's script, and how little it installs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.audit import github
from benchmark.audit.evidence import ImageEvidence
from benchmark.audit.needs import images_to_decide
from benchmark.audit.rule import Pinned, Requirement, audit
from benchmark.metrics.counts import Counts
from tests import ROOT
from tests.test_dependencies import normalised

Call = Callable[..., tuple[int, str, str]]
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
        ({"NEW": "open.csv", "ARGUMENTS": "\n--drop 0.2\n\n--margin 0.1\n"}, 0, "preserved"),
        ({"NEW": "worse.csv", "ARGUMENTS": "--protected '\"car\"'"}, 0, "preserved"),
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


def test_a_team_from_its_first_policy_to_the_end_of_a_waiver(tmp_path: Path, in_folder: Call) -> None:
    """Clips and slices, three candidates, a class that is waived, and the day after."""

    def write(model: str, losses: dict[tuple[str, str], int], vans: int = 12) -> None:
        """Clips of 20 frames by day and night; of some classes, frames of the first clips are lost."""
        lines = ["id,label,prediction,clip,time"]
        for label in ("car", "bus", "van"):
            for clip in range(200):
                time = "night" if clip % 2 else "day"
                right = vans if label == "van" else 18
                if clip < 120:
                    right -= losses.get((label, time), 0)
                lines += [
                    f"{label}{clip}_{frame},{label},{label if frame < right else 'other'},{label}{clip},{time}"
                    for frame in range(20)
                ]
        Path(f"{model}.csv").write_text("\n".join(lines))

    write("old", {})
    write("best", {("bus", "day"): 4}, vans=19)  # and so regressed
    write("fine", {}, vans=16)
    write("dark", {("car", "night"): 3}, vans=18)  # a slice is lost, which its class hides at this margin
    assert in_folder("audit", "--init", "gate.toml", "--old", "old.csv")[0] == 0
    text = Path("gate.toml").read_text().replace("margin = 0.0 ", "margin = 0.06 ")
    text = text.replace("# group =", "group =").replace('# target = "bus"', 'target = "van"')
    part = '\n[[slice]]\nname = "cars at night"\nwhere = { label = "car", time = "night" }\n'
    Path("gate.toml").write_text(text + part)
    candidates = {"NEW": "best.csv\ndark.csv\nfine.csv", "POLICY": "gate.toml"}
    code, out, summary, _ = run(tmp_path, **candidates)
    assert code == 0 and "candidate fine.csv: the best of those that pass; 1 of 3 pass" in summary, out
    code, out, *_ = run(tmp_path, NEW="dark.csv", POLICY="gate.toml")
    assert code == 1 and "::error title=cars at night%3A regressed" in out and "::error title=car%3A" not in out
    waiver = '[[waiver]]\nname = "bus"\nreason = "relabelled"\nexpires = {}\n'
    Path("gate.toml").write_text(text + part + waiver.format("2999-01-01"))
    code, out, summary, _ = run(tmp_path, **candidates)
    assert code == 0 and "candidate best.csv: the best of those that pass; 2 of 3 pass" in summary
    assert "::notice title=bus%3A waived" in out and "waived until 2999-01-01: bus: relabelled" in summary
    Path("gate.toml").write_text(text + part + waiver.format("2020-01-01"))
    code, out, summary, _ = run(tmp_path, **candidates)
    assert code == 0 and "candidate fine.csv" in summary and "expired on 2020-01-01: bus: relabelled" in summary


def test_the_action_refuses_another_word_for_undecided(folder: Path) -> None:
    assert run(folder, NEW="open.csv", UNDECIDED="ignore")[0] == 2


def test_the_action_refuses_a_quote_without_an_end(folder: Path) -> None:
    code, out, summary, outputs = run(folder, NEW="same.csv", ARGUMENTS="--protected 'car")
    assert (code, summary, outputs) == (2, "", "verdict=error\n")
    assert out == "::error::arguments: No closing quotation: close every quote\n"


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
