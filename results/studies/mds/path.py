"""MDS on the line from the old weights through the trained ones, and averages of its weights along the training.

    python -m results.studies.mds.path --seed 5,6,7

writes ``path.csv``, a row for each seed, model, split and class: how many images old and new model get right, and their
mean losses. Seeds that are in the file are not run again. ``protected`` are the images that the method was given.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

import methods
import scenarios
from benchmark.output.files import replace_file
from benchmark.running.bases import Bases
from benchmark.running.development import develop_round
from benchmark.running.request import BaseChoice
from methods.clip import ClipClassifier, predict_logits
from methods.mds import MDS, MDSSettings
from methods.merging import WiSEFT
from methods.objectives import class_losses
from methods.state_arithmetic import interpolate
from methods.weight_space import State, combined, snapshot
from scenarios.stream import LabelledImages

FILE = Path(__file__).with_name("path.csv")
COEFFICIENTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4, 1.7, 2.0)
EMA = 0.9


class Along(WiSEFT):
    """Keeps what the weights were along the training."""

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Start the averages."""
        super().before_training_exp(strategy, **kwargs)
        self.step, self.mean, self.ema, self.points = 0, {}, snapshot(strategy.model), {}

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """The mean of the second half, an exponential moving average, and the weights at each quarter."""
        self.step += 1
        steps, now = len(strategy.dataloader), snapshot(strategy.model)
        self.ema = interpolate(self.ema, now, 1 - EMA)
        if (late := self.step - steps // 2) > 0:
            self.mean = interpolate(self.mean, now, 1 / late) if late > 1 else now
        if self.step % (steps // 4) == 0:
            self.points[self.step] = now

    def candidates(self) -> dict[str, State]:
        """Models by name."""
        found = {f"coefficient {c:g}": interpolate(self.old, self.new, c) for c in COEFFICIENTS}
        found |= {f"step {step}": state for step, state in self.points.items()}
        return found | {"mean of the second half": self.mean, f"moving average {EMA:g}": self.ema}


def main() -> None:
    """Run the seeds that are missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", default="5,6,7,8,9,10,11,12,13,14")
    seeds = [int(seed) for seed in parser.parse_args().seed.split(",")]
    for seed in seeds:
        known = pd.read_csv(FILE) if FILE.exists() else pd.DataFrame(columns=["seed"])
        if seed not in set(known["seed"]):
            table = pd.concat([known, measure(seed)]) if len(known) else measure(seed)
            replace_file(
                FILE, table.sort_values("seed", kind="stable").to_csv(index=False, lineterminator="\n").encode()
            )
            print(f"seed {seed}: {FILE}")


def measure(seed: int) -> pd.DataFrame:
    """All models of one seed."""
    stream = scenarios.build("driving-foggy", seed)
    base, _ = Bases().load(stream, BaseChoice(), "cpu", lambda *_: None)
    data = stream.data[0]
    splits = {"protected": data.protected, "val": data.val, "test": data.test}
    before = {split: _outputs(base, images) for split, images in splits.items()}
    strategy = combined(MDS, Along)
    settings = strategy.SETTINGS(**MDSSettings().model_dump())
    trained = develop_round(strategy, copy.deepcopy(base), base, stream, 0, settings, methods.access("mds"))
    rows = []
    for name, state in trained.weight_space.candidates().items():
        trained.model.load_state_dict(state)
        for split, images in splits.items():
            after = _outputs(trained.model, images)
            rows += [
                {"seed": seed, "model": name, "split": split} | row
                for row in _by_class(stream, images, before[split], after)
            ]
    return pd.DataFrame(rows)


def _outputs(model: ClipClassifier, images: LabelledImages) -> tuple[Tensor, Tensor]:
    """Whether each image is right, and its loss at the method's temperature."""
    similarity = predict_logits(model, images.images) * model.temperature
    return similarity.argmax(dim=1) == images.labels, class_losses(similarity, images.labels, MDSSettings().tau)


def _by_class(
    stream: Any, images: LabelledImages, before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]
) -> list[dict[str, Any]]:
    rows = []
    for label in images.labels.unique().tolist():
        here = images.labels == label
        old, new = before[0][here], after[0][here]
        rows.append(
            {
                "class": stream.classes[label],
                "n": int(here.sum()),
                "old_correct": int(old.sum()),
                "new_correct": int(new.sum()),
                "both_correct": int((old & new).sum()),
                "old_loss": round(float(before[1][here].mean()), 6),
                "new_loss": round(float(after[1][here].mean()), 6),
            }
        )
    return rows


if __name__ == "__main__":
    main()
