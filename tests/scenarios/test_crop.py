"""The narrower view: the part asked for, enlarged as bilinear interpolation enlarges it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from scenarios.render.crop import crop


def pictures(count: int, side: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("left", "top", "scale"), [(0.0, 0.0, 0.25), (0.3, 0.6, 0.4), (0.75, 0.75, 0.25), (0, 0, 1)])
def test_it_is_bilinear_interpolation(left, top, scale):
    source = pictures(1, 24)
    got = crop(source, *(torch.tensor([float(v)]) for v in (left, top, scale)))[0]
    steps = np.arange(24) / 24
    rows, columns = np.meshgrid((top + scale * steps) * 23, (left + scale * steps) * 23, indexing="ij")
    for channel in range(3):
        wanted = map_coordinates(source[0, channel].numpy().astype(float), [rows, columns], order=1)
        assert np.abs(got[channel].numpy() - wanted).max() < 3  # weights have 8 bits, and the result is cut off


def test_each_picture_has_a_part_of_its_own():
    source = pictures(3, 16)
    left, top, scale = torch.tensor([0.0, 0.2, 0.5]), torch.tensor([0.4, 0.0, 0.1]), torch.tensor([0.5, 0.3, 0.4])
    together = crop(source, left, top, scale)
    for i in range(3):
        alone = crop(*(values[i : i + 1] for values in (source, left, top, scale)))
        assert torch.equal(together[i : i + 1], alone)
