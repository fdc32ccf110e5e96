"""Synaptic intelligence: the path integral by closed forms and Avalanche's plugin, the way and the return by hand."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from avalanche.training.plugins import SynapticIntelligencePlugin
from torch import nn

from methods.synaptic_intelligence import SI, PathIntegral, SISettings
from methods.weight_space import snapshot
from tests.methods.developing import check_less_is_forgotten_than_by_finetuning
from tests.methods.test_regularization import plain_classifier, plain_data

CURVATURE, MINIMUM = torch.tensor([1.0, 4.0, 0.0, 9.0]).double(), torch.tensor([1.0, -2.0, 0.0, 0.3]).double()


def walked(steps: int, lr: float):
    """A walk down a quadratic loss by gradient descent: its path integral, both losses, start and end."""
    w = nn.Parameter(torch.tensor([3.0, 1.0, 2.0, -0.5]).double())
    start, path, optimizer = w.detach().clone(), PathIntegral([w]), torch.optim.SGD([w], lr)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (CURVATURE * (w - MINIMUM) ** 2).sum() / 2
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        path.add_step()
    losses.append(((CURVATURE * (w - MINIMUM) ** 2).sum() / 2).item())
    return path, losses, start, w.detach()


def test_with_small_steps_the_integral_is_what_each_weight_takes_off_a_quadratic_loss():
    path, losses, start, end = walked(2000, 1e-3)
    wanted = CURVATURE / 2 * ((start - MINIMUM) ** 2 - (end - MINIMUM) ** 2)
    torch.testing.assert_close(path.omega[0], wanted, rtol=5e-3, atol=1e-12)
    assert path.omega[0].sum().item() == pytest.approx(losses[0] - losses[-1], rel=5e-3)


def test_at_the_minimum_the_importance_is_half_the_curvature_and_damping_is_what_it_says():
    path, _, start, end = walked(20_000, 1e-3)
    torch.testing.assert_close(path.importance([start], 1e-12)[0], CURVATURE / 2, rtol=6e-3, atol=1e-12)
    damped = path.omega[0] / ((end - start) ** 2 + 0.7)
    torch.testing.assert_close(path.importance([start], 0.7)[0], damped)


def test_a_weight_that_went_uphill_has_no_importance_and_one_without_a_gradient_has_not_moved():
    w, unused = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.ones(1))
    path = PathIntegral([w, unused])
    w.grad = torch.tensor([1.0, -1.0])
    with torch.no_grad():
        w += torch.tensor([0.5, 0.5])
    path.add_step()
    assert path.omega[0].tolist() == [-0.5, 0.5] and path.omega[1].tolist() == [0]
    assert path.importance([torch.zeros(2), torch.ones(1)], 0.75)[0].tolist() == [0, 0.5]


def copies(model, target, excluded):
    """Avalanche's ``extract_weights``, but no views of the weights that go on moving."""
    for name, parameter in SynapticIntelligencePlugin.allowed_parameters(model, excluded):
        target[name].data = parameter.detach().clone().flatten()


def test_avalanches_plugin_sees_no_way_on_the_cpu():
    plugin = along_avalanche(plain_classifier())[0]
    assert all((importance.data == 0).all() for importance in plugin.ewc_data[1].values())


def along_avalanche(model):
    """Avalanche's plugin, our path and where it began, after one training that both looked at."""
    data = plain_data([0, 1, 2] * 8)
    plugin, optimizer = SynapticIntelligencePlugin(6.0, eps=100.0), torch.optim.Adam(model.parameters(), 1e-2)
    view = SimpleNamespace(model=model, device=torch.device("cpu"), clock=SimpleNamespace(train_exp_counter=0))
    start = [w.detach().clone() for w in model.parameters()]
    path = PathIntegral(list(model.parameters()))
    plugin.before_training_exp(view)
    for step in range(12):
        plugin.before_training_iteration(view)
        optimizer.zero_grad()
        rows = torch.arange(8) + 8 * (step % 3)
        F.cross_entropy(model(data.images[rows]), data.labels[rows]).backward()
        optimizer.step()
        plugin.after_training_iteration(view)
        path.add_step()
    plugin.after_training_exp(view)
    return plugin, path, start, view


def test_the_importance_is_avalanches_where_it_copies_and_neither_cuts_nor_turns_negative(monkeypatch):
    monkeypatch.setattr(SynapticIntelligencePlugin, "extract_weights", staticmethod(copies))
    model = plain_classifier()
    plugin, path, start, view = along_avalanche(model)
    ours = path.importance(start, 100.0)
    for (name, _), found in zip(model.named_parameters(), ours, strict=True):
        theirs = plugin.ewc_data[1][name].data.view_as(found)
        assert theirs.max() < 1e-3  # where it cuts
        torch.testing.assert_close(found, theirs.clamp_min(0), rtol=1e-4, atol=1e-10)
    assert sum(found.sum() for found in ours) > 0

    strategy = SI(model=model, settings=SISettings(strength=6.0))
    strategy.weights, strategy.importance = list(model.parameters()), ours
    strategy.old_weights = [w.detach().clone() for w in strategy.weights]
    for name in plugin.ewc_data[1]:
        plugin.ewc_data[1][name].data.clamp_(min=0)
    for w in strategy.weights:
        w.data += 0.3
        w.grad = torch.zeros_like(w)
    penalty, view.loss = strategy._add_penalty(), torch.zeros(())
    plugin.before_backward(view)
    torch.testing.assert_close(penalty, view.loss.detach(), rtol=1e-4, atol=1e-10)


