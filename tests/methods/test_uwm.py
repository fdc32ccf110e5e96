"""What the manipulated models do, and what merges by the score keep."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import methods
from methods.clip import predict_logits
from methods.saliency import Side, carries, rank, saliencies
from methods.uwm import UWM, UWMRepair, UWMSettings, published
from tests.conftest import make_toy_stream
from tests.methods.developing import develop


def test_published_layers_are_the_texts_attention_outputs_and_the_images_second_linear_layers(toy_base, toy_stream):
    side = Side(toy_stream.test[0].images[:2], [0])
    vision = {f"clip.visual.transformer.resblocks.{i}.mlp.c_proj.weight" for i in range(4)}
    text = {f"clip.transformer.resblocks.{i}.attn.out_proj.weight" for i in range(2)}
    assert saliencies(toy_base, side, published).keys() == vision | text
    every = saliencies(toy_base, side)
    linear = ("mlp.c_fc.weight", "mlp.c_proj.weight", "attn.in_proj_weight", "attn.out_proj.weight")
    assert every.keys() == {name for name in toy_base.state_dict() if name.endswith(linear)}
    assert all(scores.shape == toy_base.get_parameter(name).shape for name, scores in every.items())


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
