"""The trial of a method: good ones pass, and each broken promise is found and named."""

from __future__ import annotations

import random
import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

import methods
from benchmark.running import promises, trial
from methods.finetune import Finetune
from methods.reference import Joint
from methods.strategy import RoundStrategy, Settings
from methods.weight_space import WeightSpace, combined
from scenarios.mock import MOCKS, few_targets, many_classes, many_rounds

FAST = [title for title in trial.CHECKS if "many" not in title]


@pytest.fixture
def attempt(monkeypatch):
    """``attempt(strategy, *titles) -> (passed, lines)`` of these checks alone, or of all but the slow ones."""

    def call(strategy, *titles: str) -> tuple[bool, list[str]]:
        lines: list[str] = []
        with monkeypatch.context() as patch:
            patch.setattr(trial, "CHECKS", {title: trial.CHECKS[title] for title in titles or FAST})
            return trial.run_trial(strategy, "mine", lines.append), lines

    return call


def test_a_shipped_method_passes_every_check():
    lines: list[str] = []
    assert trial.run_trial(methods.load("finetune"), "finetune", lines.append)
    assert len(lines) == 2 + len(trial.CHECKS) and all(line.endswith(": ok") for line in lines[:-1])
    assert lines[-1].startswith("finetune: all checks passed")


def test_mds_passes(attempt):
    assert attempt(methods.load("mds"))[0]


def test_a_method_without_steps_passes_and_is_not_asked_for_a_budget(attempt):
    passed, lines = attempt(methods.load("frozen"))
    assert passed and [line for line in lines if "skipped" in line] == [
        f"{title}: skipped, the method takes no steps" for title in ("budget", "zero steps change nothing")
    ]


class Halfway(WeightSpace):
    """Between the old and the trained weights."""

    def merge(self, coefficient):
        return {key: old + coefficient * (self.new[key] - old) for key, old in self.old.items()}


def test_a_method_with_a_weight_space_plugin_passes(attempt):
    titles = (
        "runs on one_round",
        "zero steps change nothing",
        "no validation or test images",
        "resumable between rounds",
    )
    assert attempt(combined(Finetune, Halfway), *titles)[0]


# Methods that break one promise each

MEMORY: list[float] = []
FIRST: dict[str, Tensor] = {}


class SpoilsProtected(Joint):
    """Writes into the protected images."""

    def prepare_round(self) -> None:
        self.batches.protected.images[0] = 0


class ReadsTest(Finetune):
    """Looks at what it is scored on."""

    def prepare_round(self) -> None:
        self.experience.origin_stream.benchmark.streams["test"][0].images.float().mean()


class ReadsTestItems(Finetune):
    """Looks at it one by one."""

    def prepare_round(self) -> None:
        self.experience.origin_stream.benchmark.streams["test"][0].dataset[0]


class ReadsValidation(Finetune):
    """Looks at what it is selected by."""

    def prepare_round(self) -> None:
        for plugin in self.plugins:
            getattr(plugin, "images", self.batches.target).labels.unique()


class RollsGlobalDice(Finetune):
    """Draws from torch's global generator."""

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super().round_loss(logits + torch.rand(()) * logits, labels)


class RollsNumpyDice(Finetune):
    """Draws from NumPy's global generator."""

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super().round_loss(logits * float(1 + np.random.rand()), labels)


class StepsTwice(Finetune):
    """Takes every step twice."""

    def optimizer_step(self) -> None:
        self.optimizer.step()
        super().optimizer_step()


class TrainsBefore(Finetune):
    """Steps an optimizer of its own."""

    def prepare_round(self) -> None:
        own = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.model(self.batches.target.take(torch.arange(4))[0]).mean().backward()
        own.step()


class ShowsMore(Finetune):
    """Has batches of its own, and larger ones."""

    def make_train_dataloader(self, **kwargs) -> None:
        super().make_train_dataloader(**kwargs)
        self.dataloader = [[torch.cat([part, part]) for part in batch] for batch in self.dataloader]


class StartsElsewhere(Finetune):
    """Changes the weights without a step."""

    def prepare_round(self) -> None:
        with torch.no_grad():
            self.model.clip.visual.proj.mul_(0.5).add_(0.01)


class Remembers(Finetune):
    """Keeps count between rounds, outside the model."""

    def prepare_round(self) -> None:
        MEMORY.append(1.0)

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super().round_loss(logits, labels) * (1 + logits.pow(2).mean() * len(MEMORY))


class RemembersTheFirst(Finetune):
    """Keeps what the very first round saw, outside the model."""

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        kept = FIRST.setdefault("weights", self.model.clip.visual.proj.detach().clone())
        return super().round_loss(logits, labels) + (self.model.clip.visual.proj - kept).pow(2).sum()


class Raises(Finetune):
    """Has a mistake."""

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        raise KeyError("strength")


class Diverges(Finetune):
    """Has no finite loss."""

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return logits.sum() * torch.inf


