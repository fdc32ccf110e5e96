"""Fine-tuning on the target alone, with a term that holds the model near the old one.

No protected image stands in a batch. Where protected data is used, it is once per round, to weigh the old weights: but
for ``OnlineEWC``, the importance measured in earlier rounds is not kept, because the protected data of a round covers
all that must be kept.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from avalanche.training import LearningWithoutForgetting
from pydantic import Field
from torch import Tensor

from methods.batches import ImagePool
from methods.distributed import add_up
from methods.finetune import Finetune, FinetuneSettings
from methods.fisher import balanced_rows, fisher_information, image_gradients
from methods.old_model import OldOutputs
from methods.running_fisher import add_fisher, running_fisher
from methods.strategy import FEW, Settings


class L2SPSettings(FinetuneSettings):
    """Hyper-parameters of L2-SP."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = Settings.GRID | {"strength": (1.0, 10.0, 100.0, 1000.0)}

    strength: float = Field(1000.0, ge=0, description="alpha: weight of the penalty")


class EWCSettings(L2SPSettings):
    """Hyper-parameters of EWC."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = Settings.GRID | {"strength": (1e4, 1e5, 1e6, 1e7)}

    strength: float = Field(1e6, ge=0, description="lambda: weight of the penalty")
    samples: int = Field(
        256, ge=1, description="protected images that the importance is measured on", json_schema_extra=FEW
    )


class OnlineEWCSettings(EWCSettings):
    """Hyper-parameters of online EWC."""

    gamma: float = Field(0.9, ge=0, le=1, description="what is left of the importance after a further round; 0 is ewc")


class MASSettings(EWCSettings):
    """Hyper-parameters of MAS."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = Settings.GRID | {"strength": (0.1, 1.0, 10.0, 100.0)}

    strength: float = Field(10.0, ge=0, description="weight of the penalty, twice the paper's lambda")


