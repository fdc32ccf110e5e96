"""A number for each class that is added to its logit: no cost at inference, and part of any classifier's weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

BIAS = "class_bias"  # name of the buffer, (C,) float32, in units of the logits


def add_class_bias(model: nn.Module, classes: int) -> None:
    """Give a classifier of ``classes`` classes a bias of 0, unless it has one: the function is exactly what it was.

    It is a buffer, so it is saved and loaded with the weights and no optimizer changes it. A ``ClipClassifier`` adds it
    to its similarities; the logits of any other classifier pass through a hook.
    """
    if getattr(model, BIAS, None) is not None:
        return
    bias = torch.zeros(classes, device=next(model.parameters()).device)
    if BIAS in model._buffers:  # a ClipClassifier's, which looks for it itself
        setattr(model, BIAS, bias)
        return
    model.register_buffer(BIAS, bias)
    model.register_forward_hook(_biased)


def _biased(model: nn.Module, inputs: Any, logits: Tensor) -> Tensor:
    return logits + getattr(model, BIAS)
