"""Per-image random draws: a counter-based integer hash of (seed, index, purpose).

A draw depends on nothing but those three numbers, so a picture is the same in any batch, order or process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate

import torch
from torch import Tensor


class Purposes:
    """How many draws each purpose of a renderer owns, numbered through.

    Append only: inserting shifts the later purposes and so changes every picture.
    """

    def __init__(self, counts: Mapping[str, int]) -> None:
        self.counts = dict(counts)
        self.offsets = _starts(self.counts)
        self.numbers = torch.arange(sum(self.counts.values()))  # (draws,) what is hashed for each column

    def only(self, names: Iterable[str]) -> Purposes:
        """Some of the purposes, with the numbers that they have among all."""
        part = Purposes({name: self.counts[name] for name in names})
        ranges = [self.numbers[self.offsets[n] : self.offsets[n] + count] for n, count in part.counts.items()]
        part.numbers = torch.cat(ranges)
        return part

    def column(self, purpose: str, slot: int) -> int:
        """Where a draw lies in the table of draws."""
        if slot >= self.counts[purpose]:
            raise IndexError(f"purpose {purpose!r} owns {self.counts[purpose]} draws, slot {slot} asked")
        return self.offsets[purpose] + slot


def _starts(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(zip(counts, accumulate(counts.values(), initial=0), strict=False))


def _signed(value: int) -> int:
    """The int64 with the same bits as the unsigned 64-bit `value`."""
    return value - (1 << 64) if value >= 1 << 63 else value


def mix64(x: Tensor) -> Tensor:
    """The splitmix64 finaliser on int64 tensors; products wrap, and masks make the right shifts logical."""
    x = x + _signed(0x9E3779B97F4A7C15)
    x = (x ^ ((x >> 30) & ((1 << 34) - 1))) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ ((x >> 27) & ((1 << 37) - 1))) * _signed(0x94D049BB133111EB)
    return x ^ ((x >> 31) & ((1 << 33) - 1))


def unit_interval(bits: Tensor) -> Tensor:
    """Top 24 bits of int64 hashes as float32 in [0, 1), exactly."""
    return ((bits >> 40) & ((1 << 24) - 1)).to(torch.float32) * (1.0 / (1 << 24))


def uniforms(seed: int, index: Tensor, numbers: Tensor) -> Tensor:
    """The draws `numbers` (n,) of the images `index` (B,), both int64, as (B, n) float32 in [0, 1), on the CPU."""
    masked = seed & ((1 << 64) - 1)
    key = mix64(torch.tensor(_signed(masked), dtype=torch.int64))
    per_image = mix64(index.cpu().to(torch.int64) ^ key)
    return unit_interval(mix64(per_image[:, None] ^ mix64(numbers)[None, :]))


class Draws:
    """Named access to the uniforms of a chunk of B images."""

    def __init__(self, table: Tensor, purposes: Purposes) -> None:
        self.table, self.purposes = table, purposes  # table: (B, draws)

    @classmethod
    def of(cls, seed: int, index: Tensor, purposes: Purposes) -> Draws:
        """The draws of the images `index` (B,), on the CPU."""
        return cls(uniforms(seed, index, purposes.numbers), purposes)

    def to(self, device: torch.device) -> Draws:
        """The same draws on a device."""
        return Draws(self.table.to(device), self.purposes)

    def uniform(self, purpose: str, slot: int = 0, low: float = 0.0, high: float = 1.0) -> Tensor:
        """One draw per image in [low, high), as (B, 1, 1, 1)."""
        column = self.table[:, self.purposes.column(purpose, slot)].reshape(-1, 1, 1, 1)
        return column * (high - low) + low

    def chance(self, purpose: str, slot: int, probability: float) -> Tensor:
        """1.0 with the given probability, else 0.0, as (B, 1, 1, 1)."""
        return (self.uniform(purpose, slot) < probability).to(torch.float32)

    def choice(self, purpose: str, slot: int, palette: Tensor) -> Tensor:
        """One of the rows of `palette` (n, C) per image, as (B, C, 1, 1)."""
        pick = (self.uniform(purpose, slot).reshape(-1) * len(palette)).floor().clamp(max=len(palette) - 1)
        return palette.to(self.table.device)[pick.to(torch.int64)].reshape(-1, palette.shape[1], 1, 1)
