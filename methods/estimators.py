"""Running estimates of inner functions, one number per index."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MovingAverage(nn.Module):
    """v_i <- (1 - gamma) v_i + gamma new_i for the indices met; the first value met is taken as it is.

    Stays on the device and never waits for it.

    Args:
        size: number of indices.
        gamma: weight of the new value, in (0, 1]; 1 keeps no memory.
    """

    value: Tensor  # (size,)
    seen: Tensor  # (size,) bool

    def __init__(self, size: int, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma
        self.register_buffer("value", torch.zeros(size))
        self.register_buffer("seen", torch.zeros(size, dtype=torch.bool))

    @torch.no_grad()
    def update(self, index: Tensor, new: Tensor) -> Tensor:
        """Fold ``new`` (n,) into the entries ``index`` (n,), and return them, (n,).

        Of an entry that is met twice in a call, as by a batch in which one pass over the images ends and the next
        begins, both are returned and the last is kept.
        """
        old = self.value[index].to(new.dtype)
        mixed = torch.where(self.seen[index], old + self.gamma * (new - old), new)
        order = torch.arange(len(index), device=index.device)
        last = torch.zeros_like(self.value, dtype=torch.long).scatter_reduce(0, index, order, "amax")[index]
        self.value[index] = mixed[last].to(self.value.dtype)  # else a GPU would keep either
        self.seen[index] = True
        return mixed

    @torch.no_grad()
    def shift(self, index: Tensor, by: Tensor) -> None:
        """Add ``by`` (n,) to the entries ``index`` (n,), for what is known to have moved by that much since."""
        self.value[index] += by.to(self.value.dtype)
