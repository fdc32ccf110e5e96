"""Counterfactuals: the same scene under two classes, for paired metrics and for calibrating weights manipulation."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Counterfactuals:
    """Quadruples (image under A, image under B, caption A, caption B) of N scenes.

    Row i of both tensors shows one scene: all that does not make the class is the same in both. This is the data unit
    of SafeGround and UWM (arXiv 2503.11742), with class A in the place of *safe* and class B in that of *unsafe*.

    Attributes:
        class_a: name of class A.
        class_b: name of class B.
        caption_a: the prompt of class A, the text of every image in ``images_a``.
        caption_b: the prompt of class B.
        images_a: (N, 3, S, S) uint8.
        images_b: (N, 3, S, S) uint8.
    """

    class_a: str
    class_b: str
    caption_a: str
    caption_b: str
    images_a: Tensor
    images_b: Tensor

    def __post_init__(self) -> None:
        if self.images_a.shape != self.images_b.shape:
            raise ValueError(
                f"counterfactuals come in pairs, got {tuple(self.images_a.shape)} and {tuple(self.images_b.shape)}"
            )

    def __len__(self) -> int:
        return len(self.images_a)
