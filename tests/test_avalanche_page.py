"""The page for users of Avalanche: its scripts print what it shows, and what it says of Avalanche is so."""

from __future__ import annotations

import copy
import re
import runpy
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from avalanche.training import EWC, GEM, LwF, Naive, Replay, SynapticIntelligence
from avalanche.training.plugins import GEMPlugin, LwFPlugin, SupervisedPlugin
from torch import nn

import methods
from benchmark.running.promises import random_base
from methods.clip import ClipClassifier, predict_logits
from scenarios.mock import LETTERS, one_round
from tests import ROOT
from tests.pages import files_of, importable

TEXT = (ROOT / "docs" / "avalanche.md").read_text(encoding="utf-8")
FILES = files_of(TEXT)
SHOWN = re.findall(r"^```text\n(.*?)^```$", TEXT, re.M | re.S)
NUMBER = r"[+-]\d+\.\d+"

pytestmark = pytest.mark.filterwarnings("ignore:No loggers specified")


@pytest.fixture
def page(tmp_path):
    """The page's files, ready to be run."""
    with importable(FILES, tmp_path):
        yield tmp_path


def test_this_suites_methods_in_a_script_of_avalanche(page):
    check(page / "split_digits.py", SHOWN[0])


@pytest.mark.slow
def test_avalanches_methods_on_a_stream_of_this_suite(page):
    check(page / "on_the_stream.py", SHOWN[1])


def check(script: Path, shown: str) -> None:
    """It prints what the page shows: words exactly, shares to 0.1, as training goes on from how a machine rounds."""
    with redirect_stdout(StringIO()) as printed:
        runpy.run_path(str(script), run_name="__main__")
    assert re.sub(NUMBER, "…", printed.getvalue()) == re.sub(NUMBER, "…", shown)
    assert numbers(printed.getvalue()) == pytest.approx(numbers(shown), abs=0.1)


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(NUMBER, text)]


def test_certified_decides_by_itself_on_a_plain_classifier(page):
    """A model that is nearly always right can show no gain, so that only a margin lets it change."""
    digits = runpy.run_path(str(page / "split_digits.py"))["digits"]
    base = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    optimizer = torch.optim.AdamW(base.parameters(), lr=1e-2)
    Naive(model=base, optimizer=optimizer, train_mb_size=96, evaluator=None).train(digits.train_stream[0])
    for margin, changes in ((0.0, False), (99.0, True)):
        model, kind = copy.deepcopy(base), methods.load("mds+certified")
        settings = kind.SETTINGS(steps=20, lr=1e-2, tau=1, t=1, margin_points=margin)
        strategy = kind(model=model, settings=settings)
        strategy.protect(digits.train_stream[0])
        strategy.hold_out(digits.test_stream[1], digits.test_stream[0])
        strategy.train(digits.train_stream[1], eval_streams=[])
        assert torch.equal(model[1].weight, base[1].weight) != changes


# What the page says of Avalanche, on a stream of noise


def strategy_of(kind: type, optimizer: Any = None, **options: Any) -> tuple[Any, Any]:
    """An untrained strategy on a random CLIP model, and the stream."""
    stream = one_round()
    model = random_base(stream)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4) if optimizer is None else optimizer(model)
    options |= {"criterion": nn.CrossEntropyLoss(), "evaluator": None, "train_mb_size": 12}
    return kind(model=model, optimizer=optimizer, **options), stream


def primed(kind: type, **options: Any) -> tuple[Any, Any]:
    strategy, stream = strategy_of(kind, train_epochs=0, **options)
    strategy.train(stream.protected[0], eval_streams=[])
    strategy.train_epochs = 1
    return strategy, stream


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (EWC, {"ewc_lambda": 1e6}),
        (LwF, {"alpha": 100.0, "temperature": 2.0}),
        (GEM, {"patterns_per_exp": 40, "memory_strength": 0.5}),
        (Replay, {"mem_size": 40}),
    ],
)
def test_a_round_from_a_base_is_naives_bit_for_bit_unless_primed(kind, options):
    weights = []
    for make, which in ((strategy_of, Naive), (strategy_of, kind), (primed, kind)):
        torch.manual_seed(0)
        strategy, stream = make(which, **(options if which is kind else {}))
        torch.manual_seed(0)
        strategy.train_epochs = 2  # of two steps; the model drifts away only after the first
        strategy.train(stream.train[0], eval_streams=[])
        weights.append(nn.utils.parameters_to_vector(strategy.model.parameters()))
    naive, unprimed, ready = weights
    assert torch.equal(unprimed, naive) and not torch.equal(ready, naive)


