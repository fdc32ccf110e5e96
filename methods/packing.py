"""Prompts of many classes in few rows: what all of them begin with is encoded once a row, and nothing is padded.

Under a causal mask a token sees those before it alone. So the tokens that all prompts begin with ("the scene is a")
have the same states in each of them, and may stand once before the rest of many prompts, as long as each rest sees
them and itself, and keeps the positions that it had. The features are the same but for rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PackedPrompts(nn.Module):
    """The tokens of C prompts in R rows of T.

    Args:
        tokens: (C, L) int64, each prompt up to its end token, the largest; what follows it is padding.
        heads: of the tower's attention.
        row: T, where no prompt is longer; longer rows save few more tokens, for more attention.
    """

    tokens: Tensor  # (R, T) int64
    positions: Tensor  # (R, T) int64, of each token in its own prompt
    mask: Tensor  # (R * heads, T, T), to be added: 0 where a token (row) sees another (column), else -inf
    ends: Tensor  # (C,) int64, where the end tokens stand, rows one after the other

    def __init__(self, tokens: Tensor, heads: int, row: int = 128) -> None:
        super().__init__()
        row = max(row, tokens.shape[1])
        lengths = tokens.argmax(dim=-1) + 1
        shared = min(_common(tokens), int(lengths.min()) - 1)  # every prompt has an end of its own
        starts = _lay_out((lengths - shared).tolist(), shared, row)
        rows = int(starts[-1]) // row + 1
        packed, positions = torch.zeros(2, rows, row, dtype=torch.long)
        packed[:, :shared], positions[:, :shared] = tokens[0, :shared], torch.arange(shared)
        owner = torch.full((rows, row), -1)  # of each token; -1 for those that all prompts share, and for padding
        for number, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
            own = slice(start, start + length - shared)
            packed.view(-1)[own] = tokens[number, shared:length]
            positions.view(-1)[own] = torch.arange(shared, length)
            owner.view(-1)[own] = number
        place = torch.arange(row)
        seen = (place < shared) | (owner[:, :, None] == owner[:, None])
        seen &= place <= place[:, None]
        mask = torch.zeros(seen.shape).masked_fill(~seen, -torch.inf).repeat_interleave(heads, dim=0)
        for name, values in {"tokens": packed, "positions": positions, "mask": mask}.items():
            self.register_buffer(name, values, persistent=False)
        self.register_buffer("ends", starts + lengths - shared - 1, persistent=False)


def _common(tokens: Tensor) -> int:
    """How many tokens all prompts begin with."""
    return int((tokens == tokens[0]).all(dim=0).long().cumprod(dim=0).sum())


def _lay_out(lengths: list[int], first: int, row: int) -> Tensor:
    """Where pieces of these lengths begin, in order, each whole in a row of which ``first`` places are taken, (C,)."""
    starts, number, place = [], 0, first
    for length in lengths:
        if place + length > row:
            number, place = number + 1, first
        starts.append(number * row + place)
        place += length
    return torch.tensor(starts)
