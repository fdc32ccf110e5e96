"""Training the small base models that streams start from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from methods.augmentation import augment, relight
from methods.batches import Permutations, generator
from methods.checkpoints import TINY, create_classifier
from methods.clip import ClipClassifier, predict_logits
from methods.images import as_float
from methods.lite0 import LITE0, lite0_classifier
from scenarios.stream import LabelledImages

AT_ONCE = 64  # images in a forward pass without gradients
LOOKS, PATIENCE = 10, 3  # at held-out images, evenly spaced over the steps; how many without a better one end them


class Recipe(BaseModel):
    """How a base is trained. Every image is seen with its natural frequency.

    With ``augment`` training sees random views, as streams that ask for it show them; without, images are mirrored half
    of the time, unless that changes their class.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = TINY
    steps: int = Field(1000, ge=1)
    epochs: int = Field(60, ge=1)  # no more passes than this over a small set of images: fewer steps then
    batch_size: int = Field(128, ge=1, le=65_536)
    lr: float = Field(1e-3, ge=0)
    weight_decay: float = Field(0.1, ge=0)
    warmup: float = Field(0.05, gt=0, lt=1)  # share of the steps
    floor: float = Field(0.1, ge=0, le=1)  # last learning rate over the peak: a base that can still be improved
    prior: float = Field(0.75, ge=0)  # strength of the logit adjustment for rare classes; 0 learns their frequencies
    seed: int = 0
    augment: bool = False
    mirror: bool = True  # whether a mirrored image is of the same class
    relight: bool = False  # whether images are seen in random light, too
    anchor_steps: int = Field(0, ge=0)  # first, with one free vector per class, not its prompt: cheap where many
    fit_steps: int = Field(300, ge=1)  # then, of the text tower alone, towards those vectors
    probe_steps: int = Field(0, ge=0)  # first, with an image tower that is left as it is: of the text side alone
    held_out: float = Field(0.0, ge=0, lt=1)  # share of each class's images that choose where to stop

    @model_validator(mode="after")
    def _has_something_to_probe(self) -> Recipe:
        if self.probe_steps and self.model != LITE0:
            raise ValueError(f"probe_steps are for the model {LITE0}, whose image tower knows something to begin with")
        return self


# Weights that know ImageNet need little: the text side learns their features first, then both towers change a bit.
PHOTOS = {"model": LITE0, "probe_steps": 600, "steps": 120, "lr": 3e-4, "held_out": 0.1}


