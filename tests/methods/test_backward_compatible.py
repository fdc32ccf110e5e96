"""BCT against its two losses written out with two models, and what the old classifier makes of new features."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from scipy.special import log_softmax
from torch import nn

from methods.backward_compatible import BCT, BCTSettings
from methods.class_bias import add_class_bias
from methods.nonregression import NonRegressionSettings
from methods.strategy import RoundStrategy
from tests.methods.developing import develop

TAU = 0.05
SHORT = {"steps": 4, "batch_size": 24, "lr": 1e-3}


def trained(strategy_class, model, stream, **changes):
    strategy = strategy_class(model=copy.deepcopy(model), settings=strategy_class.SETTINGS(**SHORT | changes))
    strategy.protect(stream.protected[0])
    strategy.train(stream.train[0], eval_streams=[])
    return strategy


@pytest.fixture(params=[False, True], ids=["plain", "biased"])
def old_model(request, toy_base):
    """The toy base, also with a bias of the classes, which is part of a classifier."""
    model = copy.deepcopy(toy_base)
    if request.param:
        add_class_bias(model, 6)
        model.class_bias += torch.linspace(-3, 3, 6)
    return model


@pytest.mark.parametrize("influence", [0.7, 0.0])
def test_loss_and_gradient_are_those_of_two_classifiers_written_out(influence, old_model, toy_stream):
    compared = []
    bias = torch.zeros(6) if old_model.class_bias is None else old_model.class_bias * old_model.temperature

    class Watched(BCT):
        def backward(self):
            super().backward()
            now = copy.deepcopy(self.model)
            now.zero_grad()
            with torch.no_grad():
                old_classes = old_model.encode_classes()
            new, old = (
                (now.encode_images(self.mb_x) @ classes.T + bias) / TAU
                for classes in (now.encode_classes(), old_classes)
            )
            (
                F.nll_loss(new.log_softmax(1), self.mb_y) + influence * F.nll_loss(old.log_softmax(1), self.mb_y)
            ).backward()
            for (name, found), wanted in zip(self.model.named_parameters(), now.parameters(), strict=True):
                assert (found.grad is None) == (wanted.grad is None), name
                if wanted.grad is not None:
                    torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-3, atol=1e-6)
            rows = range(len(self.mb_y))
            losses = [-log_softmax(z.detach().double(), axis=1)[rows, self.mb_y].mean() for z in (new, old)]
            assert self.loss.item() == pytest.approx(losses[0] + influence * losses[1], rel=1e-4)
            compared.append(abs(losses[0] - losses[1]))

    trained(Watched, old_model, toy_stream, influence=influence)
    assert len(compared) == SHORT["steps"] and compared[0] < 1e-4 < 0.1 < max(compared)


def test_without_influence_it_is_cross_entropy_alone(toy_base, toy_stream):
    class CrossEntropy(RoundStrategy):
        SETTINGS = NonRegressionSettings

        def round_loss(self, logits, labels):
            return F.cross_entropy(logits * self.temperature / TAU, labels)

    wanted = trained(CrossEntropy, toy_base, toy_stream).model.state_dict()
    found = trained(BCT, toy_base, toy_stream, influence=0.0).model.state_dict()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_more_influence_makes_new_features_work_better_with_the_old_classifier(toy_base, toy_stream):
    data = toy_stream.data[0].test
    models = [
        develop("bct", toy_base, toy_stream, steps=20, influence=influence).model for influence in (0.0, 0.3, 10.0)
    ]
    with torch.no_grad():
        by_old = [model.similarity(data.images, toy_base.encode_classes()) / TAU for model in (toy_base, *models)]
    losses = [F.cross_entropy(z, data.labels).item() for z in by_old]
    assert losses[0] > losses[1] > losses[2]


def test_the_old_classifier_is_the_one_before_the_round_and_goes_after_it(toy_base, toy_stream):
    strategy = trained(BCT, toy_base, toy_stream)
    assert not hasattr(strategy, "old_classes") and strategy.by_old_classes is None


def test_a_classifier_without_class_features_is_refused_with_a_remedy(toy_stream):
    plain = nn.Sequential(nn.AvgPool2d(32), nn.Flatten(), nn.Linear(12, 6))
    with pytest.raises(ValueError, match="bct needs a ClipClassifier, and Sequential is none: use pct"):
        trained(BCT, plain, toy_stream)


def test_every_value_of_the_grid_is_a_setting():
    for field, values in BCTSettings.GRID.items():
        assert [getattr(BCTSettings(**{field: value}), field) for value in values] == list(values)
