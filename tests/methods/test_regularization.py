"""Regularisation against closed forms, plain autograd and Avalanche's own plugins."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.training.plugins import EWCPlugin, MASPlugin
from torch import nn
from torch.utils.data import TensorDataset

import methods
from methods.clip import predict_logits
from methods.fisher import balanced_rows, fisher_information
from methods.regularization import EWC, MAS, LwF
from tests.methods.developing import accuracy, develop

NAMES = ("ewc", "online-ewc", "mas", "l2-sp", "lwf")
PENALTIES = ("ewc", "online-ewc", "mas", "l2-sp")


def plain_classifier() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3))


def plain_data(labels: list[int], seed: int = 0):
    """An Avalanche experience with random images of the given labels."""
    rng = torch.Generator().manual_seed(seed)
    data = TensorDataset(torch.rand(len(labels), 3, 2, 2, generator=rng), torch.tensor(labels))
    data.targets = labels  # type: ignore[attr-defined]
    experience = benchmark_from_datasets(train=[as_classification_dataset(data)]).streams["train"][0]
    experience.images, experience.labels = data.tensors
    return experience


def prepared(name: str, **changes):
    """A strategy on a plain classifier just before the first step of a round, its model and the protected data."""
    strategy_class = methods.load(name)
    settings = strategy_class.SETTINGS(**{"steps": 5, "batch_size": 8, **changes})
    strategy = strategy_class(model=plain_classifier(), settings=settings)
    strategy.experience = plain_data([2] * 20, seed=1)
    strategy.protect(plain_data([0, 1] * 6))
    strategy.make_train_dataloader()
    strategy.check_model_and_optimizer()
    strategy.prepare_round()
    return strategy


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_less_is_forgotten_than_by_finetuning(name, toy_stream, toy_base, finetuned):
    kept = develop(name, toy_base, toy_stream).model
    data = toy_stream.data[0].test
    worst = {m: min(accuracy(m, data, k) - accuracy(toy_base, data, k) for k in range(5)) for m in (finetuned, kept)}
    assert worst[kept] > worst[finetuned] + 0.1
    assert accuracy(kept, data, 5) > accuracy(toy_base, data, 5) + 0.3


@pytest.fixture(scope="module")
def finetuned(toy_stream, toy_base):
    return develop("finetune", toy_base, toy_stream).model


def trained(name: str, **changes):
    strategy = prepared(name, lr=0.01, **changes)
    strategy.train(strategy.experience, eval_streams=[])
    return strategy


@pytest.mark.parametrize("name", NAMES)
def test_strength_zero_is_finetuning_bit_for_bit_and_strength_holds_the_weights(name):
    naive, free, held = trained("finetune"), trained(name, strength=0.0), trained(name, strength=100.0)
    weights = [nn.utils.parameters_to_vector(s.model.parameters()) for s in (naive, free, held)]
    old = nn.utils.parameters_to_vector(plain_classifier().parameters())
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.stack(naive.losses), torch.stack(free.losses))
    assert (weights[2] - old).norm() < (weights[0] - old).norm()


@pytest.mark.parametrize("name", PENALTIES)
def test_the_gradient_is_that_of_the_loss_with_the_penalty(name):
    strategy = prepared(name, strength=0.7)
    model, old = strategy.model, copy.deepcopy(list(strategy.model.parameters()))
    importance = strategy.importance or [torch.ones_like(w) for w in old]
    assert all((i >= 0).all() and i.isfinite().all() for i in importance) and sum(i.sum() for i in importance) > 0
    with torch.no_grad():
        for number, w in enumerate(model.parameters()):
            w += 0.1 * (number + 1)
    images, labels = plain_data([2] * 8).images, torch.full((8,), 2)

    wanted = strategy.round_loss(model(images), labels) + 0.35 * sum(
        (i * (w - o.detach()) ** 2).sum() for i, w, o in zip(importance, model.parameters(), old, strict=True)
    )
    gradients = torch.autograd.grad(wanted, list(model.parameters()))
    strategy.loss = strategy.round_loss(model(images), labels)
    strategy.backward()
    torch.testing.assert_close(strategy.loss, wanted.detach())
    for w, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(w.grad, gradient)


@pytest.mark.parametrize("name", PENALTIES)
def test_weights_without_a_gradient_are_left_alone(name):
    strategy_class = methods.load(name)
    model = plain_classifier()
    model.register_parameter("unused", nn.Parameter(torch.ones(3)))
    model.forward = lambda x: model[3](model[2](model[1](model[0](x))))  # not through the parameter itself
    model[1].requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    strategy = strategy_class(model=model, settings=strategy_class.SETTINGS(steps=3, batch_size=8, lr=0.01))
    strategy.protect(plain_data([0, 1] * 6))
    strategy.train(plain_data([2] * 20, seed=1), eval_streams=[])
    after = model.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["3.weight", "3.bias"]


def test_ewc_weighs_by_the_fisher_information_of_the_old_model_on_protected_images():
    strategy = prepared("ewc", samples=7)
    data = strategy.protected
    rows = balanced_rows(data.labels, 7, strategy.seed)
    wanted = fisher_information(strategy.model, data.images[rows], seed=strategy.seed)
    assert len(rows) == 7
    for found, total in zip(strategy.importance, wanted.values(), strict=True):
        torch.testing.assert_close(found, total)


def test_mas_weighs_by_the_mean_absolute_gradient_of_single_images():
    strategy = prepared("mas")
    parameters, images = list(strategy.model.parameters()), strategy.protected.images
    wanted = [torch.zeros_like(w) for w in parameters]
    for image in images:
        gradients = torch.autograd.grad(strategy.model(image[None]).norm() ** 2, parameters)
        for total, gradient in zip(wanted, gradients, strict=True):
            total += gradient.abs() / len(images)
    for found, total in zip(strategy.importance, wanted, strict=True):
        torch.testing.assert_close(found, total)


def avalanche_view(strategy, batch_size: int) -> SimpleNamespace:
    """What Avalanche's plugins look at, as if the strategy had just trained on the protected data."""
    return SimpleNamespace(
        model=strategy.model,
        _criterion=nn.CrossEntropyLoss(),
        optimizer=strategy.optimizer,
        experience=strategy.protected,
        device=torch.device("cpu"),
        train_mb_size=batch_size,
        clock=SimpleNamespace(train_exp_counter=0),
    )


