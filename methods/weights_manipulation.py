"""Unsafe Weights Manipulation (UWM, arXiv 2503.11742): find the weights that matter for one set of images and not for
another, without a gradient; then forget by them, or keep them out of an update.

The score of weight W_ij, of inputs z (L tokens, inputs j) of one sample, with S_ij = ||z_j|| |W_ij|:

    phi_ij = mean_j'(S_ij') mean_i'(S_i'j) / std(z_j)          (Eq. 8 and 9)
    Phi_ij = mean phi_ij on one set / mean phi_ij on the other  (Eq. 10)

phi is a product of a row and a column, so its sum over samples is one matrix product and the samples' (B, outputs,
inputs) scores are never made. Weights are taken layer by layer: those that carry the largest share of the layer's sum
of Phi (Eq. 11).

What differs from the published code, knowingly:

* Target and protected images are no pairs, so Phi is a ratio of means and not a mean of ratios.
* Texts are the prompts of the classes: the target's on one side, those of the protected classes on the other.
* 1e-8 is added to the standard deviation in both towers, not in the vision tower alone.
* A weight on whose input one of the sets gives nothing has no ratio: it scores 0 and is taken last.
* Images of the sets are drawn without regard to their class, up to ``calibration`` a side and not 8192.

A classifier that is not a ``ClipClassifier`` is scored on its linear layers. Where their inputs have no tokens, the
standard deviation drops out of the ratio.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from methods.batches import ImagePool, generator
from methods.clip import ClipClassifier
from methods.strategy import RoundStrategy, Score, Settings
from methods.weight_space import State, WeightSpace, WeightSpaceSettings

BATCH = 256  # images a forward pass
CALIBRATION = Field(512, ge=1, description="images of either side that the weights are scored on, at the most")


class UWMSettings(Settings):
    """No steps: the weights are manipulated, not trained."""

    steps: int = Field(0, ge=0, le=0, description="always 0")
    shares: tuple[float, ...] = Field(
        (0.005, 0.01, 0.02, 0.05), min_length=1, description="tau: shares of the mass of Phi, tried on validation"
    )
    factors: tuple[float, ...] = Field(
        (-1.0, -0.5, 0.0, 0.5), min_length=1, description="alpha: what the weights are multiplied by, tried likewise"
    )
    forget: Literal["target", "protected"] = Field("target", description="the side whose weights are manipulated")
    calibration: int = CALIBRATION


class UWM(RoundStrategy):
    """UWM as published, on a round: forgets the target (or, as set, the protected classes); trains nothing.

    Scored are the layers of the published CLIP runs: out_proj of the text tower's attention, the second linear layer
    of the vision tower's MLPs; of a plain classifier, every linear layer. The weights that matter most are multiplied
    by alpha; biases stay. ``train`` leaves the published tau = 0.02 and alpha = -1; asked to ``propose``, it tries
    every pair of ``shares`` and ``factors``.
    """

    SETTINGS: type[Settings] = UWMSettings
    trains = False
    SHARE, FACTOR = 0.02, -1.0

    def prepare_round(self) -> None:
        """Rank the weights of the old model."""
        target, protected = sides(self, self.settings.calibration)
        of, against = (target, protected) if self.settings.forget == "target" else (protected, target)
        saliency, reference = (saliencies(self.model, side, published) for side in (of, against))
        self.old = {name: self.model.get_parameter(name).detach().clone() for name in saliency}
        self.mass_above = rank(self.model, saliency, reference, self.old)

    def _after_training_exp(self, **kwargs: Any) -> None:
        self.manipulate(self.SHARE, self.FACTOR)  # before the plugins, which may ask for proposals
        super()._after_training_exp(**kwargs)

    @property
    def proposes(self) -> bool:
        """Always."""
        return True

    def propose(self, score: Score) -> None:
        """Score every share with every factor."""
        for share in self.settings.shares:
            for factor in self.settings.factors:
                self.manipulate(share, factor)
                score(f"share {share:g} factor {factor:g}")

    @torch.no_grad()
    def manipulate(self, share: float, factor: float) -> None:
        """Multiply the old weights that carry ``share`` of the mass of each layer's scores by ``factor``."""
        for name, old in self.old.items():
            taken = carries(self.mass_above[name], share)
            self.model.get_parameter(name).copy_(torch.where(taken, factor * old, old))


class UWMKeepSettings(WeightSpaceSettings):
    """Coefficients are shares of mass, dense where few weights are left to change: Phi is heavy-tailed."""

    coefficients: tuple[float, ...] = Field(
        (0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995),
        min_length=1,
        description="shares of the mass of Phi that keep their old weights, tried on validation images; where nobody "
        "offers any, the middle one is used",
    )
    calibration: int = CALIBRATION


