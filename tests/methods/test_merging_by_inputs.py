"""Merges by what layers are given, against least squares and pairs counted one by one."""

from __future__ import annotations

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from methods.clip import ClipClassifier
from methods.merging_by_inputs import angular_gaps, inner_products, mean_cosine, regression_mean
from methods.saliency import Side
from methods.tokenizer import ByteTokenizer
from tests.methods.developing import develop, replayed

VISION = "clip.visual.transformer.resblocks.2.mlp.c_proj"
TEXT = "clip.transformer.resblocks.1.mlp.c_fc"


@pytest.fixture(scope="module")
def naive(toy_base, toy_stream):
    """A model that was fine-tuned on the first target."""
    return develop("finetune", toy_base, toy_stream, steps=10, lr=1e-3).model


@pytest.fixture(scope="module")
def wordy(toy_base):
    """The toy model with prompts of different lengths."""
    return ClipClassifier(toy_base.clip, ["a.", "a prompt.", "quite a long prompt."], ByteTokenizer(77)).eval()


@torch.no_grad()
def given(model, layer: str, side: Side) -> list[torch.Tensor]:
    """Inputs of a layer by a hook: a sample's tokens each, (L, inputs) in float64; of prompts up to the end token."""
    seen: list[torch.Tensor] = []
    model = copy.deepcopy(model).eval()
    hook = model.get_submodule(layer).register_forward_pre_hook(lambda module, args: seen.extend(args[0].double()))
    model(side.images.float() / 255)
    hook.remove()
    if layer == VISION:
        return seen
    ends = model.tokens.argmax(dim=1)
    return [seen[label][: ends[label] + 1] for label in side.classes]


def least_squares(sides, coefficient: float, alpha: float) -> torch.Tensor:
    """The W nearest in squares to what each layer makes of its inputs, by numpy; sides of (X, W), the old one first.

    Multiplying off-diagonal products by alpha is adding rows that have the rest of the diagonal.
    """
    inputs, outputs = [], []
    for (x, weight), share in zip(sides, (1 - coefficient, coefficient), strict=True):
        x, weight = x.double().numpy() / len(x) ** 0.5, weight.double().numpy()
        rest = np.diag(((x**2).sum(axis=0) * (1 - alpha)) ** 0.5)
        rows = share**0.5 * np.concatenate([alpha**0.5 * x, rest])
        inputs.append(rows)
        outputs.append(rows @ weight.T)
    return torch.tensor(np.linalg.lstsq(np.concatenate(inputs), np.concatenate(outputs), rcond=None)[0].T)


# RegMean


def layers(seed: int = 0, rows: int = 40):
    """Inputs and weights of two layers."""
    rng = torch.Generator().manual_seed(seed)
    return [[torch.randn(*shape, generator=rng, dtype=torch.float64) for shape in ((rows, 7), (5, 7))] for _ in "ab"]


def products(x: torch.Tensor, alpha: float = 1.0) -> torch.Tensor:
    full = x.T @ x / len(x)
    return alpha * full + (1 - alpha) * full.diag().diag()


@pytest.mark.parametrize("alpha", [1.0, 0.9, 0.0])
@pytest.mark.parametrize("coefficient", [0.1, 0.5, 1.0])
def test_the_merged_layer_is_the_least_squares_optimum(coefficient, alpha):
    (x, a), (z, b) = layers()
    merged = regression_mean(a, b, products(x, alpha), products(z, alpha), coefficient)
    torch.testing.assert_close(merged, least_squares([(x, a), (z, b)], coefficient, alpha))


def test_it_is_the_published_formula_for_sums_at_one_half():
    (x, a), (z, b) = layers()
    g, h = x.T @ x, z.T @ z
    wanted = torch.linalg.inv(g + h) @ (g @ a.T + h @ b.T)
    torch.testing.assert_close(regression_mean(a, b, products(x), products(z), 0.5), wanted.T)


def test_an_input_that_nobody_uses_keeps_its_old_weights():
    (x, a), (z, b) = layers()
    x[:, 2], z[:, 2] = 0, 0
    merged = regression_mean(a, b, products(x, 0.9), products(z, 0.9), 0.5)
    assert torch.equal(merged[:, 2], a[:, 2]) and merged.isfinite().all()
    assert (merged[:, :2] - a[:, :2]).abs().min() > 1e-3


def test_layers_that_are_equal_stay_bit_for_bit():
    (x, a), (z, _) = layers(rows=3)
    a = a.float()
    assert torch.equal(regression_mean(a, a, products(x, 0.9), products(z, 0.9), 0.7), a)


