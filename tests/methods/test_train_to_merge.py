"""PAINT and the linear merge: what is trained, on which images, and between which models they merge."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import methods
from benchmark.running.selection import EVALUATIONS, Selection
from methods.train_to_merge import LinearMerge, LinearMergeSettings, Paint, PaintSettings
from tests.methods.developing import develop, equal

SHORT = {"batch_size": 24, "lr": 1e-3}


class Steps:
    """Keeps what each step showed, and the gradients of the first."""

    def before_training_exp(self, strategy, **kwargs):
        self.images, self.labels, self.rates, self.rows, self.gradients = [], [], [], [], {}

    def before_update(self, strategy, **kwargs):
        self.images.append(strategy.mb_x)
        self.labels.append(strategy.mb_y)
        self.rates.append(strategy.optimizer.param_groups[0]["lr"])
        self.rows.append((len(strategy.batches.target_rows), len(strategy.batches.protected_rows)))
        if len(self.images) == 1:
            named = strategy.model.named_parameters()
            self.gradients = {name: p.grad.clone() for name, p in named if p.grad is not None}


def trained(strategy_class, settings, model, stream, plugins=()):
    strategy = strategy_class(model=copy.deepcopy(model), settings=settings, plugins=list(plugins))
    strategy.protect(stream.protected[0])
    strategy.train(stream.train[0], eval_streams=[])
    return strategy


def proposals(strategy) -> dict[str, dict]:
    seen = {}
    strategy.propose(lambda name: seen.update({name: copy.deepcopy(strategy.model.state_dict())}))
    return seen


def plain(*layers) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), *layers)


# PAINT


@pytest.fixture(scope="module")
def painted(toy_base, toy_stream):
    """A strategy after some steps, and what they showed."""
    steps = Steps()
    return trained(Paint, PaintSettings(steps=4, **SHORT), toy_base, toy_stream, [steps]), steps


def test_paint_is_finetuning_with_the_text_side_frozen(painted, toy_base, toy_stream):
    model = copy.deepcopy(toy_base)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("clip.visual."))
    wanted = develop("finetune", model, toy_stream, steps=4, **SHORT).model.state_dict()
    assert equal(painted[0].weight_space.new, wanted)


def test_paint_moves_the_image_tower_alone_and_its_candidates_lie_on_the_line(painted, toy_base):
    old, new = toy_base.state_dict(), painted[0].weight_space.new
    seen = proposals(painted[0])
    assert list(seen) == [f"coefficient {k / 10:g}" for k in range(1, 11)]
    for name, state in seen.items():
        c = float(name.split()[1])
        for key, value in state.items():
            if key.startswith("clip.visual."):
                torch.testing.assert_close(value, (1 - c) * old[key] + c * new[key], atol=1e-6, rtol=1e-5)
            else:
                assert torch.equal(value, old[key])
    moved = {key for key in old if not torch.equal(old[key], new[key])}
    assert moved == {key for key in old if key.startswith("clip.visual.")}


def test_the_first_gradient_is_that_of_a_fixed_text_classifier_on_target_images(painted, toy_base):
    steps, model = painted[1], copy.deepcopy(toy_base).double()
    tokens = F.pad(model.tokens, (0, 77 - model.tokens.shape[1]))
    with torch.no_grad():
        classifier = model.clip.encode_text(tokens, normalize=True)
    pixels = (steps.images[0].double() - model.mean) / model.std
    loss = F.cross_entropy(model.clip.encode_image(pixels, normalize=True) @ classifier.T / 0.05, steps.labels[0])
    loss.backward()
    assert set(steps.labels[0].tolist()) == {5} and painted[0].losses[0].item() == pytest.approx(loss.item(), rel=1e-4)
    wanted = {name: p.grad for name, p in model.named_parameters() if name.startswith("clip.visual.")}
    assert steps.gradients.keys() == wanted.keys()
    for name, gradient in steps.gradients.items():
        assert (gradient.double() - wanted[name]).abs().max() < 1e-3 * wanted[name].abs().max()


def test_after_paint_everything_is_as_trainable_as_before(toy_base, toy_stream):
    model = copy.deepcopy(toy_base)
    model.clip.visual.proj.requires_grad_(False)
    after = trained(Paint, PaintSettings(steps=2, **SHORT), model, toy_stream)
    assert [name for name, p in after.model.named_parameters() if not p.requires_grad] == ["clip.visual.proj"]
    assert torch.equal(after.weight_space.new["clip.visual.proj"], toy_base.state_dict()["clip.visual.proj"])


def test_of_a_plain_classifier_paint_trains_all_but_the_last_layer(toy_stream):
    model = plain(nn.Linear(48, 20), nn.ReLU(), nn.Linear(20, 6))
    old = copy.deepcopy(model.state_dict())
    new = trained(Paint, PaintSettings(steps=2, t=1.0, **SHORT), model, toy_stream).weight_space.new
    assert [name for name in old if not torch.equal(old[name], new[name])] == ["2.weight", "2.bias"]
    with pytest.raises(ValueError, match="paint trains what comes before the classifier, and Sequential has nothing"):
        trained(Paint, PaintSettings(steps=2, **SHORT), plain(nn.Linear(48, 6)), toy_stream)


# Linear merge


def merged(model, stream, steps: int, plugins=()):
    return trained(LinearMerge, LinearMergeSettings(steps=steps, **SHORT), model, stream, plugins)


@pytest.mark.parametrize("steps", [5, 2])
def test_both_partners_are_what_finetuning_makes_of_the_old_model_in_half_of_the_steps(steps, toy_base, toy_stream):
    strategy, finetune = merged(toy_base, toy_stream, steps), methods.load("finetune")
    partners = []
    for experience, count in ((toy_stream.protected[0], steps // 2), (toy_stream.train[0], steps - steps // 2)):
        alone = finetune(model=copy.deepcopy(toy_base), settings=finetune.SETTINGS(steps=count, **SHORT))
        alone.train(experience, eval_streams=[])
        partners.append(alone.model.state_dict())
    assert equal(strategy.weight_space.old, partners[0]) and equal(strategy.weight_space.new, partners[1])
    for w in (0.9, 0.4):
        wanted = {key: w * partners[0][key] + (1 - w) * partners[1][key] for key in partners[0]}
        torch.testing.assert_close(strategy.weight_space.merge(1 - w), wanted, atol=1e-6, rtol=1e-5)
    assert list(proposals(strategy)) == [f"coefficient {k / 10:g}" for k in range(1, 10)]


def test_each_half_shows_one_kind_of_image_under_a_schedule_of_its_own(toy_base, toy_stream):
    steps = Steps()
    merged(toy_base, toy_stream, 20, [steps])
    assert {label for labels in steps.labels[:10] for label in labels.tolist()} == set(range(5))
    assert {label for labels in steps.labels[10:] for label in labels.tolist()} == {5}
    assert steps.rows == [(0, 24)] * 10 + [(24, 0)] * 10
    assert steps.rates[:10] == steps.rates[10:] and max(steps.rates) == pytest.approx(1e-3)
    assert steps.rates[9] < 0.1 * max(steps.rates)


def test_of_a_single_step_the_safe_model_is_the_old_one(toy_base, toy_stream):
    strategy = merged(toy_base, toy_stream, 1)
    assert equal(strategy.weight_space.old, toy_base.state_dict()) and not equal(
        strategy.weight_space.new, strategy.weight_space.old
    )
    assert not strategy.start


def test_protected_data_is_asked_for_before_a_step_is_taken(toy_base, toy_stream):
    strategy = LinearMerge(model=copy.deepcopy(toy_base))
    with pytest.raises(ValueError, match="call protect"):
        strategy.train(toy_stream.train[0], eval_streams=[])


@pytest.mark.parametrize("name", ["paint", "linear-merge"])
def test_candidates_are_scored_in_place_of_points_along_the_training(name, toy_base, toy_stream):
    strategy_class, val = methods.load(name), toy_stream.data[0].val
    selection = Selection(val, torch.zeros_like(val.labels), toy_stream.rounds[0], toy_stream.classes, EVALUATIONS)
    strategy = trained(strategy_class, strategy_class.SETTINGS(steps=4, **SHORT), toy_base, toy_stream, [selection])
    assert [point.candidate for point in selection.checkpoints] == [
        f"coefficient {c:g}" for c in strategy.settings.coefficients
    ]
    kept = copy.deepcopy(strategy.model.state_dict())
    assert equal(kept, proposals(strategy)[selection.selected])
