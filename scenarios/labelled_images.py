"""Images and their labels in memory, and which of them belong together."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
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
        return _units(self.groups, rows)

    def divided(self, share: float, seed: int) -> tuple[LabelledImages, LabelledImages]:
        """The images without a share of each class's, and these alone; see ``held_out``."""
        (held,) = held_out([self], share, seed)
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


def held_out(parts: Sequence[LabelledImages], share: float, seed: int) -> list[Tensor]:
    """Which images to hold out, a share of each class's: for each of the parts a mask (N,).

    No group is divided, within a part or between parts: of a class with groups, as large a share of its groups is held
    out. The rest has one image or group of each class or more, so of a class of one nothing is held out. Where groups
    show several classes, those of the class with the fewest are drawn first and the others go with them; one that would
    leave a class nothing is not held out.

    Args:
        parts: images that are looked at together.
        share: between 0 and 1.
        seed: of the draw.
    """
    labels = torch.cat([part.labels for part in parts])
    groups = [group for part in parts for group in part.groups or [""] * len(part)]
    units_of = {k: _units(groups, (labels == k).nonzero()[:, 0].tolist()) for k in labels.unique().tolist()}
    shown: dict[str, set[int]] = defaultdict(set)  # group -> the classes that it shows
    for group, label in zip(groups, labels.tolist(), strict=True):
        shown[group].add(label)
    left = {label: len(units) for label, units in units_of.items()}
    decided: dict[str, bool] = {}
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label, units in sorted(units_of.items(), key=lambda item: len(item[1])):
        names = [groups[unit[0]] for unit in units]
        out = [number for number, name in enumerate(names) if decided.get(name)]
        free = [number for number, name in enumerate(names) if name not in decided]
        count = min(max(1, round(share * len(units))), len(units) - 1) - len(out)
        for number in random.Random(f"{seed} held out {label}").sample(free, min(max(0, count), len(free))):
            concerned = shown[names[number]] if names[number] else {label}
            if all(left[k] > 1 for k in concerned):
                left.update({k: left[k] - 1 for k in concerned})
                out.append(number)
        decided |= {names[number]: number in out for number in free if names[number]}
        for number in out:
            held[units[number]] = True
    return list(held.split([len(part) for part in parts]))


def _units(groups: Sequence[str] | None, rows: Sequence[int]) -> list[list[int]]:
    together: dict[str | int, list[int]] = {}
    for row in rows:
        together.setdefault((groups[row] if groups is not None else "") or row, []).append(row)
    return list(together.values())