class UWMProtect(WeightSpace):
    """theta = theta_old + (1 - M) (theta_new - theta_old): weights that protected images need take no update.

    M marks the weights that carry a share of Phi = phi(protected) / phi(target), both of the old model: UWM's score
    with its sides swapped. The share is the coefficient: 0 gives the new model and 1 the old one.

    UWM's own layers hold few of the weights, and a mask on them would let the rest of the update pass; so all linear
    layers of both towers are scored, queries, keys and values of an attention as one. What is no linear layer has no
    score (biases, normalisations, embeddings, the projections into the shared space): there M is the share itself.

    This use of the score is this project's, not the paper's.
    """

    SETTINGS = UWMKeepSettings
    uses_protected = True

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Keep the old weights, and draw the images to score them on."""
        super().before_training_exp(strategy, **kwargs)
        self.target, self.protected = sides(strategy, self.settings.calibration)

    def prepare(self, strategy: Any) -> None:
        """Rank the weights; the model holds other ones afterwards."""
        model = strategy.model
        model.load_state_dict(self.old)
        saliency = saliencies(model, self.protected)
        model.load_state_dict(self.target_weights())
        self.mass_above = rank(model, saliency, saliencies(model, self.target), self.old)

    def target_weights(self) -> State:
        """The weights that say what the target needs."""
        return self.old

    def merge(self, coefficient: float) -> State:
        """The new weights, with the old ones where they carry the share ``coefficient`` of their layer's scores."""
        merged = {
            key: torch.lerp(new, self.old[key], coefficient) if new.is_floating_point() else new
            for key, new in self.new.items()
        }
        for name, above in self.mass_above.items():
            merged[name] = torch.where(carries(above, coefficient), self.old[name], self.new[name])
        return merged


class UWMRepair(UWMProtect):
    """Puts the old weights back where protected images needed them more than the target needs the new ones.

    As ``UWMProtect``, but phi(target) is that of the trained model: a weight that the update made important for the
    target is spared, whatever it was before.

    This use of the score is this project's, not the paper's.
    """

    def target_weights(self) -> State:
        """The trained ones."""
        return self.new


class Side(NamedTuple):
    """What one side is measured on."""

    images: Tensor  # (N, 3, S, S) uint8 or float
    classes: list[int]  # whose prompts are the side's texts


def sides(strategy: Any, limit: int) -> tuple[Side, Side]:
    """Up to ``limit`` images, and the classes, of the target and of the protected data of a ``RoundStrategy``.

    Raises:
        ValueError: there is no protected data.
    """
    if strategy.protected is None:
        raise ValueError("weights manipulation needs protected data: call protect(experience) before train")
    rng, drawn = generator(strategy.seed, "uwm"), []
    for pool in (ImagePool(data, strategy.device) for data in (strategy.experience, strategy.protected)):
        rows = torch.randperm(len(pool), generator=rng)[:limit]
        drawn.append(Side(pool.images[rows.to(pool.images.device)], pool.classes))
    return drawn[0], drawn[1]


def published(model: nn.Module, name: str) -> bool:
    """Whether the paper's CLIP runs manipulate the weight ``name``; of a plain classifier, any."""
    if in_text_tower(model, name):
        return name.endswith(".out_proj.weight")
    return not isinstance(model, ClipClassifier) or name.endswith((".mlp.c_proj.weight", ".mlp.fc2.weight"))


def in_text_tower(model: nn.Module, name: str) -> bool:
    """Whether the weight ``name`` is one of a CLIP's text tower."""
    return isinstance(model, ClipClassifier) and not name.startswith("clip.visual.")


@torch.no_grad()
def saliencies(
    model: nn.Module, side: Side, chosen: Callable[[nn.Module, str], bool] = lambda model, name: True
) -> State:
    """Sum of phi (Eq. 8 and 9) over a side's samples, of each linear layer's shape, by the name of its weight.

    A sum does for a mean: a factor that a layer's weights have in common changes no rank among them.

    Raises:
        ValueError: none of the chosen weights was met.
    """
    names = {id(weight): name for name, weight in model.named_parameters()}
    device = next(model.parameters()).device
    sums: State = {}
    lengths = prompt_lengths(model)

    def see(weight: Tensor, inputs: Tensor) -> None:
        name, real = names[id(weight)], None
        if not chosen(model, name):
            return
        if in_text_tower(model, name):
            inputs = inputs[side.classes]
            real = torch.arange(inputs.shape[1], device=device) < lengths[side.classes, None]
        with torch.autocast(device.type, enabled=False):
            batch_sum = saliency_sum(weight, inputs.to(weight.dtype), real)
        sums[name] = sums[name] + batch_sum if name in sums else batch_sum

    was_training = model.training
    model.eval()
    with watching_inputs(model, see):
        for batch in side.images.split(BATCH):
            pixels = batch.to(device).float() / 255 if batch.dtype == torch.uint8 else batch.to(device)
            model.encode_images(pixels) if isinstance(model, ClipClassifier) else model(pixels)
        if isinstance(model, ClipClassifier):
            model.encode_classes()
    model.train(was_training)
    if not sums:
        raise ValueError("the model has no linear layer whose weights could be scored: choose another method")
    return sums


