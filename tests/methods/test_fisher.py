"""Fisher information against closed forms and plain autograd."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from methods.clip import predict_logits
from methods.fisher import balanced_rows, fisher_information, image_gradients


def double_classifier(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 4)).double()


def double_images(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, 2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def test_empirical_fisher_of_softmax_regression_has_its_closed_form():
    images, labels = double_images(20), torch.arange(20) % 4
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).double()
    found = fisher_information(model, images, labels, scale=3.0)
    x = images.flatten(1)
    error = 3.0 * ((3.0 * model(images)).softmax(1) - F.one_hot(labels, 4)).detach()
    torch.testing.assert_close(found["1.weight"], (error.square().T @ x.square()) / 20)
    torch.testing.assert_close(found["1.bias"], error.square().mean(0))


def test_true_fisher_of_softmax_regression_approaches_its_closed_form():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).double()
    images = double_images(1).expand(4000, 3, 2, 2)
    p = model(images[:1]).softmax(1)[0].detach()
    found = fisher_information(model, images, max_samples=4000)
    # E_y (p_c - [y = c])^2 = p_c (1 - p_c)
    torch.testing.assert_close(found["1.bias"], p * (1 - p), rtol=0.1, atol=0)


def test_it_is_the_mean_of_squared_gradients_of_single_images():
    model, images, labels = double_classifier(), double_images(6), torch.tensor([0, 1, 2, 3, 0, 1])
    wanted = [torch.zeros_like(p) for p in model.parameters()]
    for image, label in zip(images, labels, strict=True):
        loss = -torch.log_softmax(model(image[None]), 1)[0, label]
        for total, gradient in zip(wanted, torch.autograd.grad(loss, list(model.parameters())), strict=True):
            total += gradient**2 / 6
    found = fisher_information(model, images, labels)
    assert list(found) == [name for name, _ in model.named_parameters()]
    for value, total in zip(found.values(), wanted, strict=True):
        torch.testing.assert_close(value, total)


def test_a_clip_models_gradients_are_those_of_its_forward_pass(toy_base, toy_stream):
    model, images = copy.deepcopy(toy_base), toy_stream.data[0].protected.images[:3]
    labels = toy_stream.data[0].protected.labels[:3]
    names = [name for name, _ in model.named_parameters()]
    found = list(image_gradients(model, images, lambda logits, row: F.cross_entropy(logits, labels[row : row + 1])))
    for row, gradients in enumerate(found):
        model.zero_grad()
        F.cross_entropy(model(images[row : row + 1]), labels[row : row + 1]).backward()
        for name, gradient in zip(names, gradients, strict=True):
            wanted = model.get_parameter(name).grad
            torch.testing.assert_close(gradient, torch.zeros_like(gradient) if wanted is None else wanted)


def test_labels_are_drawn_from_the_model_and_by_the_seed_alone():
    model, images = double_classifier(), double_images(40)
    chances = predict_logits(model, images).softmax(1)
    torch.manual_seed(1)
    one, other = fisher_information(model, images), fisher_information(model, images, seed=1)
    torch.manual_seed(2)
    same = fisher_information(model, images)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert chances.min() < 0.3  # so there is something to draw


def test_a_sure_model_has_no_information_for_its_labels():
    model = double_classifier()
    images = double_images(8)
    answers = predict_logits(model, images).argmax(1)
    assert fisher_information(model, images, answers, scale=1e4)["3.bias"].max() < 1e-12


def test_frozen_weights_are_left_out_and_the_model_is_left_as_it_was(toy_stream):
    model = double_classifier()
    model[1].requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    model.train()
    found = fisher_information(model, double_images(5))
    assert list(found) == ["3.weight", "3.bias"]
    assert model.training and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_dropout_is_off_and_unused_weights_have_no_information():
    class Odd(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Flatten(), nn.Dropout(0.9), nn.Linear(12, 4))
            self.unused = nn.Parameter(torch.ones(2))

    model, images, labels = Odd().double(), double_images(6), torch.zeros(6, dtype=torch.long)
    one, two = (fisher_information(model, images, labels) for _ in range(2))
    assert torch.equal(one["2.weight"], two["2.weight"]) and one["unused"].tolist() == [0, 0]


def test_uint8_images_count_as_their_floats():
    model = double_classifier().float()
    images = (double_images(6) * 255).to(torch.uint8)
    labels = torch.zeros(6, dtype=torch.long)
    one, two = (fisher_information(model, x, labels) for x in (images, images.float() / 255))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_no_more_than_max_samples_are_looked_at_and_classes_evenly():
    model, images, labels = double_classifier(), double_images(12), torch.tensor([0] * 9 + [1] * 3)
    rows = balanced_rows(labels, 4, seed=5)
    found = fisher_information(model, images, labels, max_samples=4, seed=5)
    wanted = fisher_information(model, images[rows], labels[rows])
    assert labels[rows].bincount().tolist() == [2, 2]
    for name in found:
        torch.testing.assert_close(found[name], wanted[name])


@settings(deadline=None, max_examples=50)
@given(labels=st.lists(st.integers(0, 5), min_size=1, max_size=40), count=st.integers(1, 50), seed=st.integers(0, 9))
def test_balanced_rows_differ_by_one_a_class_unless_a_class_runs_out(labels, count, seed):
    y = torch.tensor(labels)
    rows = balanced_rows(y, count, seed)
    assert len(rows) == len(rows.unique()) == min(count, len(y))
    taken, there = y[rows].bincount(minlength=6), y.bincount(minlength=6)
    left = taken < there
    assert (taken[left] >= taken.max() - 1).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_balanced_rows_follow_the_seed(seed):
    y = torch.arange(100) % 3
    assert torch.equal(balanced_rows(y, 30, seed), balanced_rows(y, 30, seed))
    assert not torch.equal(balanced_rows(y, 30, seed), balanced_rows(y, 30, seed + 1))
