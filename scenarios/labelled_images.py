"""Images and their labels in memory, and which of them belong together."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset


class LabelledImages(Dataset[tuple[Tensor, int]]):
    """Images kept as bytes: ``images`` (N, 3, H, W) uint8 and ``labels`` (N,) int64.

    An item is what any Avalanche strategy can train on: the image as float32 in [0, 1] and the label as an int.
    ``groups`` names, for each image, what it shows together with others, such as one drive past one sign: such images
    are no independent samples, and none of them may help to judge what was trained on another. Empty where an image
    stands for itself; None where all do.
    """

    def __init__(self, images: Tensor, labels: Tensor, groups: Sequence[str] | None = None) -> None:
        if groups is not None and len(groups) != len(images):
            raise ValueError(f"expected a group for each of {len(images)} images, got {len(groups)}")
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or labels.shape != images.shape[:1]:
            raise ValueError(
                f"expected uint8 images (N, 3, H, W) and N labels, got {images.dtype} {tuple(images.shape)} "
                f"and labels {tuple(labels.shape)}"
            )
        self.images, self.labels = images, labels.long()
        self.targets: list[int] = self.labels.tolist()  # the name Avalanche looks for
        self.groups = None if groups is None else list(groups)
        self._digest: str | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index].float() / 255, self.targets[index]

    def digest(self) -> str:
        """SHA-256 over shape, labels and pixels, as 64 hexadecimal digits; computed once."""
        if self._digest is None:
            sha = hashlib.sha256(repr(tuple(self.images.shape)).encode())
            sha.update(self.labels.numpy().tobytes())
            sha.update(self.images.contiguous().numpy().data)
            self._digest = sha.hexdigest()
        return self._digest

    def units(self, rows: Sequence[int]) -> list[list[int]]:
        """``rows`` in lists of those that belong together, in the order in which they are first met."""
        together: dict[str | int, list[int]] = {}
        for row in rows:
            together.setdefault((self.groups[row] if self.groups is not None else "") or row, []).append(row)
        return list(together.values())

    def divided(
        self, share: float, seed: int, decided: dict[str, bool] | None = None
    ) -> tuple[LabelledImages, LabelledImages]:
        """The images without a share of each class's, and these alone; ``seed`` draws them.

        No group is divided: of a class with groups, as large a share of its groups is held out. The first has one image
        or group of a class or more, so of a class of one the second has none. Where groups show several classes, those
        of the class with the fewest are drawn first, and the others go with them.

        Args:
            share: between 0 and 1.
            seed: of the draw.
            decided: group -> whether it is held out, of images divided before; those drawn here are added.

        Raises:
            ValueError: groups of several classes leave a class nothing to train on.
        """
        decided = {} if decided is None else decided
        held = torch.zeros(len(self), dtype=torch.bool)
        units_of = {k: self.units((self.labels == k).nonzero()[:, 0].tolist()) for k in self.labels.unique().tolist()}
        for label, units in sorted(units_of.items(), key=lambda item: len(item[1])):
            names = [self.groups[unit[0]] if self.groups is not None else "" for unit in units]
            out = {number for number, name in enumerate(names) if decided.get(name)}
            free = [number for number, name in enumerate(names) if name not in decided]
            if len(out) == len(units):
                raise ValueError(
                    f"all groups of the class with label {label} are held out for other classes that they show: give "
                    "it photos of a group of its own"
                )
            count = min(max(1, round(share * len(units))), len(units) - 1) - len(out)
            drawn = random.Random(f"{seed} held out {label}").sample(free, min(max(0, count), len(free)))
            decided |= {names[number]: number in drawn for number in free if names[number]}
            for number in (*out, *drawn):
                held[units[number]] = True
        return self.chosen(~held), self.chosen(held)

    def chosen(self, rows: Tensor | slice) -> LabelledImages:
        """Some of the images: rows as a mask (N,) bool, as indices, int64, or as a slice, which shares their memory."""
        groups = self.groups
        if groups is not None:
            groups = [groups[row] for row in torch.arange(len(self))[rows].tolist()]
        return LabelledImages(self.images[rows], self.labels[rows], groups)

    @staticmethod
    def concatenate(parts: Sequence[LabelledImages]) -> LabelledImages:
        """One data set with the images of all ``parts``, in order."""
        images, labels = torch.cat([p.images for p in parts]), torch.cat([p.labels for p in parts])
        if all(p.groups is None for p in parts):
            return LabelledImages(images, labels)
        return LabelledImages(images, labels, [group for p in parts for group in p.groups or [""] * len(p)])
