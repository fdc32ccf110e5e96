"""Loss functions on similarities: pure functions of tensors, no state.

Shapes: P target images, N negative images, K protected classes, b images of each, C classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def negative_gaps(similarity: Tensor, labels: Tensor, targets: int) -> tuple[Tensor, Tensor]:
    """How much closer each negative is than the own counterpart, for image and text anchors.

    Args:
        similarity: (P + N, C) cosines of images and class texts, target images first.
        labels: (P + N,) class of each image; the text of an image is its class's prompt.
        targets: P.

    Returns:
        ``s(x_i, t_j) - s(x_i, t_i)`` and ``s(x_j, t_i) - s(x_i, t_i)``, each (P, N), for target i and negative j.
    """
    own = similarity[:targets].gather(1, labels[:targets, None])  # (P, 1)
    image_side = similarity[:targets, labels[targets:]] - own
    text_side = similarity[targets:, labels[:targets]].T - own
    return image_side, text_side


def contrastive_means(gaps: Tensor, temperature: float) -> Tensor:
    """g_i = mean over negatives j of exp(gap_ij / t), (P,)."""
    return (gaps / temperature).exp().mean(dim=1)


def global_contrastive(means: Tensor, averages: Tensor, temperature: float) -> Tensor:
    """Surrogate of one side of F = mean_i t log g_i whose gradient uses ``averages`` for g in the denominator.

    With ``averages`` equal to ``means`` its gradient is that of F; its value is not (SogCLR, arXiv 2202.12387, eq. 6,
    restricted to target anchors as in arXiv 2410.03955).

    Args:
        means: (P,) batch means g_i, with gradient.
        averages: (P,) running estimates of g_i, positive, without gradient.
        temperature: t.
    """
    return temperature * (means / averages.clamp_min(1e-12)).mean()


def class_losses(similarity: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of every image against all class prompts, (N,): -log softmax_y(s / tau)."""
    return F.cross_entropy(similarity / temperature, labels, reduction="none")


def squared_hinge_penalty(losses: Tensor, violations: Tensor, beta: float, temperature: float) -> Tensor:
    """Surrogate whose gradient is that of (beta tau / 2) mean_k [h_k]_+^2, with ``violations`` in place of h_k.

    Args:
        losses: (K,) mean loss of each protected class, with gradient.
        violations: (K,) estimates of h_k = L_k(w) - L_k(w_old), without gradient.
        beta: penalty weight.
        temperature: tau; the published code scales the loss by it, so the effective weight is beta * tau.
    """
    return beta * temperature * (violations.clamp_min(0) * losses).mean()


def hinge_penalty(losses: Tensor, violations: Tensor, beta: float, temperature: float) -> Tensor:
    """Surrogate whose gradient is that of the exact penalty beta tau mean_k [h_k]_+; arguments as above.

    A class has its full weight while ``violations`` says that it is violated, and none otherwise (arXiv 2504.15243).
    """
    return beta * temperature * ((violations > 0) * losses).mean()


def smoothed_hinge_penalty(losses: Tensor, violations: Tensor, beta: float, temperature: float, width: float) -> Tensor:
    """Surrogate whose gradient is that of beta tau mean_k f(h_k), f the hinge smoothed over ``width`` mu.

    f(h) is 0 below 0, h^2 / (2 mu) up to mu and h - mu / 2 above it: the Moreau envelope of [h]_+, with slope
    min([h]_+ / mu, 1) (arXiv 2506.02504). Other arguments as above.
    """
    return beta * temperature * ((violations / width).clamp(0, 1) * losses).mean()


def contrast_with_other_classes(similarity: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """t log g_i of every image i as an anchor, summed over both sides, without moving averages.

    The negatives of an anchor are all images of other classes; those of its own are never any.

    Args:
        similarity: (B, C) cosines of images and class texts.
        labels: (B,) class of each image, of two classes or more.
        temperature: t.

    Returns:
        (B,); its mean over the target images is F, where all others are negatives.
    """
    own = similarity.gather(1, labels[:, None])  # (B, 1)
    pairs = similarity[:, labels]  # (B, B): image i with the text of image j
    same = labels[:, None] == labels
    others = (~same).sum(dim=1, dtype=similarity.dtype)
    total = similarity.new_zeros(len(labels))
    for side in (pairs, pairs.T):
        gaps = ((side - own) / temperature).masked_fill(same, -torch.inf)
        total = total + temperature * (gaps.logsumexp(dim=1) - others.log())
    return total


def prompt_contrastive(similarity: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Image-to-text contrast with the prompts of all classes as texts, a scalar (FLYP, arXiv 2212.00638, eq. 3)."""
    return F.cross_entropy(similarity / temperature, labels)


def all_finite(*tensors: Tensor) -> bool:
    """Whether every value is finite; waits for the device."""
    return bool(torch.stack([t.isfinite().all() for t in tensors]).all())
