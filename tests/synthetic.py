"""Records of runs that never were: valid, varied, and cheap to make in any number."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.records.files import record_path
from benchmark.records.schema import Record

TARGET = "foggy"
PROTECTED = ("clear", "overcast", "snowy", "rainy", "partly cloudy")
SEEDS = 5  # of every method on every stream
STREAMS = 4
IMAGES = {"val": 300, "test": 800}  # of each class


def synthetic_records(
    count: int, seed: int = 0, streams: int = STREAMS, rounds: int = 1, steps: int = 80
) -> list[Record]:
    """``count`` records: methods × ``streams`` × five seeds, each method about as good on all streams.

    One in fifty diverged, one in twenty preserves strictly, half have constraints. As JSON one has about 6 KB a round.

    Args:
        count: how many; methods are added until there are as many.
        seed: of all that is random in them.
        streams: over which a method's runs are spread.
        rounds: of every stream.
        steps: of every round.
    """
    return [Record.model_validate(content) for content in _contents(count, seed, streams, rounds, steps)]


def save(records: Sequence[Record], results: Path) -> Path:
    """Keep records without predictions, as ``records.write`` would but without waiting for the disk; return results."""
    for record in records:
        path = record_path(results, record.scenario.name, record.method.name, record.seed, record.run_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(record.model_dump_json(indent=1) + "\n")
    return results


def _contents(count: int, seed: int, streams: int, rounds: int, steps: int) -> Iterator[dict[str, Any]]:
    draw = random.Random(seed)
    skills: dict[int, dict[str, float]] = {}
    for number in range(count):
        cell, run = divmod(number, SEEDS)
        method, stream = divmod(cell, streams)
        skill = skills.setdefault(method, {"gain": draw.uniform(0, 0.5), "loss": draw.choice((-0.02, 0.01, 0.05, 0.3))})
        diverged = draw.random() < 0.02
        scored = [_round(draw, skill, steps, method % 2 == 0) for _ in range(0 if diverged else rounds)]
        yield {
            "scenario": _scenario(stream, run, rounds),
            "method": {
                "name": f"method-{method}",
                "version": 1,
                "settings": {"steps": steps, "lr": 3e-5, "tau": 0.05, "beta": 40.0 * (1 + method % 7)},
            },
            "base": {"name": "base.safetensors", "sha256": f"{stream:064x}", "model": "mds-tiny"},
            "seed": run,
            "status": "diverged" if diverged else "complete",
            "message": "round 1: the loss was not finite at step 7" if diverged else "",
            "rounds": scored,
            "environment": {
                "python": "3.11.7",
                "platform": "Linux",
                "processor": "one like another",
                "device": "cpu",
                "threads": 1 + (draw.random() < 0.02),
                "packages": {"torch": "2.6.0", "numpy": "2.0.0"},
                "peak_memory_mb": round(draw.uniform(900, 1600), 1),
            },
            "seconds": round(draw.uniform(10, 60), 2),
            "created": f"2026-01-{1 + number % 28:02}T03:04:05+00:00",
        }


def _scenario(stream: int, run: int, rounds: int) -> dict[str, Any]:
    return {
        "name": f"stream-{stream}",
        "version": 1,
        "fingerprint": f"{stream:064x}",
        "training_fingerprint": f"{run:064x}",
        "classes": [TARGET, *PROTECTED],
        "rounds": rounds,
        "options": {"image_size": 64, "val_per_class": IMAGES["val"], "test_per_class": IMAGES["test"]},
    }


def _round(draw: random.Random, skill: Mapping[str, float], steps: int, constrained: bool) -> dict[str, Any]:
    changes = {TARGET: skill["gain"]} | {name: -skill["loss"] * draw.random() for name in PROTECTED}
    counts = {
        split: {name: _counts(draw, n, change) for name, change in changes.items()} for split, n in IMAGES.items()
    }
    points = [steps * (k + 1) // 4 for k in range(4)]
    traced = [steps * (k + 1) // 20 for k in range(20)]
    violations = {name: [round(draw.gauss(0, 0.2), 5) for _ in traced] for name in PROTECTED}
    return {
        "target": TARGET,
        "protected": PROTECTED,
        **counts,
        "checkpoints": [
            {"step": step, "devsafety": -draw.random() / 50, "target_accuracy": draw.random()} for step in points
        ],
        "selected_step": points[-1],
        "losses": [draw.random() for _ in range(steps)],
        "constraints": {"steps": traced, "violations": violations} if constrained else None,
        "seconds": round(draw.uniform(5, 50), 2),
    }


def _counts(draw: random.Random, n: int, change: float) -> dict[str, int]:
    """Of a class whose accuracy changes by about this much, with a few flips either way."""
    old = draw.randint(n // 3, n // 2)
    lost = min(old, draw.randint(0, n // 40) + round(max(-change, 0) * n))
    won = min(n - old, draw.randint(0, n // 40) + round(max(change, 0) * n))
    return {"n": n, "old_correct": old, "new_correct": old - lost + won, "both_correct": old - lost}
