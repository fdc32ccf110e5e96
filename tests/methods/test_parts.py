"""LP-FT, BitFit and the target's bias: against training written out in float64, and what moves and what does not."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from methods.class_bias import add_class_bias
from methods.clip import predict_logits
from tests.conftest import make_toy_stream
from tests.methods.by_hand import Small, adamw, rates
from tests.methods.developing import SMALL, accuracy, develop, moved, watched

PARTS = ("lp-ft", "bitfit", "lora", "target-bias")
EXACT = {"rtol": 1e-9, "atol": 1e-10}  # in float64; AdamW makes steps also of gradients that are rounding alone


def biases(model) -> set[str]:
    """Names of the biases of layers, by the kind of layer."""
    found = set()
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.LayerNorm | nn.BatchNorm2d | nn.Conv2d) and module.bias is not None:
            found.add(f"{name}.bias")
        if isinstance(module, nn.MultiheadAttention):
            found.add(f"{name}.in_proj_bias")
    return found


def plain_loss(model):
    return lambda images, labels: F.cross_entropy(model(images), labels)


# LP-FT


class Phases:
    """What is trained in each step, whether batches have statistics, and the learning rates."""

    def before_training_exp(self, strategy, **kwargs):
        self.trained, self.training, self.rates = [], [], []

    def before_update(self, strategy, **kwargs):
        self.trained.append({name for name, p in strategy.model.named_parameters() if p.grad is not None})
        self.training.append(strategy.model.training)
        self.rates.append(strategy.optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize("first_share, probing", [(0.0, 0), (0.4, 2), (0.8, 4)])
def test_lp_ft_trains_the_probe_and_then_all_weights_each_with_a_schedule_of_its_own(
    first_share, probing, toy_stream, toy_base
):
    model, phases = copy.deepcopy(toy_base), Phases()
    model.clip.visual.conv1.weight.requires_grad_(False)
    changes = {"steps": 5, "lr": 1e-3, "probe_lr": 0.1, "warmup": 0.5, "first_share": first_share}
    strategy, _ = watched("lp-ft", model, toy_stream, plugins=[phases], **changes)
    weights = {name for name, p in model.named_parameters() if p.requires_grad} - {"clip.logit_scale"}  # unused
    assert "class_offsets" in weights and "clip.visual.conv1.weight" not in weights
    assert phases.trained == [{"class_offsets"}] * probing + [weights] * (5 - probing)
    assert phases.training == [False] * probing + [True] * (5 - probing)
    assert phases.rates == pytest.approx(rates(0.1, probing, 0.5) + rates(1e-3, 5 - probing, 0.5))
    assert moved(toy_base, strategy.model) == weights


def test_lp_ft_is_two_trainings_written_out(toy_stream):
    changes = {"steps": 7, "lr": 1e-2, "probe_lr": 0.1, "tau": 1.0, "first_share": 0.5, "weight_decay": 0.2}
    strategy, steps = watched("lp-ft", Small(), toy_stream, **changes)
    wanted, batches = Small(), list(zip(steps.images, steps.labels, strict=True))
    adamw(list(wanted.last.parameters()), plain_loss(wanted.eval()), batches[:3], rates(0.1, 3, 0.3), 0.2)
    adamw(list(wanted.parameters()), plain_loss(wanted.train()), batches[3:], rates(1e-2, 4, 0.3), 0.2)
    assert moved(Small(), strategy.model) == set(wanted.state_dict())  # running statistics, too
    torch.testing.assert_close(dict(strategy.model.named_parameters()), dict(wanted.named_parameters()), **EXACT)


def test_the_probe_of_lp_ft_is_that_of_linear_probe(toy_stream, toy_base):
    class Switch:
        def after_training_iteration(self, strategy, **kwargs):
            if len(strategy.losses) == 3:
                self.state = copy.deepcopy(strategy.model.state_dict())

    switch = Switch()
    watched("lp-ft", copy.deepcopy(toy_base), toy_stream, plugins=[switch], steps=6, probe_lr=0.1)
    probe, _ = watched("linear-probe", copy.deepcopy(toy_base), toy_stream, steps=3, lr=0.1)
    torch.testing.assert_close(switch.state, dict(probe.model.state_dict()), rtol=0, atol=0)


# BitFit


def test_bitfit_trains_the_biases_of_both_towers_alone(toy_stream, toy_base):
    strategy, steps = watched("bitfit", copy.deepcopy(toy_base), toy_stream)
    wanted = biases(toy_base)
    assert any(name.startswith("clip.visual") for name in wanted) and "clip.ln_final.bias" in wanted
    assert steps.trained == steps.gradients.keys() == moved(toy_base, strategy.model) == wanted


def test_bitfit_is_training_written_out(toy_stream):
    changes = {"steps": 6, "lr": 3e-2, "tau": 1.0, "weight_decay": 0.2}
    strategy, steps = watched("bitfit", Small(), toy_stream, **changes)
    wanted = Small().eval()
    named = dict(wanted.named_parameters())
    batches = list(zip(steps.images, steps.labels, strict=True))
    adamw([named[name] for name in sorted(biases(wanted))], plain_loss(wanted), batches, rates(3e-2, 6, 0.3), 0.2)
    assert moved(Small(), strategy.model) == biases(wanted)  # no running statistics
    torch.testing.assert_close(dict(strategy.model.state_dict()), dict(wanted.state_dict()), **EXACT)


@pytest.mark.parametrize("name", ["bitfit", "lora"])
def test_a_tower_that_is_frozen_stays_frozen(name, toy_stream, toy_base):
    model = copy.deepcopy(toy_base)
    model.clip.visual.requires_grad_(False)
    changed = moved(toy_base, watched(name, model, toy_stream)[0].model)
    assert changed and not any(key.startswith("clip.visual") for key in changed)


def test_a_model_without_the_part_is_refused_with_a_remedy(toy_stream):
    model = nn.Sequential(nn.Conv2d(3, 6, 64, bias=False), nn.Flatten())
    with pytest.raises(ValueError, match="bitfit trains biases, and Sequential has none: use linear-probe"):
        watched("bitfit", model, toy_stream)
    with pytest.raises(ValueError, match=r"lora adapts nn.Linear, and Sequential has none to train: use finetune"):
        watched("lora", model, toy_stream)


# The target's bias


@pytest.mark.parametrize("plain", [False, True])
def test_the_targets_bias_is_training_written_out_and_no_other_bias_moves(plain, toy_stream, toy_base):
    model = Small() if plain else copy.deepcopy(toy_base)
    add_class_bias(model, 6)
    before = torch.tensor([0.3, 0.0, -0.2, 0.1, 0.0, -0.5])
    model.class_bias.copy_(before)
    old, tau = copy.deepcopy(model), 1.0 if plain else 0.05
    changes = {"steps": 12, "lr": 0.1, "tau": tau, "weight_decay": 0.2, "warmup": 0.25}
    strategy, steps = watched("target-bias", model, toy_stream, **changes)
    change, is_target = torch.zeros((), dtype=torch.float64, requires_grad=True), torch.arange(6) == 5
    losses = []

    def loss_of(images, labels):
        with torch.no_grad():
            logits = old.eval()(images).double()
        losses.append(F.cross_entropy((logits + change * is_target) * (1 if plain else 0.05) / tau, labels))
        return losses[-1]

    adamw([change], loss_of, list(zip(steps.images, steps.labels, strict=True)), rates(0.1, 12, 0.25), 0.2)
    assert change.abs() > 0.3
    assert strategy.model.class_bias.tolist() == pytest.approx(
        (before + change.detach() * is_target).tolist(), abs=1e-4
    )
    assert torch.equal(strategy.model.class_bias[:5], before[:5])
    assert torch.stack(strategy.losses).tolist() == pytest.approx([loss.item() for loss in losses], rel=1e-4)
    assert moved(old, strategy.model) == {"class_bias"} and not steps.gradients


@pytest.mark.parametrize("target_share", [1 / 3, 0.5])
def test_the_targets_mean_probability_becomes_its_share(target_share, toy_stream):
    changes = {"steps": 60, "batch_size": 60, "lr": 0.3, "tau": 1.0, "weight_decay": 0.0, "target_share": target_share}
    model = develop("target-bias", Small(), toy_stream, **changes).model
    data = toy_stream.data[0]

    def mean_probability(model) -> float:
        target, others = (
            predict_logits(model, part.images).softmax(dim=1)[:, 5].mean().item()
            for part in (data.train, data.protected)
        )
        return target_share * target + (1 - target_share) * others

    assert abs(mean_probability(Small()) - target_share) > 0.1
    assert mean_probability(model) == pytest.approx(target_share, abs=0.03)


# What moves


@pytest.mark.parametrize("name", PARTS)
def test_flags_are_restored_and_another_method_trains_the_whole_model_afterwards(name, toy_stream, toy_base):
    model = copy.deepcopy(toy_base)
    model.clip.logit_scale.requires_grad_(False)
    first = watched(name, model, toy_stream)[0].model
    assert {key for key, p in first.named_parameters() if not p.requires_grad} == {"clip.logit_scale"}
    assert all(p.grad is None for p in first.parameters()) or name in ("lp-ft", "bitfit")
    after, _ = watched("finetune", copy.deepcopy(first), toy_stream)
    assert {"clip.text_projection", "clip.visual.conv1.weight"} <= moved(first, after.model)


@pytest.mark.parametrize("name", PARTS)
def test_a_second_round_starts_from_the_first_and_trains_the_same_part(name, toy_base):
    stream = make_toy_stream(seed=0, rounds=2)
    first = develop(name, toy_base, stream, **SMALL).model
    learned, images = copy.deepcopy(first), stream.test[0].images[:10]
    still, _ = watched(name, copy.deepcopy(first), stream, round_=1, steps=0)
    assert not moved(learned, still.model)
    assert torch.equal(predict_logits(still.model, images), predict_logits(learned, images))
    again, _ = watched(name, first, stream, round_=1, lr=3e-4)
    assert moved(learned, again.model) == moved(toy_base, learned) and moved(toy_base, learned)
    both = develop(name, toy_base, stream, rounds=2, **SMALL).model
    assert not moved(both, again.model)


@pytest.mark.parametrize("name, lr, steps", [("lp-ft", 3e-4, 30), ("bitfit", 3e-3, 40), ("lora", 3e-3, 24)])
def test_a_part_learns_the_target_and_forgets_little(name, lr, steps, toy_stream, toy_base):
    model = develop(name, toy_base, toy_stream, lr=lr, batch_size=48, steps=steps).model
    data = toy_stream.data[0].test
    assert accuracy(toy_base, data, 5) < 0.3 and accuracy(model, data, 5) > 0.5
    assert min(accuracy(model, data, k) - accuracy(toy_base, data, k) for k in range(5)) > -0.3