class SpoilsPretrained(Finetune):
    """Writes into the model before the stream."""

    def prepare_round(self) -> None:
        with torch.no_grad():
            self.pretrained.clip.visual.proj.add_(1.0)


@pytest.mark.parametrize(
    ("strategy", "title", "reason"),
    [
        (SpoilsProtected, "training data untouched", "changes the protected data in place"),
        (ReadsTest, "no validation or test images", r"reads test data \(test_trial.py:\d+\) in training"),
        (ReadsTestItems, "no validation or test images", r"reads test data \(test_trial.py:\d+\)"),
        (ReadsValidation, "no validation or test images", r"reads validation data \(test_trial.py:\d+\)"),
        (RollsGlobalDice, "same seed, same model", "two runs of one seed differ"),
        (RollsNumpyDice, "same seed, same model", "two runs of one seed differ"),
        (StepsTwice, "budget", "4 optimizer steps in a round of steps=2"),
        (TrainsBefore, "budget", "3 optimizer steps in a round of steps=2"),
        (ShowsMore, "budget", "must come from self.batches"),
        (StartsElsewhere, "zero steps change nothing", "with steps=0 the model's outputs change"),
        (Remembers, "resumable between rounds", "a second round after saving and loading the model differs"),
        (RemembersTheFirst, "resumable between rounds", "a second round after saving and loading the model differs"),
        (Raises, "runs on one_round", r"KeyError: 'strength' \(test_trial.py:\d+\)"),
        (Diverges, "runs on one_round", "the run diverged, round 1: .* not finite"),
        (SpoilsPretrained, "pretrained model untouched", "changes self.pretrained"),
    ],
    ids=lambda value: getattr(value, "__name__", " "),
)
def test_a_broken_promise_is_found_and_named(attempt, strategy, title, reason):
    passed, lines = attempt(strategy, title)
    assert not passed and lines[0] == "contract: ok" and lines[-1].startswith("mine: 1 failed")
    assert lines[1].startswith(f"{title}: FAILED ") and "\n" not in lines[1]
    assert re.search(reason, lines[1]), lines[1]


def test_a_promise_that_is_kept_is_not_blamed_for_another(attempt):
    passed, lines = attempt(SpoilsPretrained, "budget", "training data untouched", "zero steps change nothing")
    assert passed, lines


# Contract


class NoDocstring(Finetune):
    pass


class Melted(Settings):
    model_config = Settings.model_config | {"frozen": False}


class Unsearchable(Settings):
    GRID = Settings.GRID | {"strength": (1.0,)}


class Unwritable(Settings):
    device: object = torch.device("cpu")


@pytest.mark.parametrize(
    ("strategy", "reason"),
    [
        (dict, "not a subclass of RoundStrategy"),
        (NoDocstring, "has no docstring"),
        (type("Late", (Finetune,), {"__doc__": "A method.", "VERSION": "2"}), "VERSION must be a whole number"),
        (type("Soft", (Finetune,), {"__doc__": "A method.", "SETTINGS": Melted}), "must be a frozen subclass"),
        (type("Lost", (Finetune,), {"__doc__": "A method.", "SETTINGS": Unsearchable}), "which is no setting"),
        (type("Odd", (Finetune,), {"__doc__": "A method.", "SETTINGS": Unwritable}), "does not fit in JSON"),
    ],
    ids=["class", "docstring", "version", "frozen", "grid", "json"],
)
def test_a_contract_that_does_not_hold_ends_the_trial(strategy, reason):
    lines: list[str] = []
    assert not trial.run_trial(strategy, "mine", lines.append)
    assert len(lines) == 2 and lines[0].startswith("contract: FAILED ") and reason in lines[0]


def test_a_method_without_a_loss_is_told_so(attempt):
    class Empty(RoundStrategy):
        """Has no loss."""

    passed, lines = attempt(Empty, "runs on one_round")
    assert not passed and "NotImplementedError" in lines[1]


def test_global_random_numbers_are_left_as_they_were(attempt):
    def states():
        return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()

    before = states()
    attempt(Finetune, "same seed, same model")
    assert states() == before


# The mock streams


def test_each_mock_stream_is_what_its_name_says():
    rounds = many_rounds().rounds
    assert len(rounds) == 3 and all(set(a.classes) == set(b.protected) for a, b in pairwise(rounds))
    (data,) = many_classes().data
    assert set(data.protected.labels.bincount().tolist()) == {2} and len(data.protected) == 2 * 364
    assert len(few_targets(images=3).data[0].train) == 3 < promises.BATCH


@pytest.mark.parametrize("mock", MOCKS[:2])
def test_the_seed_decides_what_is_trained_on_and_not_what_is_scored(mock):
    assert mock(0).fingerprint == mock(0).fingerprint == mock(1).fingerprint
    assert mock(0).training_fingerprint != mock(1).training_fingerprint
