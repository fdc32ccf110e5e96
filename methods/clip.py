"""A CLIP model as a classifier: images against the text prompts of a fixed set of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import text_global_pool
from torch import Tensor, nn

from methods.attention import shorten
from methods.distributed import divided
from methods.images import as_float
from methods.packing import PackedPrompts
from methods.pretrained import OPENAI, Normalisation

WORTH_PACKING = 1_000  # tokens; with fewer in all prompts, a step's cost is that of its images
TEMPERATURE = 0.05  # the fixed tau of the published study's driving runs; argmax does not depend on it


class ClipClassifier(nn.Module):
    """``forward(images) -> logits`` over the classes described by ``prompts``, both towers in the graph.

    Shapes: B images, C classes, L tokens, W text width, E embedding, r head rank.

    Args:
        clip: an open_clip ``CLIP`` or ``CustomTextCLIP`` with a transformer text tower.
        prompts: C texts, one per class.
        tokenizer: texts -> (C, context_length) int64 tokens.
        temperature: logits are cosine similarities divided by it. The model's own ``logit_scale`` is not used.
        normalisation: of the images; by default what open_clip noted with the weights, else OpenAI's.
    """

    PER_CLASS = ("heads_in", "heads_out", "class_offsets")  # parameters that mean nothing for other prompts
    architecture = ""  # open_clip's name of it, where known
    memory_format = torch.contiguous_format  # of the images
    tokens: Tensor  # (C, L) int64
    mean: Tensor  # (3, 1, 1)
    std: Tensor  # (3, 1, 1)
    class_bias: Tensor | None  # (C,)

    def __init__(
        self,
        clip: Any,
        prompts: Sequence[str],
        tokenizer: Any,
        temperature: float = TEMPERATURE,
        normalisation: Normalisation | None = None,
    ) -> None:
        super().__init__()
        shorten(clip)
        self.clip: Any = clip
        self.prompts = tuple(prompts)
        self.temperature = temperature
        self._tower = [_text_tower(clip)]  # in a list: the tower is registered once, under clip
        self.register_buffer("tokens", self._cut(tokenizer(list(prompts))), persistent=False)
        self.packed = self._pack()
        for name, default in OPENAI._asdict().items():
            noted = getattr(clip.visual, f"image_{name}", None) or default
            values = noted if normalisation is None else getattr(normalisation, name)
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)
        self.heads_in: nn.Parameter | None = None  # (C, W, r)
        self.heads_out: nn.Parameter | None = None  # (C, r, E)
        self.class_offsets: nn.Parameter | None = None  # (C, E)
        self.register_buffer("class_bias", None)

    @property
    def image_size(self) -> int:
        """Side of the square images the model takes, in px."""
        size = self.clip.visual.image_size
        return int(size[0] if isinstance(size, (tuple, list)) else size)

    @property
    def normalisation(self) -> Normalisation:
        """Mean and standard deviation that images are normalised with, in float32."""
        return Normalisation(tuple(self.mean.flatten().tolist()), tuple(self.std.flatten().tolist()))

    def add_heads(self, rank: int, generator: torch.Generator) -> list[nn.Parameter]:
        """Give every class a low-rank head on the text projection, W_k = W + A_k B_k (arXiv 2410.03955, section 4).

        A ~ N(0, 1/W) and B = 0, so the function is exactly what it was. Heads that exist already are kept: their
        training in earlier rounds is part of the old model.

        Returns:
            A and B of all classes.
        """
        if self.heads_in is not None and self.heads_out is not None:
            return [self.heads_in, self.heads_out]
        classes, (width, embed), device = len(self.prompts), self._projection_shape, self.tokens.device
        head_in = torch.randn(classes, width, rank, generator=generator) * width**-0.5
        self.heads_in = nn.Parameter(head_in.to(device))
        self.heads_out = nn.Parameter(torch.zeros(classes, rank, embed, device=device))
        return [self.heads_in, self.heads_out]

    def add_offsets(self) -> nn.Parameter:
        """Give every class an offset, 0, on its text feature: the weights of a linear classifier that starts zero-shot.

        The function is exactly what it was. Offsets that exist already are kept; they are returned either way.
        """
        if self.class_offsets is None:
            size = (len(self.prompts), self._projection_shape[1])
            self.class_offsets = nn.Parameter(torch.zeros(size, device=self.tokens.device))
        return self.class_offsets

    def encode_images(self, images: Tensor) -> Tensor:
        """Unit features (B, E) of images (B, 3, S, S), uint8 or float in [0, 1]."""
        if images.shape[-2:] != (self.image_size, self.image_size):
            raise ValueError(f"the model takes {self.image_size} px images, got {tuple(images.shape[-2:])}")
        with _autocast(images.device):
            features = divided(self.clip.visual, self.normalised(images))
        return F.normalize(features.float(), dim=-1)

    def normalised(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S), uint8 or float in [0, 1], as the image tower takes them."""
        return (as_float(images) - self.mean).div_(self.std).contiguous(memory_format=self.memory_format)

    def encode_classes(self) -> Tensor:
        """Unit features (C, E) of the prompts, each with its own head and offset where there are any."""
        x = self._packed_states(self.packed) if self.packed is not None and torch.is_grad_enabled() else self._states()
        projection = self._tower[0].text_projection
        features = projection(x) if isinstance(projection, nn.Linear) else x @ projection
        if self.heads_in is not None and self.heads_out is not None:
            features = features + (x[:, None] @ self.heads_in @ self.heads_out)[:, 0]  # never the (C, W, E) product
        if self.class_offsets is not None:
            features = features + self.class_offsets
        return F.normalize(features, dim=-1)

    def similarity(self, images: Tensor, classes: Tensor | None = None) -> Tensor:
        """Cosines (B, C) in [-1, 1]; ``classes`` are features already encoded, for many batches of one model."""
        return self.compare(self.encode_images(images), self.encode_classes() if classes is None else classes)

    def compare(self, images: Tensor, classes: Tensor) -> Tensor:
        """Cosines (B, C) of the features of images (B, E) and classes (C, E).

        A bias of the classes, where there is one, is added, in units of the cosines.
        """
        cosines = images @ classes.T
        return cosines if self.class_bias is None else cosines + self.class_bias * self.temperature

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, C) in float32."""
        return self.similarity(images) / self.temperature

    def _states(self) -> Tensor:
        """What the text tower makes of the prompts, before the projection, (C, W) in float32."""
        tower, length = self._tower[0], self.tokens.shape[1]
        with _autocast(self.tokens.device):
            x = tower.token_embedding(self.tokens) + tower.positional_embedding[:length]  # (C, L, W)
            mask = None if tower.attn_mask is None else tower.attn_mask[:length, :length]
            x = tower.ln_final(tower.transformer(x, attn_mask=mask))
        end = getattr(tower, "text_eos_id", None)
        states: Tensor = text_global_pool(x.float(), self.tokens, _pool(tower), eos_token_id=end)
        return states

    def _packed_states(self, packed: PackedPrompts) -> Tensor:
        """The same from fewer tokens, up to rounding; for training, so that scores have one way to be computed."""
        tower = self._tower[0]
        with _autocast(self.tokens.device):
            x = tower.token_embedding(packed.tokens) + tower.positional_embedding[packed.positions]  # (R, T, W)
            x = tower.ln_final(tower.transformer(x, attn_mask=packed.mask))
        return x.float().flatten(0, 1)[packed.ends]

    @property
    def _projection_shape(self) -> tuple[int, int]:
        """W and E."""
        projection = self._tower[0].text_projection
        if isinstance(projection, nn.Linear):  # SigLIP
            return projection.in_features, projection.out_features
        width, embed = projection.shape
        return width, embed

    def _cut(self, tokens: Tensor) -> Tensor:
        """Drop the columns that only pad. Under a causal mask the pooled end token does not see those after it."""
        if not _is_causal(self._tower[0]):
            return tokens
        return tokens[:, : int(tokens.argmax(dim=-1).max()) + 1].contiguous()

    def _pack(self) -> PackedPrompts | None:
        """The prompts packed, where there are many and a token sees those before it alone."""
        tower = self._tower[0]
        if not _is_causal(tower) or self.tokens.numel() < WORTH_PACKING:
            return None
        return PackedPrompts(self.tokens, tower.transformer.resblocks[0].attn.num_heads)


class Encoded:
    """A model as it is now, its class prompts encoded once: for many batches of images.

    Args:
        model: a ``ClipClassifier``, or any classifier of float images in [0, 1], of which nothing is encoded.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.classes = model.encode_classes() if isinstance(model, ClipClassifier) else None

    def similarity(self, images: Tensor) -> Tensor:
        """Cosines (B, C) of images (B, 3, S, S), uint8 or float in [0, 1]; of a plain classifier, its scaled logits."""
        if isinstance(self.model, ClipClassifier):
            return self.model.similarity(images, self.classes)
        return self.model(as_float(images)) * temperature_of(self.model)

    def logits(self, images: Tensor) -> Tensor:
        """The model's logits, (B, C)."""
        if isinstance(self.model, ClipClassifier):
            return self.similarity(images) / self.model.temperature
        return self.model(as_float(images))


