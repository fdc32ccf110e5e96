"""Online EWC: EWC in a first round, and a decaying sum of importances that lives in the model afterwards."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import methods
from benchmark.records.schema import BaseInfo
from benchmark.running import rounds
from benchmark.running.runner import Run
from methods.batches import generator
from methods.checkpoints import checkpoint_bytes, load_checkpoint
from methods.fisher import balanced_rows, fisher_information
from methods.regularization import OnlineEWC, OnlineEWCSettings
from methods.running_fisher import FISHER, add_fisher, running_fisher
from tests.conftest import make_toy_stream
from tests.methods.developing import develop

SHORT = {"steps": 3, "batch_size": 16, "samples": 6, "lr": 1e-3}


@pytest.fixture(scope="module")
def two_rounds():
    return make_toy_stream(seed=0, per_class=12, rounds=2)


def test_on_a_stream_of_one_round_it_is_ewc_bit_for_bit(toy_base, toy_stream):
    ewc, online = (develop(name, toy_base, toy_stream, **SHORT) for name in ("ewc", "online-ewc"))
    assert torch.equal(torch.stack(ewc.losses), torch.stack(online.losses))
    found = online.model.state_dict()
    assert found.keys() == ewc.model.state_dict().keys() | {FISHER}
    assert all(torch.equal(found[key], value) for key, value in ewc.model.state_dict().items())
    assert not torch.equal(found["clip.ln_final.weight"], toy_base.state_dict()["clip.ln_final.weight"])


def developed(model, stream, number: int, gamma: float, watch=None) -> OnlineEWC:
    """A strategy of its own after one round of ``model`` itself."""
    strategy = OnlineEWC(
        model=model, settings=OnlineEWCSettings(gamma=gamma, **SHORT), plugins=[watch] if watch else []
    )
    strategy.protect(stream.protected[number])
    strategy.train(stream.train[number], eval_streams=[])
    return strategy


class Importance:
    """Keeps what the penalty weighs by, and checks the penalty itself."""

    def before_training_exp(self, strategy, **kwargs):
        self.checked = 0

    def after_backward(self, strategy, **kwargs):
        self.importance = [value.clone() for value in strategy.importance]
        shifts = [(w - old).detach().double() for w, old in zip(strategy.weights, strategy.old_weights, strict=True)]
        moved = sum((i.double() * d**2).sum() for i, d in zip(self.importance, shifts, strict=True))
        loss = strategy.round_loss(strategy.mb_output, strategy.mb_y).detach()
        torch.testing.assert_close(
            strategy.loss.double().sum(), loss + strategy.settings.strength / 2 * moved, rtol=1e-4, atol=1e-6
        )
        self.checked += 1


def fisher_of(model, data, seed: int = 0) -> list[torch.Tensor]:
    rows = balanced_rows(data.labels, SHORT["samples"], seed)
    return list(fisher_information(model, data.images[rows], seed=seed).values())


@pytest.mark.parametrize("saved", [False, True])
def test_the_second_round_weighs_by_the_sum_also_after_saving_and_loading(saved, toy_base, two_rounds, tmp_path):
    model = copy.deepcopy(toy_base)
    first = fisher_of(toy_base, two_rounds.data[0].protected)
    developed(model, two_rounds, 0, gamma=0.7)
    second = fisher_of(model, two_rounds.data[1].protected)
    if saved:
        (tmp_path / "model.safetensors").write_bytes(checkpoint_bytes(model, "mds-tiny"))
        model = load_checkpoint(tmp_path / "model.safetensors", two_rounds.prompts)
    watch = Importance()
    developed(model, two_rounds, 1, gamma=0.7, watch=watch)
    assert watch.checked == 3 and sum(value.sum() for value in first) > 0
    for found, one, two in zip(watch.importance, first, second, strict=True):
        torch.testing.assert_close(found, 0.7 * one + two, rtol=1e-4, atol=1e-9)


def test_without_memory_every_round_is_ewc(toy_base, two_rounds):
    ewc, online = (
        develop(name, toy_base, two_rounds, rounds=2, **SHORT, **changes).model.state_dict()
        for name, changes in (("ewc", {}), ("online-ewc", {"gamma": 0.0}))
    )
    assert all(torch.equal(online[key], value) for key, value in ewc.items())


@pytest.mark.parametrize("name", ["online-ewc", "online-ewc+ties", "online-ewc+ptm", "online-ewc+soup"])
def test_what_a_weight_space_method_makes_of_it_loads_and_carries_the_sum(name, toy_base, two_rounds):
    chosen, info = methods.load(name), BaseInfo(name="toy", sha256="0" * 64, model="mds-tiny")
    run = Run(two_rounds, toy_base, info, name, chosen, chosen.SETTINGS(**SHORT, gamma=0.7))
    carried = [getattr(one.model, FISHER).clone() for one in rounds.develop([run]) if not one.diverged]
    first = torch.cat([f.flatten() for f in fisher_of(toy_base, two_rounds.data[0].protected, two_rounds.seed)])
    torch.testing.assert_close(carried[0], first)
    assert len(carried) == 2 and (carried[1] >= 0.7 * first).all() and carried[1].sum() > 0.7 * first.sum()


def test_of_other_prompts_nothing_is_known(toy_base, two_rounds, tmp_path):
    model = developed(copy.deepcopy(toy_base), two_rounds, 0, gamma=0.7).model
    file = tmp_path / "model.safetensors"
    file.write_bytes(checkpoint_bytes(model, "mds-tiny"))
    assert torch.equal(getattr(load_checkpoint(file, two_rounds.prompts), FISHER), getattr(model, FISHER))
    assert not hasattr(load_checkpoint(file, ["some", "other", "texts"]), FISHER)


def test_weights_that_were_added_since_start_it_anew(toy_base):
    model = copy.deepcopy(toy_base)
    ones = [torch.ones_like(p) for p in model.parameters()]
    add_fisher(model, ones, 0.5)
    add_fisher(model, ones, 0.5)
    assert all(value.shape == p.shape for value, p in zip(running_fisher(model), model.parameters(), strict=True))
    assert getattr(model, FISHER).unique().tolist() == [1.5]
    model.add_heads(2, generator(0, "heads"))
    add_fisher(model, [torch.ones_like(p) for p in model.parameters()], 0.5)
    assert getattr(model, FISHER).unique().tolist() == [1.0]
    assert [p.shape for p in running_fisher(model)] == [p.shape for p in model.parameters()]


def test_a_plain_classifier_carries_it_too():
    model = nn.Linear(3, 2)
    add_fisher(model, [torch.full((2, 3), 2.0), torch.ones(2)], 0.9)
    again = copy.deepcopy(model)
    again.load_state_dict(model.state_dict())
    weight, bias = running_fisher(again)
    assert torch.equal(weight, torch.full((2, 3), 2.0)) and torch.equal(bias, torch.ones(2))
    assert [name for name, _ in again.named_parameters()] == ["weight", "bias"]
