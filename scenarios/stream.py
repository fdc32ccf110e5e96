"""Development streams: the classes to be learned and those to be kept, round by round."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch
from avalanche.benchmarks.scenarios.dataset_scenario import DatasetExperience
from avalanche.benchmarks.scenarios.generic_scenario import CLScenario, EagerCLStream
from avalanche.benchmarks.utils import _make_taskaware_classification_dataset
from torch import Tensor

from scenarios.counterfactual import Counterfactuals
from scenarios.labelled_images import LabelledImages, held_out

__all__ = ["DevelopmentStream", "Experiences", "ImageExperience", "LabelledImages", "Round", "RoundData"]

SCENES = 600  # shown under the target and under a protected class, shared evenly by these; a round's at most


SCORED = (TEST, PROBE) = ("test", "probe")  # probe: what streams themselves are judged by, so that test stays unseen


class ImageExperience(DatasetExperience):
    """An Avalanche experience that also offers its whole content at once, as ``images`` and ``labels``.

    Strategies that assemble their own batches read those tensors; all others iterate over ``dataset`` as usual.
    """

    def __init__(self, data: LabelledImages, target: int, augment: bool = False, mirror: bool = True) -> None:
        # Task label 0 everywhere and task-aware items: otherwise Avalanche's LwF and DER fail.
        super().__init__(dataset=_make_taskaware_classification_dataset(data, task_labels=0, targets=data.targets))
        self.data = data
        self.target = target  # the label of the round's target class
        self.augment = augment  # whether training should see varied views of the images
        self.mirror = mirror  # whether these may be mirrored

    @property
    def images(self) -> Tensor:
        """(N, 3, H, W) uint8."""
        return self.data.images

    @property
    def labels(self) -> Tensor:
        """(N,) int64, indices into the stream's classes."""
        return self.data.labels

    @cached_property
    def units(self) -> Tensor:
        """(N,) int64, the same number for images that belong together and are no independent samples."""
        found = torch.arange(len(self.labels))
        if self.data.groups is not None:
            for rows in self.data.units(range(len(found))):
                found[rows] = rows[0]
        return found

    def chosen(self, rows: Tensor) -> ImageExperience:
        """The experience with some of its images alone: ``rows`` is a mask (N,) bool."""
        part = ImageExperience(self.data.chosen(rows), self.target, self.augment, self.mirror)
        part.current_experience, part.origin_stream = self.current_experience, self.origin_stream
        return part


class Experiences(NamedTuple):
    """The data of a round that a method may use."""

    train: ImageExperience  # new images of the target
    protected: ImageExperience
    held_out: tuple[ImageExperience, ImageExperience] | None = None  # the like, which no step sees


