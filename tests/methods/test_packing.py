"""Packed prompts against the same prompts one by one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.checkpoints import create_classifier
from methods.clip import ClipClassifier
from methods.packing import PackedPrompts
from methods.tokenizer import END, ByteTokenizer
from scenarios.places import prompt
from scenarios.render import PLACES

PROMPTS = tuple(map(prompt, PLACES))


@pytest.fixture(scope="module")
def model() -> ClipClassifier:
    torch.manual_seed(0)
    model = create_classifier(PROMPTS)
    model.add_heads(4, torch.Generator().manual_seed(1))
    return model


@given(st.lists(st.text("ab", max_size=9), min_size=1, max_size=30), st.sampled_from(["", "the scene is "]))
@settings(max_examples=50, deadline=None)
def test_every_prompt_reads_as_it_was(texts, start):
    tokens = ByteTokenizer(24)([start + text for text in texts])
    packed = PackedPrompts(tokens, heads=1, row=24)
    flat, positions = packed.tokens.flatten(), packed.positions.flatten()
    for prompt_tokens, end in zip(tokens, packed.ends.tolist(), strict=True):
        row, place = divmod(end, 24)
        seen = (packed.mask[row, place] == 0).nonzero()[:, 0] + row * 24
        wanted = prompt_tokens[: int(prompt_tokens.argmax()) + 1]
        assert flat[seen].tolist() == wanted.tolist()  # what its end token sees, in order, is the prompt
        assert positions[seen].tolist() == list(range(len(wanted)))
        assert flat[end] == END


def test_features_and_gradients_are_those_of_the_prompts_one_by_one(model):
    def gradients(packed):
        kept, model.packed = model.packed, packed
        model.zero_grad()
        features = model.encode_classes()
        model.packed = kept
        (features * torch.linspace(-1, 1, features.numel()).view_as(features)).sum().backward()
        return features.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    (one, wanted), (other, got) = gradients(None), gradients(model.packed)
    torch.testing.assert_close(other, one, atol=2e-6, rtol=0)
    assert (got - wanted).norm() <= 2e-5 * wanted.norm()


def test_many_prompts_are_a_third_of_the_tokens(model):
    assert model.packed is not None and model.packed.tokens.numel() < 0.36 * model.tokens.numel()


def test_scores_are_those_of_the_prompts_one_by_one(model):
    with torch.no_grad():
        packed = model.encode_classes()
        kept, model.packed = model.packed, None
        assert torch.equal(packed, model.encode_classes())
        model.packed = kept


def test_few_prompts_are_not_packed():
    assert create_classifier(PROMPTS[:6]).packed is None
