"""Per-image random draws: a counter-based integer hash of (seed, index, purpose).

A draw depends on nothing but those three numbers, so a picture is the same in any batch, order or process.
"""

import torch
from torch import Tensor

# How many draws each purpose owns. Append only: inserting shifts the later purposes and so changes every picture.
PURPOSES: dict[str, int] = {
    "horizon": 1,
    "vanish": 1,
    "severity": 1,
    "weather": 8,
    "light": 4,
    "sky": 8,
    "ground": 16,
    "shadow": 4,
    "vehicle": 32,
    "skyline": 8,
    "structure": 64,
    "prop": 88,
    "precipitation": 12,
    "sensor": 8,
}


def _offsets() -> dict[str, int]:
    offsets, total = {}, 0
    for name, count in PURPOSES.items():
        offsets[name] = total
        total += count
    return offsets


OFFSETS = _offsets()
TOTAL = sum(PURPOSES.values())


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


def uniforms(seed: int, index: Tensor) -> Tensor:
    """All draws of the images `index` (B,) int64, as (B, TOTAL) float32 in [0, 1), computed on the CPU."""
    masked = seed & ((1 << 64) - 1)
    key = mix64(torch.tensor(_signed(masked), dtype=torch.int64))
    per_image = mix64(index.cpu().to(torch.int64) ^ key)
    purpose = torch.arange(TOTAL, dtype=torch.int64)
    return unit_interval(mix64(per_image[:, None] ^ mix64(purpose)[None, :]))


class Draws:
    """Named access to the uniforms of a chunk of B images."""

    def __init__(self, table: Tensor) -> None:
        self.table = table  # (B, TOTAL)

    def uniform(self, purpose: str, slot: int = 0, low: float = 0.0, high: float = 1.0) -> Tensor:
        """One draw per image in [low, high), as (B, 1, 1, 1)."""
        if slot >= PURPOSES[purpose]:
            raise IndexError(f"purpose {purpose!r} owns {PURPOSES[purpose]} draws, slot {slot} asked")
        column = self.table[:, OFFSETS[purpose] + slot].reshape(-1, 1, 1, 1)
        return column * (high - low) + low

    def chance(self, purpose: str, slot: int, probability: float) -> Tensor:
        """1.0 with the given probability, else 0.0, as (B, 1, 1, 1)."""
        return (self.uniform(purpose, slot) < probability).to(torch.float32)

    def choice(self, purpose: str, slot: int, palette: Tensor) -> Tensor:
        """One of the rows of `palette` (n, C) per image, as (B, C, 1, 1)."""
        pick = (self.uniform(purpose, slot).reshape(-1) * len(palette)).floor().clamp(max=len(palette) - 1)
        return palette.to(self.table.device)[pick.to(torch.int64)].reshape(-1, palette.shape[1], 1, 1)
