"""The published set-up by name: its batch shape, and that what is asked for by hand wins."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import methods
from benchmark.records.files import read
from benchmark.running.jobs import shared
from benchmark.running.presets import preset
from methods.batches import ImagePool, StepBatches
from methods.mds import MDSSettings
from methods.pretrained import OPENAI, training_of
from scenarios.stream import ImageExperience, LabelledImages


def pool(classes: int, each: int = 2) -> ImagePool:
    labels = torch.arange(classes).repeat(each)
    data = LabelledImages(torch.zeros(len(labels), 3, 1, 1, dtype=torch.uint8), labels)
    return ImagePool(ImageExperience(data, 0), torch.device("cpu"))


@pytest.mark.parametrize(
    ("scenario", "classes", "targets", "protected"),
    [("driving-foggy", 5, 128, 178), ("bdd100k-tunnel", 4, 128, 178), ("places365-dressing-room", 364, 32, 512)],
)
def test_the_batch_has_the_published_shape(scenario, classes, targets, protected):
    settings = MDSSettings(**preset("paper", scenario).settings)
    batches = StepBatches(
        pool(1, 200), pool(classes, 40), settings.steps, settings.batch_size, settings.target_share, seed=0
    )
    kept = batches.images_per_class * batches.classes_per_step
    assert batches.targets_per_step + kept == targets + protected
    assert abs(batches.targets_per_step - targets) < classes  # protected images come in whole rows of classes
    assert (settings.steps, settings.lr) == (64_000 if classes == 364 else 24_000, 1e-6)


def test_it_starts_from_openais_weights_with_their_activation():
    assert training_of(*[getattr(preset("paper", "bdd100k-foggy"), part) for part in ("model", "pretrained")]) == (
        "ViT-B-16-quickgelu",
        OPENAI,
    )


def test_flags_override_the_preset_and_the_record_tells(command):
    settings = ("--set", "steps=2", "--set", "batch_size=16")
    options = ("--option", "image_size=64", "--option", "protected_per_class=9")
    base = ("--scenario", "toy", "--base", "toy.safetensors", "--seeds", "1", "--preset", "paper", "--quiet")
    code, _, err = command("run", "--method", "mds", *base, *options, *settings)
    assert code == 0, err
    record = read(next(Path("runs/records/toy").glob("mds-*.json")))
    used = record.method.settings
    assert (used["steps"], used["batch_size"], used["lr"], used["beta"]) == (2, 16, 1e-6, 100.0)
    assert used["head_rank"] == 32
    code, _, err = command("run", "--method", "frozen", *base, *options)
    assert code == 0, err  # a method that takes no steps takes none of the budget either


def test_a_method_takes_the_settings_it_has(command):
    base = ("--scenario", "toy", "--base", "toy.safetensors", "--seeds", "1", "--preset", "paper", "--quiet")
    options = ("--set", "steps=2", "--option", "image_size=64", "--option", "protected_per_class=9")
    code, _, err = command("run", "--method", "finetune", *base, *options)
    assert code == 0, err


@pytest.mark.parametrize(
    ("name", "taken", "left"),
    [
        ("mds-margin", {"beta": 100.0, "head_rank": 32, "target_share": 128 / 306}, {"margin"}),
        ("mds-strict", {"steps": 24_000, "tau": 0.05}, {"beta"}),  # of 20, as replay's loss is beside it
        ("mds-no-heads", {"beta": 100.0}, {"head_rank"}),
        ("pct", {"lr": 1e-6}, {"beta"}),  # which weighs the images that the old model knew
        ("replay", {"warmup": 500 / 24_000}, {"target_share"}),
        ("lora", {"batch_size": 306}, {"lr"}),  # of few weights
    ],
)
def test_a_method_takes_what_it_shares_with_the_published_one(name, taken, left):
    strategy = methods.load(name)
    found = shared(strategy, preset("paper", "bdd100k-foggy").settings)
    assert found.items() >= taken.items() and not found.keys() & left
    strategy.SETTINGS(**found)


def test_an_unknown_preset_is_refused(command):
    code, _, err = command("run", "--method", "mds", "--preset", "papers")
    assert code == 2 and "--preset must be paper, not 'papers'" in err
