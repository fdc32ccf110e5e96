"""Rounds of training: one, or one that several methods end in ways of their own, as they differ after it alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from avalanche.core import SupervisedPlugin
from torch import nn

from benchmark.running.memory import kept_memory
from benchmark.running.scores import Scores
from benchmark.running.selection import Selection
from methods.strategy import RoundStrategy, Settings
from methods.weight_space import WeightSpace, held_out_share, snapshot
from scenarios.stream import DevelopmentStream


def develop_round(
    strategy: type[RoundStrategy],
    model: nn.Module,
    base: nn.Module,
    stream: DevelopmentStream,
    number: int,
    settings: Settings,
    access: frozenset[str],
    device: str = "cpu",
    plugins: Sequence[Any] = (),
    between_steps: Callable[[RoundStrategy], None] | None = None,
    held_out: float = 0.0,
) -> RoundStrategy:
    """Train one round: all code that develops a model, to score, time or try a method, calls this function.

    Args:
        strategy: the method's class.
        model: the one before the round; it changes.
        base: the one before the stream.
        stream: the one that the round is of.
        number: of the round, from 0.
        settings: of the method.
        access: what the method may use, see ``methods.access``; nothing else is given to it.
        device: where to train.
        plugins: Avalanche plugins beside the method's own.
        between_steps: called once a step is done, plugins and all.
        held_out: share of the images that the training does not see, where a plugin asks for it and not the strategy.

    Returns:
        The strategy after the round, with the new model.
    """
    developed = strategy(model=model, settings=settings, seed=stream.seed, device=device, plugins=plugins)
    developed.between_steps = between_steps
    if "pretrained model" in access:
        developed.pretrained = base
    given = stream.experiences(number, held_out or held_out_share(strategy, settings))
    if "protected data" in access:
        developed.protect(given.protected)
    if given.held_out is not None:
        developed.hold_out(*given.held_out)
    with kept_memory():
        developed.train(given.train, eval_streams=[])
    return developed


@dataclass(eq=False)
class Branch:
    """One of the methods that share a training: what it does with the weights, and which of its models is kept.

    Attributes:
        name: of the run.
        plugin: acts on the weights after the round; None where the training itself is the method.
        selection: keeps the best of its models.
        log: writes curves; None where nobody wants any.
        given: its share of what a method may use, as attributes of the strategy: others may be given more.
    """

    name: str
    plugin: WeightSpace | None
    selection: Selection
    log: SupervisedPlugin | None
    given: dict[str, Any]

    def tell(self, event: str, strategy: RoundStrategy, **kwargs: Any) -> None:
        """Call the method of each of its plugins for an event of Avalanche's loop."""
        with self._alone(strategy):
            for plugin in filter(None, (self.plugin, self.selection, self.log)):
                getattr(plugin, event)(strategy, **kwargs)

    @contextmanager
    def _alone(self, strategy: RoundStrategy) -> Iterator[None]:
        """Within it, the strategy is that of this method alone."""
        own = self.given | ({} if self.plugin is None else {"weight_space": self.plugin})
        before = {name: getattr(strategy, name) for name in own}
        for name, value in own.items():
            setattr(strategy, name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                setattr(strategy, name, value)


class Branches(SupervisedPlugin):
    """The methods that share a training, as one Avalanche plugin on it: each sees what it would see alone.

    Args:
        branches: the methods, one or more.
        on_step: called with the number of steps done.
    """

    def __init__(self, branches: Sequence[Branch], on_step: Callable[[int], None] | None = None) -> None:
        super().__init__()
        self.branches, self.on_step, self.step = tuple(branches), on_step, 0

    def __getstate__(self) -> dict[str, Any]:
        """Without the way to tell of steps, which is of one process."""
        return vars(self) | {"on_step": None}

    def after_training_iteration(self, strategy: RoundStrategy, **kwargs: Any) -> None:
        """Let the plugins and the selections see the step; end the training once no method can go on."""
        self._tell("after_training_iteration", strategy, **kwargs)
        if all(branch.selection.diverged_at is not None for branch in self.branches):
            strategy.stop_training()
        self.step += 1
        if self.on_step is not None:
            self.on_step(self.step)

    def after_training_exp(self, strategy: RoundStrategy, **kwargs: Any) -> None:
        """Let each method choose its model, from the same trained weights."""
        trained, scores = (snapshot(strategy.model), Scores()) if len(self.branches) > 1 else (None, None)
        for branch in self.branches:
            branch.selection.scores = scores
            if trained is not None:
                strategy.model.load_state_dict(trained)
            branch.tell("after_training_exp", strategy, **kwargs)

    def _tell(self, event: str, strategy: RoundStrategy, **kwargs: Any) -> None:
        for branch in self.branches:
            branch.tell(event, strategy, **kwargs)

    def models(self, strategy: RoundStrategy) -> Iterator[nn.Module]:
        """The model that each method kept, in their order; made as it is asked for, as there may be many."""
        for branch in self.branches:
            last = branch is self.branches[-1]
            model = strategy.model if last else copy.deepcopy(strategy.model)
            branch.selection.load(model)
            yield model


def _forwarded(event: str) -> Callable[..., None]:
    def tell(self: Branches, strategy: RoundStrategy, **kwargs: Any) -> None:
        self._tell(event, strategy, **kwargs)

    return tell


for _event in dir(SupervisedPlugin):
    if _event.startswith(("before_", "after_")) and _event not in vars(Branches):
        setattr(Branches, _event, _forwarded(_event))