def temperature_of(model: nn.Module) -> float:
    """The number that a model divides its similarities by; 1 for a plain classifier."""
    return float(getattr(model, "temperature", 1.0))


@torch.no_grad()
def predict_logits(model: nn.Module, images: Tensor, batch_size: int = 64) -> Tensor:
    """Logits (N, C) of ``model`` in evaluation mode, on the CPU; class prompts are encoded once.

    Args:
        model: a ``ClipClassifier``, or any classifier of float images in [0, 1].
        images: (N, 3, S, S) uint8.
        batch_size: images per forward pass; more at once only leave the processor's caches.
    """
    if not len(images):
        return predict_logits(model, images.new_zeros(1, *images.shape[1:]))[:0]
    was_training = model.training
    model.eval()
    device, encoded = next(model.parameters()).device, Encoded(model)
    parts = [encoded.logits(batch.to(device, non_blocking=True)) for batch in images.split(batch_size)]
    model.train(was_training)
    return torch.cat(parts).float().cpu()


def _autocast(device: torch.device) -> torch.autocast:
    """bf16 on a GPU, inside the model so that no forward pass of any plugin escapes it."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")


def _is_causal(tower: Any) -> bool:
    """Whether a token sees those before it alone, and the prompt's vector is that of its end token, the largest id."""
    return tower.attn_mask is not None and _pool(tower) == "argmax"


def _pool(tower: Any) -> str:
    """How a text tower makes one vector from those of the tokens."""
    return str(getattr(tower, "text_pool_type", None) or tower.pool_type)


def _text_tower(clip: nn.Module) -> Any:
    tower = getattr(clip, "text", clip)
    parts = ("token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection")
    usable = all(hasattr(tower, part) for part in parts) and getattr(tower, "cls_emb", None) is None
    if not usable or not isinstance(tower.text_projection, nn.Parameter | nn.Linear):
        raise ValueError(
            "this model's text tower is not open_clip's transformer with a projection: choose another --model"
        )
    return tower
