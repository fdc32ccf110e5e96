"""The seam every method is built on: one Avalanche strategy that owns optimizer, batches and budget of a round."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.templates import SupervisedTemplate
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from torch import Tensor, nn

from methods.batches import ImagePool, StepBatches
from methods.class_bias import add_class_bias
from methods.clip import predict_logits, temperature_of
from methods.distributed import average_gradients

Score = Callable[[str], Any]  # scores the model as it is now, under a name; a greater result is better


FEW: JsonDict = {"quick": 8}  # of a setting that says how many images are looked at: as many do for a trial


class Hyperparameters(BaseModel):
    """Frozen, checked settings. ``GRID`` says which values of which of them a search tries."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = {}

    @classmethod
    def quick(cls) -> dict[str, Any]:
        """Values with which a trial takes seconds, of the settings whose fields have ``json_schema_extra=FEW``."""
        extras = {name: field.json_schema_extra for name, field in cls.model_fields.items()}
        return {name: extra["quick"] for name, extra in extras.items() if isinstance(extra, dict) and "quick" in extra}


class Settings(Hyperparameters):
    """Settings that every method shares: the budget of a round, equal for all, and the optimizer."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = {"lr": (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)}

    steps: int = Field(80, ge=0, description="optimizer steps per round; 0 leaves the old model as it is")
    batch_size: int = Field(96, ge=4, le=65_536, description="images per step, target and protected together")
    lr: float = Field(3e-5, ge=0, le=1, description="peak learning rate of AdamW")
    weight_decay: float = Field(0.1, ge=0, description="AdamW's decay, on every parameter as published")
    warmup: float = Field(0.3, ge=0, le=1, description="share of the steps with linearly rising learning rate")


class HeldOut(NamedTuple):
    """Experiences with labelled images of a round that no step of it sees."""

    target: Any
    protected: Any


class RoundStrategy(SupervisedTemplate):
    """Develops a model one round at a time: ``protect(experience)``, then ``train(experience)``.

    It is an Avalanche strategy, so Avalanche's plugins and metrics work on it, and it trains any classifier of images,
    not only CLIP. A method overrides ``round_loss`` and, where it needs to, ``prepare_model`` and ``prepare_round``.

    Args:
        model: maps float images (B, 3, S, S) in [0, 1] to logits (B, C).
        settings: the method's hyper-parameters.
        seed: of the run; all draws of the round follow from it.
        device: where to train.
        plugins: Avalanche plugins.
        evaluator: Avalanche metrics and loggers; None for silence.
    """

    SETTINGS: ClassVar[type[Settings]] = Settings
    settings: Settings  # a subclass with settings of its own says so: settings: ItsSettings
    VERSION = 1  # raised whenever a method's numbers can change
    CODE = ""  # a further mark that tells versions of other people's methods apart; set where they are loaded
    SEARCHED_AS = ""  # a method that it is in a first round, so that a search makes the same trials
    WEIGHT_SPACE: type[Any] | None = None  # a methods.weight_space.WeightSpace that acts after each round
    uses_protected = True
    holds_out = False  # whether it needs images that no step saw; it then has the setting ``held_out``
    trains = True  # whether it takes steps, and so the settings of a budget

    def __init__(
        self,
        *,
        model: nn.Module,
        settings: Settings | None = None,
        seed: int = 0,
        device: str | torch.device = "cpu",
        plugins: Sequence[Any] | None = None,
        evaluator: EvaluationPlugin | None = None,
        eval_mb_size: int = 256,
    ) -> None:
        self.settings = settings if settings is not None else self.SETTINGS()
        self.seed = seed
        self.protected: Any = None
        self.held_out: HeldOut | None = None
        self.pretrained: nn.Module | None = None  # the model before the stream, for methods that go back to it
        self.weight_space = self.WEIGHT_SPACE(self.settings) if self.WEIGHT_SPACE is not None else None
        self.losses: list[Tensor] = []  # one scalar per step, left on the device
        self.violations: list[Tensor] = []  # (K,) per step, of a method with a constraint for each protected class
        self.between_steps: Callable[[RoundStrategy], None] | None = None  # called once a step is done, plugins and all
        super().__init__(
            model=model,
            optimizer=torch.optim.SGD(model.parameters(), lr=0.0),  # a placeholder: each round builds its own
            train_mb_size=self.settings.batch_size,
            eval_mb_size=eval_mb_size,
            device=device,
            plugins=[*([self.weight_space] if self.weight_space is not None else []), *(plugins or [])],
            evaluator=evaluator or _silence(),
        )

    def protect(self, experience: Any) -> None:
        """Give the labelled images of the classes that the next round must keep."""
        self.protected = experience

    def hold_out(self, target: Any, protected: Any) -> None:
        """Give labelled images that the next round does not train on, for what is decided after it.

        Args:
            target: an experience of the round's target.
            protected: one of the protected classes.
        """
        self.held_out = HeldOut(target, protected)

    def resume(self) -> Any:
        """Go on with a round that ``methods.suspension`` restored, from the next step to the end of ``train``.

        Returns:
            Avalanche's metrics, as of ``train``.
        """
        # Schedulers have the optimizer's steps watched from when they are made, and warn where nobody watches.
        torch.optim.lr_scheduler.ConstantLR(self.optimizer, factor=1)
        self.training_epoch()
        self._after_training_epoch()
        self._after_training_exp()
        self._after_training()
        self._train_cleanup()
        return self.evaluator.get_last_metrics()

    # The parts of a method

    def prepare_model(self) -> None:
        """Change the model before the round's optimizer is built, for example add heads."""

    def prepare_round(self) -> None:
        """Look at the old model before the first step, for example keep its outputs. ``self.batches`` is ready."""

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The scalar loss of a training batch: logits (B, C), labels (B,), target images first."""
        raise NotImplementedError

    def trained_weights(self) -> list[nn.Parameter]:
        """What the optimizer changes: the weights of the model that are not frozen."""
        return [p for p in self.model.parameters() if p.requires_grad]

    @property
    def first_steps(self) -> int:
        """Steps at the start of a round that do not train the new model yet but, for example, its teacher."""
        return 0

    @property
    def trains_candidate(self) -> bool:
        """Whether the weights after the last step are the new model's, and not those of the ``first_steps``."""
        return not 0 < len(self.losses) <= self.first_steps

    @property
    def proposes(self) -> bool:
        """Whether ``propose`` offers models after the round, in place of the points along its training.

        Also while what is trained is no candidate: such points are passed over.
        """
        return self.weight_space is not None or not self.trains_candidate

    def propose(self, score: Score) -> None:
        """Put one candidate after the other into the model and call ``score`` on each; the best one is kept.

        The caller decides by validation images that the method does not see.
        """
        if self.weight_space is not None:
            self.weight_space.propose(self, score)

    # How Avalanche's loop is steered

    @property
    def batches(self) -> StepBatches:
        """The round's batches, with the rows of the current step."""
        return self.dataloader

    @property
    def target_share(self) -> float:
        """Share of a batch that shows the target, beside protected images: as set, a half where it is no setting."""
        return float(getattr(self.settings, "target_share", 0.5))

    @property
    def temperature(self) -> float:
        """The number that the model divides its similarities by; 1 for a plain classifier."""
        return temperature_of(self.model)

    def make_train_dataloader(self, **kwargs: Any) -> None:
        """Set the round's batches in place of a data loader."""
        if self.uses_protected and self.protected is None:
            raise ValueError(f"{type(self).__name__} needs protected data: call protect(experience) before train")
        protected = ImagePool(self.protected, self.device) if self.uses_protected else None
        self.dataloader = self.make_batches(ImagePool(self.experience, self.device), protected)

    def make_batches(self, target: ImagePool, protected: ImagePool | None) -> StepBatches:
        """The round's batches, which call ``self._after_step``."""
        s = self.settings
        return StepBatches(target, protected, s.steps, s.batch_size, self.target_share, self.seed, self._after_step)

    def _after_step(self) -> None:
        if self.between_steps is not None:
            self.between_steps(self)

    def make_optimizer(self, **kwargs: Any) -> None:
        """Nothing: Avalanche's would put every parameter, frozen ones too, into the optimizer."""

    def check_model_and_optimizer(self, **kwargs: Any) -> None:
        """Make model and optimizer ready for the round."""
        self.model.to(self.device)
        self.prepare_model()
        if self.held_out is not None and not self.holds_out:
            self.add_class_bias()  # for plugins; from the start: all who share the training have the same weights
        self.start_optimizer(self.settings.lr, self.settings.steps)

    def add_class_bias(self) -> None:
        """Give the model a bias of 0 for each class, unless it has one."""
        add_class_bias(self.model, predict_logits(self.model, self.batches.target.images[:1]).shape[1])

    def start_optimizer(self, lr: float, steps: int) -> None:
        """A fresh AdamW for the next ``steps`` steps, with linear warm-up to ``lr`` and cosine decay to 0 over them."""
        weight_decay, warmup = self.settings.weight_decay, max(1, round(self.settings.warmup * steps))
        self.optimizer = torch.optim.AdamW(self.trained_weights(), lr=lr, weight_decay=weight_decay, fused=True)
        rise = torch.optim.lr_scheduler.LinearLR(self.optimizer, 1 / warmup, total_iters=warmup - 1 or 1)
        fall = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, max(1, steps - warmup))
        self.scheduler = torch.optim.lr_scheduler.SequentialLR(self.optimizer, [rise, fall], [warmup])

    def _before_training_exp(self, **kwargs: Any) -> None:
        super()._before_training_exp(**kwargs)
        self.losses, self.violations = [], []
        self.prepare_round()

    def _check_distributed_training_compatibility(self) -> bool:
        return True  # to a plugin there is one batch and one model, on however many devices

    def criterion(self) -> Tensor:
        """The method's loss in training, cross-entropy in evaluation."""
        if self.is_training:
            return self.round_loss(self.mb_output, self.mb_y)
        return F.cross_entropy(self.mb_output, self.mb_y)

    def optimizer_step(self) -> None:
        """One step of optimizer and schedule; keeps the loss without waiting for the device."""
        average_gradients(p for group in self.optimizer.param_groups for p in group["params"])
        super().optimizer_step()
        self.scheduler.step()
        self.losses.append(self.loss.detach().reshape(()))


def _silence() -> EvaluationPlugin:
    """An evaluator without metrics and loggers, which Avalanche would warn about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return EvaluationPlugin()