def prompt_lengths(model: nn.Module) -> Tensor:
    """Tokens of each prompt up to its end token, (C,); all where the text tower also looks at what follows it."""
    if not isinstance(model, ClipClassifier):
        return torch.empty(0)
    if getattr(model.clip, "text", model.clip).attn_mask is None:
        return torch.full((len(model.tokens),), model.tokens.shape[1], device=model.tokens.device)
    return model.tokens.argmax(dim=-1) + 1


def saliency_sum(weight: Tensor, inputs: Tensor, real: Tensor | None = None) -> Tensor:
    """Sum over samples of phi (Eq. 8 and 9), of the weight's shape.

    Args:
        weight: (outputs, inputs).
        inputs: (B, L, inputs), what the layer was given.
        real: (B, L) True where a token is no padding; None for all.
    """
    real = (inputs.new_ones(inputs.shape[:2]) if real is None else real)[..., None]
    count = real.sum(dim=1)
    norm = (inputs.square() * real).sum(dim=1).sqrt()
    centred = inputs - (inputs * real).sum(dim=1, keepdim=True) / count[:, None]
    spread = ((centred.square() * real).sum(dim=1) / (count - 1).clamp_min(1)).sqrt() + 1e-8
    size = weight.abs()
    of_row = norm @ size.T / size.shape[1]  # mean of S over the inputs, (B, outputs)
    of_column = norm * size.mean(dim=0)  # mean of S over the outputs, (B, inputs)
    return of_row.T @ (of_column / spread)


@contextmanager
def watching_inputs(model: nn.Module, see: Callable[[Tensor, Tensor], None]) -> Iterator[None]:
    """Calls ``see(weight, inputs)`` with inputs (B, L, inputs) whenever a linear layer of ``model`` is used.

    ``nn.MultiheadAttention`` uses its layers as functions, past their hooks: their inputs are made from its own, where
    it attends to itself, batch first.
    """

    def linear(layer: nn.Linear, args: tuple[Tensor, ...]) -> None:
        see(layer.weight, args[0].flatten(1, -2) if args[0].ndim > 2 else args[0][:, None])

    def attention(layer: nn.MultiheadAttention, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> None:
        if layer.batch_first and len(args) == 3 and args[0] is args[1] is args[2]:
            see(layer.in_proj_weight, args[0])
            see(layer.out_proj.weight, attention_context(layer, args[0], kwargs.get("attn_mask")))

    hooks = []
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention):
            hooks.append(module.register_forward_pre_hook(attention, with_kwargs=True))
        elif isinstance(module, nn.Linear):
            hooks.append(module.register_forward_pre_hook(linear))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def attention_context(attention: nn.MultiheadAttention, x: Tensor, mask: Tensor | None) -> Tensor:
    """What ``attention.out_proj`` is given when x (B, L, W) attends to itself, (B, L, W)."""
    projected = F.linear(x, attention.in_proj_weight, attention.in_proj_bias)
    q, k, v = (part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for part in projected.chunk(3, dim=-1))
    if mask is not None:  # a boolean one says where not to look there, and where to look here
        mask = ~mask if mask.dtype == torch.bool else mask.to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


def rank(model: nn.Module, saliency: State, reference: State, weights: State) -> State:
    """For each weight the share of its layer's mass of Phi above it; Phi = saliency / reference (Eq. 10).

    In the text tower Phi is weighted by |W| of ``weights``, as in the published code.
    """
    result: State = {}
    for name, of in saliency.items():
        phi = torch.where(reference[name] > 0, of / reference[name], 0.0)
        result[name] = mass_above(phi * weights[name].abs() if in_text_tower(model, name) else phi)
    return result


def mass_above(scores: Tensor) -> Tensor:
    """Share of the sum of ``scores`` (non-negative) that greater ones hold, for each; of equals the last is greatest.

    In the published words, that share is 1 minus the cumulative mass in ascending order (Eq. 11).
    """
    ordered, order = scores.flatten().double().sort(stable=True)
    ordered, order = ordered.flip(0), order.flip(0)
    above = (ordered.cumsum(0) - ordered) / ordered.sum()
    return torch.empty_like(above).scatter_(0, order, above).to(scores.dtype).view_as(scores)


def carries(above: Tensor, share: float) -> Tensor:
    """Mask of the fewest weights that carry ``share`` of the mass; none for 0, all for 1 (Eq. 11)."""
    return above < share if share < 1 else torch.ones_like(above, dtype=torch.bool)