@dataclass(frozen=True)
class Round:
    """One development cycle: ``target`` must improve, every class in ``protected`` must stay as good as it was."""

    target: str
    protected: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes scored in this round, target first."""
        return (self.target, *self.protected)


@dataclass(frozen=True)
class RoundData:
    """The data of one round. ``test`` is for scoring alone: no method and no selection may see it."""

    train: LabelledImages  # new images of the target
    protected: LabelledImages  # the budget of labelled images of the protected classes
    val: LabelledImages
    test: LabelledImages


@dataclass(frozen=True, eq=False)
class DevelopmentStream:
    """A named sequence of development rounds over one set of classes.

    ``train[r]``, ``protected[r]``, ``val[r]`` and ``test[r]`` are Avalanche experiences, one per round, so plain
    Avalanche code runs on it: ``for experience in stream.train: strategy.train(experience)``, then
    ``strategy.eval(stream.test)``.

    Attributes:
        name: as on the command line.
        version: raised whenever scores can change; tables never mix versions.
        seed: decides which training images a run receives. Validation and test do not depend on it.
        classes: class names; labels are indices into it.
        prompts: one text per class, the classifier's weights through a text tower.
        rounds: the target and the protected classes of each, in order.
        data: the images of each round.
        options: the arguments that built the stream, for the record.
        pretraining: makes the images a base model may be trained on, where the stream offers any.
        base: file name of the base model shipped for this stream, in ``scenarios/bases``.
        recipe: how the base is trained, where it differs from the usual way.
        augment: whether training sees varied views of the images (crops, rotations, mirror images): for every method
            alike, as it belongs to the data.
        mirror: whether a mirrored image is of the same class, so that views may be mirrored: not so of many signs.
        counterfactuals: makes pairs of pictures of one scene, where the stream can: called as (class A, class B,
            count=…, split="pairs"), it gives ``scenarios.counterfactual.Counterfactuals``.
    """

    name: str
    version: int
    seed: int
    classes: tuple[str, ...]
    prompts: tuple[str, ...]
    rounds: tuple[Round, ...]
    data: tuple[RoundData, ...]
    options: dict[str, Any] = field(default_factory=dict)
    pretraining: Callable[[], LabelledImages] | None = None
    base: str | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    augment: bool = False
    mirror: bool = True
    counterfactuals: Callable[..., Counterfactuals] | None = None
    _divided: dict[str, Experiences] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.prompts) != len(self.classes) or len(set(self.classes)) != len(self.classes):
            raise ValueError(f"stream {self.name!r}: classes must be distinct and have one prompt each")
        if not self.rounds or len(self.rounds) != len(self.data):
            raise ValueError(f"stream {self.name!r}: every round needs its data, and there must be one round or more")
        for number, round_ in enumerate(self.rounds, 1):
            unknown = set(round_.classes) - set(self.classes)
            if unknown or round_.target in round_.protected or not round_.protected:
                raise ValueError(
                    f"stream {self.name!r}, round {number}: the target must differ from the protected classes, there "
                    f"must be one protected class or more, and all must be known (unknown: {sorted(unknown)})"
                )
        for number, (round_, data) in enumerate(zip(self.rounds, self.data, strict=True), 1):
            scored = round_.classes
            for split, names in (("train", scored[:1]), ("protected", scored[1:]), ("val", scored), ("test", scored)):
                self._check_labels(f"{split} data of round {number}", getattr(data, split), names)

    def _check_labels(self, what: str, images: LabelledImages, names: Sequence[str]) -> None:
        found, wanted = set(images.labels.unique().tolist()), {self.classes.index(name) for name in names}
        if found != wanted:
            raise ValueError(
                f"stream {self.name!r}: {what} has labels {sorted(found)}, it should have {sorted(wanted)}"
            )

    @cached_property
    def benchmark(self) -> CLScenario:
        """The Avalanche benchmark, with ``train_stream``, ``protected_stream``, ``val_stream`` and ``test_stream``."""
        streams = []
        for name in ("train", "protected", "val", "test"):
            augment = self.augment and name in ("train", "protected")
            experiences = [
                ImageExperience(getattr(data, name), self.classes.index(round_.target), augment, self.mirror)
                for round_, data in zip(self.rounds, self.data, strict=True)
            ]
            streams.append(EagerCLStream(name, experiences))
        return CLScenario(streams)

    @cached_property
    def scene_pairs(self) -> tuple[tuple[Counterfactuals, ...], ...]:
        """For each round, the same scenes under every protected class and under the target, to be scored on.

        Nothing for a stream without counterfactuals. A class has no more scenes than test images.
        """
        if self.counterfactuals is None:
            return ((),) * len(self.rounds)
        return tuple(
            tuple(
                self.counterfactuals(name, round_.target, count=_scenes(round_, data), split="pairs")
                for name in round_.protected
            )
            for round_, data in zip(self.rounds, self.data, strict=True)
        )

    @property
    def train(self) -> EagerCLStream:
        """New images of each round's target."""
        return self.benchmark.streams["train"]

    @property
    def protected(self) -> EagerCLStream:
        """Labelled images of each round's protected classes, for a method to use."""
        return self.benchmark.streams["protected"]

    @property
    def val(self) -> EagerCLStream:
        """Images to select on, of every class of the round."""
        return self.benchmark.streams["val"]

    @property
    def test(self) -> EagerCLStream:
        """Images to score on, once, of every class of the round."""
        return self.benchmark.streams["test"]

    def experiences(self, number: int, share: float = 0.0) -> Experiences:
        """The data of a round, a share of each class's training images held out, if that is asked for."""
        train, protected = self.train[number], self.protected[number]
        if not share:
            return Experiences(train, protected)
        key = f"{number} {share}"
        if key not in self._divided:
            parts = (train, protected)
            masks = held_out([part.data for part in parts], share, self.seed)
            rest = [part.chosen(~mask) for part, mask in zip(parts, masks, strict=True)]
            held = [part.chosen(mask) for part, mask in zip(parts, masks, strict=True)]
            self._divided[key] = Experiences(rest[0], rest[1], (held[0], held[1]))
        return self._divided[key]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that is scored: classes, prompts, rounds and the pixels of validation and test.

        It is the same for every seed. Records with different fingerprints were not scored on the same thing.
        """
        return self._digest("val", "test")

    @cached_property
    def training_fingerprint(self) -> str:
        """SHA-256 of the images that this seed trains on, train and protected."""
        return self._digest("train", "protected")

    def _digest(self, *splits: str) -> str:
        sha = hashlib.sha256(repr((self.classes, self.prompts, self.rounds)).encode())
        for data in self.data:
            for split in splits:
                sha.update(getattr(data, split).digest().encode())
        return sha.hexdigest()


def _scenes(round_: Round, data: RoundData) -> int:
    """Scenes of each protected class."""
    return max(1, min(SCENES // len(round_.protected), len(data.test) // len(round_.classes)))
