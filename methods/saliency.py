"""How much each weight matters for a set of images, without a gradient: the score phi of UWM (arXiv 2503.11742).

The score of weight W_ij, of inputs z (L tokens, inputs j) of one sample, with S_ij = ||z_j|| |W_ij|:

    phi_ij = mean_j'(S_ij') mean_i'(S_i'j) / std(z_j)          (Eq. 8 and 9)
    Phi_ij = mean phi_ij on one set / mean phi_ij on the other  (Eq. 10)

phi is a product of a row and a column, so its sum over samples is one matrix product and the samples' (B, outputs,
inputs) scores are never made. What a model's linear layers are given for a set, ``show`` lets any measure see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.batches import ImagePool, generator
from methods.clip import ClipClassifier
from methods.distributed import undivided
from methods.images import as_float

if TYPE_CHECKING:
    from methods.strategy import RoundStrategy
    from methods.weight_space import State

BATCH = 256  # images per forward pass

# of a weight's name, the weight, inputs (B, L, inputs) and where they are no padding, (B, L) bool or None for all
See = Callable[[str, Tensor, Tensor, Tensor | None], None]


class Side(NamedTuple):
    """The images and classes that one side is measured on."""

    images: Tensor  # (N, 3, S, S) uint8 or float
    classes: list[int]  # whose prompts are the side's texts


def in_text_tower(model: nn.Module, name: str) -> bool:
    """Whether the weight ``name`` is one of a CLIP's text tower."""
    return isinstance(model, ClipClassifier) and not name.startswith("clip.visual.")


def sides(strategy: RoundStrategy, limit: int) -> tuple[Side, Side]:
    """Up to ``limit`` images, and the classes, of the target and of the protected data of a round."""
    rng, drawn = generator(strategy.seed, "uwm"), []  # for others as well: the same images for all who ask for as many
    for pool in (ImagePool(data, strategy.device) for data in (strategy.experience, strategy.protected)):
        rows = torch.randperm(len(pool), generator=rng)[:limit]
        drawn.append(Side(pool.images[rows.to(pool.images.device)], pool.classes))
    return drawn[0], drawn[1]


def saliencies(
    model: nn.Module, side: Side, chosen: Callable[[nn.Module, str], bool] = lambda model, name: True
) -> State:
    """Sum of phi (Eq. 8 and 9) over a side's samples, of each linear layer's shape, by the name of its weight.

    A sum does for a mean: a factor that a layer's weights have in common changes no rank among them.

    Raises:
        ValueError: none of the chosen weights was met.
    """
    sums: State = {}

    def add(name: str, weight: Tensor, inputs: Tensor, real: Tensor | None) -> None:
        batch_sum = saliency_sum(weight, inputs, real)
        sums[name] = sums[name] + batch_sum if name in sums else batch_sum

    show(model, side, add, chosen)
    return sums


@torch.no_grad()
def show(
    model: nn.Module, side: Side, see: See, chosen: Callable[[nn.Module, str], bool] = lambda model, name: True
) -> None:
    """Let ``see`` look at what the chosen linear layers of ``model`` are given for a side's images and prompts.

    Raises:
        ValueError: none of the chosen weights was met.
    """
    names = {id(weight): name for name, weight in model.named_parameters()}
    device = next(model.parameters()).device
    lengths, met = prompt_lengths(model), set()

    def watch(weight: Tensor, inputs: Tensor) -> None:
        name, real = names[id(weight)], None
        if not chosen(model, name):
            return
        if in_text_tower(model, name):
            inputs = inputs[side.classes]
            real = torch.arange(inputs.shape[1], device=device) < lengths[side.classes, None]
        with torch.autocast(device.type, enabled=False):
            see(name, weight, inputs.to(weight.dtype), real)
        met.add(name)

    was_training = model.training
    model.eval()
    with undivided(), watching_inputs(model, watch):
        for batch in side.images.split(BATCH):
            pixels = as_float(batch.to(device))
            model.encode_images(pixels) if isinstance(model, ClipClassifier) else model(pixels)
        if isinstance(model, ClipClassifier):
            model.encode_classes()
    model.train(was_training)
    if not met:
        raise ValueError("the model has no linear layer whose inputs could be seen: choose another method")


def prompt_lengths(model: nn.Module) -> Tensor:
    """Tokens of each prompt up to its end token, (C,); all where the text tower also looks at those after it."""
    if not isinstance(model, ClipClassifier):
        return torch.empty(0)
    if getattr(model.clip, "text", model.clip).attn_mask is None:
        return torch.full((len(model.tokens),), model.tokens.shape[1], device=model.tokens.device)
    return model.tokens.argmax(dim=-1) + 1


def saliency_sum(weight: Tensor, inputs: Tensor, real: Tensor | None = None) -> Tensor:
    """Sum over samples of phi (Eq. 8 and 9), of the weight's shape.

    Args:
        weight: (outputs, inputs).
        inputs: (B, L, inputs), those that the layer was given.
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
    """The input of ``attention.out_proj`` when x (B, L, W) attends to itself, (B, L, W)."""
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
    """Share of the sum of ``scores`` (non-negative) that greater ones hold, for each; the last of a tie is greatest.

    In the published words, that share is 1 minus the cumulative mass in ascending order (Eq. 11).
    """
    ordered, order = scores.flatten().double().sort(stable=True)
    ordered, order = ordered.flip(0), order.flip(0)
    above = (ordered.cumsum(0) - ordered) / ordered.sum()
    return torch.empty_like(above).scatter_(0, order, above).to(scores.dtype).view_as(scores)


def carries(above: Tensor, share: float) -> Tensor:
    """Mask of the fewest weights that carry ``share`` of the mass; none for 0, all for 1 (Eq. 11)."""
    return above < share if share < 1 else torch.ones_like(above, dtype=torch.bool)
