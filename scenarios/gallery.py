"""Streams of rendered pictures: which of them a split, a round and a seed receive."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scenarios.counterfactual import Counterfactuals
from scenarios.pixels import PixelStore
from scenarios.stream import SCORED, TEST, DevelopmentStream, LabelledImages, Round, RoundData

# Each split draws its pictures from a renderer seed of its own, so no picture can be in two.
SPLIT_SEEDS = {"base": 101, "train": 102, "val": 103, "test": 104, "calibration": 105, "pairs": 106, "probe": 107}


@dataclass(frozen=True)
class Sizes:
    """How many pictures of each class a split holds, and their side in px."""

    image_size: int
    target_images: int
    protected_per_class: int
    val_per_class: int
    test_per_class: int


@dataclass(frozen=True)
class Gallery:
    """Pictures of a set of kinds, numbered from 0: a picture is a function of (split, kind, number, size) alone.

    They are drawn on first demand and kept on disk; a change in the renderer's source starts anew.

    Attributes:
        name: tells galleries with the same kinds apart.
        kinds: names of the kinds that there are pictures of.
        pool: how many pictures of a kind a split can have.
        draw: (split, kind, numbers, size) -> (n, 3, size, size) uint8.
        draw_pair: (split, kind A, kind B, numbers, size) -> the same scenes as either kind.
        source: the module that holds the two functions; all pictures are drawn anew when it changes.
        renderer: the package below ``scenarios/render`` that they draw with.
    """

    name: str
    kinds: tuple[str, ...]
    pool: int
    draw: Callable[[str, str, Sequence[int], int], Tensor]
    draw_pair: Callable[[str, str, str, Sequence[int], int], tuple[Tensor, Tensor]]
    source: str
    renderer: str

    def pictures(self, split: str, kind: str, numbers: Sequence[int], size: int) -> Tensor:
        """Pictures ``numbers`` of a kind, (n, 3, size, size) uint8."""
        first = self.kinds.index(kind) * self.pool
        return _store(self, split, size).take([first + number for number in numbers])

    def make(self, split: str, size: int, rows: Sequence[int]) -> Tensor:
        """The pictures in ``rows`` of a split's store: kind after kind, ``pool`` rows each."""
        out = torch.empty(len(rows), 3, size, size, dtype=torch.uint8)
        kind_of = torch.tensor(rows) // self.pool
        for kind in kind_of.unique().tolist():
            chosen = (kind_of == kind).nonzero()[:, 0]
            numbers = [rows[i] % self.pool for i in chosen.tolist()]
            out[chosen] = self.draw(split, self.kinds[kind], numbers, size)
        return out

    @cached_property
    def source_hash(self) -> str:
        """SHA-256 over the kinds, and the source of everything that decides a picture."""
        here = Path(__file__).parent
        shared, own = (here / "render").glob("*.py"), (here / "render" / self.renderer).glob("*.*")
        sha = hashlib.sha256(repr(self.kinds).encode())
        for path in [here / f"{self.source}.py", *sorted(shared), *sorted(own)]:
            sha.update(path.read_bytes())
        return sha.hexdigest()


@lru_cache(maxsize=8)
def _store(gallery: Gallery, split: str, size: int) -> PixelStore:
    stamps = torch.ones(len(gallery.kinds) * gallery.pool, dtype=torch.int64)
    name = f"{gallery.name} {split} {gallery.source_hash}"
    return PixelStore(name, stamps.numpy(), size, partial(gallery.make, split, size))


