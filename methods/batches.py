"""Which images a step sees: seeded, balanced, and a function of the step alone, so that a run can be resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from methods.augmentation import augment
from methods.images import as_float

ON_DEVICE_LIMIT = 4 << 30  # bytes of images kept whole on an accelerator; larger sets travel batch by batch


def generator(seed: int, purpose: str) -> torch.Generator:
    """A CPU random generator of its own for each (seed, purpose)."""
    digest = hashlib.sha256(f"{seed} {purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4]))  # torch's CPU generator keeps 32 bits alone


class Permutations:
    """An endless sequence of the numbers 0..size-1, each pass in a new random order, without replacement.

    Args:
        size: how many numbers.
        seed: of the run.
        purpose: names the draw; the same (seed, purpose) gives the same sequence to every method.
    """

    def __init__(self, size: int, seed: int, purpose: str) -> None:
        self.size, self.seed, self.purpose = size, seed, purpose
        self._passes: dict[int, Tensor] = {}

    def take(self, start: int, count: int) -> Tensor:
        """Elements ``start`` to ``start + count`` of the sequence, (count,)."""
        parts, end = [], start + count
        while start < end:
            number, place = divmod(start, self.size)
            parts.append(self._pass(number)[place : place + end - start])
            start += len(parts[-1])
        return torch.cat(parts)

    def _pass(self, number: int) -> Tensor:
        if number not in self._passes:
            self._passes = {k: v for k, v in self._passes.items() if k == number - 1}  # a batch spans two at the most
            rng = generator(self.seed, f"{self.purpose} pass {number}")
            self._passes[number] = torch.randperm(self.size, generator=rng)
        return self._passes[number]


class ImagePool:
    """The images and labels of an experience, ready to be indexed on ``device``.

    Takes any Avalanche experience; one that offers ``images`` and ``labels`` tensors is not read item by item. Whether
    training sees varied views of the images is for the data to say, so that it is the same for every method: an
    experience whose ``augment`` is true asks for them, one whose ``mirror`` is false for none that are mirrored. Its
    ``units`` (N,), if it has them, are the same for images that are no independent samples, as frames of one drive.
    """

    def __init__(self, experience: Any, device: torch.device) -> None:
        if hasattr(experience, "images"):
            images, labels = experience.images, experience.labels
        else:
            items = [experience.dataset[i] for i in range(len(experience.dataset))]
            images, labels = torch.stack([item[0] for item in items]), torch.tensor([int(item[1]) for item in items])
        fits = images.numel() * images.element_size() <= ON_DEVICE_LIMIT
        self.images = images.to(device) if fits else images
        self.labels = labels.to(device)
        self.device = device
        self.classes: list[int] = labels.unique().tolist()
        self.augment = bool(getattr(experience, "augment", False))
        self.mirror = bool(getattr(experience, "mirror", True))
        self.units: Tensor = getattr(experience, "units", torch.arange(len(labels)))
        self._experience = experience

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Made again, where the experience has its images at hand: they are not pickled once more for the device."""
        again = hasattr(self._experience, "images")
        return (ImagePool, (self._experience, self.device)) if again else super().__reduce_ex__(protocol)

    def __len__(self) -> int:
        return len(self.images)

    def rows_of(self, label: int) -> Tensor:
        """Row numbers of one class, (n,), on the CPU."""
        return (self.labels.cpu() == label).nonzero()[:, 0]

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Images as float32 in [0, 1] and labels of ``rows``, on the device."""
        images = self.images[rows.to(self.images.device)].to(self.device)
        return as_float(images), self.labels[rows.to(self.device)]

    def views(self, rows: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """As ``take``, for training: a random view of each image where the data asks for it, else the image itself."""
        images, labels = self.take(rows)
        return (augment(images, rng, mirror=self.mirror) if self.augment else images), labels


class StepBatches:
    """The mini-batches of one round: ``steps`` times ``batch_size`` images, target images first.

    Protected images come class by class, the same number of each. Where there are more classes than the batch can hold
    two images of, each step takes the next classes of a shuffle, and a new one begins where too few are left for a
    step, so that no step shows a class twice. Where the data asks for random views of its images, they are drawn anew
    for each step.

    Iterating yields ``[x, y, task]`` as an Avalanche data loader does; the rows of the step stand in ``target_rows``,
    ``protected_rows`` and ``class_positions`` (positions in ``protected.classes``).

    Args:
        target: new images of the round.
        protected: protected images, or None for a method that does not use them.
        steps: number of batches.
        batch_size: images per batch.
        target_share: share of the batch given to target images, in [0, 1].
        seed: of the run.
        after_step: called when the one who iterates is done with a step, before the next one is drawn.

    Attributes:
        start: the step, from 0, that iteration starts with. A pickled copy starts after the last step that was drawn.
    """

    def __init__(
        self,
        target: ImagePool,
        protected: ImagePool | None,
        steps: int,
        batch_size: int,
        target_share: float,
        seed: int,
        after_step: Callable[[], None] | None = None,
    ) -> None:
        self.target, self.protected, self.steps, self.seed = target, protected, steps, seed
        self.start, self.after_step = 0, after_step
        self._drawn = 0  # steps
        self.images_per_class, self.classes_per_step = 0, 0
        if protected is not None:
            room = min(round(batch_size * (1 - target_share)), batch_size - 1)  # one target image or more
            self.images_per_class = max(2, room // len(protected.classes))
            self.classes_per_step = min(len(protected.classes), max(1, room // self.images_per_class))
            self._class_rows = [protected.rows_of(label) for label in protected.classes]
            self._class_draws = [
                Permutations(len(rows), seed, f"protected class {label}")
                for label, rows in zip(protected.classes, self._class_rows, strict=True)
            ]
            self._class_order = Permutations(len(protected.classes), seed, "protected classes")
        self.targets_per_step = batch_size - self.images_per_class * self.classes_per_step
        self._target_draws = Permutations(len(target), seed, "target")
        self.target_rows = self.protected_rows = self.class_positions = torch.empty(0, dtype=torch.long)

    def __len__(self) -> int:
        return self.steps

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"start": self._drawn}

    def __iter__(self) -> Iterator[list[Tensor]]:
        for step in range(self.start, self.steps):
            self._drawn = step + 1
            x, y = self.draw(step)
            yield [x, y, torch.zeros_like(y)]
            if self.after_step is not None:
                self.after_step()

    def draw(self, step: int) -> tuple[Tensor, Tensor]:
        """Images and labels of a step, whose rows then stand in the attributes."""
        self.target_rows = self._target_draws.take(step * self.targets_per_step, self.targets_per_step)
        rng = generator(self.seed, f"augmentation step {step}")
        parts = [self.target.views(self.target_rows, rng)]
        if self.protected is not None:
            self._draw_protected(step)
            parts.append(self.protected.views(self.protected_rows, rng))
        x, y = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        return x, y

    def class_means(self, values: Tensor) -> Tensor:
        """Means (K,) over the classes of the step of ``values`` (K * b,), one for each of its protected images."""
        return values.view(-1, self.images_per_class).mean(dim=1)

    def _draw_protected(self, step: int) -> None:
        count, shown = len(self._class_rows), self.classes_per_step
        number, turn = divmod(step, count // shown)  # of the shuffle; what it leaves is no full step
        if shown == count:
            self.class_positions = torch.arange(count)
        else:
            self.class_positions = self._class_order.take(number * count + turn * shown, shown)
        rows = []
        for k in self.class_positions.tolist():
            drawn = self._class_draws[k].take(number * self.images_per_class, self.images_per_class)
            rows.append(self._class_rows[k][drawn])
        self.protected_rows = torch.cat(rows)


class InTurn(StepBatches):
    """Protected images alone for the first steps, then target images alone, each as if the others were not there.

    Args:
        target: new images of the round.
        protected: protected images, drawn without regard to their class.
        first: number of steps that show protected images.
        steps: number of all steps.
        batch_size: images per step.
        seed: of the run.
        after_step: as of ``StepBatches``.
    """

    def __init__(
        self,
        target: ImagePool,
        protected: ImagePool,
        first: int,
        steps: int,
        batch_size: int,
        seed: int,
        after_step: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(target, None, steps, batch_size, 1.0, seed, after_step)
        self.first, self.before = first, StepBatches(protected, None, first, batch_size, 1.0, seed)

    def draw(self, step: int) -> tuple[Tensor, Tensor]:
        """Images of one kind."""
        if step >= self.first:
            self.protected_rows = self.protected_rows[:0]
            return super().draw(step - self.first)
        images = self.before.draw(step)
        self.protected_rows = self.before.target_rows
        return images
