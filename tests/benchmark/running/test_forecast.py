"""``run --dry-run``: what would be run and for how long, and nothing done."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from benchmark.records import files
from tests.benchmark.running.commands import FAMILY, SHORT

ONE = ("run", "-s", "toy", "--quiet", *SHORT)


def table(out: str) -> list[list[str]]:
    """Scenario, method, seed, record and, where there is one, time of each run."""
    rows = ([cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if "│" in line)
    return [[cell for cell in row if cell] for row in rows]


def last(out: str) -> str:
    return out.splitlines()[-1].strip()


def slowed(seconds: Sequence[float]) -> None:
    """Let the records have taken so long."""
    for path, time in zip(sorted(Path("runs/records").rglob("*.json")), seconds, strict=True):
        path.write_text(re.sub(r'^ "seconds": .*', f' "seconds": {time},', path.read_text(), flags=re.MULTILINE))
    assert [record.seconds for record in files.read_all(Path("runs"))] == list(seconds)


def test_nothing_is_known_and_nothing_written(toys):
    before = sorted(Path().rglob("*"))
    code, out, err = toys(*ONE, "-s", "toy-rounds", "-m", "finetune,mds", "--seeds", "2", "--workers", "2", "--dry-run")
    assert (code, err) == (0, "")
    assert table(out) == [
        [scenario, method, seed, "missing", "?"]
        for scenario in ("toy", "toy-rounds")
        for seed in "01"
        for method in ("finetune", "mds")
    ]
    assert last(out) == "8 of 8 to run: about 0 s with 2 workers, and 8 of unknown length"
    assert sorted(Path().rglob("*")) == before


def test_past_runs_tell_the_time_by_their_steps_and_what_is_there_takes_none(toys):
    assert toys(*ONE, "-m", "finetune,rm", "--seeds", "1", "--set", "steps=2")[0] == 0
    slowed([300.0, 20.0])
    before = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*")}
    code, out, _ = toys(*ONE, "-m", "finetune,rm", "--seeds", "2", "--set", "steps=2", "--workers", "1", "--dry-run")
    assert code == 0 and table(out) == [
        ["toy", "finetune", "0", "there"],
        ["toy", "rm", "0", "there"],
        ["toy", "finetune", "1", "missing", "5 min"],
        ["toy", "rm", "1", "missing", "20 s"],
    ]
    assert last(out) == "2 of 4 to run: about 5 min with 1 workers"
    out = toys(*ONE, "-m", "finetune", "--seeds", "4", "--set", "steps=80", "--workers", "4", "--dry-run")[1]
    assert last(out) == "4 of 4 to run: about 3.3 h with 4 workers"
    assert {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*")} == before


def test_runs_that_share_a_training_take_the_time_of_one(toys):
    assert toys(*ONE, "-m", "finetune,finetune+ties", "--seeds", "1", "--set", "steps=2")[0] == 0
    slowed([40.0, 60.0])
    family = ("-m", ",".join(FAMILY), "--seed", "5", "--set", "steps=2", "--workers", "4")
    code, out, _ = toys(*ONE, *family, "--dry-run")
    assert code == 0 and [row[3:] for row in table(out)] == [
        ["missing", "40 s"],
        ["missing", "?"],
        ["missing", "60 s"],
        *[["missing", "?"]] * 4,
    ]
    assert last(out) == "7 of 7 to run: about 60 s with 4 workers"


def test_what_another_model_took_says_nothing(toys):
    assert toys(*ONE, "-m", "finetune", "--seeds", "1", "--set", "steps=2")[0] == 0
    (path,) = Path("runs/records").rglob("*.json")
    record = files.read(path)
    path.unlink()
    other = record.model_copy(update={"base": record.base.model_copy(update={"model": "ViT-B-16"})})
    files.write(other, files.read_predictions(path), Path("runs"))
    out = toys(*ONE, "-m", "finetune", "--seed", "1", "--set", "steps=2", "--dry-run")[1]
    assert table(out) == [["toy", "finetune", "1", "missing", "?"]]


def test_mistakes_are_told_as_without_it(toys):
    code, out, err = toys(*ONE, "-m", "finetune", "--set", "step=2", "--dry-run")
    assert (code, out) == (2, "") and "did you mean 'steps'" in err and not Path("runs").exists()
