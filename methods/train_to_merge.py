"""Methods whose training is made for the merge that follows it: PAINT, and the linear merge of two trainings.

Each proposes points on a line between two models, as ``WiSEFT`` does after any training. c is the coefficient, which
validation images choose; theta_old are the weights before the round.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import nn

from methods.batches import ImagePool, InTurn, StepBatches
from methods.clip import ClipClassifier
from methods.finetune import Finetune, FinetuneSettings, TrainsPart
from methods.merging import WiSEFT
from methods.saliency import in_text_tower
from methods.strategy import RoundStrategy
from methods.weight_space import State, WeightSpaceSettings, snapshot


class PaintSettings(FinetuneSettings, WeightSpaceSettings):
    """Hyper-parameters of PAINT."""


class LinearMergeSettings(FinetuneSettings, WeightSpaceSettings):
    """Hyper-parameters of the linear merge."""

    coefficients: tuple[float, ...] = Field(
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        min_length=1,
        description="1 - w: weight of the model trained on the target, tried on validation images; without any, the "
        "middle one is used",
    )


class Paint(TrainsPart, Finetune):
    """theta = (1 - c) theta_old + c theta_new, where only the image tower was trained (PAINT, arXiv 2208.05592).

    The image tower is fine-tuned on target images, by cross-entropy against the text features of all classes. Those are
    the paper's frozen classifier: text tower, heads, offsets and scale stay as they are, all along the line. No
    protected image is trained on; to keep the protected classes is left to c. Round after round this is the paper's
    sequential patching.

    Deviations: cosines are divided by the temperature ``t``, where the paper uses the logit scale of its model. Of a
    plain classifier the last ``nn.Linear`` is the frozen one.

    Raises:
        ValueError: there is nothing to train but the classifier.
    """

    SETTINGS = PaintSettings
    settings: PaintSettings
    WEIGHT_SPACE = WiSEFT

    def trained_part(self) -> list[nn.Parameter]:
        """What comes before the classifier."""
        classifier = {id(parameter) for parameter in self._classifier()}
        part = [p for p in self.model.parameters() if p.requires_grad and id(p) not in classifier]
        if not part:
            raise ValueError(
                f"paint trains what comes before the classifier, and {type(self.model).__name__} has nothing there: "
                "use linear-probe"
            )
        return part

    def _classifier(self) -> list[nn.Parameter]:
        """The text side, or the last linear layer."""
        if isinstance(self.model, ClipClassifier):
            return [p for name, p in self.model.named_parameters() if in_text_tower(self.model, name)]
        layers = [module for module in self.model.modules() if isinstance(module, nn.Linear)]
        return list(layers[-1].parameters()) if layers else []


class SafeAndTask(WiSEFT):
    """theta = (1 - c) theta_safe + c theta_task, of a strategy that trains both, one after the other."""

    def after_training_iteration(self, strategy: RoundStrategy, **kwargs: Any) -> None:
        """Keep theta_safe, which the first half of the steps ends with, in the place of theta_old."""
        if len(strategy.losses) == strategy.settings.steps // 2:
            self.old = snapshot(strategy.model)


class LinearMerge(Finetune):
    """theta = w theta_safe + (1 - w) theta_task: the linear merge of a safe and an adapted model (arXiv 2410.07571).

    theta_safe is theta_old fine-tuned on protected images alone, in the first half of the steps; theta_task is
    theta_old fine-tuned on target images alone, in the second. Each is what ``Finetune`` makes of those images in half
    of the budget, with an optimizer and a schedule of its own.

    The paper merges a model that was tuned for safety with one of the same backbone that was adapted to a task. Which
    models exactly, and at which w, is not known here: these partners are this suite's reading, and validation images
    choose w = 1 - c from 0.1 to 0.9.
    """

    SETTINGS = LinearMergeSettings
    settings: LinearMergeSettings
    WEIGHT_SPACE = SafeAndTask
    uses_protected = True

    def make_batches(self, target: ImagePool, protected: ImagePool | None) -> StepBatches:
        """Protected images in the first half of the steps, target images in the second."""
        assert protected is not None
        s = self.settings
        return InTurn(target, protected, self.first, s.steps, s.batch_size, self.seed, self._after_step)

    @property
    def first(self) -> int:
        """Steps of the first training."""
        return self.settings.steps // 2

    def prepare_round(self) -> None:
        """Keep the weights that both trainings start from; the first may begin."""
        self.start: State = snapshot(self.model)
        self.start_optimizer(self.settings.lr, self.first or self.settings.steps)

    def _after_step(self) -> None:
        if len(self.losses) == self.first:
            self.model.load_state_dict(self.start)
            self.start_optimizer(self.settings.lr, self.settings.steps - self.first)
        super()._after_step()

    def _after_training_exp(self, **kwargs: Any) -> None:
        super()._after_training_exp(**kwargs)
        self.start = {}


__all__ = ["LinearMerge", "LinearMergeSettings", "Paint", "PaintSettings"]
