"""Time of a training step of each method against the bare forward and backward pass of its batch."""

from __future__ import annotations

import copy

import pytest
import torch

import methods
from tests.methods.developing import TRAINING

STEPS = 20


@pytest.mark.parametrize("name", TRAINING)
def test_round(benchmark, name, toy_stream, toy_base):
    """A round of 20 steps, everything included."""
    strategy_class = methods.load(name)

    def develop():
        strategy = strategy_class(model=copy.deepcopy(toy_base), settings=strategy_class.SETTINGS(steps=STEPS))
        strategy.protect(toy_stream.protected[0])
        strategy.train(toy_stream.train[0], eval_streams=[])

    benchmark.pedantic(develop, rounds=3, warmup_rounds=1)


def test_floor(benchmark, toy_stream, toy_base):
    """The same number of images forward and backward through the model, and AdamW: what no method can undercut."""
    model = copy.deepcopy(toy_base).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    images = toy_stream.data[0].protected.images[:96].float() / 255
    labels = toy_stream.data[0].protected.labels[:96]

    def passes():
        for _ in range(STEPS):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()

    benchmark.pedantic(passes, rounds=3, warmup_rounds=1)
