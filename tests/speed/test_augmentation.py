"""Time of a batch of views against torchvision's transforms, image by image. Run with: tox -e benchmark"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from methods.augmentation import DEGREES, SCALE, augment

BATCHES = pytest.mark.parametrize(("count", "size"), [(96, 64), (32, 224)])


def images(count: int, size: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@BATCHES
def test_batch(benchmark, count, size):
    """A training batch at once; a step of 96 images of 64 px takes about 130 ms on two threads."""
    batch, rng = images(count, size), torch.Generator().manual_seed(0)
    benchmark.pedantic(augment, (batch, rng), rounds=20, warmup_rounds=2)


@BATCHES
def test_torchvision(benchmark, count, size):
    """The same images through torchvision's own transforms, one after another, from bytes to floats in a batch."""
    batch = images(count, size)
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=SCALE),
            v2.RandomRotation(DEGREES),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    benchmark.pedantic(lambda: torch.stack([transform(image) for image in batch]), rounds=10, warmup_rounds=1)
