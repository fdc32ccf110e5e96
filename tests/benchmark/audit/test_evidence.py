"""Evidence of groups of images: as much as that of as many images, and tests that hold when groups are drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.audit.evidence import Evidence
from benchmark.audit.rows import Rows, clip_of
from scripts import gate_error_rates as simulation

pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=120)
losses = st.floats(0.001, 0.4)


def evidence(pairs: list[tuple[bool, bool]], copies: int = 1, grouped: bool = True) -> Evidence:
    """Of a class whose images are right before and after as told; each is there so often, as a group."""
    old, new = np.repeat(np.array(pairs), copies, axis=0).T
    number = np.arange(len(old))
    return Rows(("cat",), 0 * number, old, new, number // copies if grouped else None).of_classes()["cat"]


def figures(one: Evidence, share: float) -> list[float]:
    tests = (one.p_lost_no_more, one.p_lost_as_much, one.p_at_least, one.p_at_most, one.largest_loss)
    return [one.p_worse, *(test(share) for test in tests)]


@settings(deadline=None)
@given(pairs, losses)
def test_groups_of_one_image_are_images(pairs: list[tuple[bool, bool]], share: float) -> None:
    assert figures(evidence(pairs), share) == figures(evidence(pairs, grouped=False), share)


@settings(deadline=None)
@given(pairs, st.integers(2, 30), losses)
def test_copies_of_an_image_tell_no_more_than_the_image(
    pairs: list[tuple[bool, bool]], copies: int, margin: float
) -> None:
    one, many = evidence(pairs), evidence(pairs, copies)
    assert many.units == len(pairs)
    assert many.p_worse == pytest.approx(one.p_worse, rel=1e-6)
    assert many.p_lost_no_more(margin) >= one.p_lost_no_more(margin) - 1e-9
    assert many.p_lost_as_much(margin) >= one.p_lost_as_much(margin) - 1e-9
    if 0 < one.counts.won <= one.counts.lost < one.counts.n and one.p_lost_as_much(margin) < 0.5:
        assert many.p_lost_as_much(margin) == pytest.approx(one.p_lost_as_much(margin), abs=1e-9)


@settings(deadline=None)
@given(pairs, st.integers(2, 9), losses, losses)
def test_a_wider_margin_is_kept_more_easily(
    pairs: list[tuple[bool, bool]], copies: int, margin: float, other: float
) -> None:
    low, high = sorted((margin, other))
    own = evidence(pairs, copies)
    assert own.p_lost_as_much(high) <= own.p_lost_as_much(low) + 1e-9
    assert own.p_lost_no_more(high) >= own.p_lost_no_more(low) - 1e-9


def test_as_many_clips_as_images_rule_out_a_loss_without_any_flip() -> None:
    for clips, kept in ((58, False), (59, True)):  # 0.95^59 <= 0.05
        assert (evidence([(True, True)] * clips, copies=30).p_lost_as_much(0.05) <= 0.05) is kept
    few = evidence([(False, True)] * 20 + [(True, True)] * 20, copies=30)
    assert few.p_lost_as_much(0.05) > 0.05, "forty clips that gained do not show that no clip is lost"


@pytest.mark.parametrize("clips", [10, 50])
def test_images_raise_false_alarms_about_clips_and_groups_do_not(clips: int) -> None:
    images, groups = simulation.rates(clips, 0.0, 150, lambda one: one.p_lost_no_more(0.0) <= 0.05)
    assert images > 0.25
    assert groups <= 0.12, "the greatest of 36 rates of 150 models each"


@pytest.mark.slow
@pytest.mark.parametrize("clips", simulation.CLIPS)
@pytest.mark.parametrize(("loss", "kind"), [(0.0, "more"), (0.02, "more"), (0.05, "less"), (0.1, "less")])
def test_verdicts_on_clips_are_wrong_no_more_often_than_alpha(clips: int, loss: float, kind: str) -> None:
    def wrong(one: Evidence) -> bool:
        return (one.p_lost_no_more(loss) if kind == "more" else one.p_lost_as_much(loss)) <= 0.05

    _, groups = simulation.rates(clips, loss, 600, wrong)
    assert groups <= 0.06 + 2.5 * np.sqrt(0.05 * 0.95 / 600), "the greatest of 36 rates, asymptotic"


@pytest.mark.slow
@pytest.mark.parametrize("clips", simulation.CLIPS)
@pytest.mark.parametrize("kind", ["p_at_least", "p_at_most"])
def test_floors_of_clips_are_wrong_no_more_often_than_alpha(clips: int, kind: str) -> None:
    def wrong(one: Evidence, floor: float) -> bool:
        return float(getattr(one, kind)(floor)) <= 0.05

    _, groups = simulation.floor_rates(clips, 600, wrong)
    assert groups <= 0.06 + 2.5 * np.sqrt(0.05 * 0.95 / 600), "the greatest of 18 rates, asymptotic"


def test_ids_that_look_like_frames_of_clips_are_seen() -> None:
    labels = ["fog", "rain"] * 30
    assert clip_of([f"00012_{clip:05d}_{frame:05d}.ppm" for clip in range(6) for frame in range(10)], labels)
    assert clip_of([f"drive{clip}/{frame}.png" for frame in range(10) for clip in range(6)], labels) == "drive0"
    for ids in (
        [str(number) for number in range(60)],
        [f"val_{number:08d}.jpg" for number in range(60)],  # one name for all
        [f"{label}/{label}_{number}.jpg" for number, label in enumerate(labels)],  # a folder for each class
        [f"{number:02d}c3-{number * 7919:x}b.jpg" for number in range(60)],
        [f"clip{number // 2}_{number}" for number in range(60)],  # two frames of each
    ):
        assert not clip_of(ids, labels), ids[0]