class LwFSettings(FinetuneSettings):
    """Hyper-parameters of LwF."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = Settings.GRID | {"strength": (0.3, 3.0, 30.0, 300.0)}

    strength: float = Field(3.0, ge=0, description="lambda_o: weight of the distillation; 1 in the paper")
    distillation_temperature: float = Field(2.0, gt=0, description="T, which divides the logits of both models")


class L2SP(Finetune):
    """The starting point as the reference of an L2 penalty (arXiv 1802.01483, eq. 2).

    Adds strength / 2 sum_i (w_i - w_old_i)^2. All weights are in the old model already, so the paper's second term,
    on a new head, is empty. AdamW's decay towards 0 stays as it is set for every method.

    Avalanche does not have it.
    """

    SETTINGS = L2SPSettings
    settings: L2SPSettings
    loss: Tensor

    def prepare_round(self) -> None:
        """Keep the old weights."""
        super().prepare_round()
        self.weights = [p for p in self.model.parameters() if p.requires_grad]
        self.old_weights = [w.detach().clone() for w in self.weights]
        self.importance = self.measure_importance()

    def measure_importance(self) -> list[Tensor] | None:
        """The importance of each of ``self.weights``, of its shape; None for all alike."""
        return None

    def backward(self) -> None:
        """Add the penalty and its gradient, strength * importance * (w - w_old).

        In closed form, over all weights at once: through autograd, as Avalanche's plugins do it parameter by parameter,
        a step on a ViT-B/32 CLIP spends twice the time of AdamW on the penalty. A weight without a gradient does not
        move and is left alone.
        """
        super().backward()
        self.loss = self.loss.detach() + self._add_penalty()

    @torch.no_grad()
    def _add_penalty(self) -> Tensor:
        moved = [i for i, w in enumerate(self.weights) if w.grad is not None]
        shift = torch._foreach_sub([self.weights[i] for i in moved], [self.old_weights[i] for i in moved])
        pull = shift
        if self.importance is not None:
            pull = torch._foreach_mul(shift, [self.importance[i] for i in moved])
        torch._foreach_add_([self.weights[i].grad for i in moved], pull, alpha=self.settings.strength)
        terms = torch._foreach_norm(torch._foreach_mul(shift, pull), 1)  # sums: no term is negative
        return self.settings.strength / 2 * torch.stack(terms).sum()

    def _after_training_exp(self, **kwargs: Any) -> None:
        super()._after_training_exp(**kwargs)
        self.weights, self.old_weights, self.importance = [], [], None


class EWC(L2SP):
    """Elastic weight consolidation (arXiv 1612.00796, eq. 3): strength / 2 sum_i F_i (w_i - w_old_i)^2.

    F is the Fisher information of the old model on protected images, with labels drawn from the model.

    Not Avalanche's ``EWCPlugin``: it squares the mean gradient of a mini-batch, which is not the Fisher information
    and shrinks as batches grow; it takes the true labels; it has no factor 1/2; and it must first be trained on the
    protected data to have any effect. With batches of one image its importance is our empirical Fisher information.
    """

    SETTINGS = EWCSettings
    settings: EWCSettings

    def measure_importance(self) -> list[Tensor] | None:
        """Fisher information on the protected images."""
        return self._fisher()

    def _fisher(self) -> list[Tensor]:
        images = self._protected_images()
        return list(fisher_information(self.model, images, max_samples=len(images), seed=self.seed).values())

    def _protected_images(self) -> Tensor:
        if self.protected is None:
            raise ValueError(f"{type(self).__name__} needs protected data: call protect(experience) before train")
        pool = ImagePool(self.protected, self.device)
        rows = balanced_rows(pool.labels, self.settings.samples, self.seed)
        return pool.take(rows)[0]


class OnlineEWC(EWC):
    """Online EWC (Progress & Compress, arXiv 1805.06370): strength / 2 sum_i F*_i (w_i - w_old_i)^2.

    F* <- gamma F* + F at the start of every round, F as in ``EWC``; one term, around the newest old weights, so memory
    does not grow with the rounds. F* is a part of the model's weights: a new round finds it, also in a saved model. On
    a stream of one round this is ``EWC``.

    Differences from the paper, made knowingly: it measures each task on its own data, once it is learned, while the
    protected data of a round shows all classes that must be kept, those of earlier rounds once more. F is taken as it
    is, without a scale of its own for each round. Of the paper this is the penalty alone: no second network progresses
    and is compressed into the first. Under ``ptm``, whose rounds start from the pretrained weights, F is still
    measured at the old ones.
    """

    SEARCHED_AS = "ewc"
    SETTINGS = OnlineEWCSettings
    settings: OnlineEWCSettings

    def prepare_model(self) -> None:
        """Add to F*, before anybody looks at what the old weights are."""
        super().prepare_model()
        add_fisher(self.model, self._fisher(), self.settings.gamma)

    def measure_importance(self) -> list[Tensor] | None:
        """F*."""
        return running_fisher(self.model)


class MAS(EWC):
    """Memory aware synapses (arXiv 1711.09601, eq. 2-4): importance E_x |d ||f(x)||^2 / d w_i|, f the logits.

    Measured on protected images without their labels. The penalty is strength / 2 sum_i importance_i
    (w_i - w_old_i)^2, so strength is twice the paper's lambda.

    Not Avalanche's ``MASPlugin``: it takes the absolute value of a mini-batch's mean gradient, in which the images'
    gradients cancel, in place of the mean absolute gradient. With batches of one image the two agree.
    """

    SETTINGS = MASSettings
    settings: MASSettings

    def measure_importance(self) -> list[Tensor] | None:
        """Mean absolute gradient of the squared norm of the logits on the protected images."""
        images = self._protected_images()
        total = [torch.zeros_like(w) for w in self.weights]
        for gradients in image_gradients(self.model, images, lambda logits, _: logits.square().sum()):
            torch._foreach_add_(total, torch._foreach_abs(gradients), alpha=1 / len(images))
        add_up(total)
        return total


class LwF(Finetune):
    """Learning without forgetting (arXiv 1606.09282): distils the old model on the target images.

    Adds strength * KL(old || new) over the logits / T of all classes but the target. The loss is Avalanche's, but not
    its plugin: that one distils only classes it has itself trained on, so nothing from a pretrained model; its teacher
    stays in training mode; and it passes all prompts through the teacher at every step. Here the old outputs are those
    of ``OldOutputs``. The paper's cross-entropy differs from KL by a constant; its warm-up of a new head is not needed,
    as there is no new head.
    """

    SETTINGS = LwFSettings
    settings: LwFSettings

    def prepare_round(self) -> None:
        """Make the old model's outputs the teacher."""
        super().prepare_round()
        self.old: OldOutputs | None = OldOutputs(self, target=True)
        self.distillation = LearningWithoutForgetting(self.settings.strength, self.settings.distillation_temperature)
        self.distillation.prev_model = self.old_logits

    def old_logits(self, images: Tensor) -> Tensor:
        """The teacher's answers (B, C) on the step's images."""
        assert self.old is not None
        return self.old.of_step() / self.temperature

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Fine-tuning plus distillation."""
        known = [c for c in range(logits.shape[1]) if c not in self.batches.target.classes]
        self.distillation.prev_classes_by_task = {0: known}
        return super().round_loss(logits, labels) + self.distillation(self.mb_x, logits, self.model)

    def _after_training_exp(self, **kwargs: Any) -> None:
        super()._after_training_exp(**kwargs)
        self.distillation.prev_model = self.old = None


__all__ = [
    "EWC",
    "L2SP",
    "MAS",
    "EWCSettings",
    "L2SPSettings",
    "LwF",
    "LwFSettings",
    "MASSettings",
    "OnlineEWC",
    "OnlineEWCSettings",
]
