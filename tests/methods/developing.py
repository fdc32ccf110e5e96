"""A method at work on the toy stream, for tests."""

from __future__ import annotations

import copy

import methods
from methods.clip import predict_logits
from methods.weight_space import held_out_share

RUNNABLE = [methods.run_as(name) for name in methods.METHODS]
TRAINING = [name for name in RUNNABLE if methods.load(name).trains]


def develop(name: str, base, stream, seed: int = 0, rounds: int = 1, **changes):
    """The strategy ``name`` after ``rounds`` rounds on ``stream``, started from a copy of ``base``."""
    strategy_class = methods.load(name)
    changes.setdefault("lr", 3e-4)
    if "margin_points" in strategy_class.SETTINGS.model_fields:
        changes.setdefault("margin_points", 99.0)  # or the old model would stay
    changes = {"steps": 40, **changes} if strategy_class.trains else {}
    settings = strategy_class.SETTINGS(**changes)
    strategy = strategy_class(model=copy.deepcopy(base), settings=settings, seed=seed)
    for r in range(rounds):
        given = stream.experiences(r, held_out_share(strategy_class, settings))
        strategy.protect(given.protected)
        if given.held_out is not None:
            strategy.hold_out(*given.held_out)
        strategy.train(given.train, eval_streams=[])
    return strategy


def accuracy(model, data, label: int) -> float:
    """Share of the images of one class that ``model`` gets right."""
    rows = data.labels == label
    return (predict_logits(model, data.images[rows]).argmax(1) == label).float().mean().item()