@dataclass(frozen=True)
class Plan:
    """A rendered stream, but for seed and sizes.

    Attributes:
        name: of the stream, on the command line and of its base.
        version: raised whenever scores can change.
        gallery: where pictures come from; the classes are kinds of it.
        prompts: one text per class.
        rounds: the classes learned and kept. The first round's protected classes are those that the base knows.
        sizes: unless others are asked for.
        base_images: how many pictures the base learns from.
        rare: how many of them show each class that a round teaches.
        recipe: how the base is trained, where it differs from the usual way.
        base: the stream whose base it starts from; empty for one of its own.
    """

    name: str
    version: int
    gallery: Gallery
    prompts: dict[str, str]
    rounds: tuple[Round, ...]
    sizes: Sizes
    base_images: int
    rare: dict[str, int]
    recipe: dict[str, Any] = field(default_factory=dict)
    base: str = ""

    def full(self, sizes: Sizes, gallery: Gallery | None = None, version: int = 1) -> Plan:
        """The same stream in its full budget: a stream of its own, from the same base.

        Args:
            sizes: of the full budget.
            gallery: of the same pictures, with a larger pool.
            version: of the full budget.
        """
        name, base = f"{self.name}-full", self.base or self.name
        return replace(self, name=name, version=version, sizes=sizes, gallery=gallery or self.gallery, base=base)

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of their labels."""
        return tuple(self.prompts)

    @property
    def option_defaults(self) -> dict[str, int]:
        """The value that ``build`` takes for each option that is None."""
        return vars(self.sizes)

    def build(
        self,
        seed: int = 0,
        image_size: int | None = None,
        target_images: int | None = None,
        protected_per_class: int | None = None,
        val_per_class: int | None = None,
        test_per_class: int | None = None,
        scored: str = TEST,
    ) -> DevelopmentStream:
        """The stream for one seed. Options that are None are as in ``sizes``.

        Args:
            seed: decides which pictures of the training pool the run receives.
            image_size: side in px, 32 or more.
            target_images: new images of a round's target, up to the gallery's pool.
            protected_per_class: labelled images of each protected class, up to the pool.
            val_per_class: validation images of each class.
            test_per_class: test images of each class.
            scored: test, or probe: other pictures in place of test's, to judge a stream, a base or a setting by.

        Raises:
            ValueError: a size is out of range, or ``scored`` is neither.
        """
        if scored not in SCORED:
            raise ValueError(f"scored must be {' or '.join(SCORED)}, not {scored!r}")
        asked = {
            "image_size": image_size,
            "target_images": target_images,
            "protected_per_class": protected_per_class,
            "val_per_class": val_per_class,
            "test_per_class": test_per_class,
        }
        sizes = replace(self.sizes, **{key: value for key, value in asked.items() if value is not None})
        for option, value in vars(sizes).items():
            if option != "image_size" and not 1 <= value <= self.gallery.pool:
                raise ValueError(f"{option} must be between 1 and {self.gallery.pool}, not {value}")
        return DevelopmentStream(
            name=self.name,
            version=self.version,
            seed=seed,
            classes=self.classes,
            prompts=tuple(self.prompts.values()),
            rounds=self.rounds,
            data=tuple(self._round(round_, seed, sizes, scored) for round_ in self.rounds),
            options=vars(sizes) | ({} if scored == TEST else {"scored": scored}),
            pretraining=partial(self.pretraining, sizes.image_size),
            base=f"{self.base or self.name}.safetensors",
            recipe=self.recipe,
            counterfactuals=partial(self.counterfactuals, sizes.image_size),
        )

    def _round(self, round_: Round, seed: int, sizes: Sizes, scored: str) -> RoundData:
        classes = [name for name in self.classes if name in round_.classes]
        protected = [name for name in self.classes if name in round_.protected]
        size = sizes.image_size
        return RoundData(
            train=self._images("train", [round_.target], size, partial(self._drawn, seed, sizes.target_images)),
            protected=self._images("train", protected, size, partial(self._kept, seed, sizes)),
            val=self._images("val", classes, size, lambda _: range(sizes.val_per_class)),
            test=self._images(scored, classes, size, lambda _: range(sizes.test_per_class)),
        )

    def _drawn(self, seed: int, count: int, name: str) -> list[int]:
        """The numbers that ``seed`` draws from a class's pool; the same in every round of a run."""
        return random.Random(f"{seed} train {name}").sample(range(self.gallery.pool), count)

    def _kept(self, seed: int, sizes: Sizes, name: str) -> list[int]:
        """The numbers of a protected class's images; first those that it was taught with, where a round taught it."""
        drawn = self._drawn(seed, sizes.protected_per_class, name)
        if name not in self.rare:
            return drawn
        taught = self._drawn(seed, sizes.target_images, name)
        return list(dict.fromkeys([*taught, *drawn]))[: sizes.protected_per_class]

    def _images(
        self, split: str, names: Iterable[str], size: int, numbers: Callable[[str], Sequence[int]]
    ) -> LabelledImages:
        parts = []
        for name in names:
            images = self.gallery.pictures(split, name, numbers(name), size)
            parts.append(LabelledImages(images, torch.full((len(images),), self.classes.index(name))))
        return LabelledImages.concatenate(parts)

    def pretraining(self, image_size: int) -> LabelledImages:
        """Images to train the base on: the classes it knows alike, those to be learned as rarely as life shows them."""
        known = self.rounds[0].protected
        each = (self.base_images - sum(self.rare.values())) // len(known)
        return LabelledImages.concatenate(
            [
                self._images("base", known, image_size, lambda _: range(each)),
                self._images("base", self.rare, image_size, lambda name: range(self.rare[name])),
            ]
        )

    def counterfactuals(
        self, image_size: int, class_a: str, class_b: str, count: int = 100, split: str = "calibration"
    ) -> Counterfactuals:
        """The same ``count`` scenes under two classes.

        Args:
            image_size: side in px.
            class_a: class of the first image of each pair.
            class_b: class of the second.
            count: number of pairs.
            split: "calibration", for a method to use, or "pairs", to be scored on; neither shares a picture with the
                stream's data.

        Raises:
            ValueError: unknown class or split.
        """
        for name in (class_a, class_b):
            if name not in self.classes:
                raise ValueError(f"unknown class {name!r}: the stream {self.name} has {', '.join(self.classes)}")
        if split not in ("calibration", "pairs"):
            raise ValueError(f"split of counterfactuals must be calibration or pairs, not {split!r}")
        first, second = self.gallery.draw_pair(split, class_a, class_b, range(count), image_size)
        return Counterfactuals(class_a, class_b, self.prompts[class_a], self.prompts[class_b], first, second)
