"""Self-attention of the towers against PyTorch's own module, bit for bit."""

from __future__ import annotations

import copy

import open_clip
import pytest
import torch
from torch import nn

from methods.attention import SelfAttention, shorten

MASKS = {
    "none": None,
    "causal": torch.full((5, 5), -torch.inf).triu(1),
    "of each head": torch.randn(7 * 4, 5, 5, generator=torch.Generator().manual_seed(2)),
}


def pair(**options) -> tuple[nn.MultiheadAttention, nn.MultiheadAttention]:
    """PyTorch's module, and the same made shorter."""
    torch.manual_seed(0)
    plain = nn.MultiheadAttention(32, 4, **{"batch_first": True, **options})
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.normal_(std=0.2)
    short = copy.deepcopy(plain)
    shorten(nn.Sequential(short))
    return plain, short


def inputs() -> torch.Tensor:
    return torch.randn(7, 5, 32, generator=torch.Generator().manual_seed(1)).requires_grad_()


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_outputs_and_gradients_are_pytorchs_bit_for_bit(mask, mode):
    results = []
    for module in pair():
        x = inputs()
        y, weights = getattr(module, mode)()(x, x, x, need_weights=False, attn_mask=MASKS[mask])
        y.square().sum().backward()
        results.append([y, x.grad, *(parameter.grad for parameter in module.parameters())])
        assert weights is None
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_a_step_takes_neither_zeros_nor_sums_for_queries_keys_and_values():
    """Backward of PyTorch's three selections; the shorter way has one stacking in their place."""
    names = []
    for module in pair():
        x = inputs()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            module(x, x, x, need_weights=False)[0].sum().backward()
        names.append({event.key for event in profile.key_averages()})
    assert "aten::select_backward" in names[0] and "aten::select_backward" not in names[1]


@pytest.mark.parametrize("frozen", [True, False])
def test_scores_are_computed_pytorchs_way(frozen):
    plain, short = pair()
    x = inputs().detach()
    with torch.set_grad_enabled(frozen):
        one, other = (
            module.eval().requires_grad_(not frozen)(x, x, x, need_weights=False)[0] for module in (plain, short)
        )
    assert torch.equal(one, other) and not other.requires_grad


def test_other_attention_is_pytorchs():
    plain, short = pair()
    x, other = inputs(), inputs().detach() * 2
    for wanted, got in zip(plain(x, other, other), short(x, other, other), strict=True):
        assert torch.equal(wanted, got)
    assert torch.equal(plain(x, x, x)[1], short(x, x, x)[1])  # weights, where they are asked for


@pytest.mark.parametrize("options", [{"batch_first": False}, {"dropout": 0.1}, {"bias": False}, {"kdim": 16}])
def test_modules_of_other_kinds_stay_as_they_are(options):
    assert type(pair(**options)[1]) is nn.MultiheadAttention


def test_all_blocks_of_open_clips_towers_are_shortened_and_keep_their_names():
    towers = open_clip.create_model("RN50-quickgelu")  # its image tower's attention is open_clip's own
    before = list(towers.state_dict())
    shorten(towers)
    assert list(towers.state_dict()) == before
    assert all(type(block.attn) is SelfAttention for block in towers.transformer.resblocks)
