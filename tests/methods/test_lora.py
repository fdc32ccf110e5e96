"""LoRA against its paper's form, layers with a second path, and against the update in closed form."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize

from methods.clip import predict_logits
from methods.lora import stacked_matrices
from tests.conftest import make_toy_stream
from tests.methods.by_hand import Small, adamw, rates
from tests.methods.developing import SMALL, develop, moved, watched

STACKED = ("attention.in_proj_weight", "attention.out_proj.weight", "hidden.weight", "last.weight")  # of Small


class Factors:
    """Copies of A and B by the name of their weight, before the first step and after each one."""

    def before_training_exp(self, strategy, **kwargs):
        self.before, self.after, self.states = self.copied(strategy), [], []

    def after_training_iteration(self, strategy, **kwargs):
        self.after.append(self.copied(strategy))
        self.states.append(copy.deepcopy(strategy.model.state_dict()))

    def copied(self, strategy):
        names = {id(weight): name for name, weight in strategy.model.named_parameters()}
        return {names[id(u.weight)]: (u.a.detach().clone(), u.b.detach().clone()) for u in strategy.updates}


def two_paths(model, images, factors, scale):
    """Logits of a ``Small`` whose layers compute W x + scale B (A x)."""

    def layer(x, weight, bias, a, b):
        return x @ weight.T + bias + scale * (x @ a.T) @ b.T

    joined, attention = factors["attention.in_proj_weight"], model.attention
    x = model.norm(model.patches(images.double())).flatten(2).mT
    weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
    q, k, v = (
        layer(x, *parts).unflatten(2, (2, 4)).transpose(1, 2) for parts in zip(weights, biases, *joined, strict=True)
    )
    h = ((q @ k.mT / math.sqrt(4)).softmax(dim=-1) @ v).transpose(1, 2).flatten(2)  # two heads of four
    x = x + layer(h, attention.out_proj.weight, attention.out_proj.bias, *(f[0] for f in factors[STACKED[1]]))
    x = F.gelu(layer(x.mean(dim=1), model.hidden.weight, model.hidden.bias, *(f[0] for f in factors[STACKED[2]])))
    return layer(x, model.last.weight, model.last.bias, *(f[0] for f in factors[STACKED[3]]))


def test_training_is_that_of_layers_with_two_paths_written_out(toy_stream):
    kept, old = Factors(), Small().eval()
    changes = {"steps": 8, "lr": 3e-2, "tau": 1.0, "weight_decay": 0.2, "rank": 3, "alpha": 6.0}
    strategy, steps = watched("lora", Small(), toy_stream, plugins=[kept], **changes)
    factors = {name: tuple(f.clone().requires_grad_() for f in pair) for name, pair in kept.before.items()}
    assert set(factors) == moved(old, strategy.model) == set(STACKED)
    flat = [factor for pair in factors.values() for factor in pair]

    def loss_of(images, labels):
        return F.cross_entropy(two_paths(old, images, factors, 2.0), labels)

    adamw(flat, loss_of, list(zip(steps.images, steps.labels, strict=True)), rates(3e-2, 8, 0.3), 0.2)
    for name, (a, b) in factors.items():
        for got, wanted in zip(kept.after[-1][name], (a, b), strict=True):
            torch.testing.assert_close(got, wanted.detach(), rtol=1e-9, atol=1e-10)
        wanted = old.state_dict()[name] + 2.0 * torch.cat([x @ y for x, y in zip(b, a, strict=True)]).detach()
        torch.testing.assert_close(strategy.model.state_dict()[name], wanted, rtol=1e-9, atol=1e-10)
    assert (strategy.model.last.weight - old.last.weight).abs().max() > 0.01


class Updated(nn.Module):
    """W -> W + scale B A, as a parametrization."""

    def __init__(self, a, b, scale) -> None:
        super().__init__()
        self.update = scale * (b @ a).flatten(0, 1)

    def forward(self, weight):
        return weight + self.update


def test_the_merged_model_answers_as_the_old_one_with_the_updates_beside_its_weights(toy_stream, toy_base):
    kept = Factors()
    strategy, _ = watched("lora", copy.deepcopy(toy_base), toy_stream, plugins=[kept], lr=1e-2, rank=4, alpha=2.0)
    beside = copy.deepcopy(toy_base).eval()
    for name, (a, b) in kept.after[-1].items():
        path, _, attribute = name.rpartition(".")
        parametrize.register_parametrization(beside.get_submodule(path), attribute, Updated(a, b, 0.5))
    images = toy_stream.test[0].images[:20]
    merged = predict_logits(strategy.model, images)
    torch.testing.assert_close(merged, predict_logits(beside, images), rtol=1e-4, atol=1e-4)
    x = images.float() / 255
    torch.testing.assert_close(strategy.model.eval()(x), beside(x), rtol=1e-4, atol=1e-4)  # as in training
    assert (merged - predict_logits(toy_base, images)).abs().max() > 1


def test_projections_of_attention_and_mlps_change_by_no_more_than_the_rank(toy_stream, toy_base):
    model = watched("lora", copy.deepcopy(toy_base), toy_stream, lr=1e-2, rank=2)[0].model
    ends = ("in_proj_weight", "out_proj.weight", "c_fc.weight", "c_proj.weight")
    wanted = {name for name in toy_base.state_dict() if name.endswith(ends)}
    assert moved(toy_base, model) == wanted and len(wanted) == 4 * 6  # layers of both towers
    old, new = toy_base.state_dict(), model.state_dict()
    for name in wanted:
        change = (new[name] - old[name]).double()
        for part in change.chunk(3 if "in_proj" in name else 1):
            size = torch.linalg.svdvals(part)
            assert size[1] > 1e-3 * size[0] and size[2] < 1e-4 * size[0], name


def test_a_is_random_of_the_width_and_b_is_zero(toy_stream, toy_base):
    one, same, other = Factors(), Factors(), Factors()
    for kept, seed in ((one, 1), (same, 1), (other, 2)):
        watched("lora", copy.deepcopy(toy_base), toy_stream, plugins=[kept], seed=seed, steps=0)
    for name, (a, b) in one.before.items():
        assert not b.any() and torch.equal(a, same.before[name][0]) and not torch.equal(a, other.before[name][0])
        assert a.std().item() * a.shape[2] ** 0.5 == pytest.approx(1, abs=0.15)
        assert a.shape[:2] == b.mT.shape[:2] == (3 if "in_proj" in name else 1, 8)


def test_models_along_the_training_are_plain_ones_and_nothing_is_left_after_it(toy_stream, toy_base):
    class Scored:
        def before_training_exp(self, strategy, **kwargs):
            self.logits = []

        def after_training_iteration(self, strategy, **kwargs):
            self.logits.append(predict_logits(strategy.model, images))

    kept, scored, images = Factors(), Scored(), toy_stream.test[0].images[:5]
    strategy, _ = watched("lora", copy.deepcopy(toy_base), toy_stream, plugins=[kept, scored])
    for state, logits in zip(kept.states, scored.logits, strict=True):
        plain = copy.deepcopy(toy_base)
        plain.load_state_dict(state)
        assert torch.equal(predict_logits(plain, images), logits)
    assert not strategy.updates and all(p.grad is None for p in strategy.model.parameters())


def test_a_merge_of_weights_is_one_of_merged_models(toy_stream, toy_base):
    trained = develop("lora", toy_base, toy_stream, **SMALL).model.state_dict()
    half = develop("lora+wise-ft", toy_base, toy_stream, coefficients=(0.5,), **SMALL).model.state_dict()
    wanted = {key: (value + trained[key]) / 2 for key, value in toy_base.state_dict().items()}
    torch.testing.assert_close(dict(half), wanted)


def test_shared_weights_are_adapted_once_and_layers_that_nothing_uses_stay(toy_stream):
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second, self.last = nn.Linear(48, 48), nn.Linear(48, 48), nn.Linear(48, 6)
            self.unused = nn.Linear(3, 3)
            self.second.weight = self.first.weight

        def forward(self, images):
            x = F.avg_pool2d(images, 16).flatten(1)
            return self.last(self.second(self.first(x).relu()).relu())

    assert len(stacked_matrices(Shared())) == 3
    model = watched("lora", Shared(), toy_stream, tau=1.0)[0].model
    assert model.second.weight is model.first.weight
    assert moved(Shared(), model) == {"first.weight", "second.weight", "last.weight"}


def test_matrices_that_timm_stacks_have_factors_each():
    from timm.layers import Attention

    counts = stacked_matrices(Attention(8, num_heads=2))
    assert sorted(counts.values()) == [1, 3]


def test_each_round_has_other_factors(toy_base):
    stream, kept = make_toy_stream(seed=0, rounds=2), [Factors(), Factors()]
    first, second = (
        watched("lora", copy.deepcopy(toy_base), stream, round_=number, plugins=[kept[number]])[0] for number in (0, 1)
    )
    assert first.seed == second.seed
    assert all(not torch.equal(a, kept[1].before[name][0]) for name, (a, _) in kept[0].before.items())
