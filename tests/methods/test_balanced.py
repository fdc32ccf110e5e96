"""Biases that make all protected classes change alike: what is found, held out and kept."""

from __future__ import annotations

import copy
import dataclasses
import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st
from scipy.stats import ttest_1samp
from torch import nn

import methods
from benchmark.records.schema import BaseInfo
from benchmark.running.rounds import Training
from benchmark.running.rounds import develop as develop_run
from benchmark.running.runner import Run
from methods.balanced import Answers, Balanced, BalancedSettings, balanced, first_of_each
from methods.checkpoints import checkpoint_bytes, load_checkpoint
from methods.class_bias import add_class_bias
from methods.clip import predict_logits
from methods.weight_space import snapshot
from scenarios.labelled_images import LabelledImages
from tests.methods.developing import develop

INFO = BaseInfo(name="toy", sha256="0" * 64, model="mds-tiny")


def answers(seed: int, classes: int, each: int, shift: float) -> Answers:
    """Noisy logits of ``classes`` protected classes and a target, some classes favoured over others."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(each)
    logits = torch.randn(len(labels), classes + 1, generator=rng) + 2 * F.one_hot(labels, classes + 1)
    logits += shift * torch.randn(classes + 1, generator=rng)
    old = torch.randn(logits.shape, generator=rng) + 2 * F.one_hot(labels, classes + 1)
    return Answers(logits, labels, old, torch.arange(len(labels)))


def smallest_change(found: Answers, bias: torch.Tensor) -> float:
    changes = found.changes(bias)
    return min(float(changes[found.labels == k].double().mean()) for k in found.labels.unique())


@trials(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5), st.floats(0, 3), st.floats(-2, 0))
def test_balancing_never_harms_the_worst_class_of_the_images_it_is_fitted_on(seed, classes, shift, lowered):
    found = answers(seed, classes, 60, shift)
    bias = balanced(found, classes, lowered)
    start = torch.zeros(classes + 1)
    start[classes] = lowered
    assert smallest_change(found, bias) >= smallest_change(found, start) - 1e-6, "equal up to rounding"
    assert bias[classes] == pytest.approx(lowered)
    assert float(bias[:classes].mean()) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_it_comes_close_to_the_best_of_a_fine_grid(seed):
    found = answers(seed, 3, 400, 1.0)
    grid = torch.arange(-3, 3.01, 0.1)
    best = -1.0
    for first, second in itertools.product(grid, grid):
        bias = torch.stack([first, second, -first - second, torch.tensor(0.0)])
        best = max(best, smallest_change(found, bias))
    assert smallest_change(found, balanced(found, 3, 0.0)) >= best - 0.01


@pytest.mark.parametrize("each_of_a_unit", [1, 20])
def test_a_class_of_few_independent_images_has_no_bias_and_moves_no_other(each_of_a_unit):
    found = answers(3, 3, 30 * each_of_a_unit, 1.0)
    units = torch.arange(len(found.labels)) // each_of_a_unit
    found = found._replace(units=torch.where(found.labels == 0, units.clamp(max=28), units))  # 29 of class 0
    bias = balanced(found, 3, -0.5)
    assert bias[0] == 0
    assert bias[1:3].abs().min() > 0.01
    assert torch.equal(bias, balanced(found.of(found.labels > 0), 3, -0.5))


@given(st.lists(st.integers(0, 9)))
def test_of_images_that_belong_together_the_first_stands_for_all(units):
    assert first_of_each(torch.tensor(units, dtype=torch.int64)).tolist() == [
        row for row, unit in enumerate(units) if unit not in units[:row]
    ]


class Plain(nn.Module):
    """A classifier that is no CLIP."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(48, 6)

    def forward(self, images):
        return self.linear(F.avg_pool2d(images, 16).flatten(1))


@pytest.mark.parametrize("kind", ["clip", "plain"])
def test_a_bias_is_added_to_the_logits_of_any_classifier_and_copied_with_it(kind, toy_base, toy_stream):
    torch.manual_seed(0)
    model = copy.deepcopy(toy_base) if kind == "clip" else Plain()
    images = toy_stream.data[0].val.images
    before = predict_logits(model, images)
    add_class_bias(model, 6)
    assert torch.equal(predict_logits(model, images), before)
    bias = torch.arange(6.0)
    model.load_state_dict(model.state_dict() | {"class_bias": bias})
    add_class_bias(model, 6)
    for one in (model, copy.deepcopy(model)):
        torch.testing.assert_close(predict_logits(one, images), before + bias)
        torch.testing.assert_close(one(images.float() / 255).detach(), before + bias, rtol=1e-4, atol=1e-4)


