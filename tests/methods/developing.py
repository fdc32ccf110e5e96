"""A method at work on the toy stream, for tests."""

from __future__ import annotations

import copy

import methods
from methods.clip import predict_logits

# every method by the name it runs under: a plugin goes with fine-tuning
RUNNABLE = [f"finetune+{name}" if name in methods.plugins() else name for name in methods.METHODS]
TRAINING = [name for name in RUNNABLE if methods.load(name).trains]


def develop(name: str, base, stream, seed: int = 0, rounds: int = 1, **changes):
    """The strategy ``name`` after ``rounds`` rounds on ``stream``, started from a copy of ``base``."""
    strategy_class = methods.load(name)
    changes.setdefault("lr", 3e-4)
    changes = {"steps": 40, **changes} if strategy_class.trains else {}
    settings = strategy_class.SETTINGS(**changes)
    strategy = strategy_class(model=copy.deepcopy(base), settings=settings, seed=seed)
    for r in range(rounds):
        strategy.protect(stream.protected[r])
        strategy.train(stream.train[r], eval_streams=[])
    return strategy


def accuracy(model, data, label: int) -> float:
    """Share of the images of one class that ``model`` gets right."""
    rows = data.labels == label
    return (predict_logits(model, data.images[rows]).argmax(1) == label).float().mean().item()
