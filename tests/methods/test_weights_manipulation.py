"""Scores against their definition, masks against worked examples, and what the manipulated models do."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import methods
from methods.clip import ClipClassifier, predict_logits
from methods.tokenizer import ByteTokenizer
from methods.weights_manipulation import (
    UWM,
    Side,
    UWMRepair,
    UWMSettings,
    attention_context,
    carries,
    mass_above,
    published,
    rank,
    saliencies,
    saliency_sum,
)
from tests.conftest import make_toy_stream
from tests.methods.developing import develop


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


def test_published_layers_are_the_texts_attention_outputs_and_the_images_second_linear_layers(toy_base, toy_stream):
    side = Side(toy_stream.test[0].images[:2], [0])
    vision = {f"clip.visual.transformer.resblocks.{i}.mlp.c_proj.weight" for i in range(4)}
    text = {f"clip.transformer.resblocks.{i}.attn.out_proj.weight" for i in range(2)}
    assert saliencies(toy_base, side, published).keys() == vision | text
    every = saliencies(toy_base, side)
    linear = ("mlp.c_fc.weight", "mlp.c_proj.weight", "attn.in_proj_weight", "attn.out_proj.weight")
    assert every.keys() == {name for name in toy_base.state_dict() if name.endswith(linear)}
    assert all(scores.shape == toy_base.get_parameter(name).shape for name, scores in every.items())


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


@pytest.fixture(scope="module")
def forgetful(toy_base):
    """UWM on a round whose target, e, the base knows."""
    return on_known_target(toy_base)


def on_known_target(base, **changes) -> UWM:
    stream = make_toy_stream(0, rounds=2)
    strategy = UWM(model=copy.deepcopy(base), settings=UWMSettings(**changes))
    strategy.protect(stream.protected[1])
    strategy.train(stream.train[1], eval_streams=[])
    return strategy


def drops(base, model, stream) -> Tensor:
    """By how much the mean similarity of each class's images with its prompt falls, (C,)."""
    data = stream.data[0].test
    change = (predict_logits(base, data.images) - predict_logits(model, data.images)) * base.temperature
    return torch.stack([change[data.labels == k, k].mean() for k in range(5)])


def test_training_leaves_the_published_manipulation(forgetful, toy_base):
    old, new = toy_base.state_dict(), forgetful.model.state_dict()
    for name in old:
        if name in forgetful.mass_above:
            taken = carries(forgetful.mass_above[name], 0.02)
            assert taken.any() and not taken.all()
            assert torch.equal(new[name], torch.where(taken, -old[name], old[name]))
        else:
            assert torch.equal(new[name], old[name])


def test_the_target_is_forgotten_more_than_any_protected_class(forgetful, toy_base, toy_stream):
    forgetful.manipulate(0.05, -1.0)
    change = drops(toy_base, forgetful.model, toy_stream)
    assert change[4] > change[:4].max() + 0.02


def test_the_other_direction_forgets_protected_classes_more(toy_base, toy_stream):
    turned = on_known_target(toy_base, forget="protected")
    turned.manipulate(0.05, -1.0)
    change = drops(toy_base, turned.model, toy_stream)
    assert change[:4].mean() > change[4]


def test_every_share_is_proposed_with_every_factor(forgetful, toy_base):
    scored = {}
    forgetful.propose(lambda name: scored.update({name: copy.deepcopy(forgetful.model.state_dict())}))
    assert forgetful.proposes and len(scored) == 16
    name = "clip.visual.transformer.resblocks.0.mlp.c_proj.weight"
    taken, old = carries(forgetful.mass_above[name], 0.05), toy_base.state_dict()[name]
    assert torch.equal(scored["share 0.05 factor -0.5"][name], torch.where(taken, -0.5 * old, old))