@pytest.mark.parametrize("layer", [VISION, TEXT])
def test_products_are_those_of_all_tokens_of_a_sides_samples(layer, wordy, toy_stream):
    side = Side(toy_stream.test[0].images[:300], [1, 2])
    wanted = products(torch.cat(given(wordy, layer, side)), 0.9)
    found = inner_products(wordy, side, 0.9)[f"{layer}.weight"].double()
    assert (found - wanted).abs().max() < 1e-5 * wanted.abs().max()


def test_regmean_regresses_on_old_outputs_for_protected_and_new_ones_for_target_images(toy_base, naive, toy_stream):
    plugin = replayed("regmean", toy_base, naive, toy_stream, calibration=1000).weight_space
    data, merged = toy_stream.data[0], plugin.merge(0.3)
    protected, target = Side(data.protected.images, list(range(5))), Side(data.train.images, [5])
    for layer in (VISION, TEXT):
        sides = [
            (torch.cat(given(model, layer, side)), model.state_dict()[f"{layer}.weight"])
            for model, side in ((toy_base, protected), (naive, target))
        ]
        wanted, line = least_squares(sides, 0.3, 0.9), torch.lerp(sides[0][1], sides[1][1], 0.3)
        moved = (sides[1][1] - sides[0][1]).abs().max()
        assert (merged[f"{layer}.weight"] - wanted).abs().max() < 0.01 * moved
        assert (line - wanted).abs().max() > 0.1 * moved
    bias = f"{VISION}.bias"
    torch.testing.assert_close(merged[bias], 0.7 * plugin.old[bias] + 0.3 * plugin.new[bias])


def test_regmean_merges_linear_layers_of_attention_and_at_one_is_the_new_model(toy_base, naive, toy_stream):
    plugin = replayed("regmean", toy_base, naive, toy_stream).weight_space
    names = {name for name in plugin.old if name.endswith(("_proj.weight", "c_fc.weight", "in_proj_weight"))}
    assert plugin.old_products.keys() == plugin.new_products.keys() == names
    torch.testing.assert_close(plugin.merge(1.0), plugin.new, atol=1e-5, rtol=1e-4)


# SafeLayers


def test_mean_cosines_are_those_of_all_pairs():
    rng = torch.Generator().manual_seed(0)
    one, other = (
        nn.functional.normalize(torch.randn(count, 3, generator=rng, dtype=torch.float64), dim=1) for count in (5, 4)
    )
    within = [float(a @ b) for a, b in itertools.combinations(one, 2)]
    across = [float(a @ b) for a, b in itertools.product(one, other)]
    assert mean_cosine(one) == pytest.approx(sum(within) / 10) and mean_cosine(one, other) == pytest.approx(
        sum(across) / 20
    )
    assert mean_cosine(one[:1]) == 1


def counted_gap(protected: list[torch.Tensor], target: list[torch.Tensor]) -> float:
    """The gap, pair by pair."""
    one, other = ([tokens.mean(dim=0) / tokens.mean(dim=0).norm() for tokens in side] for side in (protected, target))
    across = np.mean([float(a @ b) for a in one for b in other])
    within = np.mean([float(a @ b) for i, a in enumerate(one) for j, b in enumerate(one) if i != j])
    return math.acos(across) - math.acos(within)


def test_gaps_are_those_of_pairs_of_images_and_of_prompts(wordy, toy_stream):
    data = toy_stream.data[0]
    protected, target = Side(data.protected.images[:20], [0, 1]), Side(data.train.images[:10], [2])
    found = angular_gaps(wordy, protected, target)
    for layer in (VISION, TEXT):
        wanted = counted_gap(*(given(wordy, layer, side) for side in (protected, target)))
        assert found[f"{layer}.weight"] == pytest.approx(wanted, abs=2e-4)
    assert found[f"{VISION}.weight"] > 0.01  # the target looks different


def test_layers_go_back_by_gap_times_drift_and_the_rest_is_interpolated(toy_base, naive, toy_stream):
    plugin = replayed("safe-layers", toy_base, naive, toy_stream, calibration=1000).weight_space
    data = toy_stream.data[0]
    protected, target = Side(data.protected.images, list(range(5))), Side(data.train.images, [5])
    gaps, scores = angular_gaps(toy_base, protected, target), []
    for name in plugin.order:
        old, new = (model.state_dict()[name].double().numpy() for model in (toy_base, naive))
        scores.append(gaps[name] * np.linalg.norm(new - old) / np.linalg.norm(old))
    assert gaps.keys() == set(plugin.order) and len(plugin.order) == 24
    assert all(one > other - 1e-4 for one, other in itertools.pairwise(scores)) and scores[0] > 2 * scores[-1]
    merged = plugin.merge(0.25)
    for name, value in merged.items():
        if name in plugin.order:
            taken_back = plugin.order.index(name) < 18
            assert torch.equal(value, (plugin.old if taken_back else plugin.new)[name])
        else:
            torch.testing.assert_close(value, 0.75 * plugin.old[name] + 0.25 * plugin.new[name])