def pretrain(
    data: LabelledImages,
    prompts: Sequence[str],
    recipe: Recipe,
    device: str | torch.device = "cpu",
    on_step: Callable[[int, int], None] = lambda step, steps: None,
) -> ClipClassifier:
    """Train both towers by contrast of every image with all prompts; from scratch but for ``mds-lite0``'s image tower.

    With many classes most of a step is spent on prompts. ``recipe.anchor_steps`` then come first, in which classes are
    free vectors; then the text tower is fitted to them, and last both towers are trained together as always.

    Rare classes are compensated in the loss, not by showing them more often: class frequencies are added to the logits
    in training (logit adjustment, arXiv 2007.07314, eq. 10), times ``recipe.prior``.

    With ``recipe.held_out`` the last phase keeps the weights that are right on most held-out images, and ends once
    ``PATIENCE`` looks have found no better ones; no group of images is divided.

    Args:
        data: images and labels.
        prompts: one text per class.
        recipe: hyper-parameters.
        device: where to train.
        on_step: called with (step, steps) after each step.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        start = lite0_classifier(prompts) if recipe.model == LITE0 else create_classifier(prompts, recipe.model)
        model = start.to(device).train()
        anchors = torch.randn(len(prompts), model.encode_classes().shape[1]).to(device)
    training = _Training(model, data, recipe, device, on_step)
    if recipe.probe_steps:
        training.probe()
    if recipe.anchor_steps:
        training.learn_anchors(anchors.requires_grad_())
        training.fit_prompts(F.normalize(anchors.detach(), dim=1))
    training.join_towers()
    return model.eval()


class _Training:
    """The phases of a training, and the state they share."""

    def __init__(
        self,
        model: ClipClassifier,
        data: LabelledImages,
        recipe: Recipe,
        device: str | torch.device,
        on_step: Callable[[int, int], None],
    ) -> None:
        self.model, self.recipe, self.device, self.on_step = model, recipe, device, on_step
        self.held: LabelledImages | None = None
        if recipe.held_out:
            data, held = data.divided(recipe.held_out, recipe.seed)
            self.held = held if len(held) else None  # of classes of one image nothing can be
        self.data = data
        self.steps = min(recipe.steps, max(1, recipe.epochs * len(data) // recipe.batch_size))
        counts = torch.bincount(data.labels, minlength=len(model.prompts)).float()
        self.adjustment = recipe.prior * (counts.clamp_min(0.5) / counts.sum()).log().to(device)
        self.order = Permutations(len(data), recipe.seed, "pretraining")
        self.vary: Callable[..., Tensor] = augment if recipe.augment else _flip
        self.rng = generator(recipe.seed, "augmentation" if recipe.augment else "mirror")
        before = recipe.probe_steps + (recipe.anchor_steps + recipe.fit_steps if recipe.anchor_steps else 0)
        self.done, self.total = 0, before + self.steps

    def probe(self) -> None:
        """The text side and the projection of the images' features, which are computed once."""
        visual, features = self.model.clip.visual, []
        with torch.no_grad():
            for batch in self.data.images.split(AT_ONCE):
                features.append(visual.trunk(self.model.normalised(batch.to(self.device))))
        known, order = torch.cat(features), Permutations(len(self.data), self.recipe.seed, "probing")

        def loss(step: int) -> Tensor:
            rows = order.take(step * self.recipe.batch_size, self.recipe.batch_size)
            cosines = F.normalize(visual.head(known[rows.to(self.device)]), dim=1) @ self.model.encode_classes().T
            return self._cross_entropy(cosines, rows)

        self._minimise(loss, self._but(visual.trunk), self.recipe.probe_steps)

    def learn_anchors(self, anchors: Tensor) -> None:
        """The image tower, and a free vector (C, E) for each class."""
        parameters = [*self.model.clip.visual.parameters(), anchors]
        self._minimise(
            lambda step: self._contrast(step, F.normalize(anchors, dim=1)), parameters, self.recipe.anchor_steps
        )

    def fit_prompts(self, anchors: Tensor) -> None:
        """The text tower alone, so that the prompts' features become the anchors (C, E)."""
        self._minimise(
            lambda _: (1 - (self.model.encode_classes() * anchors).sum(dim=1)).mean(),
            self._but(self.model.clip.visual),
            self.recipe.fit_steps,
        )

    def join_towers(self) -> None:
        """Both towers together; with held-out images, up to the point that is best on them."""
        best = _Best(self.model, self.held, max(1, self.steps // LOOKS)) if self.held is not None else None
        self._minimise(
            lambda step: self._contrast(step, self.model.encode_classes()),
            self.model.parameters(),
            self.steps,
            best.found if best is not None else lambda step: False,
        )
        if best is not None:
            self.model.load_state_dict(best.weights)

    def _but(self, module: nn.Module) -> list[nn.Parameter]:
        """All parameters that are not of a module."""
        own = set(module.parameters())
        return [parameter for parameter in self.model.parameters() if parameter not in own]

    def _contrast(self, step: int, classes: Tensor) -> Tensor:
        """Cross-entropy of the step's images against class features (C, E)."""
        rows = self.order.take(step * self.recipe.batch_size, self.recipe.batch_size)
        images = self.vary(self.data.images[rows].to(self.device), self.rng, mirror=self.recipe.mirror)
        if self.recipe.relight:
            images = relight(as_float(images), self.rng)
        return self._cross_entropy(self.model.similarity(images, classes), rows)

    def _cross_entropy(self, cosines: Tensor, rows: Tensor) -> Tensor:
        """Of the images in ``rows``, by their cosines (B, C) with the classes."""
        logits = cosines / self.model.temperature + self.adjustment
        return F.cross_entropy(logits, self.data.labels[rows].to(self.device))

    def _minimise(
        self,
        loss: Callable[[int], Tensor],
        parameters: Iterable[Tensor],
        steps: int,
        found: Callable[[int], bool] = lambda step: False,
    ) -> None:
        """Take steps, until ``found`` says after one that no more are wanted."""
        recipe = self.recipe
        optimizer = torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_rate, recipe, steps))
        for step in range(steps):
            value = loss(step)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
            self.done += 1
            self.on_step(self.done, self.total)
            if found(step):
                break


class _Best:
    """The weights that were right on most held-out images, all classes alike, in looks at every ``every`` steps."""

    def __init__(self, model: ClipClassifier, held: LabelledImages, every: int) -> None:
        self.model, self.held, self.every = model, held, every
        self.accuracy, self.since = self._accuracy(), 0
        self.weights = self._copy()

    def found(self, step: int) -> bool:
        """Look after a step; whether the last ``PATIENCE`` looks have seen nothing better."""
        if (step + 1) % self.every:
            return False
        accuracy, self.since = self._accuracy(), self.since + 1
        if accuracy > self.accuracy:
            self.accuracy, self.since, self.weights = accuracy, 0, self._copy()
        return self.since >= PATIENCE

    def _accuracy(self) -> float:
        right = (predict_logits(self.model, self.held.images).argmax(dim=1) == self.held.labels).double()
        shares = [right[self.held.labels == label].mean() for label in self.held.labels.unique()]
        return float(torch.stack(shares).mean())

    def _copy(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.model.state_dict().items()}


def _rate(recipe: Recipe, steps: int, step: int) -> float:
    """Share of the peak learning rate: a linear rise, then half a cosine down to the floor."""
    rise = recipe.warmup * steps
    if step < rise:
        return (step + 1) / (rise + 1)
    return recipe.floor + (1 - recipe.floor) * 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise)))


def _flip(images: Tensor, rng: torch.Generator, mirror: bool) -> Tensor:
    """Half of the images mirrored, if they may be."""
    if not mirror:
        return images
    flip = (torch.rand(len(images), generator=rng) < 0.5).to(images.device)
    return torch.where(flip[:, None, None, None], images.flip(-1), images)
