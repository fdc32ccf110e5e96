"""The rendered driving streams: what each teaches and keeps, and that no picture is where it must not be."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from avalanche.training.supervised import EWC, Naive
from torch import nn

import scenarios
from scenarios import road_pictures
from scenarios.render import WEATHERS
from scenarios.stream import DevelopmentStream, LabelledImages

NAMES = ("driving-foggy", "driving-overcast", "driving-tunnel", "driving-rounds", "driving-settled")
TINY = {"image_size": 32, "target_images": 6, "protected_per_class": 5, "val_per_class": 3, "test_per_class": 4}


def tiny(name: str, seed: int = 0, **options: Any) -> DevelopmentStream:
    return scenarios.build(name, seed, **TINY | options)


def pictures(images: LabelledImages) -> set[bytes]:
    return {image.numpy().tobytes() for image in images.images}


@pytest.mark.parametrize(
    ("name", "target", "protected"),
    [
        ("driving-foggy", "foggy", {"clear", "overcast", "snowy", "rainy", "partly cloudy"}),
        ("driving-overcast", "overcast", {"clear", "snowy", "rainy", "partly cloudy"}),
        ("driving-tunnel", "tunnel", {"highway", "residential area", "city street", "parking lot"}),
    ],
)
def test_single_rounds_are_those_of_the_published_study(name, target, protected):
    (round_,) = tiny(name).rounds
    assert round_.target == target and set(round_.protected) == protected


def test_what_a_round_taught_is_protected_in_the_next():
    rounds = tiny("driving-rounds").rounds
    assert len(rounds) >= 4 and [r.target for r in rounds[:3]] == ["overcast", "foggy", "tunnel"]
    for before, after in pairwise(rounds):
        assert set(after.protected) == {*before.protected, before.target}


@pytest.mark.parametrize("name", NAMES)
def test_splits_have_the_asked_sizes_and_share_no_picture(name):
    plan = scenarios.builder(name).__self__
    stream = replace(plan, base_images=60, rare=dict.fromkeys(plan.rare, 2)).build(0, **TINY)
    assert stream.pretraining is not None
    seen = dict.fromkeys(pictures(stream.pretraining()), "base")
    for data, round_ in zip(stream.data, stream.rounds, strict=True):
        assert len(data.train) == 6 and len(data.protected) == 5 * len(round_.protected)
        assert len(data.val) == 3 * len(round_.classes) and len(data.test) == 4 * len(round_.classes)
        for split in ("train", "protected", "val", "test"):
            kind = "train" if split == "protected" else split
            for picture in pictures(getattr(data, split)):
                assert seen.setdefault(picture, kind) == kind


def test_a_stream_can_be_scored_on_pictures_that_no_split_has():
    usual, probed = tiny("driving-foggy"), tiny("driving-foggy", scored="probe")
    assert not pictures(probed.data[0].test) & set().union(*(pictures(part) for part in vars(usual.data[0]).values()))
    for split in ("train", "protected", "val"):
        assert pictures(getattr(probed.data[0], split)) == pictures(getattr(usual.data[0], split))
    assert probed.fingerprint != usual.fingerprint and probed.training_fingerprint == usual.training_fingerprint
    assert probed.options == usual.options | {"scored": "probe"}
    with pytest.raises(ValueError, match="scored must be test or probe, not 'val'"):
        tiny("driving-foggy", scored="val")


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_the_training_pictures_alone(name):
    one, other, again = tiny(name, 0), tiny(name, 1), tiny(name, 0)
    assert one.fingerprint == other.fingerprint == again.fingerprint
    assert one.training_fingerprint == again.training_fingerprint != other.training_fingerprint


def test_a_later_round_protects_what_an_earlier_one_was_taught_with():
    first, second, *_ = tiny("driving-rounds", protected_per_class=6).data
    kept = second.protected.images[second.protected.labels == first.train.labels[0]]
    assert torch.equal(kept, first.train.images)


def test_pictures_are_drawn_once_and_then_read(monkeypatch):
    options = {"target_images": 7, "test_per_class": 5}
    first = tiny("driving-rounds", 3, **options)
    monkeypatch.setattr(road_pictures, "render_road", lambda *_: pytest.fail("drew a picture again"))
    assert tiny("driving-rounds", 3, **options).fingerprint == first.fingerprint


@pytest.mark.parametrize(("option", "value"), [("target_images", 0), ("test_per_class", 8_001)])
def test_sizes_out_of_range_are_refused(option, value):
    with pytest.raises(ValueError, match=f"{option} must be between 1 and 8000"):
        tiny("driving-tunnel", **{option: value})


@pytest.mark.parametrize(("option", "value"), [("image_size", "big"), ("test_per_class", 2.5), ("val_per_class", True)])
def test_sizes_of_another_type_are_refused(option, value):
    with pytest.raises(ValueError, match=f"{option}={value!r}: input should be a valid integer"):
        tiny("driving-tunnel", **{option: value})


class TestCounterfactuals:
    def test_a_pair_is_one_scene_under_two_classes(self):
        made = tiny("driving-foggy").counterfactuals("clear", "foggy", count=12)
        assert len(made) == 12 and made.images_a.shape == (12, 3, 32, 32)
        assert (made.caption_a, made.caption_b) == ("the weather is clear.", "the weather is foggy.")

        def distance(a, b):
            return (a.float() - b.float()).abs().mean()

        same_scene = distance(made.images_a, made.images_b)
        assert 0 < same_scene < distance(made.images_a, made.images_b.roll(1, 0))

    def test_both_orders_show_the_same(self):
        stream = tiny("driving-rounds")
        one = stream.counterfactuals("tunnel", "clear", count=3)
        other = stream.counterfactuals("clear", "tunnel", count=3)
        assert torch.equal(one.images_a, other.images_b) and torch.equal(one.images_b, other.images_a)

    def test_they_are_in_no_split_and_calibration_is_not_scored(self):
        stream = tiny("driving-foggy")
        (data,) = stream.data
        used = set().union(*(pictures(getattr(data, s)) for s in ("train", "protected", "val", "test")))
        scored = stream.counterfactuals("clear", "foggy", count=4, split="pairs").images_a
        calibration = stream.counterfactuals("clear", "foggy", count=4).images_a
        for image in (*scored, *calibration):
            assert image.numpy().tobytes() not in used
        assert not torch.equal(scored, calibration)

    def test_each_round_has_pairs_of_every_protected_class_and_its_target(self):
        stream = tiny("driving-rounds", test_per_class=3)
        for round_, pairs in zip(stream.rounds, stream.scene_pairs, strict=True):
            assert [(p.class_a, p.class_b, len(p)) for p in pairs] == [(n, round_.target, 3) for n in round_.protected]
        scored = stream.counterfactuals("clear", "overcast", count=3, split="pairs")
        (own,) = [p for p in stream.scene_pairs[0] if p.class_a == "clear"]
        assert torch.equal(own.images_a, scored.images_a) and torch.equal(own.images_b, scored.images_b)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [(("clear", "fog"), "unknown class 'fog'"), (("clear", "foggy", 2, "test"), "calibration or pairs")],
    )
    def test_mistakes(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            tiny("driving-foggy").counterfactuals(*arguments)


@pytest.mark.parametrize("strategy_class", [Naive, EWC])
def test_plain_avalanche_strategies_develop_a_model_over_all_rounds(strategy_class):
    stream = tiny("driving-rounds")
    torch.manual_seed(0)
    model = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(3 * 4 * 4, len(stream.classes)))
    before = [p.clone() for p in model.parameters()]
    extra = {"ewc_lambda": 1.0, "criterion": nn.CrossEntropyLoss()} if strategy_class is EWC else {}
    strategy = strategy_class(
        model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1), train_mb_size=4, evaluator=None, **extra
    )
    for experience in stream.train:
        strategy.train(experience, eval_streams=[])
    strategy.eval(stream.test)
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    assert len(WEATHERS) + 2 == len(stream.classes)