def test_a_factor_of_one_is_the_identity_bit_for_bit(forgetful, toy_base):
    forgetful.manipulate(0.5, 1.0)
    old, new = toy_base.state_dict(), forgetful.model.state_dict()
    assert all(torch.equal(old[name], new[name]) for name in old)


def test_plain_classifiers_are_manipulated_in_their_linear_layers(toy_stream):
    torch.manual_seed(0)
    model = nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(48, 20), nn.ReLU(), nn.Linear(20, 6))
    old = copy.deepcopy(model.state_dict())
    strategy = UWM(model=model)
    strategy.protect(toy_stream.protected[0])
    strategy.train(toy_stream.train[0], eval_streams=[])
    new = model.state_dict()
    assert [name for name in old if not torch.equal(old[name], new[name])] == ["2.weight", "4.weight"]
    assert all(torch.isfinite(values).all() for values in new.values())


def test_a_model_without_linear_layers_is_refused(toy_stream):
    model = nn.Sequential(nn.Conv2d(3, 6, 64), nn.Flatten())
    with pytest.raises(ValueError, match="no linear layer"):
        saliencies(model, Side(toy_stream.test[0].images[:2], [0]))


@pytest.mark.parametrize("name", ["uwm", "finetune+uwm-protect"])
def test_protected_data_is_asked_for_before_anything_is_done(name, toy_base, toy_stream):
    strategy = methods.load(name)(model=copy.deepcopy(toy_base))
    with pytest.raises(ValueError, match="protect"):
        strategy.train(toy_stream.train[0], eval_streams=[])


# Plugins


@pytest.fixture(scope="module", params=["finetune+uwm-protect", "finetune+uwm-repair"])
def merged(request, toy_base, toy_stream):
    """A strategy after a round of three steps."""
    return develop(request.param, toy_base, toy_stream, steps=3)


def test_a_merge_keeps_what_the_mask_marks_and_takes_the_share_of_the_rest(merged):
    plugin = merged.weight_space
    weights = plugin.merge(0.25)
    for name, value in weights.items():
        old, new = plugin.old[name], plugin.new[name]
        if name in plugin.mass_above:
            assert torch.equal(value, torch.where(plugin.mass_above[name] < 0.25, old, new))
        else:
            torch.testing.assert_close(value, 0.75 * new + 0.25 * old)


def test_the_ends_are_the_new_and_the_old_model_bit_for_bit(merged, toy_base):
    plugin, old = merged.weight_space, toy_base.state_dict()
    assert any(not torch.equal(plugin.new[name], old[name]) for name in old)
    assert all(torch.equal(value, plugin.new[name]) for name, value in plugin.merge(0.0).items())
    assert all(torch.equal(value, old[name]) for name, value in plugin.merge(1.0).items())


def test_training_leaves_the_middle_coefficient(merged):
    wanted = merged.weight_space.merge(0.9)
    assert all(torch.equal(value, wanted[name]) for name, value in merged.model.state_dict().items())


@pytest.mark.parametrize("name", ["finetune+uwm-protect", "finetune+uwm-repair"])
def test_without_a_step_the_old_function_stays_bit_for_bit(name, toy_base, toy_stream):
    model, images = develop(name, toy_base, toy_stream, steps=0).model, toy_stream.test[0].images[:20]
    assert torch.equal(predict_logits(model, images), predict_logits(toy_base, images))


def test_protect_ranks_by_the_old_model_and_repair_by_what_the_target_needs_of_the_new_one(merged, toy_base):
    plugin, new = merged.weight_space, copy.deepcopy(toy_base)
    new.load_state_dict(plugin.new)
    by_model = [
        rank(toy_base, saliencies(toy_base, plugin.protected), saliencies(model, plugin.target), plugin.old)
        for model in (toy_base, new)
    ]
    equal = [all(torch.equal(above, wanted[name]) for name, above in plugin.mass_above.items()) for wanted in by_model]
    assert equal == ([False, True] if isinstance(plugin, UWMRepair) else [True, False])
