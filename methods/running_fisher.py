"""Fisher information that is carried from round to round: a decaying sum, in any classifier's weights."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

FISHER = "running_fisher"  # name of the buffer, (N,) float32: one number for each of the N trainable weights, in order


def add_fisher(model: nn.Module, fisher: Iterable[Tensor], decay: float) -> None:
    """F* <- decay F* + F; where there is no F* yet, or weights were added since, F* <- F.

    F* is a buffer of the model, so it is saved and loaded with the weights, and no optimizer changes it.

    Args:
        model: its function does not change.
        fisher: F, of each trainable parameter, of its shape.
        decay: of what was there.
    """
    total = torch.cat([value.flatten() for value in fisher])
    before = getattr(model, FISHER, None)
    if before is not None and before.shape == total.shape:
        total = total.add(before, alpha=decay)
    model.register_buffer(FISHER, total)


def running_fisher(model: nn.Module) -> list[Tensor]:
    """F* of each trainable parameter of ``model``, of its shape."""
    weights = [p for p in model.parameters() if p.requires_grad]
    parts = getattr(model, FISHER).split([w.numel() for w in weights])
    return [part.view(w.shape) for part, w in zip(parts, weights, strict=True)]


__all__ = ["FISHER", "add_fisher", "running_fisher"]
