"""GEM and A-GEM: the projection against other solvers, and what it does to a step."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from avalanche.training.plugins import GEMPlugin
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import nn

from methods import projection
from methods.clip import predict_logits
from methods.projection import AGEM, GEM, gem_weights, gram_matrix
from tests.methods.developing import accuracy, develop


def gradients(seed: int, count: int, size: int, dependent: bool = False):
    """A gradient (size,) and those of ``count`` constraints, of very different lengths; three more that depend."""
    rng = np.random.default_rng(seed)
    references = rng.standard_normal((count, size)) * 10.0 ** rng.uniform(-2, 2, (count, 1))
    if dependent:
        references = np.vstack([references, references[:1], 3 * references[-1:], 0 * references[:1]])
    return rng.standard_normal(size), references


def projected(g, references, strength: float = 0.0):
    rows = np.vstack([g, references])
    return g + gem_weights(rows @ rows.T, strength) @ references


def primal(g, references):
    """The nearest z with <z, g_k> >= 0, from a general solver that knows no dual."""
    units = references / np.linalg.norm(references, axis=1, keepdims=True)
    length = np.linalg.norm(g)
    found = minimize(
        lambda z: 0.5 * ((z - g / length) ** 2).sum(),
        np.zeros_like(g),
        jac=lambda z: z - g / length,
        constraints={"type": "ineq", "fun": lambda z: units @ z, "jac": lambda z: units},
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert found.success
    return found.x * length


CASES = given(st.integers(0, 10_000), st.integers(1, 6), st.integers(2, 12))


@settings(max_examples=60, deadline=None)
@CASES
def test_gem_finds_the_nearest_gradient_that_meets_every_constraint(seed, count, size):
    g, references = gradients(seed, count, size)
    np.testing.assert_allclose(projected(g, references), primal(g, references), atol=1e-5)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(2, 12))
def test_constraints_hold_and_only_tight_ones_have_weight_however_they_depend(seed, count, size):
    g, references = gradients(seed, count, size, dependent=True)
    rows = np.vstack([g, references])
    v = gem_weights(rows @ rows.T)
    lengths = np.linalg.norm(references, axis=1)
    cosines = references @ (g + v @ references) / np.where(lengths > 0, lengths, 1) / np.linalg.norm(g)
    assert cosines.min() > -1e-5 and v.min() >= 0
    assert (v * lengths * np.abs(cosines)).max() < 1e-2 * max(1.0, (v * lengths).max() * 1e-3)


@settings(max_examples=40, deadline=None)
@CASES
def test_a_strength_is_the_least_weight_and_keeps_the_constraints(seed, count, size):
    g, references = gradients(seed, count, size)
    rows = np.vstack([g, references])
    v = gem_weights(rows @ rows.T, 0.5)
    if (references @ g).min() >= 0:
        assert not v.any()
        return
    assert v.min() >= 0.5
    shifted = g + 0.5 * references.sum(axis=0)  # v = 0.5 + w with w >= 0: a projection of this
    tolerance = 1e-5 * np.linalg.norm(shifted)
    np.testing.assert_allclose(projected(g, references, 0.5), primal(shifted, references), atol=tolerance)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(2, 12), st.sampled_from([0.0, 0.5]))
def test_a_gradient_that_violates_nothing_is_left_alone(seed, count, size, strength):
    g, references = gradients(seed, count, size)
    references *= np.where(references @ g < 0, -1, 1)[:, None]
    np.testing.assert_array_equal(projected(g, references, strength), g)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12))
def test_one_constraint_is_a_gems_formula(seed, size):
    g, references = gradients(seed, 1, size)
    (r,) = references
    wanted = g - min(g @ r, 0) / (r @ r) * r
    rows = torch.tensor(np.vstack([g, r]))
    agem = AGEM.weights(None, gram_matrix(rows))
    np.testing.assert_allclose(projected(g, references), wanted, atol=1e-7)
    np.testing.assert_allclose(rows[0] + agem @ rows[1:], wanted, atol=1e-12)


@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_gem_agrees_with_avalanches_projection(strength):
    """Up to the 0.001 that Avalanche adds to the diagonal, so on gradients that make it small."""
    compared = 0
    for seed in range(20):
        g, references = gradients(seed, 4, 30)
        references = 100 * references / np.linalg.norm(references, axis=1, keepdims=True)
        if (references @ g).min() < 0:
            plugin = GEMPlugin(patterns_per_experience=1, memory_strength=strength)
            plugin.G = torch.tensor(references)
            wanted = plugin.solve_quadprog(torch.tensor(g)).numpy()
            np.testing.assert_allclose(projected(g, references, strength), wanted, rtol=1e-4, atol=1e-4)
            compared += 1
    assert compared > 10


def test_a_constraint_without_gradient_changes_nothing():
    gram = torch.tensor([[2.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    assert AGEM.weights(None, gram).tolist() == [0.0] and gem_weights(gram.numpy()).tolist() == [0.0]


def test_gradients_that_are_not_finite_are_not_projected():
    gram = np.array([[np.nan, -1.0], [-1.0, 1.0]])
    assert gem_weights(gram, 0.5).tolist() == [0.0]


def test_the_gram_matrix_is_exact_in_chunks(monkeypatch):
    rows = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(projection, "CHUNK", 7)
    torch.testing.assert_close(gram_matrix(rows), rows.double() @ rows.double().T)


# A step


class Plain(nn.Module):
    """A plain classifier of images with a frozen part, a part that nothing reaches, and one scalar weight."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body, self.frozen, self.idle = nn.Linear(192, 8), nn.Linear(8, 8), nn.Linear(3, 3)
            self.head = nn.Linear(8, 6)
        self.gain = nn.Parameter(torch.tensor(1.5))
        self.frozen.requires_grad_(False)

    def forward(self, images):
        pooled = F.adaptive_avg_pool2d(images, 8).flatten(1) * 8 - 4
        return self.head(self.frozen(self.body(pooled)).tanh()) * self.gain


