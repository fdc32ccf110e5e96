"""Batches: balanced, without replacement, a function of seed and step."""

from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.augmentation import augment
from methods.batches import ImagePool, InTurn, Permutations, StepBatches, generator


class Experience:
    def __init__(self, labels: list[int]) -> None:
        self.labels = torch.tensor(labels)
        self.images = torch.arange(len(labels))[:, None, None, None].expand(-1, 3, 2, 2).to(torch.uint8)


def pool(labels: list[int]) -> ImagePool:
    return ImagePool(Experience(labels), torch.device("cpu"))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 20), st.integers(1, 30), st.integers(1, 6))
def test_every_pass_is_a_permutation(size, count, calls):
    draws = Permutations(size, 7, "x")
    taken = torch.cat([draws.take(k * count, count) for k in range(calls)])
    for start in range(0, len(taken) - size + 1, size):
        assert sorted(taken[start : start + size].tolist()) == list(range(size))


def test_draws_depend_on_seed_and_purpose_not_on_history():
    assert torch.equal(Permutations(50, 1, "a").take(70, 10), Permutations(50, 1, "a").take(60, 20)[10:])
    assert not torch.equal(Permutations(50, 1, "a").take(0, 50), Permutations(50, 2, "a").take(0, 50))
    assert not torch.equal(Permutations(50, 1, "a").take(0, 50), Permutations(50, 1, "b").take(0, 50))


def test_a_batch_is_full_balanced_and_ordered():
    batches = StepBatches(pool([9] * 40), pool([0] * 20 + [1] * 30 + [2] * 10), 5, 32, 0.5, seed=0)
    for x, y, task in batches:
        assert len(x) == 32 and x.dtype == torch.float32 and x.max() <= 1
        assert y.tolist() == [9] * 17 + [0] * 5 + [1] * 5 + [2] * 5  # what does not divide goes to the target
        assert task.eq(0).all()
        assert torch.equal(batches.protected.labels[batches.protected_rows], y[17:])


def test_protected_images_are_all_used_before_any_twice():
    batches = StepBatches(pool([9] * 40), pool([0] * 10 + [1] * 10), 2, 20, 0.5, seed=0)
    rows = torch.cat([batches.protected_rows for _ in batches])
    assert sorted(rows.tolist()) == list(range(20))


def test_with_hundreds_of_classes_each_step_takes_some_and_all_get_their_turn():
    labels = [k for k in range(100) for _ in range(4)]
    batches = StepBatches(pool([200] * 40), pool(labels), 10, 40, 0.5, seed=0)
    seen = []
    for _, y, _ in batches:
        classes, counts = y[y != 200].unique(return_counts=True)
        assert len(classes) == 10 and counts.eq(2).all()
        seen += classes.tolist()
    assert sorted(seen) == list(range(100))


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 60), st.integers(8, 40))
def test_no_step_shows_a_class_twice_and_all_are_shown_alike(classes, batch_size):
    steps, labels = 200, [k for k in range(classes) for _ in range(3)]
    batches = StepBatches(pool([200] * 40), pool(labels), steps, batch_size, 0.5, seed=1)
    shown = torch.zeros(classes)
    for _ in batches:
        positions = batches.class_positions.tolist()
        assert len(set(positions)) == len(positions) == batches.classes_per_step
        shown[positions] += 1
    expected = steps * batches.classes_per_step / classes
    assert shown.sub(expected).abs().max() <= max(1, 5 * expected**0.5)


@pytest.mark.parametrize("share", [0.0, 1 / 365, 0.01])
def test_the_target_is_in_every_batch_however_small_its_share(share):
    labels = [k for k in range(100) for _ in range(4)]
    batches = StepBatches(pool([200] * 40), pool(labels), 3, 40, share, seed=0)
    for _, y, _ in batches:
        assert len(y) == 40 and 1 <= y.eq(200).sum() <= 2


def test_the_target_order_is_the_same_for_every_method():
    with_protected = StepBatches(pool([9] * 40), pool([0] * 20), 1, 20, 0.5, seed=3)
    alone = StepBatches(pool([9] * 40), None, 1, 10, 0.5, seed=3)
    next(iter(with_protected)), next(iter(alone))
    assert with_protected.target_rows.tolist() == alone.target_rows.tolist()


