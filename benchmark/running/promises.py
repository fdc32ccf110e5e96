"""The promises of every method, as checks that try it on tiny streams."""

from __future__ import annotations

import copy
import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

import methods
from benchmark.records.files import recompute
from benchmark.records.schema import BaseInfo, MethodInfo, Record
from benchmark.running.development import develop_round
from benchmark.running.guards import Guard, Guarded, GuardedSelection, Watch, global_seeds
from benchmark.running.runner import Run
from methods.checkpoints import TINY, checkpoint_bytes, create_classifier, load_checkpoint
from methods.clip import ClipClassifier, predict_logits
from methods.strategy import RoundStrategy, Settings
from scenarios.mock import MOCKS, many_rounds, one_round
from scenarios.stream import DevelopmentStream

STEPS, BATCH = 2, 16  # of a round: enough for every promise, little enough for seconds


class Broken(Exception):
    """A promise that is not kept: what was seen, and the remedy."""


@dataclass(frozen=True)
class Subject:
    """The implementation that is tried."""

    strategy: type[RoundStrategy]
    name: str

    def settings(self, steps: int = STEPS) -> Any:
        """The defaults with a small budget, and few images to look at besides."""
        budget = {"steps": steps, "batch_size": BATCH} if self.strategy.trains else {}
        return self.strategy.SETTINGS(**self.strategy.SETTINGS.quick() | budget)

    def develop(
        self,
        stream: DevelopmentStream,
        model: nn.Module,
        base: nn.Module,
        number: int = 0,
        steps: int = STEPS,
        plugins: Iterable[Any] = (),
    ) -> RoundStrategy:
        """The strategy after round ``number`` alone; ``model`` is changed."""
        return develop_round(
            self.strategy,
            model,
            base,
            stream,
            number,
            self.settings(steps),
            methods.access(self.name),
            plugins=list(plugins),
        )


def check_contract(subject: Subject) -> None:
    """Class, settings, version and docstring are as the rest needs them."""
    strategy = subject.strategy
    _require(isinstance(strategy, type) and issubclass(strategy, RoundStrategy), "not a subclass of RoundStrategy")
    _require(bool(strategy.__doc__), "the class has no docstring: say what the method is and where it is from")
    _require(type(strategy.VERSION) is int, f"VERSION must be a whole number, not {strategy.VERSION!r}")
    settings = strategy.SETTINGS
    _require(
        isinstance(settings, type) and issubclass(settings, Settings) and bool(settings.model_config.get("frozen")),
        "SETTINGS must be a frozen subclass of methods.strategy.Settings",
    )
    values = MethodInfo(name=subject.name, version=strategy.VERSION, settings=settings().model_dump()).settings
    again = settings(**json.loads(json.dumps(values)))
    _require(again == settings(), "settings read back from a record are not those that were written")
    for key, tried in settings.GRID.items():
        _require(key in settings.model_fields, f"GRID has {key!r}, which is no setting")
        for value in tried:
            settings(**{key: value})
    subject.settings()


def check_runs(mock: Callable[[], DevelopmentStream], subject: Subject) -> None:
    """A whole run gives finite losses and a valid record."""
    stream = mock()
    info = BaseInfo(name="random", sha256="0" * 64, model=TINY)
    run = Run(stream, random_base(stream), info, subject.name, subject.strategy, subject.settings())
    record, predictions = run.execute()
    _require(record.status == "complete", f"the run diverged, {record.message}")
    losses = torch.tensor([loss for result in record.rounds for loss in result.losses])
    _require(bool(losses.isfinite().all()), f"losses are not finite: {losses.tolist()}")
    Record.model_validate_json(record.model_dump_json())
    _require(not recompute(record, predictions), "the record's counts are not those of its predictions")


def check_determinism(subject: Subject) -> None:
    """The seed alone decides the outcome."""
    stream = one_round()

    def develop(number: int) -> nn.Module:
        with global_seeds(number):
            base = random_base(stream)
            return subject.develop(stream, copy.deepcopy(base), base).model

    _require(
        same_function(develop(1), develop(2), stream.data[0].test.images),
        "two runs of one seed differ: draw random numbers from methods.batches.generator(self.seed, purpose), "
        "and keep nothing outside the strategy",
    )


def check_budget(subject: Subject) -> None:
    """As many optimizer steps, and images per step, as the settings say."""
    stream, watch, steps = one_round(), Watch(), 0

    def count(*args: Any) -> None:
        nonlocal steps
        steps += 1

    hook, base = register_optimizer_step_post_hook(count), random_base(stream)
    try:
        subject.develop(stream, copy.deepcopy(base), base, plugins=[watch])
    finally:
        hook.remove()
    _require(steps == STEPS, f"{steps} optimizer steps in a round of steps={STEPS}: all methods get the same number")
    _require(watch.own_batches, "training batches must come from self.batches, which all methods share")
    wrong = [size for size in watch.sizes if size != BATCH]
    _require(not wrong, f"a step shows {wrong[:1]} images where batch_size={BATCH}: target and protected together")


