"""Diagonal Fisher information of a classifier's weights, from exact gradients of single images."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.batches import generator
from methods.clip import Encoded, predict_logits
from methods.distributed import add_up, share

Objective = Callable[[Tensor, int], Tensor]  # logits (1, C) and row of an image -> a scalar


def fisher_information(
    model: nn.Module,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    scale: float = 1.0,
    max_samples: int = 256,
    seed: int = 0,
) -> dict[str, Tensor]:
    """F = E_x E_y (d log p(y | x) / d theta)^2 of every trainable weight, as used by arXiv 1612.00796 and 2111.09832.

    The gradient of each image is squared by itself: the square of a mini-batch's mean gradient is another quantity,
    which shrinks as the batch grows. The inner expectation is estimated with one draw of y for each image.

    Cost: one forward and one backward pass per image, and one forward pass over all images for the draws. The backward
    pass of a CLIP model goes through both towers; the prompts' forward pass is shared.

    Args:
        model: maps images to logits (B, C); it is seen in evaluation mode and left as it was.
        images: (N, 3, S, S), uint8, or float in [0, 1].
        labels: (N,) true classes for the *empirical* Fisher information, which vanishes where the model is sure and
            right; None draws y from the model's own p(y | x), as the definition asks.
        scale: p(y | x) = softmax(scale * logits).
        max_samples: images looked at: if there are more, a random choice, balanced over classes where labels are given.
        seed: of the random choices.

    Returns:
        By parameter name a tensor >= 0 of the parameter's shape, on its device; 0 where the output does not depend on
        it. Frozen parameters are left out, so nothing is returned where all of them are.
    """
    if len(images) > max_samples:
        rows = balanced_rows(torch.zeros(len(images)) if labels is None else labels, max_samples, seed)
        images, labels = images[rows.to(images.device)], None if labels is None else labels[rows.to(labels.device)]
    if labels is None:
        chances = (scale * predict_logits(model, images)).softmax(dim=1)
        labels = chances.multinomial(1, generator=generator(seed, "fisher"))[:, 0]
    answers = labels.to(next(model.parameters()).device)

    def log_likelihood(logits: Tensor, row: int) -> Tensor:
        return -F.cross_entropy(scale * logits, answers[row : row + 1])

    total = {name: torch.zeros_like(p) for name, p in model.named_parameters() if p.requires_grad}
    for gradients in image_gradients(model, images, log_likelihood):
        torch._foreach_addcmul_(list(total.values()), gradients, gradients, 1 / len(images))
    add_up(total.values())
    return total


def image_gradients(model: nn.Module, images: Tensor, objective: Objective) -> Iterator[tuple[Tensor, ...]]:
    """For one image after the other, the gradient of ``objective`` by each trainable parameter, zero where unused.

    A loop, because the attention of open_clip's towers cannot be vectorised over samples (``torch.func.vmap`` stops at
    a data-dependent branch in it); it also never holds more than one image's gradients. On several devices each rank
    does its share of the images: ``add_up`` makes the sums whole.
    """
    if not (parameters := [p for p in model.parameters() if p.requires_grad]):
        return
    was_training, device = model.training, parameters[0].device
    model.eval()
    encoded = Encoded(model)  # the graph of the prompts serves all images
    for row in share(len(images)):
        image = images[row : row + 1].to(device)
        loss = objective(encoded.logits(image), row)
        yield torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True)
    model.train(was_training)


def balanced_rows(labels: Tensor, count: int, seed: int) -> Tensor:
    """Up to ``count`` random rows of ``labels`` (N,), without replacement, as evenly over the classes as can be."""
    shuffled = torch.randperm(len(labels), generator=generator(seed, "balanced rows"))
    place = torch.empty(len(labels), dtype=torch.long)  # of each shuffled row among those of its class
    for members in _members(labels.cpu()[shuffled]):
        place[members] = torch.arange(len(members))
    return shuffled[place.argsort(stable=True)[:count]]


def _members(labels: Tensor) -> list[Tensor]:
    return [(labels == label).nonzero()[:, 0] for label in labels.unique()]


__all__ = ["balanced_rows", "fisher_information", "image_gradients"]