class Steps:
    """Keeps what every step saw and did."""

    def before_training_exp(self, strategy, **kwargs):
        self.shown, self.rates, self.before, self.after, self.gradients = [], [], [], [], []

    def before_update(self, strategy, **kwargs):
        self.shown.append((strategy.mb_x.clone(), strategy.mb_y.clone()))
        self.rates.append(strategy.optimizer.param_groups[0]["lr"])
        self.before.append([w.detach().clone() for w in strategy.model.parameters()])
        self.gradients.append([w.grad.clone() for w in strategy.model.parameters()])

    def after_update(self, strategy, **kwargs):
        self.after.append([w.detach().clone() for w in strategy.model.parameters()])
        if len(self.after) == strategy.first:
            self.importance, self.moments = list(strategy.importance), len(strategy.optimizer.state)
            self.returned = snapshot(strategy.model)


def rounded(model, **changes):
    """A strategy after a round on ``model``, and its steps: three on the way, twelve on the target."""
    steps = Steps()
    settings = SISettings(**{"steps": 15, "batch_size": 8, "lr": 0.01, "weight_decay": 0.0, "xi": 1e-4} | changes)
    strategy = SI(model=model, settings=settings, plugins=[steps])
    strategy.protect(plain_data([0, 1] * 6))
    strategy.train(plain_data([2] * 20, seed=1), eval_streams=[])
    return strategy, steps


def test_the_way_is_on_protected_images_is_measured_and_taken_back():
    old = list(plain_classifier().parameters())
    strategy, steps = rounded(plain_classifier(), strength=3.0)
    seen = [labels.tolist() for _, labels in steps.shown]
    assert sorted(seen[0] + seen[1] + seen[2]) == [0] * 12 + [1] * 12 and seen[3:] == [[2] * 8] * 12
    images, labels = steps.shown[0]
    loss = F.cross_entropy(plain_classifier()(images) / 0.05, labels)
    torch.testing.assert_close(strategy.losses[0], loss.detach(), rtol=1e-4, atol=1e-5)
    ways = [steps.before[1], steps.before[2]]
    last = way_of_adam(old, steps, 3)
    for k, start in enumerate(old):
        points = [start.detach(), ways[0][k], ways[1][k], last[k]]
        omega = -sum(steps.gradients[s][k] * (points[s + 1] - points[s]) for s in range(3))
        wanted = omega.clamp_min(0) / ((points[3] - points[0]) ** 2 + 1e-4)
        torch.testing.assert_close(steps.importance[k], wanted, rtol=1e-3, atol=1e-6)
        assert torch.equal(steps.after[2][k], start) and steps.importance[k].max() > 0
    assert steps.moments == 0 and strategy.path is None and strategy.start == {}


def way_of_adam(start, steps: Steps, count: int):
    """Where AdamW goes from ``start`` by the kept gradients of the first steps."""
    weights = [nn.Parameter(w.detach().clone()) for w in start]
    optimizer = torch.optim.AdamW(weights, weight_decay=0.0)
    for step in range(count):
        for w, gradient in zip(weights, steps.gradients[step], strict=True):
            w.grad = gradient
        optimizer.param_groups[0]["lr"] = steps.rates[step]
        optimizer.step()
    return [w.detach() for w in weights]


def test_afterwards_it_is_fine_tuning_with_the_penalty_from_the_old_weights_and_a_fresh_optimizer():
    strategy, steps = rounded(plain_classifier(), strength=3.0)
    model = plain_classifier()
    old = [w.detach().clone() for w in model.parameters()]
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    for (images, labels), rate in list(zip(steps.shown, steps.rates, strict=True))[3:]:
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        shifts = [(w - before) ** 2 for w, before in zip(model.parameters(), old, strict=True)]
        penalty = sum((i * s).sum() for i, s in zip(steps.importance, shifts, strict=True))
        (F.cross_entropy(model(images) / 0.05, labels) + 1.5 * penalty).backward()
        optimizer.step()
    for found, wanted in zip(strategy.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)


def test_running_statistics_come_back_too():
    torch.manual_seed(0)
    base = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
    old = snapshot(base)
    _, steps = rounded(copy.deepcopy(base))
    assert old.keys() == steps.returned.keys() and all(torch.equal(old[key], steps.returned[key]) for key in old)


def test_strength_holds_the_weights():
    old = nn.utils.parameters_to_vector(plain_classifier().parameters())
    free, held = (rounded(plain_classifier(), strength=strength)[0].model for strength in (0.0, 1e4))
    moved = [(nn.utils.parameters_to_vector(model.parameters()) - old).norm() for model in (free, held)]
    assert moved[1] < 0.5 * moved[0]


def test_it_needs_protected_data(toy_stream, toy_base):
    strategy = SI(model=copy.deepcopy(toy_base), settings=SISettings(steps=1))
    with pytest.raises(ValueError, match="call protect"):
        strategy.train(toy_stream.train[0], eval_streams=[])


def test_less_is_forgotten_than_by_finetuning_and_the_target_is_learned(toy_stream, toy_base):
    check_less_is_forgotten_than_by_finetuning(["si"], toy_base, toy_stream, gained=0.3)
