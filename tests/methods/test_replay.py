"""Replay and DER++: their losses against hand-computed ones and Avalanche's, and that they forget less."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.utils import _make_taskaware_tensor_classification_dataset as labelled
from avalanche.training.regularization import LearningWithoutForgetting
from avalanche.training.supervised import DER
from scipy.special import rel_entr, softmax
from torch import nn

from methods.clip import predict_logits
from methods.replay import DERpp, LwFProtected, Replay
from tests.methods.developing import check_less_is_forgotten_than_by_finetuning, develop

KEEPING = ("replay", "der++", "lwf-protected")


class Batches:
    """The rows of a step: 4 target images, then 6 protected ones."""

    target_rows = torch.arange(4)


class Remembered:
    """Old similarities of the protected images."""

    def __init__(self, similarity):
        self.similarity = similarity

    def of_step(self):
        return self.similarity


def loss_of(method, logits, labels, old, temperature: float = 1.0, **changes):
    """The loss of a made-up batch."""
    strategy = method(model=nn.Linear(1, 1), settings=method.SETTINGS(**changes))
    strategy.model.temperature = temperature
    strategy.dataloader, strategy.old = Batches(), Remembered(old)
    return strategy.round_loss(logits, labels)


@pytest.fixture
def batch():
    """Similarities (10, 5) in float64, labels, and the old model's similarities of the last six."""
    rng = torch.Generator().manual_seed(0)
    similarity, old = (torch.rand(n, 5, dtype=torch.float64, generator=rng) * 2 - 1 for n in (10, 6))
    return similarity.requires_grad_(), torch.tensor([4, 4, 4, 4, 0, 0, 1, 1, 2, 2]), old


def test_derpp_is_equation_6_summed_by_hand(batch):
    similarity, labels, old = batch
    tau, alpha, beta, wanted = 0.2, 0.3, 0.7, 0.0
    for i in range(10):
        entropy = -(similarity[i] / tau).log_softmax(0)[labels[i]]
        if i < 4:
            wanted = wanted + entropy / 4
        else:
            distance = sum(((similarity[i, c] - old[i - 4, c]) / tau) ** 2 for c in range(5)) / 5
            wanted = wanted + (alpha * distance + beta * entropy) / 6
    got = loss_of(DERpp, similarity / 0.1, labels, old, temperature=0.1, tau=tau, alpha=alpha, beta=beta)
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(torch.autograd.grad(got, similarity), torch.autograd.grad(wanted, similarity))


def test_replay_is_the_mean_over_target_and_replayed_images(batch):
    similarity, labels, old = batch
    wanted = F.cross_entropy(similarity / 0.2, labels)
    torch.testing.assert_close(loss_of(Replay, similarity / 0.1, labels, old, temperature=0.1, tau=0.2), wanted)


def test_derpp_without_old_logits_is_replay_weighted_by_the_images(batch):
    similarity, labels, old = batch
    derpp = loss_of(DERpp, similarity, labels, old, tau=1.0, alpha=0.0, beta=6 / 4)
    torch.testing.assert_close(derpp, loss_of(Replay, similarity, labels, old, tau=1.0) * 10 / 4)


def test_derpp_agrees_with_avalanches_loss():
    """Avalanche's DER on its second experience, asked for the loss of each of its batches, against ours on them."""
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(24, 7, generator=rng), torch.tensor([0, 1, 2] * 4 + [3, 4, 3] * 4)
    pair = benchmark_from_datasets(
        train=[labelled(x[:12], y[:12], task_labels=0), labelled(x[12:], y[12:], task_labels=0)]
    )
    compared = []

    class Compared(DER):
        def backward(self):
            if self.replay_loader is not None:
                logits, labels = (torch.cat([t[6:], t[:6]]) for t in (self.mb_output, self.mb_y))  # target first
                ours = loss_of(DERpp, logits, labels, self.batch_logits, tau=1.0, alpha=0.3, beta=0.7)
                torch.testing.assert_close(ours, self.loss[0])
                compared.append(ours)
            super().backward()

    model = nn.Linear(7, 5)
    library = Compared(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        mem_size=12,
        batch_size_mem=6,
        alpha=0.3,
        beta=0.7,
        train_mb_size=4,
        evaluator=None,
    )
    for experience in pair.train_stream:
        library.train(experience, eval_streams=[])
    assert len(compared) == 3


