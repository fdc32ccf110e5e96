"""Fine-tuning by parts and by weighted contrast: losses by independent formulas, and what moves and what does not."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st
from torch import nn

import methods
from methods.checkpoints import checkpoint_bytes, load_checkpoint
from methods.clip import predict_logits
from methods.objectives import contrast_with_other_classes, contrastive_means, negative_gaps
from tests.methods.developing import SMALL, accuracy, develop, moved, watched

PARTS = {"linear-probe": {"class_offsets"}, "heads-only": {"heads_in", "heads_out"}}

# Losses


def contrast_by_hand(similarity, labels, i, t):
    """Two-way contrast of image i with the images of other classes, in loops."""
    others = [j for j in range(len(labels)) if labels[j] != labels[i]]
    own = similarity[i, labels[i]]
    image = torch.stack([((similarity[i, labels[j]] - own) / t).exp() for j in others]).mean()
    text = torch.stack([((similarity[j, labels[i]] - own) / t).exp() for j in others]).mean()
    return t * (image.log() + text.log())


@trials(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.floats(0.03, 2.0))
def test_contrast_with_other_classes_is_the_written_out_one_and_so_is_its_gradient(seed, classes, t):
    rng = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.arange(classes), torch.randint(classes, (6,), generator=rng)])
    s = (torch.rand(len(labels), classes, dtype=torch.float64, generator=rng) * 2 - 1).requires_grad_()
    wanted = torch.stack([contrast_by_hand(s, labels, i, t) for i in range(len(labels))])
    got = contrast_with_other_classes(s, labels, t)
    torch.testing.assert_close(got, wanted)
    weights = torch.rand(len(labels), dtype=torch.float64, generator=rng)
    torch.testing.assert_close(*(torch.autograd.grad(x @ weights, s)[0] for x in (got, wanted)))


def test_contrast_of_target_images_is_the_objective_of_mds():
    rng = torch.Generator().manual_seed(0)
    similarity = torch.rand(12, 4, dtype=torch.float64, generator=rng)
    labels = torch.tensor([3, 3, 3, 3, 0, 0, 1, 1, 1, 2, 2, 2])
    wanted = sum(0.05 * contrastive_means(gaps, 0.05).log() for gaps in negative_gaps(similarity, labels, 4))
    torch.testing.assert_close(contrast_with_other_classes(similarity, labels, 0.05)[:4], wanted)


def test_contrast_of_logits_far_apart_is_finite():
    similarity = torch.tensor([[0.0, 900.0], [900.0, 0.0]], requires_grad=True)
    contrast_with_other_classes(similarity, torch.tensor([0, 1]), 0.05).sum().backward()
    assert similarity.grad.isfinite().all()


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_wccl_weighs_the_target_against_the_protected_images(weight, toy_stream, toy_base):
    strategy, steps = watched("wccl", copy.deepcopy(toy_base), toy_stream, steps=1, weight=weight)
    similarity, labels = steps.outputs[0] * toy_base.temperature, steps.labels[0]
    each = torch.stack([contrast_by_hand(similarity, labels, i, 0.05) for i in range(len(labels))])
    target = labels == 5
    assert target.sum() == 12  # a quarter of 32, and what five equal parts of 24 leave over
    wanted = weight * each[target].mean() + (1 - weight) * each[~target].mean()
    assert strategy.losses[0].item() == pytest.approx(wanted.item(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_trained_by_cross_entropy_on_target_and_protected_images(name, toy_stream, toy_base):
    strategy, steps = watched(name, copy.deepcopy(toy_base), toy_stream, steps=2, tau=0.1)
    assert set(steps.labels[0].tolist()) == set(range(6)) and (steps.labels[0] == 5).sum() == 12
    for outputs, labels, loss in zip(steps.outputs, steps.labels, strategy.losses, strict=True):
        wanted = F.cross_entropy(outputs * toy_base.temperature / 0.1, labels)
        assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_the_gradient_of_the_offsets_is_that_of_a_linear_classifier_on_frozen_features(toy_stream, toy_base):
    seen = []
    model = copy.deepcopy(toy_base)
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    strategy, steps = watched("linear-probe", model, toy_stream, steps=1)
    images = model.encode_images(seen[0]).detach().double()
    tokens = F.pad(model.tokens, (0, 77 - model.tokens.shape[1]))
    raw = model.clip.encode_text(tokens).detach().double().requires_grad_()  # not yet of unit length
    F.cross_entropy(images @ F.normalize(raw, dim=-1).T / 0.05, steps.labels[0]).backward()
    torch.testing.assert_close(steps.gradients["class_offsets"].double(), raw.grad, rtol=1e-4, atol=1e-6)
    first_step = -strategy.settings.lr * raw.grad.sign()  # of Adam
    clear = raw.grad.abs() > 1e-4
    torch.testing.assert_close(
        strategy.model.class_offsets.detach().double()[clear], first_step[clear], rtol=1e-3, atol=0
    )


# What moves


@pytest.mark.parametrize("name", PARTS)
def test_only_the_part_is_trained_and_all_else_is_as_trainable_as_before(name, toy_stream, toy_base):
    model = copy.deepcopy(toy_base)
    model.clip.logit_scale.requires_grad_(False)
    strategy, steps = watched(name, model, toy_stream)
    assert steps.trained == PARTS[name]
    assert moved(toy_base, strategy.model) == PARTS[name]
    assert {name for name, p in strategy.model.named_parameters() if not p.requires_grad} == {"clip.logit_scale"}


@pytest.mark.parametrize("name", PARTS)
def test_no_gradient_is_computed_for_a_frozen_tower(name, toy_stream, toy_base):
    model = copy.deepcopy(toy_base)
    graphs = []
    for tower in (model.clip.visual, model.clip.transformer):
        tower.register_forward_hook(lambda _, inputs, output: graphs.append(output.requires_grad))
    _, steps = watched(name, model, toy_stream)
    assert graphs and not any(graphs)
    assert steps.gradients.keys() == PARTS[name]


@pytest.mark.parametrize("name", PARTS)
def test_another_method_trains_the_whole_model_afterwards(name, toy_stream, toy_base):
    first = develop(name, toy_base, toy_stream, **SMALL).model
    after, _ = watched("finetune", copy.deepcopy(first), toy_stream)
    assert {"clip.text_projection", "clip.visual.conv1.weight"} <= moved(first, after.model)


@pytest.mark.parametrize("name", PARTS)
def test_what_a_part_has_learned_stays_for_the_next_round(name, toy_stream, toy_base):
    first = develop(name, toy_base, toy_stream, **SMALL).model
    learned = copy.deepcopy(first)
    again, _ = watched(name, first, toy_stream, steps=0)
    assert not moved(learned, again.model)
    images = toy_stream.test[0].images[:10]
    assert torch.equal(predict_logits(again.model, images), predict_logits(learned, images))
    assert moved(learned, watched(name, first, toy_stream)[0].model) == PARTS[name]


@pytest.mark.parametrize("name", PARTS)
def test_zero_steps_are_the_old_model_bit_for_bit(name, toy_stream, toy_base):
    model = watched(name, copy.deepcopy(toy_base), toy_stream, steps=0)[0].model
    assert moved(toy_base, model) == PARTS[name]
    images = toy_stream.test[0].images[:20]
    assert torch.equal(predict_logits(model, images), predict_logits(toy_base, images))


@pytest.mark.parametrize("name", PARTS)
def test_a_part_learns_the_target_and_forgets_little(name, toy_stream, toy_base):
    model = develop(name, toy_base, toy_stream, lr=methods.load(name).SETTINGS().lr, batch_size=48).model
    data = toy_stream.data[0].test
    assert accuracy(toy_base, data, 5) < 0.3 and accuracy(model, data, 5) > 0.5
    assert min(accuracy(model, data, k) - accuracy(toy_base, data, k) for k in range(5)) > -0.3


# Files


def test_offsets_survive_a_checkpoint_and_mean_nothing_for_other_prompts(tmp_path, toy_stream, toy_base):
    model = develop("linear-probe", toy_base, toy_stream, **SMALL).model.eval()
    path = tmp_path / "probe.safetensors"
    path.write_bytes(checkpoint_bytes(model, "mds-tiny"))
    images = toy_stream.test[0].images[:5]
    loaded = load_checkpoint(path, toy_stream.prompts)
    assert loaded.heads_in is None and torch.equal(loaded(images), model(images))
    others = load_checkpoint(path, tuple(reversed(toy_stream.prompts)))
    assert others.class_offsets is None


def test_offsets_that_exist_are_kept(toy_base):
    model = copy.deepcopy(toy_base)
    model.add_offsets()
    offsets = model.class_offsets
    model.add_offsets()
    assert model.class_offsets is offsets and offsets.shape == model.encode_classes().shape


# Plain classifiers


def plain(*layers) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 8, stride=8), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), *layers)


def test_the_probe_of_a_plain_classifier_is_its_last_layer_and_leaves_running_statistics(toy_stream):
    model = plain(nn.Linear(512, 16), nn.Dropout(0.5), nn.Linear(16, 6))
    after, steps = watched("linear-probe", copy.deepcopy(model), toy_stream, tau=1.0)
    assert steps.trained == moved(model, after.model) == {"6.weight", "6.bias"}


def test_a_model_without_the_part_is_refused_with_a_remedy(toy_stream):
    with pytest.raises(ValueError, match=r"last nn.Linear, and Sequential has none: use finetune"):
        watched("linear-probe", plain(nn.Conv1d(512, 6, 1)), toy_stream)
    with pytest.raises(ValueError, match="needs a ClipClassifier, and Sequential is none: use linear-probe"):
        watched("heads-only", plain(nn.Linear(512, 6)), toy_stream)
