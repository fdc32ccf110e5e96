"""Golden losses: a refactoring must not move the first 20 steps of a method of each family on the shipped base.

``after`` is the loss of the model that the round leaves, on its training images: methods without steps, and those that
merge afterwards, have their effect there.

To accept losses that were meant to change: ``python -m tests.methods.test_golden`` rewrites them for this platform.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import methods

CHOSEN = ("joint", "finetune", "l2-sp", "replay", "gem", "mds", "rcat", "uwm", "finetune+ties")
STEPS = 20
FILE = Path(__file__).parent / "golden_losses.json"  # platform -> method -> losses of steps, loss afterwards


def platform() -> str:
    """Kinds of processor round differently, so each has losses of its own; others are compared loosely."""
    return f"cpu {torch.backends.cpu.get_cpu_capability()}"


def losses(name: str) -> dict[str, list[float]]:
    """Losses of the first steps of seed 0 on a small driving-foggy, and of the model afterwards."""
    import scenarios
    from benchmark.running.bases import shipped_base
    from benchmark.running.development import develop_round
    from methods.checkpoints import load_checkpoint
    from methods.clip import predict_logits

    stream = scenarios.build(
        "driving-foggy", 0, target_images=200, protected_per_class=40, val_per_class=1, test_per_class=1
    )
    base = load_checkpoint(shipped_base(stream.base), stream.prompts)
    method = methods.load(name)
    settings = method.SETTINGS(steps=STEPS) if method.trains else method.SETTINGS()
    strategy = develop_round(method, copy.deepcopy(base), base, stream, 0, settings, methods.access(name))
    data = stream.data[0]
    after = [
        float(F.cross_entropy(predict_logits(strategy.model, images.images), images.labels))
        for images in (data.train, data.protected)
    ]
    return {"steps": [float(loss) for loss in strategy.losses], "after": after}


def test_every_family_has_one():
    families = {method.family for method in methods.METHODS.values() if not method.package}
    assert {methods.METHODS[name.rpartition("+")[2]].family for name in CHOSEN} == families


@pytest.mark.parametrize("name", CHOSEN)
def test_first_losses_are_the_golden_ones(name):
    golden = json.loads(FILE.read_text())
    tolerance = 2e-4 if platform() in golden else 1e-2
    reference = (golden.get(platform()) or next(iter(golden.values())))[name]
    found = losses(name)
    assert len(found["steps"]) == (STEPS if methods.load(name).trains else 0)
    for part, values in reference.items():
        assert found[part] == pytest.approx(values, rel=tolerance, abs=tolerance)


if __name__ == "__main__":
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    known[platform()] = {
        name: {part: [round(value, 7) for value in values] for part, values in losses(name).items()} for name in CHOSEN
    }
    FILE.write_text(json.dumps(known, indent=1) + "\n")
