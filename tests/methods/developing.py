"""A method at work on the toy stream, for tests."""

from __future__ import annotations

import copy

import torch

import methods
from methods.clip import predict_logits
from methods.weight_space import held_out_share

RUNNABLE = [methods.run_as(name) for name in methods.METHODS]
TRAINING = [name for name in RUNNABLE if methods.load(name).trains]
SMALL = {"steps": 4, "batch_size": 32}


def develop(name: str, base, stream, seed: int = 0, rounds: int = 1, **changes):
    """The strategy ``name`` after ``rounds`` rounds on ``stream``, started from a copy of ``base``."""
    strategy_class = methods.load(name)
    changes.setdefault("lr", 3e-4)
    if "margin_points" in strategy_class.SETTINGS.model_fields:
        changes.setdefault("margin_points", 99.0)  # or the old model would stay
    changes = {"steps": 40, **measured_shortly(name), **changes} if strategy_class.trains else {}
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


def check_less_is_forgotten_than_by_finetuning(names, base, stream, steps: int = 40, gained: float = 0.2) -> None:
    """See that each of the methods learns the target of the toy stream, and keeps the worst class better."""
    data = stream.data[0].test
    naive, *kept = (develop(name, base, stream, steps=steps).model for name in ("finetune", *names))
    worst = [min(accuracy(m, data, k) - accuracy(base, data, k) for k in range(5)) for m in (naive, *kept)]
    assert min(worst[1:]) > worst[0] + 0.1
    assert min(accuracy(m, data, 5) for m in kept) > accuracy(base, data, 5) + gained


def measured_shortly(name: str, images: int = 24) -> dict[str, int]:
    """Settings by which a method measures its weights on few images."""
    return dict.fromkeys(methods.load(methods.run_as(name)).SETTINGS.quick(), images)


def equal(one, other) -> bool:
    """Whether two states are equal bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def replayed(name: str, base, trained, stream, round_: int = 0, **changes):
    """The plugin ``name`` after a round that took ``base`` to ``trained``, without the cost of training."""

    class Replayed(methods.load(f"finetune+{name}")):
        def training_epoch(self, **kwargs):
            self.model.load_state_dict(trained.state_dict())

    strategy = Replayed(
        model=copy.deepcopy(base), settings=Replayed.SETTINGS(steps=1, **measured_shortly(name, 8) | changes)
    )
    strategy.protect(stream.protected[round_])
    strategy.train(stream.train[round_], eval_streams=[])
    return strategy


def second_round(name: str, base, first, stream, **changes):
    """The strategy ``name`` after a second round that starts from ``first``."""
    strategy_class = methods.load(name)
    settings = strategy_class.SETTINGS(**{"steps": 3, "lr": 1e-3} | changes)
    strategy = strategy_class(model=copy.deepcopy(first), settings=settings)
    strategy.pretrained = base
    strategy.protect(stream.protected[1])
    strategy.train(stream.train[1], eval_streams=[])
    return strategy


class Steps:
    """Keeps what each step of a round computed."""

    def before_training_exp(self, strategy, **kwargs):
        self.images, self.outputs, self.labels, self.trained = [], [], [], set()

    def after_forward(self, strategy, **kwargs):
        self.images.append(strategy.mb_x)
        self.outputs.append(strategy.mb_output.detach().double())
        self.labels.append(strategy.mb_y)
        self.trained |= {name for name, p in strategy.model.named_parameters() if p.requires_grad}

    def before_update(self, strategy, **kwargs):
        self.gradients = {name: p.grad.clone() for name, p in strategy.model.named_parameters() if p.grad is not None}


def watched(name, model, stream, round_=0, seed=0, plugins=(), **changes):
    """A strategy after one round on ``model`` itself, and what its steps computed."""
    strategy_class, steps = methods.load(name), Steps()
    settings = strategy_class.SETTINGS(**(SMALL | changes))
    strategy = strategy_class(model=model, settings=settings, seed=seed, plugins=[steps, *plugins])
    strategy.protect(stream.protected[round_])
    strategy.train(stream.train[round_], eval_streams=[])
    return strategy, steps


def moved(before, after) -> set[str]:
    """Names of the weights that are new or differ."""
    old = before.state_dict()
    return {key for key, value in after.state_dict().items() if key not in old or not torch.equal(old[key], value)}
