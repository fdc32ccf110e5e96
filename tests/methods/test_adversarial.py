"""An attack in one step against its closed form and finite differences, and what RCAT under attack trains on."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from torch import nn

from methods.adversarial import RCATAdv, one_step_attack
from methods.batches import generator
from methods.clip import predict_logits
from methods.nonregression import RCAT

SIZE, CLASSES, TAU = 4, 3, 0.5


def pictures(count: int, seed: int, size: int = SIZE, classes: int = CLASSES):
    """Random images in float64, some of their pixels black or white, and labels."""
    rng = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, size, size, generator=rng, dtype=torch.float64) * 2 - 0.5
    return images.clamp(0, 1), torch.randint(classes, (count,), generator=rng)


class Seen:
    """A forward hook that keeps the images that a model is shown, and the mode it is in."""

    def __init__(self, model: nn.Module) -> None:
        self.images, self.training = [], []
        model.register_forward_hook(self)

    def __call__(self, model, inputs, output):
        self.images.append(inputs[0].detach().clone())
        self.training.append(model.training)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**31), st.sampled_from([0.0, 1 / 255, 8 / 255, 0.4]))
def test_of_a_linear_model_it_is_the_closed_form(count, seed, epsilon):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE**2, CLASSES)).double()
    x, y = pictures(count, seed)
    weight, seen = model[1].weight, Seen(model)
    attacked = one_step_attack(model, x, y, epsilon, TAU, generator(seed, "attack"))
    (start,) = seen.images
    pull = (
        (model(start) / TAU).softmax(dim=1) - F.one_hot(y, CLASSES)
    ) @ weight  # the gradient, times a positive number
    wanted = (x + epsilon * pull.sign().view_as(x)).clamp(0, 1)
    torch.testing.assert_close(attacked, wanted.detach(), rtol=0, atol=1e-12)


def test_the_gradient_is_taken_at_a_random_start_in_evaluation_mode():
    torch.manual_seed(0)
    layers = (nn.Linear(3 * SIZE**2, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, CLASSES))
    model = nn.Sequential(nn.Flatten(), *layers).double().train()
    x, y = pictures(5, 1)
    seen, epsilon, before = Seen(model), 0.3, copy.deepcopy(model.state_dict())
    attacked = one_step_attack(model, x, y, epsilon, TAU, generator(0, "attack"))
    (start,) = seen.images
    assert seen.training == [False] and model.training and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not attacked.requires_grad and kstest(((start - x) / epsilon).flatten(), "uniform", (-1, 2)).pvalue > 0.01

    def loss(images):
        with torch.no_grad():
            return F.cross_entropy(model.eval()(images) / TAU, y).item()

    for place in range(0, x.numel(), 7):
        step = torch.zeros(x.numel(), dtype=x.dtype)
        step[place] = 1e-5
        slope = (loss(start + step.view_as(x)) - loss(start - step.view_as(x))) / 2e-5
        wanted = (x.flatten()[place] + epsilon * (1 if slope > 0 else -1)).clamp(0, 1)
        assert abs(slope) > 1e-7 and attacked.flatten()[place].item() == pytest.approx(wanted.item(), abs=1e-12)


def test_a_pixel_that_does_not_matter_keeps_its_start_and_draws_follow_the_generator():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE**2, CLASSES)).double()
    x, y = pictures(2, 3)
    with torch.no_grad():
        model[1].weight[:, 5] = 0
    x.flatten(1)[:, 5] = 0.5
    one, same, other = (one_step_attack(model, x, y, 0.1, TAU, generator(seed, "attack")) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    change = (one - x).flatten(1)[:, 5].abs()
    assert (change > 0).all() and (change < 0.1 - 1e-6).all()


def test_it_misleads_a_clip_model_more_than_noise_of_the_same_size(toy_base, toy_stream):
    data, epsilon = toy_stream.data[0].protected, 4 / 255
    x, y = data.images[::5].float() / 255, data.labels[::5]
    attacked = one_step_attack(toy_base, x, y, epsilon, 0.05, generator(0, "attack"))
    noise = torch.randint(2, x.shape, generator=generator(0, "noise")) * 2.0 - 1
    assert (attacked - x).abs().max() < epsilon + 1e-6 and attacked.min() >= 0 and attacked.max() <= 1
    clean, noisy, misled = (
        F.cross_entropy(predict_logits(toy_base, images), y)
        for images in (x, (x + epsilon * noise).clamp(0, 1), attacked)
    )
    assert misled - clean > 5 * (noisy - clean).abs()


# Rounds


class Clean:
    """A plugin that keeps the images of each step as the batches hold them."""

    def before_training_iteration(self, strategy, **kwargs):
        self.images = strategy.mb_x.clone()


def trained(strategy_class, model, stream, plugins=(), **changes):
    chosen = strategy_class.SETTINGS(**{"steps": 6, "batch_size": 24, "lr": 1e-3} | changes)
    strategy = strategy_class(model=copy.deepcopy(model), settings=chosen, plugins=list(plugins))
    strategy.protect(stream.protected[0])
    strategy.train(stream.train[0], eval_streams=[])
    return strategy


def test_every_step_of_both_phases_is_under_attack_by_the_model_as_it_is(toy_base, toy_stream):
    clean, epsilon, misled = Clean(), 4 / 255, []

    class Watched(RCATAdv):
        def round_loss(self, logits, labels):
            change = (self.mb_x - clean.images).abs()
            assert change.max() < epsilon + 1e-6 and (change > epsilon - 1e-6).float().mean() > 0.5
            (found,) = {p.grad for p in self.model.parameters()}
            assert found is None  # the attack leaves no gradients
            with torch.no_grad():
                z = self.model(clean.images)
            misled.append((F.cross_entropy(logits, labels) - F.cross_entropy(z, labels)).item())
            return super().round_loss(logits, labels)

    trained(Watched, toy_base, toy_stream, [clean], epsilon=epsilon)
    assert len(misled) == 6 and min(misled) > 0.01


def test_without_room_for_an_attack_it_is_rcat(toy_base, toy_stream):
    clean = torch.stack(trained(RCAT, toy_base, toy_stream).losses)
    torch.testing.assert_close(
        torch.stack(trained(RCATAdv, toy_base, toy_stream, epsilon=0.0).losses), clean, rtol=1e-3, atol=1e-3
    )
    assert (torch.stack(trained(RCATAdv, toy_base, toy_stream).losses) > clean + 0.01)[:2].all()


def test_what_was_trained_under_attack_withstands_it_better(toy_stream):
    torch.manual_seed(0)
    plain = nn.Sequential(nn.AvgPool2d(32), nn.Flatten(), nn.Linear(12, 6))
    chosen = {"steps": 60, "lr": 0.1, "tau": 1.0, "weight_decay": 0.0, "weights": (0.0, 0.0), "epsilon": 0.125}
    data = toy_stream.data[0].test
    x, y = data.images.float() / 255, data.labels
    losses = []
    for strategy_class in (RCAT, RCATAdv):
        known = {key: value for key, value in chosen.items() if key in strategy_class.SETTINGS.model_fields}
        model = trained(strategy_class, plain, toy_stream, **known).model
        attacked = one_step_attack(model, x, y, 0.125, 1.0, generator(1, "attack"))
        losses.append(F.cross_entropy(predict_logits(model, attacked), y).item())
    assert losses[1] < 0.9 * losses[0]