def one_step(method, stream, steps: int = 1, **changes):
    """What the projection saw: the parameters' gradients after the step, and those of each loss, by plain autograd."""
    seen = {}

    class Watched(method):
        def backward(self):
            super().backward()
            parameters = dict(self.model.named_parameters())
            seen["grad"] = {name: None if p.grad is None else p.grad.clone() for name, p in parameters.items()}
            trained = [p for name, p in parameters.items() if name.startswith(("body", "head", "gain"))]
            targets, each = len(self.batches.target_rows), self.batches.images_per_class
            rows = [slice(0, targets)]
            rows += [slice(start, start + each) for start in range(targets, len(self.mb_x), each)]
            seen["losses"] = [F.cross_entropy(self.model(self.mb_x[r]) / self.settings.t, self.mb_y[r]) for r in rows]
            seen["rows"] = np.stack(
                [
                    torch.cat([g.flatten() for g in torch.autograd.grad(loss, trained)]).double().numpy()
                    for loss in seen["losses"]
                ]
            )
            order = [n for n in parameters if n.startswith(("body", "head", "gain"))]
            seen["got"] = torch.cat([seen["grad"][n].flatten() for n in order]).double().numpy()

    strategy = Watched(model=Plain(), settings=method.SETTINGS(steps=steps, t=1.0, **changes))
    strategy.protect(stream.protected[0])
    strategy.train(stream.train[0], eval_streams=[])
    return seen, strategy


def test_gem_steps_along_the_projected_gradient(toy_stream):
    seen, strategy = one_step(GEM, toy_stream, lr=1e-3, strength=0.0)
    g, references = seen["rows"][0], seen["rows"][1:]
    assert len(references) == 5 and (references @ g).min() < 0
    np.testing.assert_allclose(seen["got"], primal(g, references), atol=1e-4 * np.abs(g).max())
    torch.testing.assert_close(strategy.losses[-1], seen["losses"][0].detach())


