"""Runs: develop the base round by round with a method, score it once, and describe it in a record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

import methods
from benchmark.metrics import scene_pairs
from benchmark.metrics.counts import count_pairs
from benchmark.records.environment import describe
from benchmark.records.files import COLUMNS, GROUP, record_path
from benchmark.records.schema import (
    BaseInfo,
    ClassCounts,
    Constraints,
    MethodInfo,
    Record,
    RoundResult,
    ScenarioInfo,
    run_id,
)
from benchmark.running.rounds import Developed, OnStep, Training, develop, silent
from benchmark.running.scores import Scores
from methods.clip import ClipClassifier, predict_logits
from methods.strategy import RoundStrategy, Settings
from scenarios.stream import DevelopmentStream, LabelledImages

if TYPE_CHECKING:
    from benchmark.running.checkpoints import Checkpoints

TRACED = 20  # steps at which a record keeps a method's constraints


class Before(NamedTuple):
    """The model before a round, measured."""

    old: dict[str, Tensor]  # predictions (N,) by split
    scenes: Tensor  # (4, N), see Run._scene_similarities


@dataclass(frozen=True, eq=False)
class Run:
    """A method on a stream from a base, with a seed: everything that decides the outcome.

    ``old_predictions`` is shared between the runs of one command, so that the base is scored once on each split and on
    the scene pairs.
    """

    stream: DevelopmentStream
    base: ClipClassifier
    base_info: BaseInfo
    method: str
    strategy: type[RoundStrategy]
    settings: Settings
    device: str = "cpu"
    old_predictions: dict[tuple[str, int], Tensor] = field(default_factory=dict)

    @property
    def scenario_info(self) -> ScenarioInfo:
        """The stream, for the record."""
        s = self.stream
        return ScenarioInfo(
            name=s.name,
            version=s.version,
            fingerprint=s.fingerprint,
            training_fingerprint=s.training_fingerprint,
            classes=s.classes,
            rounds=len(s.rounds),
            options=s.options,
        )

    @property
    def method_info(self) -> MethodInfo:
        """The method, for the record."""
        strategy = self.strategy
        return MethodInfo(
            name=self.method, version=strategy.VERSION, code=strategy.CODE, settings=self.settings.model_dump()
        )

    @property
    def run_id(self) -> str:
        """Name of this run, known before it is made."""
        return run_id(self.scenario_info, self.method_info, self.base_info, self.stream.seed)

    @property
    def file_name(self) -> str:
        """Scenario, method, seed and id, as the name of a file without an ending."""
        path = record_path(Path(), self.stream.name, self.method, self.stream.seed, self.run_id)
        return f"{path.parent.name}-{path.stem}"

    @property
    def training(self) -> Training:
        """The training of its first round; runs of one stream and base for which it is equal may share it."""
        return Training.of(self.method, self.strategy, self.settings)

    def execute(self, on_step: OnStep = silent) -> tuple[Record, pd.DataFrame]:
        """Develop, select on validation, score on test.

        Args:
            on_step: called with (steps done, steps of all rounds).

        Returns:
            The record, and the predictions behind its counts with columns round, split, index, label, old, new.
        """
        ((_, record, predictions),) = execute([self], on_step)
        return record, predictions

    @property
    def steps(self) -> int:
        """Optimizer steps per round."""
        return self.settings.steps

    def old(self, model: nn.Module, number: int, split: str) -> Tensor:
        """Predictions of the model before a round, (N,); those of the base are made once for all runs."""
        return self._before(model, number, split, lambda model, n: _predict(model, getattr(self.stream.data[n], split)))

    def before(self, model: nn.Module, number: int, val: Tensor) -> Before:
        """What is measured of the model before a round, of the base once for all runs; ``val`` is known already."""
        scenes = self._before(model, number, "scene pairs", self._scene_similarities)
        return Before({"test": self.old(model, number, "test"), "val": val}, scenes)

    def _before(self, model: nn.Module, number: int, what: str, score: Callable[[nn.Module, int], Tensor]) -> Tensor:
        """``score`` of the model before a round; that of the base is asked for once for all runs."""
        if number > 0:
            return score(model, number)
        key = (f"{self.base_info.sha256} {self.stream.fingerprint} {what}", number)
        if key not in self.old_predictions:
            self.old_predictions[key] = score(model, number)
        return self.old_predictions[key]

    def result(self, developed: Developed, scores: Scores | None = None) -> tuple[RoundResult, pd.DataFrame]:
        """What is recorded of a round, and its predictions; here the test images are looked at, once for a model."""
        start, number, selection = time.perf_counter(), developed.number, developed.selection
        round_, data = self.stream.rounds[number], self.stream.data[number]
        before: Before = developed.before

        def answers(model: nn.Module) -> tuple[Tensor, Tensor]:
            return _predict(model, data.test), self._scene_similarities(model, number)

        model = developed.model
        test, scenes = answers(model) if scores is None else scores.of(model, f"test {number}", answers)
        new = {"test": test, "val": selection.predictions}
        old = before.old
        result = RoundResult(
            target=round_.target,
            protected=round_.protected,
            **{split: self._count(getattr(data, split), old[split], new[split], round_.classes) for split in new},
            checkpoints=tuple(selection.checkpoints),
            selected_step=selection.selected_step,
            selected=selection.selected,
            losses=developed.losses,
            constraints=_constraints(developed.violations, [c for c in self.stream.classes if c in round_.protected]),
            scene_pairs=self._count_scenes(before.scenes, scenes),
            seconds=round(developed.seconds + time.perf_counter() - start, 2),
        )
        tables = [self._table(number, split, getattr(data, split), old[split], new[split]) for split in new]
        return result, pd.concat(tables, ignore_index=True)

    def outcome(
        self, results: Sequence[tuple[RoundResult, pd.DataFrame]], message: str = ""
    ) -> tuple[Record, pd.DataFrame]:
        """The record of finished rounds, and all predictions; with a message where the next round diverged."""
        record = Record(
            scenario=self.scenario_info,
            method=self.method_info,
            base=self.base_info,
            seed=self.stream.seed,
            status="diverged" if message else "complete",
            message=message,
            rounds=tuple(result for result, _ in results),
            environment=describe(self.device, methods.extras_of(self.method)),
            seconds=round(sum(result.seconds for result, _ in results), 2),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        empty = pd.DataFrame(columns=COLUMNS)
        return record, pd.concat([table for _, table in results], ignore_index=True) if results else empty

    def _scene_similarities(self, model: nn.Module, number: int) -> Tensor:
        """Logits (4, N) of a round's scenes under protected class and target, in the order of ``preferences``."""
        pairs = self.stream.scene_pairs[number]
        if not pairs:
            return torch.empty(4, 0)
        columns = [
            [self.stream.classes.index(name) for name in (p.class_a, p.class_b)] for p in pairs for _ in range(len(p))
        ]
        logits = predict_logits(model, torch.cat([*(p.images_a for p in pairs), *(p.images_b for p in pairs)]))
        of_a, of_b = (half.gather(1, torch.tensor(columns)) for half in logits.chunk(2))
        return torch.cat([of_a, of_b], dim=1).T

    def _count_scenes(self, old: Tensor, new: Tensor) -> dict[str, ClassCounts]:
        counts = scene_pairs.count(old.numpy(), new.numpy()) if old.numel() else {}
        return {name: ClassCounts(**own._asdict()) for name, own in counts.items()}

    def _count(
        self, images: LabelledImages, old: Tensor, new: Tensor, scored: tuple[str, ...]
    ) -> dict[str, ClassCounts]:
        counts = count_pairs(images.labels.numpy(), old.numpy(), new.numpy(), self.stream.classes)
        return {name: ClassCounts(**counts[name]._asdict()) for name in self.stream.classes if name in scored}

    def _table(self, number: int, split: str, images: LabelledImages, old: Tensor, new: Tensor) -> pd.DataFrame:
        names = pd.Series(self.stream.classes)
        columns: dict[str, Any] = {"round": number, "split": split, "index": range(len(images))}
        for column, codes in (("label", images.labels), ("old", old), ("new", new)):
            columns[column] = names[codes.numpy()].to_numpy()
        if any(part.groups for data in self.stream.data for part in (data.val, data.test)):
            columns[GROUP] = images.groups or ""
        return pd.DataFrame(columns)