def test_any_avalanche_experience_can_be_read(toy_stream):
    class Plain:
        dataset = toy_stream.train[0].dataset

    plain, fast = ImagePool(Plain(), torch.device("cpu")), ImagePool(toy_stream.train[0], torch.device("cpu"))
    rows = torch.tensor([3, 1])
    for got, wanted in zip(plain.take(rows), fast.take(rows), strict=True):
        torch.testing.assert_close(got, wanted)


def test_no_steps_no_batches():
    assert list(StepBatches(pool([9] * 4), pool([0] * 4), 0, 8, 0.5, 0)) == []
    assert len(StepBatches(pool([9]), None, 3, 8, 0.5, 0)) == 3


@pytest.mark.parametrize("seed", [0, 5])
def test_iterating_twice_gives_other_batches_only_through_class_visits(seed):
    first = [y.tolist() for _, y, _ in StepBatches(pool([9] * 10), pool([0] * 5), 3, 8, 0.5, seed)]
    again = [y.tolist() for _, y, _ in StepBatches(pool([9] * 10), pool([0] * 5), 3, 8, 0.5, seed)]
    assert first == again


def varied(labels: list[int]) -> ImagePool:
    """A pool of images, each a slope of grey, whose data asks for augmentation."""
    experience = Experience(labels)
    slope = torch.arange(256).view(16, 16)
    experience.images = (
        (slope + torch.arange(len(labels))[:, None, None, None]).remainder(256).byte().expand(-1, 3, -1, -1)
    )
    experience.augment = True
    return ImagePool(experience, torch.device("cpu"))


def test_views_are_a_function_of_seed_and_step():
    def steps(seed):
        return list(StepBatches(varied([9] * 40), varied([0] * 20), 4, 20, 0.5, seed))

    for (one, *_), (same, *_), (other, *_) in zip(steps(0), steps(0), steps(1), strict=True):
        assert torch.equal(one, same) and not torch.equal(one, other)
    batches = StepBatches(varied([9] * 40), varied([0] * 20), 4, 20, 0.5, 0)
    for step, (x, _, _) in enumerate(batches):
        rng = generator(0, f"augmentation step {step}")  # nothing of the steps before is needed
        parts = [(batches.target, batches.target_rows), (batches.protected, batches.protected_rows)]
        assert torch.equal(x, torch.cat([augment(pool.take(rows)[0], rng) for pool, rows in parts]))


def test_rows_and_labels_do_not_depend_on_augmentation():
    clean, views = (pool([9] * 40), pool([0] * 20)), (varied([9] * 40), varied([0] * 20))
    one, other = (StepBatches(*pools, 3, 20, 0.5, 0) for pools in (clean, views))
    for (_, y, _), (_, same, _) in zip(one, other, strict=True):
        assert torch.equal(y, same) and torch.equal(one.protected_rows, other.protected_rows)


def test_only_data_that_asks_for_it_is_augmented():
    target, protected = varied([9] * 40), pool([0] * 20)
    protected.images = torch.full((20, 3, 16, 16), 200, dtype=torch.uint8)
    x, _, _ = next(iter(StepBatches(target, protected, 1, 20, 0.5, 0)))
    assert x[10:].eq(200 / 255).all() and (x[:10] != 200 / 255).any()
    assert torch.equal(target.take(torch.arange(40))[0], target.images.float() / 255)


def test_batches_in_turn_are_of_protected_images_first_and_then_of_the_target_in_everybodys_order():
    def primed() -> InTurn:
        return InTurn(pool([9] * 40), pool([0] * 10 + [1] * 20), first=3, steps=6, batch_size=10, seed=0)

    batches = primed()
    seen = [(y.tolist(), batches.target_rows, batches.protected_rows, len(x)) for x, y, _ in batches]
    assert sorted(seen[0][0] + seen[1][0] + seen[2][0]) == [0] * 10 + [1] * 20, "each image once"
    assert [labels for labels, *_ in seen[3:]] == [[9] * 10] * 3 and [count for *_, count in seen] == [10] * 6
    alone = StepBatches(pool([9] * 40), None, 3, 10, 0.5, seed=0)
    order = [alone.target_rows for _ in alone]
    assert all(map(torch.equal, (rows for _, rows, *_ in seen[3:]), order))
    halfway = primed()
    for _ in zip(range(4), halfway, strict=False):
        pass
    again = pickle.loads(pickle.dumps(halfway))
    assert all(map(torch.equal, (again.target_rows for _ in again), order[1:]))