def test_a_bias_is_saved_with_a_checkpoint_and_dropped_for_other_prompts(toy_base, toy_stream, tmp_path):
    model = copy.deepcopy(toy_base)
    add_class_bias(model, 6)
    model.class_bias += torch.arange(6.0)
    path = tmp_path / "biased.safetensors"
    path.write_bytes(checkpoint_bytes(model, model.architecture))
    again = load_checkpoint(path, model.prompts)
    images = toy_stream.data[0].val.images[:8]
    assert torch.equal(predict_logits(again, images), predict_logits(model, images))
    assert load_checkpoint(path, [f"other {k}" for k in range(6)]).class_bias is None


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_held_out_images_are_a_share_of_each_class_that_no_step_sees(toy_stream, share):
    given, whole = toy_stream.experiences(0, share), toy_stream.experiences(0)
    for rest, held, all_ in zip(given[:2], given.held_out, whole[:2], strict=True):
        together = torch.cat([rest.images, held.images]).flatten(1)
        assert sorted(map(bytes, together.numpy())) == sorted(map(bytes, all_.images.flatten(1).numpy()))
        counts, of = held.labels.bincount(), all_.labels.bincount()
        assert all(abs(n - share * m) <= 0.5 for n, m in zip(counts.tolist(), of.tolist(), strict=True))
        assert rest.current_experience == all_.current_experience
    assert toy_stream.experiences(0, share) is given


def test_a_training_with_held_out_images_is_one_of_its_own():
    plain, balanced_ = (methods.load(name) for name in ("replay", "replay+balanced"))
    certified = methods.load("replay+certified")
    assert methods.load("replay+wise-ft").SETTINGS.model_fields.keys().isdisjoint({"held_out"})
    keys = {
        Training.of(name, strategy, strategy.SETTINGS(**given)).key
        for name, strategy, given in (
            ("replay", plain, {}),
            ("replay+balanced", balanced_, {"held_out": 0.25}),
            ("replay+certified", certified, {"held_out": 0.25}),
            ("replay+certified", certified, {"held_out": 0.5}),
        )
    }
    assert len(keys) == 3, "two methods that hold out the same share train alike"


def test_candidates_give_up_the_target_first_and_worst_classes_last(toy_base, toy_stream):
    strategy = develop("replay+balanced", toy_base, toy_stream, steps=20)
    plugin, seen = strategy.weight_space, []

    def score(name: str) -> None:
        logits = predict_logits(strategy.model, strategy.held_out.target.images)
        seen.append((name, float((logits.argmax(1) == 5).float().mean())))

    strategy.propose(score)
    names = [f"target share {share:g}" for share in plugin.settings.shares]
    assert [name for name, _ in seen] == names[: len(seen)] and len(seen) >= names.index("target share 1") + 1
    assert seen[0][1] <= seen[-1][1]


def proposed(found: Answers, target: Answers, **changed) -> dict[float, torch.Tensor]:
    """Shares and biases that the plugin proposes for held-out images."""
    plugin = Balanced(BalancedSettings(**changed))
    plugin.target = int(target.labels[0])
    return dict(plugin.biases(target, found))


def better(seed: int, gain: float) -> tuple[Answers, Answers]:
    """Held-out images of three protected classes and of the target; the new model is surer of all of them."""
    found, rng = answers(seed, 3, 400, 0.3), torch.Generator().manual_seed(seed)
    found.logits[torch.arange(1200), found.labels] += gain
    labels = torch.full((100,), 3)
    logits = torch.randn(100, 4, generator=rng) + 2 * F.one_hot(labels, 4)
    return found, Answers(logits, labels, torch.randn(100, 4, generator=rng), torch.arange(100))


@pytest.mark.parametrize("seed", range(3))
def test_the_target_is_raised_as_far_as_every_class_surely_gains(seed):
    found, target = better(seed, 0.6)
    biases = proposed(found, target)
    assert 1 < max(biases) < 1.2, "some of the gain is spent, and not more"
    known = [int(target.right(torch.eye(4)[3] * bias[3]).sum()) for bias in biases.values()]
    before = known[list(biases).index(1.0)]
    assert known == sorted(known)
    assert known == pytest.approx([share * before for share in biases], abs=1.5)
    all_of_them = proposed(found, target, standard_errors=0.0)
    assert len(all_of_them) > len(biases)
    for share, bias in all_of_them.items():
        changes = found.changes(bias).double()
        t = min(ttest_1samp(changes[found.labels == k], 0).statistic for k in range(3))
        assert share <= 1 or (t > 3) == (share in biases)


