"""Images as models see them."""

from __future__ import annotations

import torch
from torch import Tensor


def as_float(images: Tensor) -> Tensor:
    """Images kept as bytes, uint8, as float32 in [0, 1]; others as they are."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images
