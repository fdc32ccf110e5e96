"""Records for tests of tables, made from what changed in their rounds."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from benchmark.records import files
from benchmark.records.schema import Record
from tests import ROOT

CLASSES = ["foggy", "clear", "partly cloudy"]
COMMITTED = ROOT / "results"
VERSION_1 = COMMITTED / "version-1"  # of the streams; its records are here to stay, so tests may name them


def a_round(target: int, clear: int, cloudy: int) -> dict[str, Any]:
    """A round over 100 images per class, of which 50 were right before; so many more are right now."""
    changes = zip(CLASSES, (target, clear, cloudy), strict=True)
    test = {
        name: {"n": 100, "old_correct": 50, "new_correct": 50 + change, "both_correct": 50 + min(change, 0)}
        for name, change in changes
    }
    return {
        "target": "foggy",
        "protected": CLASSES[1:],
        "val": {},
        "test": test,
        "checkpoints": [],
        "selected_step": 30,
        "losses": [],
        "seconds": 1.0,
    }


def round_of(classes: dict[str, tuple[int, int, int, int]]) -> dict[str, Any]:
    """A round from the images, old correct, lost and won of each class."""
    test = {
        name: {"n": n, "old_correct": old, "new_correct": old - lost + won, "both_correct": old - lost}
        for name, (n, old, lost, won) in classes.items()
    }
    return a_round(0, 0, 0) | {"protected": [name for name in classes if name != "foggy"], "test": test}


def record(method: str, seed: int, *rounds: tuple[int, int, int], **changes: Any) -> Record:
    """A record whose rounds have these changes of the target and the two protected classes, in points."""
    scenario = {
        "name": "driving",
        "version": 1,
        "fingerprint": "f1",
        "training_fingerprint": f"t{seed}",
        "classes": CLASSES,
        "rounds": len(rounds) or 1,
        "options": {"image_size": 64},
    }
    places = {"python": "", "platform": "", "processor": "", "device": "cpu"}
    return Record.model_validate(
        {
            "scenario": scenario | changes.pop("scenario", {}),
            "method": {"name": method, "version": 1, "settings": {"lr": 0.01}} | changes.pop("as_method", {}),
            "base": {"name": "tiny", "sha256": "0123456789", "model": "ViT"} | changes.pop("base", {}),
            "seed": seed,
            "rounds": [a_round(*changed) for changed in rounds],
            "environment": places | {"threads": 1, "packages": {}, "peak_memory_mb": 1.0},
            "seconds": 2.0 + seed,
            "created": "2026-01-02T03:04:05+00:00",
        }
        | changes
    )


def diverged(method: str, seed: int, *rounds: tuple[int, int, int], **changes: Any) -> Record:
    stream = {"rounds": changes.pop("of", len(rounds) + 1)}  # the round after the complete ones did not end
    message = "loss is NaN at step 7"
    return record(method, seed, *rounds, status="diverged", message=message, scenario=stream, **changes)


# mds keeps everything in two of three runs, naive gains most and never keeps, joint and frozen are for reference
EXAMPLE = [
    record("frozen", 0, (0, 0, 0)),
    record("joint", 0, (40, 10, 10)),
    record("naive", 0, (30, -10, 2)),
    record("naive", 1, (20, -4, -20)),
    record("mds", 0, (10, 0, 2)),
    record("mds", 1, (6, 1, 3)),
    record("mds", 2, (8, 5, -1)),
]


def row(frame: pd.DataFrame, method: str) -> dict[Any, Any]:
    (found,) = frame[frame["method"] == method].to_dict("records")
    return found


def shown(call: Any, *arguments: Any) -> str:
    console = Console(file=io.StringIO(), width=170, color_system=None)
    call(*arguments, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def save(found: Sequence[Record], results: Path) -> Path:
    for one in found:
        files.write(one, pd.DataFrame(columns=files.COLUMNS), results)
    return results


# what sets a record of ``record("mds", …)`` apart, and how a table says so
UNLIKE = [
    ({"scenario": {"version": 2, "fingerprint": "f2"}}, "other data version: 2"),
    ({"scenario": {"fingerprint": "f2"}}, "other data: f2"),
    ({"scenario": {"options": {"image_size": 32}}}, "other options: image_size=32"),
    ({"scenario": {"options": {}}}, "other options: image_size=unset"),
    ({"base": {"sha256": "abcdefghijkl"}}, "other base: ViT abcdefgh"),
    ({"as_method": {"version": 2}}, "other method version: 2"),
    ({"as_method": {"settings": {"lr": 0.001}}}, "other settings: lr=0.001"),
    ({"as_method": {"settings": {"lr": 0.01, "head": "low rank"}}}, "other settings: head=low rank"),
]
