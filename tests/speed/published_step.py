"""A training step of MDS as the code published with arXiv 2410.03955 makes it, to be compared with ours.

What it computes is what ``methods.mds`` computes, on rows that are told apart as published: a step has a contrastive
batch, of target and negative images, and beside it a batch of protected images for the constraints. Ours contrasts with
the protected images themselves. So both are given the same batch of target and protected images, of which this step
takes some for its constraints and the others for its negatives: the two see equally many images, and of those rows the
product's own functions give the same loss and the same gradients (``product_loss``).

What it does again and again is as published too: the two image batches pass the tower one after the other; the
prompts of all classes and the caption of each image of the contrastive batch are encoded at every step, padded to the
context of 77 tokens; every text's own head is written out as a matrix, W + A_k B_k; all in float32.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from open_clip.transformer import text_global_pool
from torch import Tensor, nn

from methods.clip import ClipClassifier
from methods.mds import MDSSettings
from methods.objectives import (
    class_losses,
    contrastive_means,
    global_contrastive,
    negative_gaps,
    squared_hinge_penalty,
)


class Rows(NamedTuple):
    """The rows of a batch by what the published step does with them."""

    targets: Tensor  # (P,)
    negatives: Tensor  # (N,)
    constrained: Tensor  # (K, b), class by class


def told_apart(size: int, targets: int, classes: int, constrained: tuple[int, int]) -> Rows:
    """Rows of ``size`` images, target images first and then equally many of each of ``classes`` protected ones.

    Args:
        size: of the batch.
        targets: how many of the images show the target.
        classes: how many protected classes the batch has images of.
        constrained: how many of these classes, and how many images of each, are for the constraints.
    """
    protected = torch.arange(targets, size).view(classes, -1)
    kept = protected[: constrained[0], : constrained[1]]
    others = protected.flatten()[~torch.isin(protected.flatten(), kept.flatten())]
    return Rows(torch.arange(targets), others, kept)


class PublishedStep:
    """Owns its model and optimizer; ``step`` trains it on a batch.

    Args:
        clip: an open_clip model as open_clip makes it.
        tokens: (C, 77) of the prompts; the caption of an image is its class's prompt.
        heads: A (C, W, r) and B (C, r, E) of all classes.
        settings: of MDS.
        normalisation: mean and standard deviation of images, each (3, 1, 1).
    """

    def __init__(
        self,
        clip: nn.Module,
        tokens: Tensor,
        heads: tuple[Tensor, Tensor],
        settings: MDSSettings,
        normalisation: tuple[Tensor, Tensor],
    ) -> None:
        self.clip, self.tokens, self.settings = clip.train(), tokens, settings
        self.mean, self.std = normalisation
        self.heads_in, self.heads_out = (nn.Parameter(head.detach().clone()) for head in heads)
        parameters = [*self.clip.parameters(), self.heads_in, self.heads_out]
        self.optimizer = torch.optim.AdamW(parameters, settings.lr, weight_decay=settings.weight_decay)
        self.violation = torch.zeros(len(tokens), device=tokens.device)

    def images(self, pixels: Tensor) -> Tensor:
        """Unit features (B, E) of images in [0, 1]."""
        return F.normalize(self.clip.visual((pixels - self.mean) / self.std), dim=-1)

    def texts(self, classes: Tensor) -> Tensor:
        """Unit features (n, E) of the prompts of ``classes`` (n,), each through a matrix of its own."""
        clip, tokens = self.clip, self.tokens[classes]
        x = clip.token_embedding(tokens) + clip.positional_embedding
        x = clip.ln_final(clip.transformer(x, attn_mask=clip.attn_mask))
        x = text_global_pool(x, tokens, "argmax")
        projections = clip.text_projection + self.heads_in[classes] @ self.heads_out[classes]  # (n, W, E)
        return F.normalize((x[:, None] @ projections)[:, 0], dim=-1)

    def loss(self, pixels: Tensor, labels: Tensor, rows: Rows, old_losses: Tensor) -> Tensor:
        """The scalar that is minimised, as in the first epoch, when no average is taken of the inner means of F.

        Args:
            pixels: (B, 3, S, S) in [0, 1].
            labels: (B,).
            rows: of the batch.
            old_losses: (K, b) of the constrained images.
        """
        s, targets = self.settings, len(rows.targets)
        pairs = torch.cat([rows.targets, rows.negatives])
        similarity = self.images(pixels[pairs]) @ self.texts(labels[pairs]).T  # (P + N, P + N)
        own = similarity.diagonal()[:targets, None]
        total = similarity.new_zeros(())
        for gaps in (similarity[:targets, targets:] - own, similarity[targets:, :targets].T - own):
            means = (gaps / s.t).exp().mean(dim=1)
            total = total + s.t * (means / means.detach()).mean()
        prompts = self.texts(torch.arange(len(self.tokens), device=labels.device))
        logits = self.images(pixels[rows.constrained.flatten()]) @ prompts.T / s.tau
        losses = F.cross_entropy(logits, labels[rows.constrained.flatten()], reduction="none").view(old_losses.shape)
        classes = labels[rows.constrained[:, 0]]
        change, before = (losses.detach() - old_losses).mean(dim=1), self.violation[classes]
        mixed = (1 - s.gamma_protected) * before + s.gamma_protected * change
        u = torch.where(before.sum() == 0, change, mixed)
        self.violation[classes] = u
        return total + (s.beta * u.clamp_min(0) * losses.mean(dim=1)).mean() * s.tau

    def step(self, pixels: Tensor, labels: Tensor, rows: Rows, old_losses: Tensor) -> None:
        """One step of AdamW."""
        self.optimizer.zero_grad()
        self.loss(pixels, labels, rows, old_losses).backward()
        self.optimizer.step()


def product_loss(
    model: ClipClassifier, settings: MDSSettings, pixels: Tensor, labels: Tensor, rows: Rows, old_losses: Tensor
) -> Tensor:
    """The loss of the same rows by the functions that ``methods.mds`` is made of, at a first step.

    Arguments as above.
    """
    similarity, s = model.similarity(pixels), settings
    pairs = torch.cat([rows.targets, rows.negatives])
    total = similarity.new_zeros(())
    for gaps in negative_gaps(similarity[pairs], labels[pairs], len(rows.targets)):
        means = contrastive_means(gaps, s.t)
        total = total + global_contrastive(means, means.detach(), s.t)
    constrained = rows.constrained.flatten()
    losses = class_losses(similarity[constrained], labels[constrained], s.tau).view(old_losses.shape)
    change = (losses.detach() - old_losses).mean(dim=1)
    return total + squared_hinge_penalty(losses.mean(dim=1), change, s.beta, s.tau)
