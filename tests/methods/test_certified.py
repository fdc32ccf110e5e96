"""Updates that are kept only where held-out images show that nothing was lost."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from methods.certificate import certified_p_value
from methods.certified import NONE
from methods.clip import predict_logits
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


def test_certified_candidates_are_the_first_ones_and_pass_on_images_that_fitted_nothing(toy_base, toy_stream):
    """At a level between the p-values of two candidates, exactly those before the first failure are proposed."""
    strategy = develop("replay+certified", toy_base, toy_stream, steps=30, margin_points=5.0, alpha=0.4)
    plugin = strategy.weight_space
    found = []

    def noting(*args):
        found.append(certified_p_value(*args))
        return found[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("methods.certified.certified_p_value", noting)
        names = proposed(strategy)
    passed = [p for p in found if p <= 0.4]
    assert names == ([f"target share {share:g}" for share in plugin.settings.shares[: len(passed)]] or [NONE])
    assert len(found) in (len(passed), len(passed) + 1), "none is tested after the first that fails"


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
