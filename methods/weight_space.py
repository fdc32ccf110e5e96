"""The seam of weight-space methods: plugins that act on the weights after a round, whichever method trained them."""

from __future__ import annotations

from typing import Any, ClassVar

from avalanche.core import SupervisedPlugin
from pydantic import Field
from torch import Tensor, nn

from methods.strategy import Hyperparameters, RoundStrategy, Score, Settings

State = dict[str, Tensor]  # weights by name


class WeightSpaceSettings(Hyperparameters):
    """Settings that every weight-space method shares."""

    coefficients: tuple[float, ...] = Field(
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
        min_length=1,
        description="tried on validation images; without any, the middle one is used",
    )


class WeightSpace(SupervisedPlugin):
    """Merges the weights before a round with those after it.

    As an Avalanche plugin it replaces the trained weights after each experience by a merge at the middle coefficient.
    Where the strategy is asked to ``propose``, as this suite's runner does, every coefficient is scored on validation
    and the best one kept.

    A method overrides ``merge`` and, where it must look at data, ``prepare``; one without a coefficient overrides
    ``propose``. Until the round is over it only looks: in a stream's first round, where the old weights are the
    pretrained ones, the runner lets several share one training.

    Args:
        settings: has the fields of ``SETTINGS``, and may have more.
    """

    SETTINGS: ClassVar[type[Hyperparameters]] = WeightSpaceSettings
    settings: Hyperparameters  # a subclass with settings of its own says so: settings: ItsSettings
    VERSION = 1
    uses_protected = False
    holds_out = False  # whether it needs images that no step saw; it then has the setting ``held_out``
    supports_distributed = False

    def __init__(self, settings: Any) -> None:
        super().__init__()
        self.settings = settings
        self.old: State = {}
        self.new: State = {}

    @property
    def coefficients(self) -> tuple[float, ...]:
        """The coefficients to try, of a method that has one."""
        assert isinstance(self.settings, WeightSpaceSettings)
        return self.settings.coefficients

    def before_training_exp(self, strategy: RoundStrategy, **kwargs: Any) -> None:
        """Keep the old weights; ask for protected data, where it is needed, before any step is taken."""
        if self.uses_protected and strategy.protected is None:
            raise ValueError(f"{type(self).__name__} needs protected data: call protect(experience) before train")
        self.old = snapshot(strategy.model)

    def after_training_exp(self, strategy: RoundStrategy, **kwargs: Any) -> None:
        """Keep the new weights and merge."""
        self.new = snapshot(strategy.model)
        self.prepare(strategy)
        middle = self.coefficients[(len(self.coefficients) - 1) // 2]
        strategy.model.load_state_dict(self.merge(middle))

    def prepare(self, strategy: RoundStrategy) -> None:
        """Look at data or models once, before the first merge; ``self.old`` and ``self.new`` are ready."""

    def merge(self, coefficient: float) -> State:
        """The weights between ``self.old`` at 0 and, usually, ``self.new`` at 1."""
        raise NotImplementedError

    def propose(self, strategy: RoundStrategy, score: Score) -> None:
        """Score every coefficient."""
        for coefficient in self.coefficients:
            strategy.model.load_state_dict(self.merge(coefficient))
            score(f"coefficient {coefficient:g}")


def snapshot(model: nn.Module) -> State:
    """A copy of the weights of ``model``, on their device."""
    return {key: value.detach().clone() for key, value in model.state_dict().items()}


def held_out_share(strategy: type[RoundStrategy], settings: Settings) -> float:
    """The share of a round's images that a method wants held out of its training, in [0, 1)."""
    holds_out = strategy.holds_out or (strategy.WEIGHT_SPACE is not None and strategy.WEIGHT_SPACE.holds_out)
    return float(getattr(settings, "held_out", 0.0)) if holds_out else 0.0


def combined(strategy: type[RoundStrategy], plugin: type[WeightSpace]) -> type[RoundStrategy]:
    """``strategy`` with ``plugin`` after each of its rounds, and the settings of both; ``TRAINER`` is ``strategy``.

    Raises:
        ValueError: if the strategy does not train, merges by itself or chooses on held-out images what it has trained,
            or a setting has the same name in both.
    """
    names = f"{strategy.__name__}+{plugin.__name__}"
    if not strategy.trains:
        raise ValueError(f"{names}: {strategy.__name__} trains nothing, so there is nothing to merge")
    if strategy.WEIGHT_SPACE is not None:
        raise ValueError(f"{names}: {strategy.__name__} merges by itself after its training")
    if strategy.holds_out:
        raise ValueError(f"{names}: {strategy.__name__} tests on held-out images what it trained, not a merge of it")
    if clash := strategy.SETTINGS.model_fields.keys() & plugin.SETTINGS.model_fields.keys():
        raise ValueError(f"{names}: both have the settings {sorted(clash)}")
    settings: type[Settings] = type(
        f"{strategy.__name__}{plugin.SETTINGS.__name__}",
        (strategy.SETTINGS, plugin.SETTINGS),
        {"GRID": strategy.SETTINGS.GRID | plugin.SETTINGS.GRID, "__annotations__": {"GRID": ClassVar}},
    )
    return type(
        names,
        (strategy,),
        {
            "__doc__": plugin.__doc__,
            "SETTINGS": settings,
            "VERSION": strategy.VERSION + plugin.VERSION - 1,
            "WEIGHT_SPACE": plugin,
            "TRAINER": strategy,
            "uses_protected": strategy.uses_protected,
        },
    )


__all__ = ["State", "WeightSpace", "WeightSpaceSettings", "combined", "held_out_share", "snapshot"]
