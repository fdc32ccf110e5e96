"""Pictures of places by class: what the places streams show. They are kept by the source of this file."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from scenarios.gallery import SPLIT_SEEDS, Gallery
from scenarios.render import PLACES, counterfactual_place, render_place


def _pictures(split: str, kind: str, numbers: Sequence[int], size: int) -> Tensor:
    code = PLACES.index(kind)
    index = torch.tensor([code * 1_000_000 + number for number in numbers])
    return render_place(SPLIT_SEEDS[split], index, torch.full_like(index, code), size)


def _pairs(split: str, kind_a: str, kind_b: str, numbers: Sequence[int], size: int) -> tuple[Tensor, Tensor]:
    index = torch.tensor(numbers)
    first, second = (torch.full_like(index, PLACES.index(kind)) for kind in (kind_a, kind_b))
    return counterfactual_place(SPLIT_SEEDS[split], index, first, second, size)


def gallery(kinds: tuple[str, ...], pool: int) -> Gallery:
    """Pictures of some places; those of a place and a number are the same in every such gallery."""
    return Gallery("places", kinds, pool, _pictures, _pairs, "place_pictures", "places")