def test_synaptic_intelligence_gains_nothing_by_priming():
    """But for a parameter that no output depends on, and that decays once a loss, of 0, reaches it."""
    answers = []
    for kind, options in ((Naive, {}), (SynapticIntelligence, {"si_lambda": 1e6})):
        torch.manual_seed(0)
        strategy, stream = primed(kind, **options)
        torch.manual_seed(0)
        strategy.train(stream.train[0], eval_streams=[])
        answers.append(predict_logits(strategy.model, stream.test[0].images))
    assert torch.equal(*answers)


def test_lwf_distils_classes_it_has_met_with_a_teacher_in_training_mode():
    strategy, _ = primed(LwF, alpha=1.0, temperature=2.0)
    lwf = plugin(strategy, LwFPlugin).lwf
    assert lwf.prev_classes_by_task == {0: set(range(5))} and lwf.prev_model.training


def test_gem_has_one_constraint_for_all_protected_classes():
    strategy, _ = primed(GEM, patterns_per_exp=40, memory_strength=0.5)
    gem = plugin(strategy, GEMPlugin)
    assert gem.memory_x.keys() == {0} and set(gem.memory_y[0].tolist()) == set(range(5))


def test_replay_adds_protected_images_to_a_full_batch():
    strategy, stream = primed(Replay, mem_size=40)
    strategy.plugins.insert(0, seen := Batches())
    strategy.train(stream.train[0], eval_streams=[])
    target = LETTERS.index("f")
    assert [(len(labels), labels.count(target)) for labels in seen.labels] == [(24, 12)] * 2


class Batches(SupervisedPlugin):
    """Keeps the labels of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.labels: list[list[int]] = []

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self.labels.append(strategy.mb_y.tolist())


def plugin(strategy: Any, kind: type) -> Any:
    (found,) = [one for one in strategy.plugins if isinstance(one, kind)]
    return found


def test_an_optimizer_of_one_tower_trains_the_other_too_unless_that_is_frozen():
    def of_images(model: ClipClassifier) -> torch.optim.Optimizer:
        return torch.optim.AdamW(model.clip.visual.parameters(), lr=1e-4)

    def frozen(model: ClipClassifier) -> torch.optim.Optimizer:
        model.clip.requires_grad_(False).visual.requires_grad_(True)
        return of_images(model)

    for optimizer, moved in ((of_images, True), (frozen, False)):
        strategy, stream = strategy_of(Naive, optimizer, train_epochs=1)
        old = copy.deepcopy(strategy.model.clip)
        strategy.train(stream.train[0], eval_streams=[])
        new = strategy.model.clip
        assert torch.equal(new.token_embedding.weight, old.token_embedding.weight) != moved
        assert not torch.equal(new.visual.proj, old.visual.proj)


@pytest.mark.parametrize("kept", [False, True])
def test_an_optimizer_of_two_groups_needs_the_frozen_parameters(kept):
    def groups(model: ClipClassifier) -> torch.optim.Optimizer:
        model.clip.positional_embedding.requires_grad_(False)
        parameters = [p for p in model.parameters() if kept or p.requires_grad]
        decayed, others = ([p for p in parameters if (p.ndim > 1) == many] for many in (True, False))
        return torch.optim.AdamW([{"params": decayed}, {"params": others, "weight_decay": 0.0}], lr=1e-4)

    strategy, stream = strategy_of(Naive, groups, train_epochs=1)
    if kept:
        strategy.train(stream.train[0], eval_streams=[])
    else:
        with pytest.raises(AttributeError, match="No unique group found"):
            strategy.train(stream.train[0], eval_streams=[])
