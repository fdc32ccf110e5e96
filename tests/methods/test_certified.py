"""Updates that are kept only where held-out images show that nothing was lost."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from methods.balanced import Answers
from methods.certificate import certified_p_value
from methods.certified import NONE, CertifiedSettings
from methods.clip import predict_logits
from methods.selective import SelectiveSettings
from scenarios.labelled_images import LabelledImages
from tests.conftest import make_toy_stream
from tests.methods.developing import develop


def proposed(strategy):
    names = []
    strategy.propose(lambda name: names.append(name) or len(names))
    return names


def test_where_nothing_is_certified_the_old_model_stays(toy_base, toy_stream):
    strategy = develop("replay+certified", toy_base, toy_stream, steps=10, alpha=1e-9)
    assert proposed(strategy) == [NONE]
    images = toy_stream.data[0].test.images
    assert torch.equal(predict_logits(strategy.model, images), predict_logits(toy_base, images))


def test_a_margin_that_allows_everything_certifies_every_candidate(toy_base, toy_stream):
    strategy = develop("replay+certified", toy_base, toy_stream, steps=10, margin_points=99.0, alpha=0.4)
    lowered = [share for share in strategy.settings.shares if share <= 1]
    assert proposed(strategy) == [f"target share {share:g}" for share in lowered], "no class surely gains here"


def held_out(*classes: tuple[bool, bool], each: int = 100) -> tuple[Answers, Answers]:
    """Answers on a target, label 5, that is known, and on classes: all right or all wrong, before and after."""

    def logits(labels: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return F.one_hot(torch.where(right, labels, (labels + 1) % 5), 6).float()

    labels = torch.arange(len(classes)).repeat_interleave(each)
    old, new = (logits(labels, torch.tensor(right)[labels]) for right in zip(*classes, strict=True))
    target = F.one_hot(torch.full((each,), 5), 6).float() * torch.linspace(1, 2, each)[:, None]
    return (
        Answers(target, torch.full((each,), 5), torch.zeros(each, 6), torch.arange(each)),
        Answers(new, labels, old, torch.arange(len(labels))),
    )


@pytest.fixture
def plugin(toy_base, toy_stream, monkeypatch):
    """``plugin(**settings) -> (plugin, strategy)`` of certified updates without any bias."""
    monkeypatch.setattr("methods.balanced.balanced", lambda answers, target, bias: torch.zeros(6))
    strategy = develop("replay+certified", toy_base, toy_stream, steps=1)

    def made(**settings):
        strategy.weight_space.settings = CertifiedSettings(**{"shares": (0.8, 0.9, 1.0)} | settings)
        return strategy.weight_space, strategy

    return made


def test_what_a_candidate_lost_and_won_is_tested_class_by_class(plugin, monkeypatch):
    certified, strategy = plugin(fitted=0.3)
    seen = []
    monkeypatch.setattr("methods.certified.certified_p_value", lambda counts, margin: seen.append(counts) or 0.0)
    found = held_out((True, True), (False, True), (True, False), (False, False), (True, True))
    assert len(certified.chosen(*found, strategy)) == 3
    assert seen == [[(0, 0, 70), (0, 70, 70), (70, 0, 70), (0, 0, 70), (0, 0, 70)]] * 3, "images lost, won, and all"


@pytest.mark.parametrize(("p_values", "passed"), [((0.04, 0.06, 0.01), 1), ((0.04, 0.05, 0.04), 3), ((0.06, 0, 0), 0)])
def test_candidates_pass_until_the_first_that_fails(p_values, passed, plugin, monkeypatch):
    certified, strategy = plugin(alpha=0.05)
    left = list(p_values)
    monkeypatch.setattr("methods.certified.certified_p_value", lambda counts, margin: left.pop(0))
    names = [name for name, _ in certified.chosen(*held_out(*[(True, True)] * 5), strategy)]
    assert names == (["target share 0.8", "target share 0.9", "target share 1"][:passed] or [NONE])
    assert len(left) == 3 - min(passed + 1, 3), "none is tested after the first that fails"


@pytest.mark.parametrize(("p_value", "passed"), [(0.024, 3), (0.026, 0)])
def test_a_prediction_has_half_of_the_level(p_value, passed, plugin, monkeypatch):
    certified, strategy = plugin(alpha=0.05, fresh=400)
    asked = []
    monkeypatch.setattr("methods.certified.predicted_p_value", lambda *args: asked.append(args[1:]) or p_value)
    names = [name for name, _ in certified.chosen(*held_out(*[(True, True)] * 5), strategy)]
    assert set(asked) == {(400, 0.025)} and len([name for name in names if name != NONE]) == passed


@pytest.mark.parametrize(("name", "tested"), [("replay+certified", 3), ("selective", 4)])
def test_images_that_belong_together_are_tested_as_one(name, tested, toy_base, toy_stream):
    """Of each class four groups of two images are held out; one of them fits the biases of a certified model."""
    data, seen = toy_stream.data[0], []
    grouped = LabelledImages(
        data.protected.images, data.protected.labels, [f"{row // 2}" for row in range(len(data.protected))]
    )
    stream = dataclasses.replace(toy_stream, data=(dataclasses.replace(data, protected=grouped),))

    def noting(counts, margin):
        seen.append(counts)
        return certified_p_value(counts, margin)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"methods.{name.split('+')[-1]}.certified_p_value", noting)
        strategy = develop(name, toy_base, stream, steps=6, held_out=0.25)
    assert strategy.held_out.protected.labels.bincount().tolist() == [8] * 5
    assert {images for counts in seen for _, _, images in counts} == {tested}


def test_a_threshold_leaves_the_target_its_share_and_loses_what_is_surely_taken_for_it(
    toy_base, toy_stream, monkeypatch
):
    """Two images of class a, and all of class b, lead as the target by 4.5; class b was wrong before."""
    strategy = develop("selective", toy_base, toy_stream, steps=1)
    strategy.settings = SelectiveSettings(shares=(0.2, 0.6, 1.0))
    targets, labels = (part.labels for part in strategy.held_out)
    leads = torch.where(labels == 1, 4.5, -4.5)
    leads[(labels == 0).nonzero()[:2, 0]] = 4.5

    def answers(model, images):
        if len(images) == len(targets):
            return F.one_hot(targets, 6) * torch.arange(1.0, 1 + len(targets))[:, None]  # leads of 1, 2, 3 ...
        if model is strategy.model.new:
            return F.one_hot(torch.full_like(labels, 5), 6) * leads[:, None]
        return F.one_hot(torch.where(labels == 1, 2, labels), 6).float()

    seen = []
    monkeypatch.setattr("methods.selective.predict_logits", answers)
    monkeypatch.setattr("methods.selective.certified_p_value", lambda counts, margin: seen.append(counts) or 0.0)
    n, sizes = len(targets), labels.bincount().tolist()
    thresholds = [float(n - round(share * (n - 1))) for share in (0.2, 0.6, 1.0)]
    assert thresholds[1] > 4.5 > thresholds[2]
    assert strategy.certified() == list(
        zip([f"target share {s}" for s in ("0.2", "0.6", "1")], thresholds, strict=True)
    )
    assert seen == [[(lost, 0, sizes[0]), *((0, 0, size) for size in sizes[1:])] for lost in (0, 0, 2)]


def test_a_selective_update_answers_as_the_old_model_but_for_targets_it_is_sure_of(toy_base, toy_stream):
    strategy = develop("selective", toy_base, toy_stream, steps=30, alpha=0.4)
    images = toy_stream.data[0].test.images
    old = predict_logits(toy_base, images)
    seen = []

    def score(name: str) -> None:
        logits = predict_logits(strategy.model, images)
        changed = (logits != old).any(dim=1)
        assert (logits[changed].argmax(1) == 5).all()
        seen.append(int(changed.sum()))

    strategy.propose(score)
    assert len(seen) > 1 and seen == sorted(seen) and seen[-1] > 0, "thresholds fall"
    unsure = develop("selective", toy_base, toy_stream, steps=30, alpha=1e-9)
    assert proposed(unsure) == [NONE]
    assert torch.equal(predict_logits(unsure.model, images), old)


def test_a_second_selective_round_starts_from_all_that_the_first_answers(toy_base, toy_stream):
    stream = make_toy_stream(seed=0, rounds=2)
    strategy = develop("selective", toy_base, stream, rounds=2, steps=20)
    images = stream.data[1].test.images
    first = predict_logits(strategy.model.old, images)
    strategy.model.threshold.fill_(torch.finfo(torch.float32).max)
    assert torch.equal(predict_logits(strategy.model, images), first)
