"""Golden losses: a refactoring must not move the first 20 steps of a method on the shipped base.

To accept losses that were meant to change: ``python -m tests.methods.test_golden`` rewrites them for this platform.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch

METHODS = ("finetune", "mds")
STEPS = 20
FILE = Path(__file__).parent / "golden_losses.json"  # platform -> method -> losses


def platform() -> str:
    """Kinds of processor round differently, so each has losses of its own; others are compared loosely."""
    return f"cpu {torch.backends.cpu.get_cpu_capability()}"


def losses(method: str) -> list[float]:
    """Losses of the first steps of seed 0 on a small driving-foggy."""
    import methods
    import scenarios
    from benchmark.running.bases import shipped_base
    from methods.checkpoints import load_checkpoint

    stream = scenarios.build(
        "driving-foggy", 0, target_images=200, protected_per_class=40, val_per_class=1, test_per_class=1
    )
    model = load_checkpoint(shipped_base(stream.base), stream.prompts)
    strategy_class = methods.load(method)
    strategy = strategy_class(model=copy.deepcopy(model), settings=strategy_class.SETTINGS(steps=STEPS), seed=0)
    strategy.protect(stream.protected[0])
    strategy.train(stream.train[0], eval_streams=[])
    return [float(loss) for loss in strategy.losses]


@pytest.mark.parametrize("method", METHODS)
def test_first_losses_are_the_golden_ones(method):
    golden = json.loads(FILE.read_text())
    tolerance = 1e-4 if platform() in golden else 1e-2
    reference = golden.get(platform()) or next(iter(golden.values()))
    assert losses(method) == pytest.approx(reference[method], rel=tolerance, abs=tolerance)


if __name__ == "__main__":
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    known[platform()] = {method: [round(loss, 7) for loss in losses(method)] for method in METHODS}
    FILE.write_text(json.dumps(known, indent=1) + "\n")
