"""Co2L: its losses written out image by image, and which of them trains which tower."""

from __future__ import annotations

import copy
import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st
from scipy.special import logsumexp, softmax
from torch import nn

from methods.co2l import Co2L, Co2LSettings, asymmetric_contrast, relation_distillation
from tests.methods.developing import check_less_is_forgotten_than_by_finetuning

SMALL = {"steps": 3, "batch_size": 24, "lr": 1e-3}


def unit(images: int, seed: int, size: int = 5):
    rng = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(images, size, dtype=torch.float64, generator=rng), dim=1)


def contrast_by_hand(z, labels, anchors: int, temperature: float) -> float:
    cosines, terms = (z @ z.T).tolist(), []
    for i in range(anchors):
        others = [j for j in range(len(z)) if j != i]
        total = logsumexp([cosines[i][j] / temperature for j in others])
        own = [cosines[i][j] / temperature - total for j in others if labels[j] == labels[i]]
        terms.append(-math.fsum(own) / max(len(own), 1))
    return math.fsum(terms) / anchors


@trials(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**31), st.sampled_from([0.05, 0.5, 2.0]))
def test_contrast_is_the_written_out_one(anchors, others, seed, temperature):
    z, rng = unit(anchors + others, seed), torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (len(z),), generator=rng)
    found = asymmetric_contrast(z, labels, anchors, temperature)
    assert found.item() == pytest.approx(contrast_by_hand(z, labels, anchors, temperature), abs=1e-9)


def test_with_one_positive_the_contrast_is_cross_entropy():
    z = unit(6, 0)
    labels = torch.tensor([1, 1, 0, 2, 3, 4])
    logits = z @ z.T / 0.3
    wanted = (
        F.cross_entropy(logits[0, 1:], torch.tensor(0)) + F.cross_entropy(logits[1, [0, 2, 3, 4, 5]], torch.tensor(0))
    ) / 2
    torch.testing.assert_close(asymmetric_contrast(z, labels, 2, 0.3), wanted)


def test_the_contrast_s_gradient_by_finite_differences_and_none_where_no_anchor_has_a_positive():
    z, labels = unit(6, 1).requires_grad_(), torch.tensor([2, 2, 2, 0, 1, 1])
    assert torch.autograd.gradcheck(lambda x: asymmetric_contrast(x, labels, 3, 0.5), z)
    alone = asymmetric_contrast(z, labels[[0, 3, 4, 5, 3, 3]], 1, 0.5)
    (gradient,) = torch.autograd.grad(alone, z)
    assert alone == 0 and torch.equal(gradient, torch.zeros_like(z))


@trials(max_examples=25, deadline=None)
@given(st.integers(2, 8), st.integers(0, 2**31), st.sampled_from([(0.2, 0.01), (1.0, 1.0)]))
def test_relations_are_distilled_as_written_out(images, seed, temperatures):
    new, old = unit(images, seed), unit(images, seed + 1, size=7)
    total = 0.0
    for i in range(images):
        others = [j for j in range(images) if j != i]
        p = softmax([float(old[i] @ old[j]) / temperatures[1] for j in others])
        q = softmax([float(new[i] @ new[j]) / temperatures[0] for j in others])
        total -= sum(a * math.log(b) for a, b in zip(p, q, strict=True)) / images
    assert relation_distillation(new, old, *temperatures).item() == pytest.approx(total, abs=1e-9)


def test_at_equal_temperatures_relations_that_are_kept_have_no_gradient_and_turned_features_keep_them():
    old = unit(6, 2)
    turned = (old @ torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64)).Q).requires_grad_()
    (gradient,) = torch.autograd.grad(relation_distillation(turned, old, 0.1, 0.1), turned)
    assert gradient.abs().max() < 1e-12
    other = unit(6, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: relation_distillation(x, old, 0.2, 0.1), other)


class Watched(Co2L):
    """Computes each step's loss and gradients anew, in other ways."""

    def round_loss(self, logits, labels):
        s, targets, old_base = self.settings, len(self.batches.target_rows), self.reference
        z, texts = self.model.encode_images(self.mb_x), self.model.encode_classes()
        old = old_base.encode_images(self.mb_x).detach()
        torch.testing.assert_close(self.old.of_step(), old, atol=1e-5, rtol=1e-4)
        assert not self.old.of_step().requires_grad
        image_loss = asymmetric_contrast(z, labels, targets, s.temperature)
        image_loss = image_loss + s.strength * relation_distillation(z, old, s.new_temperature, s.old_temperature)
        each = F.cross_entropy(z.detach() @ texts.T / s.tau, labels, reduction="none")
        text_loss = torch.stack([each[labels == label].mean() for label in labels.unique()]).mean()
        found = super().round_loss(logits, labels)
        torch.testing.assert_close(found, image_loss + text_loss, atol=1e-4, rtol=1e-4)
        assert self.features is None
        visual = [p for p in self.model.clip.visual.parameters() if p.requires_grad]
        others = {id(p) for p in visual}
        text = [p for p in self.model.parameters() if p.requires_grad and id(p) not in others]
        for wanted, part in ((image_loss, visual), (text_loss, text)):
            ours, theirs = (
                torch.autograd.grad(loss, part, retain_graph=True, allow_unused=True) for loss in (found, wanted)
            )
            for one, other in zip(ours, theirs, strict=True):
                assert (one is None) == (other is None)
                if one is not None:
                    torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)
        self.seen.append(float((z.detach() - old).abs().max()))
        return found


@pytest.mark.parametrize("augment", [False, True])
def test_each_tower_has_its_own_loss_and_the_old_features_are_those_of_the_very_views(augment, toy_base, toy_stream):
    stream = dataclasses.replace(toy_stream, augment=augment)
    strategy = Watched(model=copy.deepcopy(toy_base), settings=Co2LSettings(**SMALL))
    strategy.reference, strategy.seen = toy_base, []
    strategy.protect(stream.protected[0])
    strategy.train(stream.train[0], eval_streams=[])
    assert len(strategy.seen) == 3 and strategy.seen[0] < 1e-5 < 1e-3 < strategy.seen[-1]
    assert strategy.old is None


def test_a_plain_classifier_is_refused(toy_stream):
    strategy = Co2L(model=nn.Sequential(nn.Flatten(), nn.Linear(12288, 6)), settings=Co2LSettings(**SMALL))
    strategy.protect(toy_stream.protected[0])
    with pytest.raises(ValueError, match="co2l needs a ClipClassifier, and Sequential is none"):
        strategy.train(toy_stream.train[0], eval_streams=[])


def test_the_target_is_learned_and_less_is_forgotten_than_by_finetuning(toy_stream, toy_base):
    check_less_is_forgotten_than_by_finetuning(["co2l"], toy_base, toy_stream)
