"""A fixed computation to measure machines by: a run's time in multiples of it hardly depends on how fast they are.

It is plain torch and nothing of this project's, or a slower model would lengthen the yardstick too.
"""

from __future__ import annotations

import time

import torch
from torch import nn

PASSES = 3
BATCH, TOKENS, WIDTH, HEADS, LAYERS = 48, 17, 128, 4, 4  # about those of a batch in the small base


class Yardstick:
    """Forward and backward passes of a small transformer on fixed numbers."""

    def __init__(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, dropout=0.0, batch_first=True)
            self.model = nn.TransformerEncoder(layer, LAYERS)
            self.data = torch.randn(BATCH, TOKENS, WIDTH)
        self.seconds()  # the first passes also pay for one-time set-up

    def seconds(self) -> float:
        """Wall time of ``PASSES`` passes now."""
        start = time.perf_counter()
        for _ in range(PASSES):
            self.model.zero_grad()
            self.model(self.data).square().mean().backward()
        return time.perf_counter() - start
