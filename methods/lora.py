"""Low-rank adaptation: updates of few parameters to the weight matrices, merged into them at every step."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import nn

from methods.batches import generator
from methods.finetune import PartSettings, PartStrategy


class LoRASettings(PartSettings):
    """Hyper-parameters of LoRA."""

    rank: int = Field(8, ge=1, description="r, the rank of the update of a matrix")
    alpha: float = Field(8.0, gt=0, description="the update is B A times alpha / r")


class LoRA(PartStrategy):
    """Low-rank adaptation (arXiv 2106.09685, section 4.1): W = W_old + (alpha / r) B A, of which A and B are trained.

    A starts at random, N(0, 1 / columns), and B at 0, so that the first step sees the old model. Adapted is each weight
    matrix of an ``nn.Linear`` and of attention: in both towers all projections of attention and MLP. Queries, keys and
    values have factors each, where their weights are stacked in one parameter (PyTorch's and open_clip's
    ``in_proj_weight``, timm's ``qkv``). All else is frozen.

    The layers have W itself: backward, its gradient G gives those of the factors, (alpha / r) G A^T and
    (alpha / r) B^T G, and each step of the optimizer writes the new W. So at any point the weights are a plain
    model's, merged, to be scored and saved as any; inference costs nothing, and the next round starts with new factors.

    Differences from the paper, made knowingly:

    * It adapts only the weights of attention, for simplicity; here those of the MLPs are adapted, too.
    * Its layers compute W_old x + (alpha / r) B (A x) and never G, which saves memory. The numbers are the same, up to
      rounding.

    Raises:
        ValueError: the model has no such matrix to train.
    """

    SETTINGS = LoRASettings
    settings: LoRASettings
    VERSION = 2

    def trained_part(self) -> list[nn.Parameter]:
        """The adapted matrices: their gradients are wanted, for those of the factors."""
        s, rng = self.settings, generator(self.seed, f"lora round {self.experience.current_experience}")
        stacks = {weight: count for weight, count in stacked_matrices(self.model).items() if weight.requires_grad}
        if not stacks:
            raise ValueError(f"lora adapts nn.Linear, and {type(self.model).__name__} has none to train: use finetune")
        self.updates = [LowRankUpdate(weight, count, s.rank, s.alpha / s.rank, rng) for weight, count in stacks.items()]
        return list(stacks)

    def prepare_round(self) -> None:
        """Updates are added to the weights as they are now: plugins have been at them since the factors were made."""
        super().prepare_round()
        for update in self.updates:
            update.start()

    def trained_weights(self) -> list[nn.Parameter]:
        """The factors."""
        return [factor for update in self.updates for factor in (update.a, update.b)]

    def optimizer_step(self) -> None:
        """A step of the factors, and with them of the weights."""
        for update in self.updates:
            update.pass_gradient_on()
        super().optimizer_step()
        for update in self.updates:
            update.merge()

    def _after_training_exp(self, **kwargs: Any) -> None:
        super()._after_training_exp(**kwargs)
        self.updates = []


class LowRankUpdate:
    """``weight`` = its old value + scale B A, for each of the matrices that it stacks.

    Shapes: n matrices, o rows of each, i columns, r rank.

    Args:
        weight: (n o, i).
        count: n.
        rank: r.
        scale: of the product.
        rng: for A.
    """

    def __init__(self, weight: nn.Parameter, count: int, rank: int, scale: float, rng: torch.Generator) -> None:
        self.weight, self.scale, self.count = weight, scale, count
        self.start()
        _, rows, columns = self.old.shape
        a = torch.randn(count, rank, columns, generator=rng) * columns**-0.5
        self.a = nn.Parameter(a.to(self.old))  # (n, r, i)
        self.b = nn.Parameter(self.old.new_zeros(count, rows, rank))  # (n, o, r)

    def start(self) -> None:
        """Take the weight as it is for the old one."""
        self.old = self.weight.detach().unflatten(0, (self.count, -1)).clone()

    @torch.no_grad()
    def pass_gradient_on(self) -> None:
        """From the weight to the factors; none where nothing used the weight."""
        gradient = self.weight.grad
        if gradient is not None:
            gradient = gradient.unflatten(0, self.old.shape[:2])
            self.a.grad, self.b.grad = self.scale * self.b.mT @ gradient, self.scale * gradient @ self.a.mT
            self.weight.grad = None

    @torch.no_grad()
    def merge(self) -> None:
        """Write the weight; from its old value, so that roundings do not add up."""
        self.weight.copy_((self.old + self.scale * self.b @ self.a).flatten(0, 1))


def stacked_matrices(model: nn.Module) -> dict[nn.Parameter, int]:
    """The weights of linear layers and of attention, each with the number of matrices that it stacks."""
    found = {}
    for name, module in model.named_modules():
        linear = isinstance(module, nn.Linear)
        weight = module.weight if linear else getattr(module, "in_proj_weight", None)  # PyTorch's and open_clip's
        if isinstance(weight, nn.Parameter):
            stacked = not linear or (name.endswith("qkv") and len(weight) == 3 * weight.shape[1])  # timm's
            found[weight] = 3 if stacked else 1  # queries, keys, values
    return found


__all__ = ["LoRA", "LoRASettings", "LowRankUpdate", "stacked_matrices"]