def execute(
    runs: Sequence[Run],
    on_step: OnStep = silent,
    checkpoints: Checkpoints | None = None,
    logs: Path | None = None,
) -> Iterator[tuple[Run, Record, pd.DataFrame]]:
    """Execute runs that share their first training; each with its record and predictions, once it is finished.

    Args:
        runs: of one stream, base, seed and ``training``.
        on_step: called with (steps done, steps in all).
        checkpoints: where states are kept, to go on from after an interruption; None for nowhere.
        logs: folder for curves; None for none.
    """
    results: dict[Run, list[tuple[RoundResult, pd.DataFrame]]] = {run: [] for run in runs}
    scores = Scores() if len(runs) > 1 else None
    for one in develop(runs, Run.before, on_step, checkpoints, results, logs):
        run, found = one.run, results[one.run]
        if not one.diverged:
            found.append(run.result(one, scores))
        if one.diverged or len(found) == len(run.stream.rounds):
            yield run, *run.outcome(found, one.diverged)


def _constraints(violations: Sequence[Tensor], classes: list[str]) -> Constraints | None:
    """Violations (K,) per step, at ``TRACED`` evenly spaced steps at most, the last one among them."""
    if not violations:
        return None
    count = min(TRACED, len(violations))
    steps = tuple(len(violations) * (k + 1) // count for k in range(count))
    values = torch.stack([violations[step - 1] for step in steps], dim=1).double().tolist()  # (K, count)
    return Constraints(
        steps=steps,
        violations={name: tuple(round(v, 5) for v in row) for name, row in zip(classes, values, strict=True)},
    )


def _predict(model: nn.Module, images: LabelledImages) -> Tensor:
    """Predicted class of every image, (N,) int64 on the CPU."""
    return predict_logits(model, images.images).argmax(dim=1)