def check_zero_steps(subject: Subject) -> None:
    """Without steps the model is the old one, bit for bit."""
    stream = one_round()
    base, images = random_base(stream), stream.data[0].test.images
    old = predict_logits(base, images)
    model = subject.develop(stream, copy.deepcopy(base), base, steps=0).model
    _require(
        torch.equal(predict_logits(model, images), old),
        "with steps=0 the model's outputs change: prepare_model and prepare_round must leave its function as it is",
    )


def check_scored_data(subject: Subject) -> None:
    """Validation and test images are never read in training; selection on validation is not the method's."""
    guard, stream = Guard(subject.strategy), one_round()
    data = tuple(
        replace(d, val=Guarded(d.val, "validation", guard), test=Guarded(d.test, "test", guard)) for d in stream.data
    )
    stream = replace(stream, data=data)
    base = random_base(stream)
    old = predict_logits(base, data[0].val.images).argmax(dim=1)
    selection = GuardedSelection(data[0].val, old, stream.rounds[0], stream.classes, STEPS)
    selection.guard = guard
    for part in stream.benchmark.streams.values():  # the way there that other Avalanche benchmarks offer
        part.benchmark = stream.benchmark
    with guard.watching(True):
        subject.develop(stream, copy.deepcopy(base), base, plugins=[selection])
    _require(
        not guard.seen,
        f"reads {', '.join(dict.fromkeys(guard.seen))} in training: a method may use target and protected images only",
    )


def check_training_data(subject: Subject) -> None:
    """The images and labels a method is given are left as they are."""
    stream = one_round()
    given = {"target": stream.data[0].train, "protected": stream.data[0].protected}
    before = {name: (data.images.clone(), data.labels.clone()) for name, data in given.items()}
    base = random_base(stream)
    subject.develop(stream, copy.deepcopy(base), base)
    for name, (images, labels) in before.items():
        unchanged = torch.equal(given[name].images, images) and torch.equal(given[name].labels, labels)
        _require(unchanged, f"changes the {name} data in place: work on a copy")


def check_pretrained(subject: Subject) -> None:
    """The model before the stream is left as it is."""
    stream = one_round()
    base = random_base(stream)
    before = copy.deepcopy(base.state_dict())
    subject.develop(stream, copy.deepcopy(base), base)
    after = base.state_dict()
    _require(
        before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before),
        "changes self.pretrained: work on a copy",
    )


def check_resumable(subject: Subject) -> None:
    """The next round follows from the model alone: saved, loaded and developed by another process, it is the same."""
    stream = many_rounds()
    base = random_base(stream)
    model = subject.develop(stream, copy.deepcopy(base), base).model
    saved = _saved_and_loaded(model)
    straight = subject.develop(stream, model, base, number=1).model
    # a model of a class of the method's own would not be one of that class imported anew
    elsewhere = (
        Subject(_imported_anew(subject.strategy), subject.name) if isinstance(saved, ClipClassifier) else subject
    )
    resumed = elsewhere.develop(stream, saved, base, number=1).model
    _require(
        same_function(straight, resumed, stream.data[1].test.images),
        "a second round after saving and loading the model differs: keep nothing between rounds but the model itself",
    )


CHECKS: dict[str, Callable[[Subject], None]] = {
    **{f"runs on {mock.__name__}": partial(check_runs, mock) for mock in MOCKS},
    "same seed, same model": check_determinism,
    "budget": check_budget,
    "zero steps change nothing": check_zero_steps,
    "no validation or test images": check_scored_data,
    "training data untouched": check_training_data,
    "pretrained model untouched": check_pretrained,
    "resumable between rounds": check_resumable,
}
OF_TRAINING = (check_budget, check_zero_steps)


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise Broken(otherwise)


# Shared by the checks


def random_base(stream: DevelopmentStream) -> ClipClassifier:
    """A small classifier with the same random weights each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return create_classifier(stream.prompts).eval()


def same_function(one: nn.Module, two: nn.Module, images: Tensor) -> bool:
    """Whether weights and logits are equal bit for bit."""
    first, second = one.state_dict(), two.state_dict()
    return (
        first.keys() == second.keys()
        and all(torch.equal(first[key], second[key]) for key in first)
        and torch.equal(predict_logits(one, images), predict_logits(two, images))
    )


def _saved_and_loaded(model: nn.Module) -> nn.Module:
    if not isinstance(model, ClipClassifier):
        return copy.deepcopy(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        path.write_bytes(checkpoint_bytes(model, TINY))
        return load_checkpoint(path, model.prompts)


def _imported_anew(strategy: type[RoundStrategy]) -> type[RoundStrategy]:
    """The class as another process would import it, without its module's state; itself where that cannot be."""
    spec = getattr(sys.modules.get(strategy.__module__), "__spec__", None)
    if spec is None or spec.loader is None:
        return strategy
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, strategy.__qualname__, strategy)
