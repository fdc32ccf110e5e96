"""What ``plan --policy`` promises, against what the gate then does."""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from benchmark.audit.forecast import forecast
from benchmark.audit.judging import Request, judge
from benchmark.output.progress import Reporter

Call = Callable[..., tuple[int, str, str]]


def write(path: Path, right: np.ndarray, classes: int = 2, frames: int = 5) -> Path:
    """Predictions on clips of ``frames`` images; the classes take turns."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("id", "label", "prediction", "clip"))
        for number, own in enumerate(right.tolist()):
            label = f"c{number // frames % classes}"
            rows.writerow((number, label, label if own else "other", number // frames))
    return path


@pytest.fixture
def call(in_folder: Call) -> Call:
    """``call(*arguments) -> (exit code, stdout, stderr)`` of ``plan``."""
    return partial(in_folder, "plan")


@pytest.mark.parametrize("policy", ["margin = 0.03", "margin = 0.02\nfloor = 0.75", "margin = 0"])
def test_models_without_change_pass_as_often_as_promised(tmp_path: Path, policy: str) -> None:
    rng, n, flips = np.random.default_rng(0), 1600, 0.06
    old = np.arange(n) % 5 > 0
    file, rules = write(tmp_path / "old.csv", old), tmp_path / "gate.toml"
    rules.write_text(policy)
    promised = forecast(rules, file, flips)
    passed = []
    for _ in range(60):
        new = np.where(old, rng.random(n) >= flips / 2 / 0.8, rng.random(n) < flips / 2 / 0.2)
        request = Request(file, write(tmp_path / "new.csv", new), policy=rules)
        passed.append(judge(request, Reporter(quiet=True)).verdict == "preserved")
    assert promised.passes_as_wholes is None
    assert np.mean(passed) == pytest.approx(promised.passes, abs=0.2)
    if policy == "margin = 0":
        assert promised.passes < 0.5 and all(line.images is None for line in promised.lines)


def test_the_images_it_names_are_about_enough(tmp_path: Path) -> None:
    rules = tmp_path / "gate.toml"
    rules.write_text("margin = 0.02")
    few = write(tmp_path / "few.csv", np.random.default_rng(0).random(200) < 0.8, classes=1)
    (line,) = forecast(rules, few, 0.05).lines
    assert line.kept < 0.7 and line.images is not None
    enough = write(tmp_path / "enough.csv", np.random.default_rng(0).random(line.images) < 0.8, classes=1)
    assert forecast(rules, enough, 0.05).lines[0].kept == pytest.approx(0.8, abs=0.12)


@pytest.mark.parametrize(("right", "floor"), [(0.8, 0.75), (0.95, 0.9)])
def test_a_floor_takes_as_many_images_as_show_it(tmp_path: Path, right: float, floor: float) -> None:
    old = write(tmp_path / "old.csv", np.arange(200) < right * 200, classes=1)
    rules = tmp_path / "gate.toml"
    rules.write_text(f"margin = 0.2\nfloor = {floor}")
    (line,) = forecast(rules, old, 0.1).lines
    assert line.images is not None
    assert _shows(line.images - 50, right, floor) < 0.8 <= _shows(line.images, right, floor)
    rules.write_text(f"margin = 0.2\nfloor = {right}")
    assert forecast(rules, old, 0.1).lines[0].images is None


def _shows(images: int, accuracy: float, floor: float) -> float:
    """Probability that the accuracy is shown to be above the floor, at level 0.05."""
    right = next(k for k in range(images + 1) if binom.sf(k - 1, images, floor) <= 0.05)
    return float(binom.sf(right - 1, images, accuracy))


def test_models_pass_only_with_all_pinned_images_right(tmp_path: Path, call: Call) -> None:
    right = np.arange(400) % 5 > 0
    old, rules = write(tmp_path / "old.csv", right, classes=1), tmp_path / "gate.toml"
    rules.write_text('margin = 0.2\npinned = ["1", "2", "3", "4", "6", "7", "8", "9"]')
    found = forecast(rules, old, 0.16)
    assert found.passes == found.pinned_right == pytest.approx(0.9**8, abs=0.08)  # 0.08 of 0.8 goes from right to wrong
    rules.write_text('margin = 0.2\npinned = ["0", "1"]')
    assert forecast(rules, old, 0.16).passes == pytest.approx(0.4 * 0.9, abs=0.08)  # 0.08 of 0.2 goes back
    code, out, _ = call("--policy", "gate.toml", "--old", "old.csv", "--flips", "0.16")
    assert code == 0 and "It gets all 2 pinned images right with probability" in out
    assert "; 1 of them are wrong now: '0'" in out
    rules.write_text('margin = 0.2\nabstain = ["other"]\npinned = ["0", "1"]')
    assert forecast(rules, old, 0.16).passes == 0, "the old model abstains on it, and so does one without change"


def test_clips_that_flip_as_wholes_pass_less_often(tmp_path: Path, call: Call) -> None:
    write(tmp_path / "old.csv", np.random.default_rng(0).random(800) < 0.9)
    (tmp_path / "gate.toml").write_text(
        'group = "clip"\nmargin = 0.06\n[[waiver]]\nname = "c1"\nreason = "r"\nexpires = 2999-01-01'
    )
    found = forecast(tmp_path / "gate.toml", tmp_path / "old.csv", 0.06)
    assert found.passes_as_wholes is not None and found.passes_as_wholes < found.passes - 0.05
    assert [line.own_groups for line in found.lines] == [80, 80] and found.lines[0].groups == 49  # 0.94^49 < 0.05
    code, out, _ = call("--policy", "gate.toml", "--old", "old.csv", "--flips", "0.06")
    assert code == 0 and "c1 (waived)" in out
    assert f"passes with probability {100 * found.passes:.0f} %" in out
    assert f"Where all frames of a clip flip at once, it passes with {100 * found.passes_as_wholes:.0f} %." in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--flips", "0.1"), "plan needs --classes, --images and --drop, or --policy with --old"),
        (("--flips", "0.1", "--policy", "gate.toml"), "--policy needs --old"),
        (("--flips", "0", "--policy", "gate.toml", "--old", "old.csv"), "--flips and --power are shares"),
        (("--flips", "0.1", "--policy", "gate.toml", "--old", "old.csv", "--images", "5"), "--images is said by"),
        (("--flips", "0.1", "--policy", "no.toml", "--old", "old.csv"), "no.toml: no such file"),
        (("--flips", "0.1", "--policy", "gate.toml", "--old", "old.csv", "--alpha", "0.1"), "--alpha is said by"),
        (
            ("--flips", "0.1", "--old", "old.csv", "--classes", "1", "--images", "9", "--drop", "0.1"),
            "--old is for --policy",
        ),
        (
            ("--flips", "0.1", "--policy", "typo.toml", "--old", "old.csv"),
            "typo.toml: target: no test image has the label",
        ),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, call: Call, arguments: tuple[str, ...], message: str) -> None:
    write(tmp_path / "old.csv", np.ones(20, dtype=bool))
    (tmp_path / "gate.toml").write_text("margin = 0.1")
    (tmp_path / "typo.toml").write_text('target = "c9"')
    code, out, err = call(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1) and message in err
