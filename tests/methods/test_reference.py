"""Reference rows: going back, training on everything, and averaging all models so far."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn

import methods
from methods.clip import predict_logits
from methods.reference import Averaged, Ensemble, ZeroShot
from tests.conftest import make_toy_stream
from tests.methods.developing import develop

SMALL = {"steps": 4, "batch_size": 32}


@pytest.fixture(scope="module")
def images(toy_stream):
    return toy_stream.test[0].images[::9]


def round_of(strategy, stream, number=0):
    strategy.protect(stream.protected[number])
    strategy.train(stream.train[number], eval_streams=[])
    return strategy


def same_weights(one, two) -> bool:
    first, second = one.state_dict(), two.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


# Going back


@pytest.mark.parametrize("name", ["mds", "linear-probe", "ensemble"])
def test_zero_shot_undoes_a_development(name, toy_stream, toy_base, images):
    developed = develop(name, toy_base, toy_stream, **SMALL, lr=1e-3).model
    assert not torch.equal(predict_logits(developed, images), predict_logits(toy_base, images))
    strategy, scored = ZeroShot(model=developed), []
    strategy.pretrained = toy_base
    round_of(strategy, toy_stream)
    strategy.propose(lambda candidate: scored.append(predict_logits(strategy.model, images)))
    assert same_weights(strategy.model, toy_base) and strategy.model is not toy_base
    assert strategy.proposes and len(scored) == 1 and torch.equal(scored[0], predict_logits(toy_base, images))


def test_zero_shot_without_a_pretrained_model_keeps_the_current_one(toy_stream, toy_base):
    assert same_weights(develop("zero-shot", toy_base, toy_stream).model, toy_base)


@pytest.mark.parametrize("name", ["frozen", "zero-shot"])
def test_rows_that_do_not_train_take_no_steps(name):
    with pytest.raises(ValidationError):
        methods.load(name).SETTINGS(steps=1)
    assert not methods.load(name).trains and not methods.load(name).SETTINGS.GRID


# Training on everything


def test_joint_is_cross_entropy_on_equal_parts_of_all_classes(toy_stream, toy_base):
    outputs = []

    class Watch:
        def after_forward(self, strategy, **kwargs):
            outputs.append((strategy.mb_output.detach().double(), strategy.mb_y))

    joint = methods.load("joint")
    settings = joint.SETTINGS(steps=1, batch_size=36, tau=0.1)
    strategy = round_of(joint(model=copy.deepcopy(toy_base), settings=settings, plugins=[Watch()]), toy_stream)
    ((logits, labels),) = outputs
    assert labels.bincount().tolist() == [6] * 6
    assert strategy.losses[0].item() == pytest.approx(F.cross_entropy(logits / 2, labels).item(), rel=1e-5)


# Averaging


def test_an_ensemble_answers_with_the_mean_of_the_old_and_a_finetuned_model(toy_stream, toy_base, images):
    ensemble = develop("ensemble", toy_base, toy_stream, **SMALL).model
    finetuned = develop("finetune", toy_base, toy_stream, **SMALL).model
    assert same_weights(ensemble.members[0], toy_base) and same_weights(ensemble.members[1], finetuned)
    old, new = (predict_logits(model, images) for model in (toy_base, finetuned))
    assert (old - new).abs().max() > 0.1
    torch.testing.assert_close(predict_logits(ensemble, images).double(), (old.double() + new.double()) / 2)


def test_each_round_adds_a_member_trained_from_the_newest_and_moves_no_other(toy_base, images):
    stream = make_toy_stream(seed=0, rounds=2)
    first = develop("ensemble", toy_base, stream, **SMALL).model
    kept = copy.deepcopy(first)
    settings = Ensemble.SETTINGS(**SMALL)
    second = round_of(Ensemble(model=first, settings=settings), stream, 1).model
    assert len(second.members) == 3 and not any(isinstance(member, Averaged) for member in second.members)
    assert all(same_weights(a, b) for a, b in zip(second.members[:2], kept.members, strict=True))
    alone = methods.load("finetune")(model=copy.deepcopy(kept.members[1]), settings=settings)
    assert same_weights(second.members[2], round_of(alone, stream, 1).model)
    trainable = [any(p.requires_grad for p in member.parameters()) for member in second.members]
    assert trainable == [False, False, True]
    mean = torch.stack([predict_logits(member, images).double() for member in second.members]).mean(0)
    torch.testing.assert_close(predict_logits(second, images).double(), mean)


@pytest.mark.parametrize("changes", [{"steps": 0}, {**SMALL, "lr": 0.0}])
def test_an_ensemble_that_learns_nothing_is_the_old_model_bit_for_bit(changes, toy_stream, toy_base, images):
    model = develop("ensemble", toy_base, toy_stream, **changes).model
    assert torch.equal(predict_logits(model, images), predict_logits(toy_base, images))


def test_zero_steps_leave_an_ensemble_of_two_bit_for_bit(toy_stream, toy_base, images):
    first = develop("ensemble", toy_base, toy_stream, **SMALL).model
    old = predict_logits(first, images)
    again = round_of(Ensemble(model=first, settings=Ensemble.SETTINGS(steps=0)), toy_stream).model
    assert torch.equal(predict_logits(again, images), old)


def test_weights_of_an_ensemble_can_be_put_back(toy_stream, toy_base, images):
    strategy = develop("ensemble", toy_base, toy_stream, **SMALL)
    kept, old = copy.deepcopy(strategy.model.state_dict()), predict_logits(strategy.model, images)
    with torch.no_grad():
        for parameter in strategy.model.parameters():
            parameter.add_(0.1)
    strategy.model.load_state_dict(kept)
    assert torch.equal(predict_logits(strategy.model, images), old)


def test_running_statistics_of_old_members_stand_still_while_the_newest_trains():
    member = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12), nn.Linear(12, 3))
    model = Averaged([copy.deepcopy(member), member]).train()
    x = torch.rand(5, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    model(x).sum().backward()
    old, new = model.members
    assert not old.training and new.training
    assert old[1].num_batches_tracked == 0 and new[1].num_batches_tracked == 1
    assert old[2].weight.grad is None and new[2].weight.grad is not None