def test_more_classes_than_constraints_are_averaged_in_groups(toy_stream):
    seen, _ = one_step(GEM, toy_stream, lr=1e-3, strength=0.5, constraints=2)
    rows = seen["rows"]
    groups = np.stack([rows[1:4].mean(axis=0), rows[4:6].mean(axis=0)])
    assert (groups @ rows[0]).min() < 0
    np.testing.assert_allclose(seen["got"], projected(rows[0], groups, 0.5), atol=1e-4 * np.abs(rows[0]).max())


def test_agem_steps_along_its_formula(toy_stream):
    seen, _ = one_step(AGEM, toy_stream, lr=1e-3)
    g, reference = seen["rows"][0], seen["rows"][1:].mean(axis=0)
    assert g @ reference < 0
    wanted = g - (g @ reference) / (reference @ reference) * reference
    np.testing.assert_allclose(seen["got"], wanted, atol=1e-5 * np.abs(g).max())


@pytest.mark.parametrize("method", [GEM, AGEM])
def test_parameters_out_of_reach_get_no_gradient(method, toy_stream):
    seen, strategy = one_step(method, toy_stream, lr=1e-3)
    assert all(gradient is None for name, gradient in seen["grad"].items() if name.startswith(("idle", "frozen")))
    assert all(
        torch.equal(a, b) for a, b in zip(Plain().idle.parameters(), strategy.model.idle.parameters(), strict=True)
    )


@pytest.mark.parametrize("method", [GEM, AGEM])
def test_plugins_see_the_output_of_the_whole_batch(method, toy_stream, toy_base):
    seen = []

    class Watch:
        def after_forward(self, strategy, **kwargs):
            wanted = strategy.model(strategy.mb_x)
            torch.testing.assert_close(strategy.mb_output, wanted, atol=1e-4, rtol=1e-4)
            seen.append(len(wanted))

    strategy = method(model=copy.deepcopy(toy_base), settings=method.SETTINGS(steps=2), plugins=[Watch()])
    strategy.protect(toy_stream.protected[0])
    strategy.train(toy_stream.train[0], eval_streams=[])
    assert seen == [96, 96]


def test_where_a_step_holds_some_of_the_classes_those_are_its_constraints(toy_stream):
    seen, _ = one_step(GEM, toy_stream, steps=3, batch_size=8, lr=1e-3)
    assert seen["rows"].shape[0] == 1 + 2
    tolerance = 1e-4 * np.abs(seen["rows"]).max()
    np.testing.assert_allclose(seen["got"], projected(seen["rows"][0], seen["rows"][1:], 0.5), atol=tolerance)


def protected_loss(model, stream) -> float:
    """Mean cross-entropy on the test images of the protected classes."""
    data = stream.data[0].test
    kept = data.labels != 5
    return F.cross_entropy(predict_logits(model, data.images[kept]), data.labels[kept]).item()


def test_the_target_is_learned_and_less_is_forgotten_than_by_finetuning(toy_stream, toy_base):
    """By the worst class for GEM; one constraint on the mean does not save the class that is next to the target."""
    data = toy_stream.data[0].test
    naive, gem, agem = (develop(name, toy_base, toy_stream, steps=20).model for name in ("finetune", "gem", "agem"))
    worst = {m: min(accuracy(m, data, k) - accuracy(toy_base, data, k) for k in range(5)) for m in (naive, gem)}
    assert worst[gem] > worst[naive] + 0.1
    assert protected_loss(gem, toy_stream) < protected_loss(agem, toy_stream) < 0.9 * protected_loss(naive, toy_stream)
    assert min(accuracy(m, data, 5) for m in (gem, agem)) > accuracy(toy_base, data, 5) + 0.2
