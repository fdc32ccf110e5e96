"""Updates with held-out images to certify them and fresh ones that tell the truth about them.

    python -m results.studies.certificate.run 200 201 202

writes ``updates.csv``, a row for each seed, update and protected class: how many images are lost and won among the
held-out and among the fresh ones. Seeds that are in the file are not run again. The updates of a seed lie on the line
from the old weights to those that ``mds-no-heads`` trained without the held-out images, the shortest first: some keep
every class, some lose a little, some too much.
"""

from __future__ import annotations

import copy
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

import methods
import scenarios
from benchmark.output.files import replace_file
from benchmark.running.bases import Bases
from benchmark.running.development import develop_round
from benchmark.running.request import BaseChoice
from methods.certified import flips
from methods.class_bias import add_class_bias
from methods.clip import ClipClassifier, predict_logits
from methods.mds import MDSNoHeads
from methods.state_arithmetic import interpolate
from methods.weight_space import snapshot
from scenarios import settings_of

FILE = Path(__file__).with_name("updates.csv")
SCENARIO = "driving-foggy"
FRESH, HELD_OUT = 8_000, 0.5  # images of a class that nothing else uses; share of the 2,000 protected ones
COEFFICIENTS = (0.1, 0.2, 0.4, 0.7, 1.0)


def main(seeds: list[int]) -> None:
    """Run the seeds that are missing."""
    for seed in seeds:
        known = pd.read_csv(FILE) if FILE.exists() else pd.DataFrame(columns=["seed"])
        if seed not in set(known["seed"]):
            table = pd.concat([known, measure(seed)]) if len(known) else measure(seed)
            table = table.sort_values(["seed", "coefficient"], kind="stable")
            replace_file(FILE, table.to_csv(index=False, lineterminator="\n").encode())
            print(f"seed {seed}: {FILE}", flush=True)


def measure(seed: int) -> pd.DataFrame:
    """All updates of one seed."""
    stream = scenarios.build(SCENARIO, seed)
    base, _ = Bases().load(stream, BaseChoice(), "cpu", lambda *_: None)
    settings, access = MDSNoHeads.SETTINGS(**settings_of(SCENARIO)), methods.access("mds-no-heads")
    trained = develop_round(MDSNoHeads, copy.deepcopy(base), base, stream, 0, settings, access, held_out=HELD_OUT)
    assert trained.held_out is not None
    held = trained.held_out.protected
    before = right(base, held.images, held.labels)
    add_class_bias(base, len(stream.classes))  # as trained models have one where images are held out
    old, new = snapshot(base), snapshot(trained.model)
    rows = []
    for coefficient in COEFFICIENTS:
        trained.model.load_state_dict(interpolate(old, new, coefficient))
        counts = {"held": flips(held.labels, before, right(trained.model, held.images, held.labels))}
        images, labels, fresh_before = fresh()
        counts["fresh"] = flips(labels, fresh_before, right(trained.model, images, labels))
        for place, label in enumerate(labels.unique().tolist()):
            row: dict[str, Any] = {"seed": seed, "coefficient": coefficient, "class": stream.classes[label]}
            for name, of_classes in counts.items():
                row |= dict(zip((f"{name}_lost", f"{name}_won", f"{name}_n"), of_classes[place], strict=True))
            rows.append(row)
    return pd.DataFrame(rows)


@cache
def fresh() -> tuple[Tensor, Tensor, Tensor]:
    """The fresh images of the protected classes, which no seed decides, their labels and whether the base is right."""
    stream = scenarios.build(SCENARIO, test_per_class=FRESH)
    base, _ = Bases().load(stream, BaseChoice(), "cpu", lambda *_: None)
    test, kept = stream.data[0].test, [stream.classes.index(name) for name in stream.rounds[0].protected]
    rows = torch.isin(test.labels, torch.tensor(kept))
    images, labels = test.images[rows], test.labels[rows]
    return images, labels, right(base, images, labels)


def right(model: ClipClassifier, images: Tensor, labels: Tensor) -> Tensor:
    """Whether each image is right, (N,) bool."""
    return predict_logits(model, images).argmax(dim=1) == labels


if __name__ == "__main__":
    main(list(map(int, sys.argv[1:])))
