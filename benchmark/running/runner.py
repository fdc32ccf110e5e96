"""One run: develop the base round by round with a method, score it once, and describe it in a record."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

import methods
from benchmark.metrics import scene_pairs
from benchmark.metrics.counts import count_pairs
from benchmark.records.environment import describe
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
from benchmark.running.selection import Selection
from methods.clip import ClipClassifier, predict_logits
from methods.strategy import RoundStrategy, Settings
from scenarios.stream import DevelopmentStream, LabelledImages

TRACED = 20  # steps at which a record keeps a method's constraints


class Diverged(Exception):
    """A loss or a logit of a round was not finite: the run ends there and is recorded as diverged."""


def develop_round(
    strategy: type[RoundStrategy],
    model: nn.Module,
    base: nn.Module,
    stream: DevelopmentStream,
    number: int,
    settings: Settings,
    access: frozenset[str],
    device: str = "cpu",
    plugins: Sequence[Any] = (),
) -> RoundStrategy:
    """Train one round: all code that develops a model, to score, time or try a method, calls this function.

    Args:
        strategy: the method's class.
        model: the one before the round; it changes.
        base: the one before the stream.
        stream: the one that the round is of.
        number: of the round, from 0.
        settings: of the method.
        access: what the method may use, see ``methods.access``; nothing else is given to it.
        device: where to train.
        plugins: Avalanche plugins beside the method's own.

    Returns:
        The strategy after the round, with the new model.
    """
    developed = strategy(model=model, settings=settings, seed=stream.seed, device=device, plugins=plugins)
    if "pretrained model" in access:
        developed.pretrained = base
    if "protected data" in access:
        developed.protect(stream.protected[number])
    developed.train(stream.train[number], eval_streams=[])
    return developed


@dataclass(frozen=True)
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

    def execute(self, on_step: Callable[[int, int], None] = lambda done, total: None) -> tuple[Record, pd.DataFrame]:
        """Develop, select on validation, score on test.

        Args:
            on_step: called with (steps done, steps of all rounds).

        Returns:
            The record, and the predictions behind its counts with columns round, split, index, label, old, new.
        """
        start = time.perf_counter()
        model = copy.deepcopy(self.base).to(self.device)
        results, predictions, message = [], [], ""
        try:
            for number in range(len(self.stream.rounds)):
                model, result, table = self._score(model, number, on_step)
                results.append(result)
                predictions.append(table)
        except Diverged as diverged:
            message = str(diverged)
        record = Record(
            scenario=self.scenario_info,
            method=self.method_info,
            base=self.base_info,
            seed=self.stream.seed,
            status="diverged" if message else "complete",
            message=message,
            rounds=tuple(results),
            environment=describe(self.device),
            seconds=round(time.perf_counter() - start, 2),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        empty = pd.DataFrame(columns=["round", "split", "index", "label", "old", "new"])
        return record, pd.concat(predictions, ignore_index=True) if predictions else empty

    def develop(
        self, model: ClipClassifier, number: int, on_step: Callable[[int, int], None] = lambda done, total: None
    ) -> tuple[RoundStrategy, Selection]:
        """Train one round from ``model``, which changes, and select on validation; no test image is looked at.

        Returns:
            The strategy, with the selected model, and the selection with its scores.

        Raises:
            Diverged: the loss or the logits were not finite.
        """
        stream, steps = self.stream, self.steps
        selection = Selection(
            stream.data[number].val,
            self.old(model, number, "val"),
            stream.rounds[number],
            stream.classes,
            steps,
            lambda step: on_step(number * steps + step, len(stream.rounds) * steps),
        )
        access = methods.access(self.method)
        strategy = develop_round(
            self.strategy, model, self.base, stream, number, self.settings, access, self.device, [selection]
        )
        if selection.diverged_at is not None:
            raise Diverged(
                f"round {number + 1}: the loss or the logits were not finite at step {selection.diverged_at}"
            )
        return strategy, selection

    @property
    def steps(self) -> int:
        """Optimizer steps per round."""
        return self.settings.steps

    def _score(
        self, model: ClipClassifier, number: int, on_step: Callable[[int, int], None]
    ) -> tuple[ClipClassifier, RoundResult, pd.DataFrame]:
        """One round: the new model with its result and predictions.

        Raises:
            Diverged: there is none.
        """
        start = time.perf_counter()
        round_, data = self.stream.rounds[number], self.stream.data[number]
        old = {split: self.old(model, number, split) for split in ("val", "test")}
        before = self._before(model, number, "scene pairs", self._scene_similarities)
        strategy, selection = self.develop(model, number, on_step)
        model = strategy.model
        new = {"test": _predict(model, data.test), "val": selection.predictions}
        result = RoundResult(
            target=round_.target,
            protected=round_.protected,
            **{split: self._count(getattr(data, split), old[split], new[split], round_.classes) for split in new},
            checkpoints=tuple(selection.checkpoints),
            selected_step=selection.selected_step,
            selected=selection.selected,
            losses=tuple(torch.stack(strategy.losses).tolist()) if strategy.losses else (),
            constraints=_constraints(strategy.violations, [c for c in self.stream.classes if c in round_.protected]),
            scene_pairs=self._count_scenes(before, self._scene_similarities(model, number)),
            seconds=round(time.perf_counter() - start, 2),
        )
        tables = [self._table(number, split, getattr(data, split), old[split], new[split]) for split in new]
        return model, result, pd.concat(tables, ignore_index=True)

    def old(self, model: ClipClassifier, number: int, split: str) -> Tensor:
        """Predictions of the model before a round, (N,); those of the base are made once for all runs."""
        return self._before(model, number, split, lambda model, n: _predict(model, getattr(self.stream.data[n], split)))

    def _before(
        self, model: ClipClassifier, number: int, what: str, score: Callable[[nn.Module, int], Tensor]
    ) -> Tensor:
        """``score`` of the model before a round; that of the base is asked for once for all runs."""
        if number > 0:
            return score(model, number)
        key = (f"{self.base_info.sha256} {self.stream.fingerprint} {what}", number)
        if key not in self.old_predictions:
            self.old_predictions[key] = score(model, number)
        return self.old_predictions[key]

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
        return pd.DataFrame(columns)


def _constraints(violations: list[Tensor], classes: list[str]) -> Constraints | None:
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
