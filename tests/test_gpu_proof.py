"""The proof of what a GPU does, small and on a CPU: what it reports, and that one failure stops nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.records import files
from tests import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def prove(tmp_path: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and report of the command, started elsewhere than in the repository, as on a machine without a GPU."""
    command = [sys.executable, ROOT / "scripts" / "gpu_proof.py", "--out", "report.md", *arguments]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=False)
    return done.returncode, (tmp_path / "report.md").read_text()


def verdicts(report: str) -> dict[str, str]:
    """How each stage ended, in the order of the report."""
    return dict(re.findall(r"^\*\*(\w+): (\w+)\*\*", report, re.MULTILINE))


def test_all_stages_run_and_report(tmp_path):
    (tmp_path / "report.md").write_text("# Before\n")
    code, report = prove(tmp_path, "--results", "records")
    assert code == 0, report
    found = {"correctness": "skipped", "renderer": "PASS", "steps": "PASS", "leaderboard": "PASS"}
    assert list(verdicts(report).items()) == list(found.items())
    assert report.startswith("# Before\n\n### No GPU") and "torch" in report
    assert "8,400 pictures" in report and "bit for bit those of `scenarios/fingerprints.json`" in report
    for shape in ("BDD100K", "Places365"):
        table = report.partition(f"| {shape} |")[2]
        for side in ("ours", "ours, random views", "published"):
            cells = re.search(rf"^\| {side} \| ([\d.]+) \| ([\d.e-]+) \| ([\d.e-]+) \| (\d+)% \|", table, re.MULTILINE)
            ms, work, speed, share = map(float, cells.groups())
            assert speed == pytest.approx(work / (ms / 1e3), rel=0.02) and 0 < share <= 150
        ours, published = map(float, re.search(r"our loss is ([\d.]+), the published one ([\d.]+)\.", table).groups())
        assert ours == pytest.approx(published, rel=1e-3)
    records = [files.read(path) for path in (tmp_path / "records" / "records").rglob("*.json")]
    assert {(r.method.name, r.seed, r.status) for r in records} == {
        ("finetune", 0, "complete"),
        ("mds", 0, "complete"),
    }
    assert (tmp_path / "records" / "leaderboard.md").is_file()


def test_a_stage_that_fails_is_told_and_stops_no_other(tmp_path):
    (tmp_path / "taken").write_text("no folder")
    code, report = prove(tmp_path, "--results", "taken", "--stages", "leaderboard,renderer")
    assert code == 1
    assert verdicts(report) == {"leaderboard": "FAIL", "renderer": "PASS"}
    assert re.search(r"leaderboard: FAIL\*\* \(\d+ s\): python -m benchmark run: .*taken", report)


def test_a_stage_without_time_is_ended_and_told(tmp_path):
    code, report = prove(tmp_path, "--minutes", "0.52", "--stages", "renderer")
    assert code == 1 and re.search(r"renderer: FAIL\*\* \(\d s\): did not end in [01] s", report)


def test_an_unknown_stage_is_refused(tmp_path):
    command = [sys.executable, ROOT / "scripts" / "gpu_proof.py", "--stages", "steps,nope"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "no stage is called nope" in done.stderr