def test_lwf_protected_is_the_target_s_entropy_and_scipy_s_divergence_on_the_rest(batch):
    similarity, labels, old = batch
    tau, strength, t, wanted = 0.2, 0.7, 3.0, F.cross_entropy(similarity[:4] / 0.2, labels[:4])
    for new, remembered in zip(similarity[4:].detach(), old, strict=True):
        p, q = (softmax(row.numpy() / (tau * t)) for row in (remembered, new))
        wanted = wanted + strength * t**2 * rel_entr(p, q).sum() / 6
    changes = {"tau": tau, "strength": strength, "distillation_temperature": t}
    got = loss_of(LwFProtected, similarity / 0.1, labels, old, temperature=0.1, **changes)
    torch.testing.assert_close(got, wanted)


def test_lwf_protected_is_avalanches_distillation_over_all_classes_and_knows_no_protected_label(batch):
    similarity, labels, old = batch
    library = LearningWithoutForgetting(alpha=0.7 * 3.0**2, temperature=3.0)
    library.prev_model, library.prev_classes_by_task = lambda _: old, {0: range(5)}
    wanted = F.cross_entropy(similarity[:4], labels[:4]) + library(None, similarity[4:], None)
    changes = {"tau": 1.0, "strength": 0.7, "distillation_temperature": 3.0}
    got = loss_of(LwFProtected, similarity, labels, old, **changes)
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(*(torch.autograd.grad(x, similarity)[0] for x in (got, wanted)))
    others = torch.cat([labels[:4], (labels[4:] + 1) % 5])
    assert torch.equal(got, loss_of(LwFProtected, similarity, others, old, **changes))


def test_at_a_large_temperature_the_distillation_is_derpps_distance_without_the_mean_logit(batch):
    similarity, labels, old = batch
    strength = {"tau": 1.0, "strength": 1.0, "distillation_temperature": 1e4}
    distilled = loss_of(LwFProtected, similarity, labels, old, **strength)
    gap = similarity[4:] - old
    shifted = torch.cat([similarity[:4], old + gap - gap.mean(dim=1, keepdim=True)])
    squared = loss_of(DERpp, shifted, labels, old, tau=1.0, alpha=0.5, beta=0.0)
    torch.testing.assert_close(distilled, squared, rtol=1e-3, atol=0)


@pytest.mark.parametrize("method", [DERpp, LwFProtected])
def test_remembered_logits_are_those_of_the_model_before_the_round_and_go_with_it(method, toy_stream, toy_base):
    data, seen = toy_stream.data[0].protected, []

    class Watched(method):
        def round_loss(self, logits, labels):
            wanted = predict_logits(toy_base, data.images) * self.temperature
            torch.testing.assert_close(self.old.of_step(), wanted[self.batches.protected_rows], atol=1e-5, rtol=1e-5)
            seen.append(1)
            return super().round_loss(logits, labels)

    strategy = Watched(model=copy.deepcopy(toy_base), settings=method.SETTINGS(steps=3, lr=1e-3))
    strategy.protect(toy_stream.protected[0])
    strategy.train(toy_stream.train[0], eval_streams=[])
    assert len(seen) == 3 and strategy.old is None


@pytest.mark.parametrize(("share", "targets"), [(0.25, 26), (0.5, 51), (0.75, 76)])
def test_replayed_images_are_part_of_the_budget(share, targets, toy_stream):
    seen = []

    class Watched(Replay):
        def round_loss(self, logits, labels):
            seen.append((len(labels), int((labels == 5).sum())))
            return super().round_loss(logits, labels)

    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 6))
    strategy = Watched(model=model, settings=Replay.SETTINGS(steps=2, target_share=share))
    strategy.protect(toy_stream.protected[0])
    strategy.train(toy_stream.train[0], eval_streams=[])
    assert seen == [(96, targets)] * 2


def test_the_target_is_learned_and_less_is_forgotten_than_by_finetuning(toy_stream, toy_base):
    check_less_is_forgotten_than_by_finetuning(KEEPING, toy_base, toy_stream, steps=25)


def test_old_logits_hold_the_model_where_it_was(toy_stream, toy_base):
    images = toy_stream.data[0].test.images
    old = predict_logits(toy_base, images)
    loose, tight = (develop("der++", toy_base, toy_stream, steps=10, alpha=alpha).model for alpha in (0.0, 5.0))
    assert F.mse_loss(predict_logits(tight, images), old) < 0.7 * F.mse_loss(predict_logits(loose, images), old)
