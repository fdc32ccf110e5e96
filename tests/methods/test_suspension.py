"""A training put aside between two steps and taken up elsewhere ends as if it had never stopped, bit for bit."""

from __future__ import annotations

import copy
import dataclasses
import io
import pickle
import random
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.core import SupervisedPlugin
from avalanche.evaluation.metrics import accuracy_metrics, loss_metrics
from avalanche.logging import BaseLogger
from avalanche.training.plugins import EvaluationPlugin, SynapticIntelligencePlugin
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import methods
from benchmark.running.selection import Selection
from methods.batches import ImagePool, StepBatches
from methods.checkpoints import checkpoint_bytes, load_checkpoint
from methods.finetune import Finetune
from methods.suspension import restore, suspend
from methods.weight_space import held_out_share
from tests import ROOT
from tests.conftest import make_toy_stream
from tests.methods.developing import TRAINING

STEPS = 6
SMALL = {"steps": STEPS, "batch_size": 24, "lr": 3e-4}
# on varied views they keep a copy of the old model
OF_OLD_OUTPUTS = [
    "mds",
    "lwf",
    "der++",
    "pct",
    "rcat",
    "elodi",
    "mpt",
    "co2l",
]
ELSEWHERE = ["mds", "lwf", "ensemble", "finetune+ties", "finetune+uwm-repair"]
PER_CLASS = 12
OWN = """
import random

import numpy as np
import torch

from methods.replay import Replay


class Annealed:
    def __init__(self):
        self.steps = 0

    def __call__(self):
        self.steps += 1
        return 1 / self.steps


class Noisy(Replay):
    def prepare_round(self):
        self.scale = Annealed()
        self.own = torch.Generator().manual_seed(self.seed)

    def round_loss(self, logits, labels):
        noise = torch.randn(logits.shape, generator=self.own) + torch.randn(logits.shape)
        return super().round_loss(logits + self.scale() * noise, labels) * (random.random() + np.random.rand())
"""


class Killed(Exception):
    """The process ended."""


def world(name: str, base: nn.Module, augment: bool = False) -> dict[str, Any]:
    """What a process has before it trains, and no suspended training holds; equal each time, and never the same."""
    stream = dataclasses.replace(make_toy_stream(seed=0, per_class=PER_CLASS), augment=augment)
    method = methods.load(name)
    given = stream.experiences(0, held_out_share(method, method.SETTINGS()))
    return {"method": method, "stream": stream, "given": given, "base": copy.deepcopy(base)}


def begun(things: dict[str, Any], plugins: Sequence[Any] = (), model: nn.Module | None = None, **options: Any):
    """A strategy that is ready for the stream's first round, a selection the last of its plugins."""
    method, stream, base = things["method"], things["stream"], things["base"]
    small = method.SETTINGS.quick() | SMALL
    chosen = method.SETTINGS(**{key: value for key, value in small.items() if key in method.SETTINGS.model_fields})
    val = stream.data[0].val
    selection = Selection(val, torch.zeros_like(val.labels), stream.rounds[0], stream.classes, chosen.steps)
    strategy = method(
        model=model or copy.deepcopy(base), settings=chosen, seed=3, plugins=[*plugins, selection], **options
    )
    strategy.pretrained = base
    strategy.protect(things["given"].protected)
    if things["given"].held_out is not None:
        strategy.hold_out(*things["given"].held_out)
    scramble(9)
    return strategy


def train(strategy, things: dict[str, Any]):
    """The strategy after the whole round."""
    strategy.train(things["given"].train, eval_streams=[])
    return strategy


def kept_after(step: int, strategy, things: dict[str, Any], go: Callable[[], object] | None = None) -> bytes:
    """What was kept when a training, by ``go`` or from its start, was killed after ``step`` steps of the round."""
    file = io.BytesIO()

    def keep(training) -> None:
        if len(training.losses) == step:
            suspend(training, {"world": things}, file)
            raise Killed

    strategy.between_steps = keep
    with pytest.raises(Killed):
        (go or partial(train, strategy, things))()
    return file.getvalue()


def resumed(content: bytes, things: dict[str, Any]):
    """The strategy after the rest of the round, in a process with other random numbers."""
    scramble(100)
    strategy = restore(io.BytesIO(content), {"world": things})
    strategy.resume()
    return strategy


