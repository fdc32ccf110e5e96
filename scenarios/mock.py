"""Tiny streams of coloured noise, to try methods on in seconds. They are no scenarios: nothing is scored on them.

Each class tints the noise with a hue of its own. Hues lie on a circle in the order of the classes, so neighbours look
alike and learning one disturbs the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from scenarios.stream import DevelopmentStream, LabelledImages, Round, RoundData

SIDE = 64  # px, as the small shipped model takes
LETTERS = tuple("abcdef")


class Sizes(NamedTuple):
    """Images per class in each split."""

    train: int
    protected: int
    scored: int  # in validation and in test
    pretraining: int = 40


def one_round(seed: int = 0, side: int = SIDE) -> DevelopmentStream:
    """Six classes, five of them protected."""
    return noise_stream("one_round", LETTERS, [Round("f", LETTERS[:5])], LETTERS[:5], Sizes(24, 8, 8), seed, side)


def many_rounds(seed: int = 0) -> DevelopmentStream:
    """Three rounds; each target is protected from then on."""
    plan = [Round(LETTERS[k], LETTERS[:k]) for k in (3, 4, 5)]
    return noise_stream("many_rounds", LETTERS, plan, LETTERS[:3], Sizes(24, 8, 8), seed)


def many_classes(seed: int = 0) -> DevelopmentStream:
    """365 classes, 364 of them protected by two images each: more than a batch holds."""
    classes = tuple(f"c{k:03}" for k in range(365))
    return noise_stream("many_classes", classes, [Round(classes[-1], classes[:-1])], classes[:-1], Sizes(8, 2, 1), seed)


def few_targets(seed: int = 0, images: int = 1) -> DevelopmentStream:
    """Fewer images of the target than a batch holds."""
    return noise_stream("few_targets", LETTERS, [Round("f", LETTERS[:5])], LETTERS[:5], Sizes(images, 8, 8), seed)


MOCKS: tuple[Callable[[], DevelopmentStream], ...] = (one_round, many_rounds, many_classes, few_targets)


def noise_stream(
    name: str,
    classes: Sequence[str],
    plan: Sequence[Round],
    known: Sequence[str],
    sizes: Sizes,
    seed: int,
    side: int = SIDE,
) -> DevelopmentStream:
    """A development stream of coloured noise.

    Args:
        name: of the stream.
        classes: their names.
        plan: the target and the protected classes, round by round.
        known: the classes a base model may be trained on.
        sizes: images per class.
        seed: decides the training and the protected images.
        side: of the images, in px.
    """

    def images(split: str, names: Sequence[str], count: int) -> LabelledImages:
        return noise_images(classes, names, count, sum(map(ord, split)), side)

    val, test = images("val", classes, sizes.scored), images("test!", classes, sizes.scored)
    data = tuple(
        RoundData(
            images(f"train{seed}", [round_.target], sizes.train),
            images(f"kept{seed}", round_.protected, sizes.protected),
            _only(val, classes, round_),
            _only(test, classes, round_),
        )
        for round_ in plan
    )
    prompts = tuple(f"a {c}." for c in classes)

    def pretraining() -> LabelledImages:
        return images("base", known, sizes.pretraining)

    return DevelopmentStream(name, 1, seed, tuple(classes), prompts, tuple(plan), data, {}, pretraining)


def noise_images(
    classes: Sequence[str], names: Sequence[str], count: int, seed: int, side: int = SIDE
) -> LabelledImages:
    """``count`` images of each class in ``names``, drawn with ``seed``."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.tensor([classes.index(name) for name in names]).repeat_interleave(count)
    hue = labels * (2 * torch.pi / len(classes))
    tint = torch.stack([hue.cos(), hue.sin(), -hue.cos()], dim=1)[:, :, None, None] * 50 + 128
    noise = torch.randn(len(labels), 3, side, side, generator=rng) * 30
    cast = torch.randn(len(labels), 3, 1, 1, generator=rng) * 18
    return LabelledImages((tint + (noise + cast)).clamp(0, 255).to(torch.uint8), labels)


def _only(images: LabelledImages, classes: Sequence[str], round_: Round) -> LabelledImages:
    """Those of the images whose class is scored in the round."""
    rows = torch.isin(images.labels, torch.tensor([classes.index(name) for name in round_.classes]))
    return images.chosen(rows)
