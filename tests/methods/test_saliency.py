"""Scores against their definition, and masks against worked examples."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from methods.clip import ClipClassifier
from methods.saliency import Side, attention_context, carries, mass_above, rank, saliencies, saliency_sum
from methods.tokenizer import ByteTokenizer


def by_definition(weight: Tensor, samples: list[Tensor]) -> Tensor:
    """Sum of phi over samples (L, inputs) of any length, each weight for itself (Eq. 8 and 9)."""
    total = torch.zeros_like(weight)
    for tokens in samples:
        saliency = tokens.norm(dim=0) * weight.abs()
        phi = saliency.mean(dim=1, keepdim=True) * saliency.mean(dim=0, keepdim=True)
        total += phi / (tokens.std(dim=0) + 1e-8)
    return total


def relative_error(a: Tensor, b: Tensor) -> float:
    return ((a - b).abs() / b.abs()).max().item()


# Scores


def test_the_matrix_product_is_the_definition():
    rng = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 7, generator=rng, dtype=torch.float64)
    inputs = torch.randn(6, 4, 7, generator=rng, dtype=torch.float64)
    assert relative_error(saliency_sum(weight, inputs), by_definition(weight, list(inputs))) < 1e-12


def test_padding_is_dropped():
    rng = torch.Generator().manual_seed(1)
    weight = torch.randn(5, 7, generator=rng, dtype=torch.float64)
    inputs = torch.randn(3, 6, 7, generator=rng, dtype=torch.float64)
    real = torch.arange(6) < torch.tensor([2, 6, 4])[:, None]
    wanted = by_definition(weight, [tokens[mask] for tokens, mask in zip(inputs, real, strict=True)])
    assert relative_error(saliency_sum(weight, inputs, real), wanted) < 1e-12


def test_the_context_through_the_output_projection_is_the_attention():
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(32, 4, batch_first=True)
    nn.init.normal_(attention.in_proj_bias)
    x, causal = torch.randn(3, 5, 32), torch.full((5, 5), -torch.inf).triu(1)
    for mask in (None, causal, causal.isinf()):
        wanted = attention(x, x, x, need_weights=False, attn_mask=mask)[0]
        torch.testing.assert_close(attention.out_proj(attention_context(attention, x, mask)), wanted)


@pytest.fixture(scope="module")
def wordy(toy_base):
    """The toy model with prompts of different lengths."""
    return ClipClassifier(toy_base.clip, ["a.", "a prompt.", "quite a long prompt."], ByteTokenizer(77)).eval()


@torch.no_grad()
def test_the_vision_tower_is_scored_on_all_tokens_of_all_images(wordy, toy_stream):
    images, seen = toy_stream.test[0].images[:300], []
    layer = wordy.clip.visual.transformer.resblocks[2].mlp.c_proj
    hook = layer.register_forward_pre_hook(lambda module, args: seen.extend(args[0].double()))
    wordy(images.float() / 255)
    hook.remove()
    name = "clip.visual.transformer.resblocks.2.mlp.c_proj.weight"
    assert len(images) == 180 and seen[0].shape == (17, 512)
    wanted = by_definition(layer.weight.double(), seen)
    assert relative_error(saliencies(wordy, Side(images, [0]))[name], wanted) < 1e-4


@torch.no_grad()
def test_the_text_tower_is_scored_on_the_tokens_of_the_sides_prompts(wordy, toy_stream):
    block = wordy.clip.transformer.resblocks[1]
    context = copy.deepcopy(block.attn)  # with the identity for out_proj it returns what out_proj is given
    nn.init.eye_(context.out_proj.weight)
    nn.init.zeros_(context.out_proj.bias)
    samples = []
    for label in (0, 2):
        tokens = wordy.tokens[label, : wordy.tokens[label].argmax() + 1][None]  # unpadded
        length = tokens.shape[1]
        x = wordy.clip.token_embedding(tokens) + wordy.clip.positional_embedding[:length]
        mask = wordy.clip.attn_mask[:length, :length]
        x = block.ln_1(wordy.clip.transformer.resblocks[0](x, attn_mask=mask))
        samples.append(context(x, x, x, need_weights=False, attn_mask=mask)[0][0].double())
    assert [len(tokens) for tokens in samples] == [4, 22]
    found = saliencies(wordy, Side(toy_stream.test[0].images[:2], [0, 2]))
    name = "clip.transformer.resblocks.1.attn.out_proj.weight"
    assert relative_error(found[name], by_definition(block.attn.out_proj.weight.double(), samples)) < 1e-4


def test_scoring_leaves_model_mode_and_hooks_as_they_were(toy_base, toy_stream):
    model = copy.deepcopy(toy_base).train()
    saliencies(model, Side(toy_stream.test[0].images[:2], [0]))
    assert model.training and not any(module._forward_pre_hooks for module in model.modules())


# Selection by mass


@pytest.mark.parametrize(
    ("scores", "share", "wanted"),
    [
        ([8.0, 4.0, 2.0, 2.0], 0.5, [1, 0, 0, 0]),
        ([8.0, 4.0, 2.0, 2.0], 0.5001, [1, 1, 0, 0]),
        ([2.0, 4.0, 2.0, 8.0], 0.8, [0, 1, 1, 1]),  # of two equals the later
        ([1.0, 1.0, 1.0, 1.0], 0.5, [0, 0, 1, 1]),
        ([1.0, 1.0, 1.0, 1.0], 0.02, [0, 0, 0, 1]),
        ([0.01, 100.0, 0.01, 0.01], 0.02, [0, 1, 0, 0]),
        ([0.0, 1.0, 0.0, 3.0], 0.99, [0, 1, 0, 1]),
        ([0.0, 1.0, 0.0, 3.0], 1.0, [1, 1, 1, 1]),
        ([0.0, 1.0, 0.0, 3.0], 0.0, [0, 0, 0, 0]),
    ],
)
def test_the_fewest_weights_that_carry_the_share_are_taken(scores, share, wanted):
    assert carries(mass_above(torch.tensor(scores).view(2, 2)), share).flatten().int().tolist() == wanted


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=30), st.floats(0.001, 0.999))
def test_selection_follows_the_published_cumulative_mass(scores, share):
    values = torch.tensor(scores, dtype=torch.float64)
    ordered, order = values.sort(stable=True)
    published_mass = ordered.cumsum(0) / ordered.sum()
    taken = carries(mass_above(values), share)[order]
    clear = (published_mass - (1 - share)).abs() > 1e-9  # on the edge rounding may decide
    assert torch.equal(taken[clear], (published_mass > 1 - share)[clear])


def test_only_the_text_towers_scores_are_weighted_by_the_size_of_the_weights(toy_base):
    vision = "clip.visual.transformer.resblocks.0.mlp.c_proj.weight"
    text = "clip.transformer.resblocks.0.attn.out_proj.weight"
    weights = {vision: torch.tensor([[-4.0, 1.0]]), text: torch.tensor([[-4.0, 1.0]])}
    saliency, reference = ({name: torch.tensor([row]) for name in weights} for row in ([2.0, 6.0], [2.0, 3.0]))
    above = rank(toy_base, saliency, reference, weights)
    torch.testing.assert_close(above, {vision: torch.tensor([[2 / 3, 0.0]]), text: torch.tensor([[0.0, 2 / 3]])})


def test_a_weight_whose_input_the_reference_never_sees_is_taken_last():
    saliency, reference = torch.tensor([[0.0, 5.0, 1.0]]), torch.tensor([[0.0, 0.0, 2.0]])
    above = rank(nn.Identity(), {"weight": saliency}, {"weight": reference}, {"weight": torch.ones(1, 3)})["weight"]
    assert carries(above, 0.999).tolist() == [[False, False, True]]


# UWM