def scramble(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def outcome(strategy) -> dict[str, Any]:
    """All that a round leaves."""
    selection = next(plugin for plugin in strategy.plugins if isinstance(plugin, Selection))
    return {
        "losses": torch.stack(strategy.losses),
        "violations": torch.stack(strategy.violations) if strategy.violations else torch.empty(0),
        "scores": [point.model_dump_json() for point in selection.checkpoints],  # of proposed models too
        "selected": (selection.selected_step, selection.selected),
        "predictions": selection.predictions,
        "random": (torch.get_rng_state().tolist(), np.random.rand(), random.random()),
        "steps": (strategy.clock.train_iterations, strategy.clock.train_exp_counter),
        "weights": dict(strategy.model.state_dict()),
    }


def assert_same(one: Any, other: Any) -> None:
    """Equal bit for bit."""
    assert type(one) is type(other)
    if isinstance(one, Tensor):
        assert one.dtype == other.dtype and torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    else:
        assert one == other


@pytest.mark.parametrize(
    ("name", "augment"), [(name, False) for name in TRAINING] + [(name, True) for name in OF_OLD_OUTPUTS]
)
def test_every_method_goes_on_in_a_new_world_as_if_nothing_had_been(name, augment, toy_base):
    first, second = sorted(random.Random(f"{name} {augment}").sample(range(1, STEPS + 1), 2))
    here, there, yonder = (world(name, toy_base, augment) for _ in range(3))
    whole = outcome(train(begun(here), here))
    content = kept_after(first, begun(here), here)
    scramble(10)
    again = restore(io.BytesIO(content), {"world": there})
    content = kept_after(second, again, there, again.resume)
    assert len(whole["losses"]) == STEPS and whole["scores"]
    assert_same(outcome(resumed(content, yonder)), whole)


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> str:
    """A method in a file of a user's, with noise from everywhere."""
    file = tmp_path_factory.mktemp("own") / "noisy.py"
    file.write_text(OWN)
    return f"{file}:Noisy"


def test_another_process_takes_up_trainings(own, toy_base, tmp_path):
    (tmp_path / "base.safetensors").write_bytes(checkpoint_bytes(toy_base, "mds-tiny"))
    wanted = {}
    for number, name in enumerate([*ELSEWHERE, own]):
        here = world(name, toy_base)
        wanted[name] = outcome(train(begun(here), here))
        (tmp_path / f"{number}.suspended").write_bytes(kept_after(number % STEPS + 1, begun(here), here))
    code = "import sys; from tests.methods.test_suspension import finish; finish(*sys.argv[1:])"
    subprocess.run([sys.executable, "-c", code, tmp_path, *wanted], cwd=ROOT, check=True, timeout=300)
    for number, name in enumerate(wanted):
        assert_same(torch.load(tmp_path / f"{number}.outcome", weights_only=False), wanted[name])


def finish(folder: str, *names: str) -> None:
    """What the other process does with each of the trainings that are kept in a folder."""
    for number, name in enumerate(names):
        prompts = make_toy_stream(seed=0, per_class=1).prompts
        there = world(name, load_checkpoint(Path(folder) / "base.safetensors", prompts))
        strategy = resumed((Path(folder) / f"{number}.suspended").read_bytes(), there)
        torch.save(outcome(strategy), Path(folder) / f"{number}.outcome")


@settings(max_examples=8, deadline=None)
@given(st.sets(st.integers(1, STEPS), min_size=1))
def test_any_steps_will_do_the_last_one_too(own, toy_base, steps):
    """Learning rates and averages, batches and noise go on wherever and however often the training ends."""
    here = world(own, toy_base)
    whole = outcome(train(begun(here), here))
    strategy = begun(here)
    go = partial(train, strategy, here)
    for step in sorted(steps):
        content = kept_after(step, strategy, here, go)
        scramble(step)
        strategy = restore(io.BytesIO(content), {"world": here})
        go = strategy.resume
    go()
    assert_same(outcome(strategy), whole)


@pytest.mark.parametrize("classes", [1, 5, 40])  # 40 do not fit into a batch
@pytest.mark.parametrize("start", [0, 1, 17, 29])
def test_batches_are_a_function_of_the_step(classes, start):
    def fresh() -> StepBatches:
        labels = torch.arange(classes).repeat(3)
        protected, target = (Images(labels), Images(torch.full((50,), classes)))
        pools = (ImagePool(images, torch.device("cpu")) for images in (target, protected))
        return StepBatches(*pools, steps=30, batch_size=20, target_share=0.3, seed=1)

    wanted = [(x, batches.protected_rows) for batches in [fresh()] for x, *_ in batches]
    later = fresh()
    later.start = start
    halfway = fresh()
    for _ in zip(range(start), halfway, strict=False):
        pass
    for again in (later, pickle.loads(pickle.dumps(halfway))):
        rest = [(x, again.protected_rows) for x, *_ in again]
        assert len(rest) == 30 - start
        for one, other in zip(rest, wanted[start:], strict=True):
            assert all(map(torch.equal, one, other))


class Images:
    """An experience of tiny images, no two alike."""

    def __init__(self, labels: Tensor) -> None:
        self.labels = labels
        self.images = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2)