def penalty_and_gradient(strategy):
    """Of our penalty alone, after every weight has moved by 0.2."""
    for w in strategy.weights:
        w.grad = torch.zeros_like(w)
        w.data += 0.2
    penalty = strategy._add_penalty()
    return penalty, [w.grad.clone() for w in strategy.weights]


@pytest.mark.parametrize(("name", "plugin"), [("ewc", EWCPlugin(3.0)), ("mas", MASPlugin(3.0))])
def test_penalties_are_avalanches_where_its_batches_hold_one_image(name, plugin):
    strategy = prepared(name, strength=6.0)  # Avalanche has no factor 1/2
    if name == "ewc":  # Avalanche takes the true labels
        data = strategy.protected
        strategy.importance = list(fisher_information(strategy.model, data.images, data.labels).values())
    view = avalanche_view(strategy, batch_size=1)
    plugin.after_training_exp(view)
    strategy.optimizer.zero_grad()
    penalty, gradients = penalty_and_gradient(strategy)

    strategy.optimizer.zero_grad()
    view.clock.train_exp_counter, view.loss = 1, torch.ones(())  # MASPlugin takes a loss of 0 for none
    plugin.before_backward(view)
    torch.testing.assert_close(penalty, view.loss.detach() - 1)
    view.loss.backward()
    for w, gradient in zip(strategy.weights, gradients, strict=True):
        torch.testing.assert_close(w.grad, gradient)


def test_avalanches_importances_shrink_with_the_size_of_its_batches_and_ours_have_none():
    strategy = prepared("mas")
    data, ours = strategy.protected, sum(i.sum() for i in strategy.importance)
    mas, ewc = MASPlugin(), EWCPlugin(1.0)
    view = avalanche_view(strategy, batch_size=len(data.images))
    mas.after_training_exp(view)
    ewc.after_training_exp(view)
    fisher = fisher_information(strategy.model, data.images, data.labels).values()
    assert sum(i.data.sum() for i in mas.importance.values()) < 0.99 * ours
    assert sum(i.data.sum() for i in ewc.importances[0].values()) < 0.7 * sum(i.sum() for i in fisher)


def test_lwf_is_the_hand_computed_distillation_of_all_classes_but_the_target(toy_stream, toy_base):
    compared = []

    class Watched(LwF):
        def round_loss(self, logits, labels):
            found = super().round_loss(logits, labels)
            old = predict_logits(toy_base, (self.mb_x * 255).round().to(torch.uint8))[:, :5] / 3.0
            new = logits.detach()[:, :5] / 3.0
            gap = old.log_softmax(1) - new.log_softmax(1)
            distillation = (old.softmax(1) * gap).sum(1).mean()
            wanted = F.cross_entropy(logits.detach(), labels) + 2.0 * distillation  # at t = the model's temperature
            torch.testing.assert_close(found.detach(), wanted, rtol=1e-4, atol=1e-5)
            compared.append(distillation)
            return found

    settings = LwF.SETTINGS(steps=4, batch_size=16, lr=1e-3, strength=2.0, distillation_temperature=3.0)
    strategy = Watched(model=copy.deepcopy(toy_base), settings=settings)
    strategy.train(toy_stream.train[0], eval_streams=[])
    assert compared[0].abs() < 1e-5 and compared[-1] > 0.01


@pytest.mark.parametrize("strategy_class", [EWC, MAS])
def test_a_method_that_needs_protected_data_says_so(strategy_class, toy_stream, toy_base):
    strategy = strategy_class(model=copy.deepcopy(toy_base), settings=strategy_class.SETTINGS(steps=1))
    with pytest.raises(ValueError, match="call protect"):
        strategy.train(toy_stream.train[0], eval_streams=[])


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_of_the_old_model_is_let_go_after_the_round(name):
    strategy = trained(name)
    if name == "lwf":
        assert strategy.distillation.prev_model is None
    else:
        assert strategy.old_weights == [] and strategy.importance is None
