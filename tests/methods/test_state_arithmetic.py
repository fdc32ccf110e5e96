"""Arithmetic on weights, against closed forms, naive loops and other libraries."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from methods.batches import generator
from methods.state_arithmetic import (
    FISHER_FLOOR,
    add_task_vector,
    average,
    drop_and_rescale,
    fisher_average,
    interpolate,
    mean_one,
    task_vector,
    ties,
)


def state(seed: int, scale: float = 1.0):
    """Weights of two layers and a counter."""
    rng = torch.Generator().manual_seed(seed)
    return {
        "a.weight": torch.randn(5, 7, generator=rng) * scale,
        "a.bias": torch.randn(5, generator=rng) * scale,
        "seen": torch.tensor(seed),
    }


def equal(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def importance(seed: int):
    return {key: value.square() for key, value in state(seed).items() if key != "seen"}


OLD, NEW = state(1), state(2)
VECTOR = task_vector(OLD, NEW)
OF_TWO = {
    "interpolate": interpolate,
    "fisher_average": lambda a, b, c: fisher_average(a, b, importance(3), importance(4), c),
}


@pytest.mark.parametrize("merge", OF_TWO.values(), ids=OF_TWO)
def test_a_merge_of_two_is_exact_at_its_ends(merge):
    assert equal(merge(OLD, NEW, 0.0), OLD) and equal(merge(OLD, NEW, 1.0), NEW)


@pytest.mark.parametrize("merge", OF_TWO.values(), ids=OF_TWO)
@given(st.floats(0, 1), st.integers(0, 100), st.sampled_from([1e-30, 1e-3, 1.0, 1e6]))
@settings(max_examples=30, deadline=None)
def test_a_merge_of_equals_is_the_same_bit_for_bit(merge, coefficient, seed, scale):
    weights = state(seed, scale)
    assert equal(merge(weights, weights, coefficient), weights)


@pytest.mark.parametrize(
    "result",
    [
        interpolate(OLD, NEW, 0.0),
        interpolate(OLD, NEW, 0.3),
        interpolate(OLD, NEW, 1.0),
        fisher_average(OLD, NEW, importance(3), importance(4), 0.5),
        average([OLD]),
        average([OLD, NEW]),
        add_task_vector(OLD, VECTOR, 0.0),
        add_task_vector(OLD, {}, 1.0),
        drop_and_rescale(VECTOR, 0.0, generator(0, "x")),
        ties([VECTOR], 1.0),
        mean_one(importance(3)),
    ],
)
def test_results_share_no_memory_with_arguments(result):
    owned = {value.data_ptr() for weights in (OLD, NEW, VECTOR) for value in weights.values()}
    assert not owned & {value.data_ptr() for value in result.values()}


def test_interpolation_is_linear_also_beyond_its_end():
    for coefficient in (0.25, 0.5, 0.9, 1.5):
        wanted = (1 - coefficient) * OLD["a.weight"].double() + coefficient * NEW["a.weight"].double()
        got = interpolate(OLD, NEW, coefficient)["a.weight"]
        torch.testing.assert_close(got.double(), wanted, atol=1e-6, rtol=1e-6)


def test_fisher_average_is_the_precision_weighted_mean():
    fisher_a, fisher_b, c = importance(3), importance(4), 0.3
    got = fisher_average(OLD, NEW, fisher_a, fisher_b, c)
    for key in fisher_a:
        a, b = ((1 - c) * fisher_a[key].double()), (c * fisher_b[key].double())
        wanted = (a * OLD[key].double() + b * NEW[key].double()) / (a + b)
        torch.testing.assert_close(got[key].double(), wanted, atol=1e-5, rtol=1e-5)


def test_where_fisher_information_is_unknown_equal_or_zero_weights_are_interpolated():
    one = {key: torch.ones_like(value) for key, value in importance(3).items()}
    nothing = {key: torch.zeros_like(value) for key, value in one.items()}
    for fisher in (one, nothing, {}):
        got, wanted = fisher_average(OLD, NEW, fisher, fisher, 0.3), interpolate(OLD, NEW, 0.3)
        assert all(torch.allclose(got[key], wanted[key], atol=1e-6) for key in ("a.weight", "a.bias"))


def test_fisher_average_goes_to_the_side_that_has_the_information():
    big, small = ({"x": torch.tensor([value])} for value in (1.0, 0.0))
    old, new = {"x": torch.tensor([0.0])}, {"x": torch.tensor([1.0])}
    assert fisher_average(old, new, big, small, 0.5)["x"].item() == pytest.approx(FISHER_FLOOR, rel=1e-3)
    assert fisher_average(old, new, small, big, 0.5)["x"].item() == pytest.approx(1, abs=1e-5)


def test_average_is_the_mean_and_keeps_what_all_share():
    states = [state(seed) for seed in range(5)]
    wanted = torch.stack([weights["a.weight"] for weights in states]).double().mean(dim=0)
    torch.testing.assert_close(average(states)["a.weight"].double(), wanted, atol=1e-6, rtol=1e-6)
    assert equal(average([OLD] * 7), OLD)


def test_task_vectors_lead_from_start_to_end_and_have_no_counters():
    assert VECTOR.keys() == {"a.weight", "a.bias"}
    there = add_task_vector(OLD, VECTOR, 1.0)
    torch.testing.assert_close(there["a.weight"], NEW["a.weight"])
    assert torch.equal(there["seen"], OLD["seen"])
    assert equal(add_task_vector(OLD, VECTOR, 0.0), OLD)


def test_mean_one_has_mean_one_over_all_entries_and_nothing_stays_nothing():
    scaled = mean_one(importance(3))
    assert torch.cat([value.flatten() for value in scaled.values()]).mean().item() == pytest.approx(1)
    original = importance(3)
    assert torch.allclose(scaled["a.bias"] / original["a.bias"], scaled["a.weight"][0, 0] / original["a.weight"][0, 0])
    assert not any(value.any() for value in mean_one({"x": torch.zeros(3)}).values())


# DARE


def test_dropping_zeroes_the_share_and_keeps_the_expectation():
    vector = {"x": torch.full((100_000,), 2.0), "y": torch.full((50_000,), -1.0)}
    dropped = drop_and_rescale(vector, 0.9, generator(0, "dare"))
    for key, value in vector.items():
        kept = dropped[key] != 0
        assert kept.float().mean().item() == pytest.approx(0.1, abs=5 * math.sqrt(0.09 / len(value)))
        torch.testing.assert_close(dropped[key][kept], value[kept] / (1 - 0.9))
        assert dropped[key].mean().item() == pytest.approx(value[0].item(), rel=0.05)


def test_dropping_depends_on_the_generator_alone_and_nothing_dropped_is_the_vector():
    one, same, other = (drop_and_rescale(VECTOR, 0.5, generator(seed, "dare")) for seed in (0, 0, 1))
    assert equal(one, same) and not equal(one, other)
    assert equal(drop_and_rescale(VECTOR, 0.0, generator(0, "dare")), VECTOR)


# TIES


def naive_ties(vectors, keep):
    """TIES of flat lists, entry by entry."""
    kept = max(1, round(keep * len(vectors[0])))
    trimmed = [[x if abs(x) >= sorted(map(abs, v))[-kept] else 0.0 for x in v] for v in vectors]
    merged = []
    for entries in zip(*trimmed, strict=True):
        total = math.fsum(entries)
        agreeing = [x for x in entries if x * total > 0]
        merged.append(math.fsum(agreeing) / len(agreeing) if agreeing else 0.0)
    return merged


halves = st.integers(-8, 8).map(lambda n: n / 2)  # small and exact, so that ties and cancellations occur


@given(
    st.integers(1, 12).flatmap(lambda n: st.lists(st.lists(halves, min_size=n, max_size=n), min_size=1, max_size=4)),
    st.sampled_from([0.1, 0.2, 0.5, 0.8, 1.0]),
)
@settings(max_examples=100, deadline=None)
def test_ties_is_that_of_a_naive_loop_across_tensors(vectors, keep):
    split = len(vectors[0]) // 2
    assume(all(any(any(v[part]) for v in vectors) for part in (slice(split), slice(split, None)) if vectors[0][part]))
    parts = [{"a": torch.tensor(v[:split]), "b": torch.tensor(v[split:])} for v in vectors]
    merged = ties(parts, keep)
    torch.testing.assert_close(torch.cat([merged["a"], merged["b"]]), torch.tensor(naive_ties(vectors, keep)))


def test_ties_by_hand():
    one = torch.tensor([4.0, -3.0, 0.1, 5.0])
    two = torch.tensor([2.0, 5.0, 0.2, -5.0])
    three = torch.tensor([0.0, -4.0, 9.0, 0.1])
    merged = ties([{"x": one}, {"x": two}, {"x": three}], 0.75)  # trims 0.1, 0.2 and 0
    wanted = [(4 + 2) / 2, (-3 - 4) / 2, 9, (5 + 0.1) / 2]
    assert merged["x"].tolist() == pytest.approx(wanted)


def test_trimming_compares_magnitudes_across_tensors():
    vector = {"large": torch.tensor([9.0, -8.0]), "small": torch.tensor([1.0, -2.0])}
    merged = ties([vector], 0.5)
    assert merged["large"].tolist() == [9.0, -8.0] and merged["small"].tolist() == [0.0, 0.0]


def test_a_frozen_tensor_does_not_use_up_the_share():
    moved = {"moved": torch.arange(1.0, 11.0)}
    wanted = ties([moved], 0.2)["moved"]
    merged = ties([{"frozen": torch.zeros(1000), **moved}], 0.2)
    assert torch.equal(merged["moved"], wanted) and wanted.count_nonzero() == 2
    assert not merged["frozen"].any()


def test_ties_of_nothing_is_nothing():
    assert not ties([{"x": torch.zeros(3)}], 0.2)["x"].any()


def test_ties_equals_mergekit_on_a_single_tensor():
    """Where it trims each tensor by itself, ours trims across them; on one tensor both are the same."""
    mergekit = pytest.importorskip("mergekit.merge_methods")
    rng = torch.Generator().manual_seed(0)
    base, *models = (torch.randn(40, 25, generator=rng) for _ in range(4))
    wanted = mergekit.merge_tensors(
        [base, *models],
        "ties",
        base_index=0,
        parameters={"density": 0.2, "weight": 1.0, "normalize": True, "lambda": 1.0},
    )
    merged = ties([{"x": model - base} for model in models], 0.2)
    torch.testing.assert_close(add_task_vector({"x": base}, merged, 1.0)["x"], wanted)
