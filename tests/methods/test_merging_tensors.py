"""Merges tensor by tensor or entry by entry, against closed forms and another library."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.state_arithmetic import PARALLEL, interpolate, magmax, slerp
from tests.conftest import make_toy_stream
from tests.methods.developing import develop, equal, replayed, second_round

ANGLES = st.floats(0.05, math.pi - 0.05)  # of the arcs, well beyond the threshold


@pytest.fixture(scope="module")
def naive(toy_base, toy_stream):
    """A model that was fine-tuned on the first target."""
    return develop("finetune", toy_base, toy_stream, steps=10, lr=1e-3).model


# Slerp


def apart(angle: float, length: float = 1.0):
    """Two tensors of a length with an angle between them, orthonormal combinations in three dimensions."""
    one, other = torch.tensor([[2.0, 1.0, 2.0]]).double() / 3, torch.tensor([[1.0, 2.0, -2.0]]).double() / 3
    return {"x": length * one}, {"x": length * (math.cos(angle) * one + math.sin(angle) * other)}


@given(ANGLES, st.floats(0, 1), st.floats(0.01, 100))
@settings(max_examples=50, deadline=None)
def test_slerp_turns_at_an_even_pace_and_keeps_the_length(angle, coefficient, length):
    wanted = apart(coefficient * angle, length)[1]
    torch.testing.assert_close(slerp(*apart(angle, length), coefficient), wanted, rtol=1e-9, atol=1e-9 * length)


@given(ANGLES, st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_slerp_of_other_lengths_has_the_weights_of_equal_ones(angle, coefficient):
    a, b = apart(angle)
    got = slerp({"x": 3 * a["x"]}, {"x": 0.5 * b["x"]}, coefficient)["x"]
    of_a, of_b = (math.sin(share * angle) / math.sin(angle) for share in (1 - coefficient, coefficient))
    torch.testing.assert_close(got, of_a * 3 * a["x"] + of_b * 0.5 * b["x"])


def test_each_tensor_has_an_angle_of_its_own():
    one, other = apart(0.4), apart(1.3)
    merged = slerp({"a": one[0]["x"], "b": other[0]["x"]}, {"a": one[1]["x"], "b": other[1]["x"]}, 0.5)
    torch.testing.assert_close(merged, {"a": apart(0.2)[1]["x"], "b": apart(0.65)[1]["x"]})


@pytest.mark.parametrize("angle", [0.0, 0.99 * math.acos(PARALLEL), math.pi - 0.01])
def test_tensors_that_are_nearly_parallel_are_interpolated(angle):
    a, b = apart(angle)
    assert equal(slerp(a, b, 0.3), interpolate(a, b, 0.3))


def test_without_an_angle_or_a_fraction_tensors_are_interpolated():
    a = {"zero": torch.zeros(3), "new": torch.zeros(3), "seen": torch.tensor(3)}
    b = {"zero": torch.zeros(3), "new": torch.tensor([1.0, 2.0, 3.0]), "seen": torch.tensor(9)}
    assert equal(slerp(a, b, 0.6), interpolate(a, b, 0.6))


def test_slerp_is_exact_at_its_ends_and_shares_no_memory():
    a, b = ({"x": x.float()} for x in (apart(1.0)[0]["x"], apart(1.0)[1]["x"]))
    assert equal(slerp(a, b, 0.0), a) and equal(slerp(a, b, 1.0), b)
    assert slerp(a, b, 0.0)["x"].data_ptr() not in (a["x"].data_ptr(), b["x"].data_ptr())


@pytest.mark.parametrize(("cosine", "share"), [(0.92, 0.05), (PARALLEL - 1e-6, 0.004)])
def test_arc_and_chord_are_an_eighth_of_the_angle_apart(cosine, share):
    angle = math.acos(cosine)
    a, b = apart(angle)
    gap = (slerp(a, b, 0.5)["x"] - interpolate(a, b, 0.5)["x"]).norm() / (b["x"] - a["x"]).norm()
    assert gap.item() == pytest.approx(angle / 8, rel=0.05) and gap.item() == pytest.approx(share, rel=0.05)


@pytest.mark.parametrize("noise", [5.0, 1.0, 0.1, 0.001])
def test_slerp_equals_mergekit(noise):
    mergekit = pytest.importorskip("mergekit.merge_methods")
    rng = torch.Generator().manual_seed(0)
    a, change = (torch.randn(40, 25, generator=rng) for _ in range(2))
    for coefficient in (0.0, 0.3, 1.0):
        wanted = mergekit.merge_tensors([a, a + noise * change], "slerp", base_index=0, parameters={"t": coefficient})
        torch.testing.assert_close(slerp({"x": a}, {"x": a + noise * change}, coefficient)["x"], wanted)


def test_the_plugin_goes_along_the_arcs_from_old_to_new(toy_base, naive, toy_stream):
    plugin = replayed("slerp", toy_base, naive, toy_stream).weight_space
    key = "clip.visual.conv1.weight"
    old, new = (model.state_dict()[key].double() for model in (toy_base, naive))
    angle = torch.acos(torch.cosine_similarity(old.flatten(), new.flatten(), dim=0))
    wanted = (torch.sin(0.7 * angle) * old + torch.sin(0.3 * angle) * new) / torch.sin(angle)
    assert angle > math.acos(PARALLEL)  # or the line would be tested
    torch.testing.assert_close(plugin.merge(0.3)[key].double(), wanted, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(wanted, 0.7 * old + 0.3 * new, atol=1e-6, rtol=1e-5)


# MagMax


entries = st.integers(-8, 8).map(float)  # few values, so that magnitudes tie


@given(st.integers(1, 9).flatmap(lambda n: st.lists(st.lists(entries, min_size=n, max_size=n), min_size=1, max_size=4)))
@settings(max_examples=60, deadline=None)
def test_magmax_is_that_of_a_naive_loop(vectors):
    wanted = [max(reversed(column), key=abs) for column in zip(*vectors, strict=True)]  # max keeps the first of a tie
    states = [{"x": torch.tensor(vector)} for vector in vectors]
    assert magmax(states)["x"].tolist() == wanted
    assert [state["x"].tolist() for state in states] == vectors


def test_an_entry_follows_a_round_that_takes_it_no_nearer_to_where_it_began(toy_base, naive):
    plugin = second_round("finetune+magmax", toy_base, naive, make_toy_stream(seed=0, rounds=2)).weight_space
    pre, old, new = toy_base.state_dict(), naive.state_dict(), plugin.new
    taken, entries = 0, 0
    for key, value in plugin.merge(1.0).items():
        further = (new[key] - pre[key]).abs() >= (old[key] - pre[key]).abs()
        torch.testing.assert_close(value, torch.where(further, new[key], old[key]), atol=1e-6, rtol=1e-5)
        taken, entries = taken + int(further.sum()), entries + further.numel()
    assert 0.2 < taken / entries < 0.95
    for key, value in plugin.merge(0.5).items():
        torch.testing.assert_close(value, (plugin.merge(1.0)[key] + old[key]) / 2, atol=1e-6, rtol=1e-5)


def test_in_a_first_round_and_without_a_pretrained_model_magmax_is_the_whole_vector(toy_base, naive, toy_stream):
    first = replayed("magmax", toy_base, naive, toy_stream).weight_space.merge(1.0)
    torch.testing.assert_close(first, naive.state_dict(), atol=1e-6, rtol=1e-5)
    later = second_round("finetune+magmax", None, naive, make_toy_stream(seed=0, rounds=2)).weight_space
    torch.testing.assert_close(later.merge(1.0), later.new, atol=1e-6, rtol=1e-5)
