"""Training of bases: the same again, and by way of free class vectors where classes are many."""

from __future__ import annotations

import torch

from benchmark.running.pretrain import Recipe, pretrain
from methods.clip import predict_logits

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