def test_no_schedule_complains(toy_base):
    here = world("finetune", toy_base)
    for step in range(1, STEPS):
        content = kept_after(step, begun(here), here)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            resumed(content, here)


class Plain:
    """An experience as Avalanche's own, whose images are read one by one."""

    def __init__(self, experience):
        self.dataset = experience.dataset


def test_a_plain_model_on_plain_avalanche_experiences(toy_stream):
    def things():
        torch.manual_seed(0)
        base = nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(48, 20), nn.BatchNorm1d(20), nn.Linear(20, 6))
        return world("ewc", base)

    def begin(here):
        strategy = begun(here)
        strategy.protect(Plain(here["stream"].protected[0]))
        return strategy

    here, there = things(), things()
    whole = outcome(train(begin(here), here))
    assert_same(outcome(resumed(kept_after(3, begin(here), here), there)), whole)


def test_plugins_and_metrics_of_avalanche_go_on_too(toy_base):
    here, there = world("finetune", toy_base), world("finetune", toy_base)

    def begin():
        metrics = [loss_metrics(minibatch=True, epoch=True), accuracy_metrics(minibatch=True, epoch=True)]
        evaluator = EvaluationPlugin(*metrics, loggers=[BaseLogger()])
        return begun(here, [SynapticIntelligencePlugin(0.1)], evaluator=evaluator)

    whole = train(begin(), here)
    wanted = outcome(whole)
    again = resumed(kept_after(4, begin(), here), there)
    assert_same(outcome(again), wanted)
    assert whole.evaluator.get_all_metrics() == again.evaluator.get_all_metrics() != {}


def test_neither_data_nor_base_are_written(toy_base):
    small = world("mds", toy_base)
    large = small | {"stream": make_toy_stream(seed=0, per_class=8 * PER_CLASS)}

    class Holding(SupervisedPlugin):
        """Holds what it can."""

        def __init__(self, things):
            super().__init__()
            data = things["stream"].data[0]
            self.data, self.some, self.tower = data.test, data.protected.images[5:9], things["base"].clip.visual
            self.weights = things["base"].state_dict()

    sizes = []
    for things in (small, large):
        things["holding"] = Holding
        strategy = begun(things, [Holding(things)])
        content = kept_after(2, strategy, things)
        sizes.append(len(content))
        data = things["stream"].data[0]
        for images in (data.train, data.protected, data.val, data.test):
            assert not any(image.numpy().tobytes() in content for image in images.images[:10])
        holding = restore(io.BytesIO(content), {"world": things}).plugins[0]
        assert holding.data is data.test and holding.tower is things["base"].clip.visual
        assert torch.equal(holding.some, data.protected.images[5:9])
        assert same_memory(holding.weights["clip.ln_final.weight"], things["base"].clip.ln_final.weight)
        assert same_memory(holding.some, data.protected.images)
    images = sum(len(split) for split in vars(large["stream"].data[0]).values())
    assert sizes[1] - sizes[0] < 200 * images  # an image has 12,288 bytes
    state = sum(value.nbytes for value in toy_base.state_dict().values())
    assert sizes[0] < 5 * state  # the model, two moments of AdamW, and the best weights


