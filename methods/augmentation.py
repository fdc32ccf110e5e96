"""Varied views of training images: random crops, rotations and mirror images, a whole batch at a time on its device.

The published training transform (arXiv 2410.03955): ``RandomResizedCrop(S, scale=(0.7, 1))``, bilinear, then
``RandomRotation(15)``, nearest with black corners, then ``RandomHorizontalFlip()``. Drawn as torchvision draws them and
equal to torchvision's transforms up to rounding. CLIP's mean and standard deviation are not applied here:
``ClipClassifier`` does that to whatever it is given.

The crop is resized by two matrix products with triangle filters, which is how torchvision and PIL resize: the same
bilinear interpolation where the crop is no larger than the view, antialiased where it is larger. Rotation and mirroring
are one further nearest sampling. A single bilinear sampling of all three would blur the rotation, which the published
transform does not, and saves no more than half of the time, itself about a tenth of a small model's step.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from methods.images import as_float

SCALE = (0.7, 1.0)  # area of the crop over that of the image
BRIGHTNESS, CONTRAST = 2.5, 2.0  # greatest factors; the least are their inverses
SATURATION = (0.5, 1.5)
CAST = 0.1  # standard deviation of the logarithm of a colour's factor
RATIO = (3 / 4, 4 / 3)  # width of the crop over its height
DEGREES = 15.0  # largest rotation to either side
TRIES = 10  # at a crop that fits into the image


class Views(NamedTuple):
    """The view of each image of a batch: six tensors (B,) float64 on the CPU."""

    top: Tensor  # of the crop, whole px
    left: Tensor
    height: Tensor
    width: Tensor
    degrees: Tensor  # counter-clockwise
    mirrored: Tensor  # 0 or 1


def augment(images: Tensor, rng: torch.Generator, size: int | None = None, mirror: bool = True) -> Tensor:
    """A random view of every image, float32 (B, 3, S, S) in [0, 1] on the images' device.

    The views are drawn on the CPU and sent to the device, which is never waited for.

    Args:
        images: (B, 3, H, W), uint8 or float in [0, 1].
        rng: a CPU generator; its state alone decides the views.
        size: S in px; the images' shorter side where it is not given.
        mirror: whether half of the views are mirrored; without, all else is drawn alike.
    """
    height, width = images.shape[-2:]
    views = draw_views(len(images), height, width, rng)
    if not mirror:
        views = views._replace(mirrored=torch.zeros_like(views.mirrored))
    return show(images, views, size or min(height, width))


def relight(images: Tensor, rng: torch.Generator) -> Tensor:
    """Images (B, 3, H, W), float in [0, 1], each in a random light, as a moving car sees one sign in sun and shade.

    Saturation, contrast around the image's mean, brightness and the cast of colour change, in this order. Not in the
    published training transform: for bases that learn from a few places how a class looks in all.

    Args:
        images: of any size.
        rng: a CPU generator; its state alone decides the light.
    """
    count = len(images)
    saturation = _uniform((count, 1), *SATURATION, rng)
    contrast = _uniform((count, 1), -math.log(CONTRAST), math.log(CONTRAST), rng).exp()
    brightness = _uniform((count, 1), -math.log(BRIGHTNESS), math.log(BRIGHTNESS), rng).exp()
    cast = (CAST * torch.randn((count, 3), generator=rng, dtype=torch.float64)).exp()
    drawn = torch.cat([saturation, contrast, brightness * cast], dim=1).float().to(images.device, non_blocking=True)
    saturation, contrast, colours = (part[:, :, None, None] for part in drawn.split([1, 1, 3], dim=1))
    gray = images.mean(dim=1, keepdim=True)
    images = gray + saturation * (images - gray)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (colours * (mean + contrast * (images - mean))).clamp_(0, 1)


def draw_views(count: int, height: int, width: int, rng: torch.Generator) -> Views:
    """``count`` views of images of ``height`` times ``width`` px, distributed as torchvision's.

    A crop whose area and log aspect ratio are uniform, but for the rounding of its sides to whole px; tried again until
    it fits, at most ten times, and then the largest central crop of an allowed ratio.
    """
    area = height * width * _uniform((count, TRIES), *SCALE, rng)
    ratio = _uniform((count, TRIES), math.log(RATIO[0]), math.log(RATIO[1]), rng).exp()
    heights, widths = (area / ratio).sqrt().round(), (area * ratio).sqrt().round()
    fits = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)
    first, found = fits.byte().argmax(dim=1, keepdim=True), fits.any(dim=1)
    crop_height = torch.where(found, heights.gather(1, first)[:, 0], min(height, round(width / RATIO[0])))
    crop_width = torch.where(found, widths.gather(1, first)[:, 0], min(width, round(height * RATIO[1])))
    free_height, free_width = height - crop_height, width - crop_width
    top = torch.where(found, (_uniform((count,), 0, 1, rng) * (free_height + 1)).floor(), (free_height / 2).floor())
    left = torch.where(found, (_uniform((count,), 0, 1, rng) * (free_width + 1)).floor(), (free_width / 2).floor())
    degrees = _uniform((count,), -DEGREES, DEGREES, rng)
    mirrored = (_uniform((count,), 0, 1, rng) < 0.5).double()
    return Views(top, left, crop_height, crop_width, degrees, mirrored)


def show(images: Tensor, views: Views, size: int) -> Tensor:
    """The given views of images (B, 3, H, W), uint8 or float in [0, 1], as float32 (B, 3, size, size) in [0, 1]."""
    # One transfer of a few bytes, which does not wait for the device.
    top, left, height, width, degrees, mirrored = torch.stack(views).float().to(images.device, non_blocking=True)
    down = _resizing(top, height, images.shape[-2], size)
    across = _resizing(left, width, images.shape[-1], size)
    pixels = torch.einsum("bchw,bxw->bchx", as_float(images).float(), across)
    pixels = torch.einsum("byh,bchx->bcyx", down, pixels).clamp_(0, 1)  # weights add up to 1 but for rounding
    grid = _turning(degrees.deg2rad(), 1 - 2 * mirrored, size)
    return grid_sample(pixels, grid, mode="nearest", padding_mode="zeros", align_corners=False)


def _uniform(shape: tuple[int, ...], low: float, high: float, rng: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=rng, dtype=torch.float64)


def _resizing(start: Tensor, length: Tensor, pixels: int, size: int) -> Tensor:
    """Weights (B, size, pixels) that resize ``length`` px from ``start`` on to ``size`` px, along one side.

    A triangle around the place of each new pixel, as wide as a new pixel is in old ones and at least one old pixel,
    cut off at the ends of the crop.
    """
    start, end, scale = start[:, None, None], (start + length)[:, None, None], (length / size)[:, None, None]
    place = torch.arange(pixels, device=start.device) + 0.5
    centre = start + (torch.arange(size, device=start.device)[:, None] + 0.5) * scale
    weights = (place - centre).abs_().div_(-scale.clamp_min(1)).add_(1).clamp_min_(0)
    weights *= (start < place) & (place < end)
    return weights.div_(weights.sum(dim=-1, keepdim=True))


def _turning(angle: Tensor, side: Tensor, size: int) -> Tensor:
    """Where each pixel of a square view comes from, (B, size, size, 2) as x, y in [-1, 1].

    Args:
        angle: (B,) rotation, counter-clockwise in radians.
        side: (B,) -1 where the rotated image is mirrored, else 1.
        size: of the view, in px.
    """
    axis = ((torch.arange(size, device=angle.device) + 0.5) * 2 / size - 1)[:, None]
    cos, sin = angle.cos(), angle.sin()
    along_x = torch.stack([side * cos, side * sin], dim=1)[:, None] * axis  # (B, size, 2)
    along_y = torch.stack([-sin, cos], dim=1)[:, None] * axis
    return along_y[:, :, None] + along_x[:, None]
