"""Training written out in float64, for tests: a small classifier, AdamW and the schedule of a round."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn


class Small(nn.Module):
    """A classifier of the toy stream's images by attention over patches, in float64."""

    def __init__(self, classes: int = 6) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches, self.norm = nn.Conv2d(3, 8, 16, stride=16, bias=False), nn.BatchNorm2d(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.hidden, self.last = nn.Linear(8, 12), nn.Linear(12, classes)
        nn.init.normal_(self.attention.in_proj_bias)
        self.double()

    def forward(self, images):
        x = self.norm(self.patches(images.double())).flatten(2).mT  # (B, patches, 8)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.last(F.gelu(self.hidden(x.mean(dim=1))))


def rates(lr: float, steps: int, warmup: float) -> list[float]:
    """The learning rate of each step: up along a line, down along half a cosine."""
    rise = max(1, round(warmup * steps))
    fall = max(1, steps - rise)
    return [
        lr * (k + 1) / rise if k < rise else lr * (1 + math.cos(math.pi * (k - rise) / fall)) / 2 for k in range(steps)
    ]


def adamw(weights, loss_of, batches, rates, decay: float) -> None:
    """Steps of AdamW on ``weights``, in place: ``loss_of(images, labels)`` falls, at a rate for each batch."""
    means, squares = ([torch.zeros_like(w) for w in weights] for _ in range(2))
    for step, ((images, labels), rate) in enumerate(zip(batches, rates, strict=True), 1):
        gradients = torch.autograd.grad(loss_of(images, labels), weights)
        with torch.no_grad():
            for w, g, mean, square in zip(weights, gradients, means, squares, strict=True):
                mean.mul_(0.9).add_(0.1 * g)
                square.mul_(0.999).add_(0.001 * g * g)
                upward = mean / (1 - 0.9**step) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
                w.sub_(rate * (decay * w + upward))
