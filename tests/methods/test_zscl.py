"""ZSCL: its distillation against scipy and the published way to write it, its average against plain means."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st
from scipy.special import rel_entr, softmax

import methods
from benchmark.records.schema import BaseInfo
from benchmark.running import rounds
from benchmark.running.runner import Run
from methods.clip import predict_logits
from methods.weight_space import snapshot
from methods.zscl import ZSCL, ZSCLSettings, contrastive_distillation
from tests.methods.developing import check_less_is_forgotten_than_by_finetuning


def pair(images: int, texts: int, seed: int):
    """New and old logits in float64."""
    rng = torch.Generator().manual_seed(seed)
    new, old = (torch.randn(images, texts, dtype=torch.float64, generator=rng) * 4 for _ in range(2))
    return new.requires_grad_(), old


@trials(max_examples=25, deadline=None)
@given(st.integers(1, 7), st.integers(2, 6), st.integers(0, 2**31), st.sampled_from([0.5, 1.0, 2.0, 10.0]))
def test_distillation_is_scipys_divergence_over_texts_and_over_images(images, texts, seed, t):
    new, old = pair(images, texts, seed)
    wanted = 0.0
    for axis, count in ((1, images), (0, texts)):
        p, q = (softmax(logits.detach().numpy() / t, axis=axis) for logits in (old, new))
        wanted += t**2 * rel_entr(p, q).sum() / count
    assert contrastive_distillation(new, old, t).item() == pytest.approx(wanted, abs=1e-9)


def test_its_gradient_is_that_of_the_cross_entropies_as_published():
    new, old = pair(5, 4, 0)
    published = sum(
        F.cross_entropy(student / 2.0, (teacher / 2.0).softmax(dim=1)) * 4.0
        for student, teacher in ((new, old), (new.T, old.T))
    )
    ours = contrastive_distillation(new, old, 2.0)
    torch.testing.assert_close(*(torch.autograd.grad(loss, new)[0] for loss in (ours, published)))
    assert torch.autograd.gradcheck(lambda x: contrastive_distillation(x, old, 2.0), new)


def test_an_image_that_is_like_all_texts_by_the_same_amount_more_is_seen_from_the_texts_alone():
    _, old = pair(5, 4, 1)
    shifted = old + torch.arange(5, dtype=torch.float64)[:, None]
    per_image = contrastive_distillation(shifted.T, old.T, 1.0)  # turned round: the two sides change places
    torch.testing.assert_close(contrastive_distillation(shifted, old, 1.0), per_image)
    one_way = F.kl_div(shifted.log_softmax(1), old.log_softmax(1), reduction="batchmean", log_target=True)
    assert one_way.abs() < 1e-12 < 0.1 < per_image


def rounded(toy_base, toy_stream, plugins=(), **changes):
    """A strategy after a round, and what its steps saw."""
    settings = ZSCLSettings(**{"steps": 10, "batch_size": 24, "lr": 1e-3, "interval": 0.3} | changes)
    strategy = ZSCL(model=copy.deepcopy(toy_base), settings=settings, plugins=list(plugins))
    strategy.protect(toy_stream.protected[0])
    strategy.train(toy_stream.train[0], eval_streams=[])
    return strategy


class Steps:
    """Keeps the weights of every step."""

    def before_training_exp(self, strategy, **kwargs):
        self.weights = [snapshot(strategy.model)]

    def after_training_iteration(self, strategy, **kwargs):
        self.weights.append(snapshot(strategy.model))


def test_the_new_model_is_the_mean_of_the_old_weights_and_of_every_interval(toy_base, toy_stream):
    steps = Steps()
    found = rounded(toy_base, toy_stream, [steps]).model.state_dict()
    for key, value in found.items():
        wanted = torch.stack([steps.weights[step][key].double() for step in (0, 3, 6, 9)]).mean(dim=0)
        torch.testing.assert_close(value, wanted.to(value), rtol=1e-6, atol=1e-7)
    assert not torch.equal(found["clip.ln_final.weight"], steps.weights[-1]["clip.ln_final.weight"])


def test_the_loss_is_written_out_and_knows_no_label_of_a_reference_image(toy_base, toy_stream):
    compared = []

    class Watched(ZSCL):
        def round_loss(self, logits, labels):
            found = super().round_loss(logits, labels)
            targets, tau, t = len(self.batches.target_rows), 0.1, 3.0
            images = (self.mb_x[targets:] * 255).round().to(torch.uint8)
            old = predict_logits(toy_base, images).double() * self.temperature / tau / t
            new = logits.detach().double() * self.temperature / tau
            wanted = F.cross_entropy(new[:targets], labels[:targets])
            for side in (1, 0):
                gap = old.log_softmax(side) - (new[targets:] / t).log_softmax(side)
                divergence = (old.softmax(side) * gap).sum(side).mean()
                wanted = wanted + 0.7 * t**2 * divergence
            torch.testing.assert_close(found.detach().double(), wanted, rtol=1e-4, atol=1e-5)
            others = torch.cat([labels[:targets], (labels[targets:] + 1) % 6])
            assert torch.equal(super().round_loss(logits, others), found)
            compared.append(divergence)
            return found

    changes = {"tau": 0.1, "strength": 0.7, "distillation_temperature": 3.0}
    strategy = Watched(model=copy.deepcopy(toy_base), settings=ZSCLSettings(steps=4, batch_size=24, lr=1e-3, **changes))
    strategy.protect(toy_stream.protected[0])
    strategy.train(toy_stream.train[0], eval_streams=[])
    assert len(compared) == 4 and compared[0] < 1e-5 < 1e-3 < compared[-1]
    assert strategy.old is None


@pytest.mark.parametrize("name", ["zscl", "zscl+wise-ft"])
def test_the_runner_keeps_the_average_or_what_is_merged_with_it(name, toy_base, toy_stream):
    chosen, info = methods.load(name), BaseInfo(name="toy", sha256="0" * 64, model="mds-tiny")
    settings = chosen.SETTINGS(steps=10, batch_size=24, lr=1e-3, interval=0.3)
    (kept,) = rounds.develop([Run(toy_stream, toy_base, info, name, chosen, settings)])
    average = rounded(toy_base, toy_stream).model.state_dict()
    offered = [point.candidate for point in kept.selection.checkpoints]
    if name == "zscl":
        assert offered == ["weight ensemble"]
        wanted = average
    else:
        assert len(offered) == 10
        c = float(kept.selection.selected.removeprefix("coefficient "))
        wanted = {key: torch.lerp(value, average[key], c) for key, value in toy_base.state_dict().items()}
    for key, value in kept.model.state_dict().items():
        torch.testing.assert_close(value, wanted[key], rtol=1e-6, atol=1e-7)


def test_the_target_is_learned_and_less_is_forgotten_than_by_finetuning(toy_stream, toy_base):
    check_less_is_forgotten_than_by_finetuning(["zscl"], toy_base, toy_stream, steps=30)