def same_memory(one: Tensor, other: Tensor) -> bool:
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


def test_losses_of_many_steps_take_no_more_room_than_their_numbers(toy_base):
    here = world("mds", toy_base)

    def size(steps: int) -> int:
        strategy, file = begun(here), io.BytesIO()

        def keep(training) -> None:
            training.losses, training.violations = training.losses * steps, training.violations * steps
            suspend(training, here, file)
            raise Killed

        strategy.between_steps = keep
        with pytest.raises(Killed):
            train(strategy, here)
        return len(file.getvalue())

    assert size(10_001) - size(1) < 10_000 * (1 + 5) * 4 + 500  # a loss and five constraints, as float32


# What cannot be


class Lambda(Finetune):
    """Has a function without a name."""

    def prepare_round(self):
        self.schedules = [{"rate": lambda step: 1 / step}]


class Loop(Finetune):
    """Has a loop of its own."""

    def training_epoch(self, **kwargs):
        super().training_epoch(**kwargs)


class Loader(Finetune):
    """Has batches of its own."""

    def make_train_dataloader(self, **kwargs):
        super().make_train_dataloader(**kwargs)
        self.dataloader = list(self.dataloader)


class Logging(SupervisedPlugin):
    """Has an open file."""

    def __init__(self, path):
        super().__init__()
        self.log = path.open("w")


@pytest.mark.parametrize(
    ("method", "what"),
    [
        (Lambda, r"Lambda: its schedules\.0\.rate, a function, cannot be kept on disk, so the run cannot be resumed"),
        (Loop, "Loop: has a training_epoch of its own, so the run cannot be resumed step by step"),
        (Loader, "Loader: has batches of its own, so the run cannot be resumed step by step"),
    ],
)
def test_a_method_that_cannot_be_kept_is_told_why(method, what, toy_base):
    here = world("finetune", toy_base) | {"method": method}
    strategy = begun(here)
    strategy.between_steps = partial(suspend, outside=here, file=io.BytesIO())
    with pytest.raises(ValueError, match=what) as error:
        train(strategy, here)
        suspend(strategy, here, io.BytesIO())
    assert "\n" not in str(error.value)


def test_a_plugin_that_cannot_be_kept_is_named(toy_base, tmp_path):
    here = world("mds", toy_base)
    strategy = begun(here, [Logging(tmp_path / "log")])
    strategy.between_steps = partial(suspend, outside=here, file=io.BytesIO())
    with pytest.raises(ValueError, match=r"MDS: its plugins\.0\.log, a TextIOWrapper, cannot be kept on disk"):
        train(strategy, here)


@pytest.fixture(scope="module")
def kept(toy_base) -> tuple[bytes, dict[str, Any]]:
    """A suspended training, and what is outside it."""
    here = world("finetune", toy_base)
    return kept_after(2, begun(here), here), here


def foreign(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda content: content[: len(content) // 2], "BadZipFile"),
        (lambda content: b"", "BadZipFile"),
        (lambda content: b"hello", "BadZipFile"),
        (lambda content: content[: len(content) // 2] + b"?" + content[len(content) // 2 + 1 :], "is damaged"),
        (lambda content: foreign({"weight": torch.zeros(3)}), "it holds something else"),
        (lambda content: foreign(torch.zeros(3)), "it holds something else"),
    ],
)
def test_a_file_that_is_no_suspended_training_is_refused(spoil, why, kept):
    content, here = kept
    with pytest.raises(ValueError, match=rf"^is no suspended training of this run .*{why}") as error:
        restore(io.BytesIO(spoil(content)), {"world": here})
    assert "\n" not in str(error.value)


def test_a_training_needs_what_was_outside_it(kept):
    content, here = kept
    with pytest.raises(ValueError, match=r"no suspended training of this run .*KeyError: 'given'"):
        restore(io.BytesIO(content), {"world": {"method": here["method"], "base": here["base"]}})


def test_a_full_disk_is_no_fault_of_the_method(kept, toy_base):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(28, "No space left on device")

    here = world("finetune", toy_base)
    strategy = begun(here)
    strategy.between_steps = partial(suspend, outside=here, file=Full())
    with pytest.raises(OSError, match="No space left"):
        train(strategy, here)