def test_nothing_is_raised_where_a_class_did_not_surely_gain():
    assert max(proposed(*better(0, 0.0))) == 1
    found, target = better(0, 0.6)
    twice = found._replace(units=torch.arange(1200) // 20)  # twenty independent images of each class
    assert max(proposed(twice, target)) == 1


@pytest.mark.parametrize(("known", "of"), [(40, 40), (15, 20), (0, 20), (22, 24)])
def test_a_raised_target_is_never_lowered_and_no_model_comes_twice(known, of):
    found, _ = better(0, 3.0)
    leads = torch.cat([torch.arange(1.0, 1 + known), -torch.arange(1.0, 1 + of - known)])
    logits = F.one_hot(labels := torch.full((of,), 3), 4) * leads[:, None]
    biases = proposed(found, Answers(logits, labels, logits, torch.arange(of)))
    raised = [float(bias[3]) for share, bias in biases.items() if share > 1]
    assert not [bias for bias in raised if bias <= 0] and raised == sorted(set(raised))
    assert bool(raised) == (0 < known < of)


@pytest.mark.parametrize("name", ["mds-strict", "replay+balanced", "replay+certified"])
@pytest.mark.parametrize("share", [-0.5, 0.0, float("nan"), float("inf")])
def test_a_share_that_means_nothing_is_refused(name, share):
    with pytest.raises(ValueError, match=r"above 0|finite number"):
        methods.load(name).SETTINGS(shares=(share, 1.0))


def test_weights_are_averaged_over_the_second_half_and_taken_part_of_the_way(toy_base, toy_stream):
    states = []

    class Watch:
        def after_training_iteration(self, strategy, **kwargs):
            states.append(snapshot(strategy.model))

    method = methods.load("replay+balanced")
    settings = method.SETTINGS(steps=6, lr=3e-4, average=True, coefficient=0.7)
    strategy = method(model=copy.deepcopy(toy_base), settings=settings, plugins=[Watch()])
    given = toy_stream.experiences(0, settings.held_out)
    strategy.protect(given.protected)
    strategy.hold_out(*given.held_out)
    strategy.train(given.train, eval_streams=[])
    plugin = strategy.weight_space
    for name, old in plugin.old.items():
        mean = torch.stack([state[name].double() for state in states[3:]]).mean(dim=0)
        torch.testing.assert_close(plugin.new[name].double(), 0.3 * old.double() + 0.7 * mean, rtol=1e-5, atol=1e-6)


def test_biases_are_added_to_those_of_earlier_rounds(toy_base, toy_stream):
    plugin = develop("replay+balanced", toy_base, toy_stream, steps=1).weight_space
    plugin.new["class_bias"] = torch.arange(6.0)
    _, state = plugin.candidate(1.0, torch.full((6,), 0.5))
    assert state["class_bias"].tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]


def test_of_a_target_of_few_independent_images_nothing_is_given_up(toy_base, toy_stream):
    """Three of its twelve tracks are held out, of 15 images."""
    data = toy_stream.data[0]
    tracks = LabelledImages(data.train.images, data.train.labels, [f"{row // 5}" for row in range(len(data.train))])
    stream = dataclasses.replace(toy_stream, data=(dataclasses.replace(data, train=tracks),))
    strategy = develop("replay+balanced", toy_base, stream, steps=6, held_out=0.25)
    assert len(strategy.held_out.target.labels) == 15
    assert [name for name, _ in strategy.weight_space.candidates] == ["target share 1"]


def test_it_asks_for_held_out_images(toy_base, toy_stream):
    strategy = methods.load("replay+balanced")(model=copy.deepcopy(toy_base))
    strategy.protect(toy_stream.protected[0])
    with pytest.raises(ValueError, match="needs held-out images"):
        strategy.train(toy_stream.train[0], eval_streams=[])


@pytest.mark.parametrize("name", ["replay+balanced", "replay+certified"])
def test_a_run_biases_the_trained_weights_once_and_changes_nothing_else(name, toy_base, toy_stream, monkeypatch):
    trained, answers = [], Balanced.answers

    def noted(self, strategy):
        trained.append(snapshot(strategy.model))
        return answers(self, strategy)

    monkeypatch.setattr(Balanced, "answers", noted)
    method = methods.load(name)
    easy = {"margin_points": 99.0} if "certified" in name else {}
    run = Run(toy_stream, toy_base, INFO, name, method, method.SETTINGS(steps=10, lr=3e-4, **easy))
    (developed,) = develop_run([run])
    (weights,), kept = trained, developed.model.state_dict()
    assert all(torch.equal(kept[key], value) for key, value in weights.items() if key != "class_bias")
    assert developed.selection.selected.startswith("target share")
    assert len(developed.selection.checkpoints) >= run.settings.shares.index(1.0) + 1


@pytest.mark.parametrize("name", ["replay+balanced", "replay+certified", "selective"])
def test_a_training_that_diverges_is_recorded_as_such(name, toy_base, toy_stream):
    method = methods.load(name)
    settings = method.SETTINGS(steps=8, lr=1.0, weight_decay=1e30)
    record, _ = Run(toy_stream, toy_base, INFO, name, method, settings).execute()
    assert record.status == "diverged" and record.rounds == ()
