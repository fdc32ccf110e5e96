"""Training the small base models that streams start from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from methods.augmentation import augment
from methods.batches import Permutations, generator
from methods.checkpoints import TINY, create_classifier
from methods.clip import ClipClassifier
from scenarios.stream import LabelledImages


class Recipe(BaseModel):
    """How a base is trained. Every image is seen with its natural frequency.

    With ``augment`` training sees random views, as streams that ask for it show them; without, images are mirrored half
    of the time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = TINY
    steps: int = Field(1000, ge=1)
    epochs: int = Field(60, ge=1)  # no more passes than this over a small set of images: fewer steps then
    batch_size: int = Field(128, ge=1)
    lr: float = Field(1e-3, ge=0)
    weight_decay: float = Field(0.1, ge=0)
    warmup: float = Field(0.05, gt=0, lt=1)  # share of the steps
    floor: float = Field(0.1, ge=0, le=1)  # last learning rate over the peak: a base that can still be improved
    prior: float = Field(0.75, ge=0)  # strength of the logit adjustment for rare classes; 0 learns their frequencies
    seed: int = 0
    augment: bool = False


def pretrain(
    data: LabelledImages,
    prompts: Sequence[str],
    recipe: Recipe,
    device: str | torch.device = "cpu",
    on_step: Callable[[int, int], None] = lambda step, steps: None,
) -> ClipClassifier:
    """Train both towers from scratch by contrast of every image with all prompts.

    Rare classes are compensated in the loss, not by showing them more often: class frequencies are added to the logits
    in training (logit adjustment, arXiv 2007.07314, eq. 10), times ``recipe.prior``.

    Args:
        data: images and labels.
        prompts: one text a class.
        recipe: hyper-parameters.
        device: where to train.
        on_step: called with (step, steps) after each step.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = create_classifier(prompts, recipe.model).to(device).train()
    steps = min(recipe.steps, max(1, recipe.epochs * len(data) // recipe.batch_size))
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_rate, recipe, steps))
    counts = torch.bincount(data.labels, minlength=len(prompts)).float()
    adjustment = recipe.prior * (counts.clamp_min(0.5) / counts.sum()).log().to(device)
    order = Permutations(len(data), recipe.seed, "pretraining")
    vary, purpose = (augment, "augmentation") if recipe.augment else (_mirror_half, "mirror")
    rng = generator(recipe.seed, purpose)
    for step in range(steps):
        rows = order.take(step * recipe.batch_size, recipe.batch_size)
        images = vary(data.images[rows].to(device), rng)
        loss = F.cross_entropy(model(images) + adjustment, data.labels[rows].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        on_step(step + 1, steps)
    return model.eval()


def _rate(recipe: Recipe, steps: int, step: int) -> float:
    """Share of the peak learning rate: a linear rise, then half a cosine down to the floor."""
    rise = recipe.warmup * steps
    if step < rise:
        return (step + 1) / (rise + 1)
    return recipe.floor + (1 - recipe.floor) * 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise)))


def _mirror_half(images: Tensor, rng: torch.Generator) -> Tensor:
    flip = (torch.rand(len(images), generator=rng) < 0.5).to(images.device)
    return torch.where(flip[:, None, None, None], images.flip(-1), images)
