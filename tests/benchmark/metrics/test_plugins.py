"""Metrics in plain Avalanche, against counts worked by hand and against predictions compared directly.

The lookup model answers with a row of its weight an image. A training image that looks like a test image makes one big
step on that row alone, so what a model predicts before and after training is written down by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.training import Naive
from avalanche.training.plugins import EvaluationPlugin, SupervisedPlugin
from torch import nn
from torch.utils.data import TensorDataset

from benchmark.metrics.plugins import DevSafety, NegativeFlipRate, StrictPreservation, TargetGain

LABELS = [0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2]
OLD = [0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 2]  # right: 3 of 4, 3 of 5, 1 of 2
CLASSES = 3

pytestmark = pytest.mark.filterwarnings("ignore:No loggers specified")


def labelled(features: torch.Tensor, labels: Sequence[int]) -> Any:
    data = TensorDataset(features, torch.tensor(labels))
    data.targets = list(labels)
    return as_classification_dataset(data)


def images(*numbers: int) -> torch.Tensor:
    return torch.eye(len(LABELS))[list(numbers)]


def lookup(*lessons: tuple[int, Sequence[int]]) -> Any:
    """A benchmark whose experiences teach a label on some of the test images; the test stream holds all of them."""
    train = [labelled(images(*numbers), [label] * len(numbers)) for label, numbers in lessons]
    return benchmark_from_datasets(train=train, test=[labelled(images(*range(len(LABELS))), LABELS)])


def developer(*metrics: Any, **options: Any) -> Naive:
    """Naive on a model that predicts ``OLD`` and, once trained on an image, what it was taught."""
    model = nn.Linear(len(LABELS), CLASSES, bias=False)
    with torch.no_grad():
        model.weight.copy_(nn.functional.one_hot(torch.tensor(OLD), CLASSES).T)
    return Naive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=1000),
        train_mb_size=100,
        eval_mb_size=4,
        evaluator=EvaluationPlugin(*metrics),
        **options,
    )


def emitted(strategy: Naive, name: str) -> list[float]:
    return strategy.evaluator.get_all_metrics()[f"{name}/eval_phase/test_stream"][1]


ALL = (StrictPreservation, DevSafety, TargetGain, NegativeFlipRate)


def test_values_worked_by_hand() -> None:
    data = lookup((2, [9, 4, 0]))  # one more 2 is right, but an image each of 0 and 1 is now called 2
    strategy = developer(*(metric() for metric in ALL))
    assert not strategy.eval(data.streams["test"]), "there is nothing to compare with yet"
    strategy.train(data.streams["train"], eval_streams=[])
    assert strategy.eval(data.streams["test"]) == {
        "StrictPreservation/eval_phase/test_stream": 0.0,
        "DevSafety/eval_phase/test_stream": pytest.approx(-1 / 4),  # class 0: 3 of 4, then 2; class 1: 3 of 5, then 2
        "TargetGain/eval_phase/test_stream": pytest.approx(1 / 2),
        "NegativeFlipRate/eval_phase/test_stream": pytest.approx(2 / 11),
    }


def test_classes_can_be_named() -> None:
    data = lookup((1, [7, 8, 0]))  # class 1 gains two images, class 0 loses one
    metrics = [StrictPreservation([1, 2]), DevSafety([1]), TargetGain(0), NegativeFlipRate([0, 2])]
    strategy = developer(*metrics)
    strategy.eval(data.streams["test"])
    strategy.train(data.streams["train"], eval_streams=[])
    strategy.eval(data.streams["test"])
    values = [metric.result() for metric in metrics]
    assert values == [1.0, pytest.approx(2 / 5), pytest.approx(-1 / 4), pytest.approx(1 / 6)]
    with pytest.raises(ValueError, match="no class is named"):
        DevSafety([])


def test_the_target_itself_is_not_protected() -> None:
    data = benchmark_from_datasets(
        train=[labelled(images(7, 10), [2, 0])],  # image 7 was wrong and stays so; class 2 loses image 10
        test=[labelled(images(*range(len(LABELS))), LABELS)],
    )
    preserved, safety, gain = metrics = StrictPreservation(), DevSafety(), TargetGain()
    strategy = developer(*metrics)
    strategy.eval(data.streams["test"])
    strategy.train(data.streams["train"], eval_streams=[])
    strategy.eval(data.streams["test"])
    assert (preserved.result(), safety.result()) == (1, 0), "only class 1 is protected: 0 and 2 are trained"
    assert gain.result() == pytest.approx(-1 / 6), "over the images of 0 and 2"


def test_the_old_model_is_the_one_before_the_current_experience() -> None:
    data = lookup((2, [0, 1]), (0, [0, 3]))  # class 0: 3 of 4, 1 of 4, 3 of 4
    safety, gain = DevSafety(), TargetGain()
    strategy = developer(safety, gain)
    strategy.eval(data.streams["test"])
    for experience in data.streams["train"]:
        strategy.train(experience, eval_streams=[])
        strategy.eval(data.streams["test"])
    assert emitted(strategy, "DevSafety") == [pytest.approx(-2 / 4), 0]
    assert emitted(strategy, "TargetGain") == [0, pytest.approx(2 / 4)], "not against the model before the stream"


def test_passes_amid_the_training_compare_with_the_model_before_it() -> None:
    data = lookup((2, [0, 1]), (0, [0, 3]))
    strategy = developer(DevSafety([0]), train_epochs=3, eval_every=1)
    for experience in data.streams["train"]:
        strategy.train(experience, eval_streams=[data.streams["test"]])
    first, second = -2 / 4, 2 / 4
    assert emitted(strategy, "DevSafety") == pytest.approx([*[first] * 3, first, *[second] * 3])


class Peek(SupervisedPlugin):
    """Evaluates once, after the first of several epochs."""

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self.stream = stream

    def after_training_epoch(self, strategy: Any, **unused: Any) -> None:
        if strategy.clock.train_exp_epochs == 0:
            strategy.eval(self.stream)


def test_a_pass_amid_the_training_is_no_old_model() -> None:
    data, safety = lookup((2, [0]), (2, [1])), DevSafety([0])
    strategy = developer(safety, train_epochs=2, plugins=[Peek(data.streams["test"])])
    strategy.eval(data.streams["test"])
    strategy.train(data.streams["train"][0], eval_streams=[])
    assert emitted(strategy, "DevSafety") == [pytest.approx(-1 / 4)], "after the first epoch"
    strategy.train(data.streams["train"][1], eval_streams=[])
    assert safety.result() is None, "nobody saw the model that the second experience started from"


def test_what_was_not_measured_on_both_sides_has_no_value() -> None:
    data = lookup((2, [0]), (2, [1]))
    metrics = [metric() for metric in ALL]
    strategy = developer(*metrics)
    strategy.eval(data.streams["test"])
    strategy.train(data.streams["train"], eval_streams=[])  # both experiences: nobody saw the model between them
    assert not strategy.eval(data.streams["test"])
    assert [metric.result() for metric in metrics] == [None] * 4


def test_a_needed_class_that_is_missing_gives_no_value() -> None:
    parts = [[number for number, label in enumerate(LABELS) if label == wanted] for wanted in range(CLASSES)]
    tests = [labelled(images(*part), [LABELS[number] for number in part]) for part in parts]
    data = benchmark_from_datasets(train=[labelled(images(0, 9), [2, 2])], test=tests)
    named, others, gain, flips = metrics = DevSafety([0, 1]), DevSafety(), TargetGain(), NegativeFlipRate()
    strategy = developer(*metrics)
    strategy.eval(data.streams["test"][:2])
    strategy.train(data.streams["train"], eval_streams=[])
    strategy.eval(data.streams["test"])
    assert named.result() == others.result() == pytest.approx(-1 / 4)
    assert flips.result() == pytest.approx(1 / 9), "only images of both passes count"
    assert gain.result() is None, "nobody knows how good the target was"
    strategy.eval(data.streams["test"][0])
    assert (named.result(), others.result(), flips.result()) == (None, pytest.approx(-1 / 4), pytest.approx(1 / 4))


def test_other_labels_at_the_second_pass_are_an_error() -> None:
    strategy = developer(DevSafety())
    data = lookup((2, [0]))
    strategy.eval(data.streams["test"])
    strategy.train(data.streams["train"], eval_streams=[])
    backwards = benchmark_from_datasets(test=[labelled(images(*range(len(LABELS))).flip(0), LABELS[::-1])])
    with pytest.raises(ValueError, match="same images in the same order"):
        strategy.eval(backwards.streams["test"])


def test_reset_forgets_the_old_model() -> None:
    data, flips = lookup((2, [0])), NegativeFlipRate()
    strategy = developer(flips)
    strategy.eval(data.streams["test"])
    strategy.train(data.streams["train"], eval_streams=[])
    strategy.eval(data.streams["test"])
    assert flips.result() == pytest.approx(1 / 11)
    flips.reset()
    strategy.eval(data.streams["test"])
    assert flips.result() is None


def test_a_network_that_learns_several_classes_at_a_time() -> None:
    draws = torch.Generator().manual_seed(0)
    means = torch.randn(6, 8, generator=draws)

    def blobs(classes: Sequence[int], n: int) -> tuple[torch.Tensor, list[int]]:
        labels = [label for label in classes for _ in range(n)]
        return means[labels] + torch.randn(len(labels), 8, generator=draws), labels

    x, y = blobs(range(6), 25)
    data = benchmark_from_datasets(
        train=[labelled(*blobs(classes, 20)) for classes in ([0, 1, 2, 3], [4, 5])], test=[labelled(x, y)]
    )
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 6))
    metrics = [metric() for metric in ALL]
    strategy = Naive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        train_mb_size=10,
        train_epochs=3,
        eval_mb_size=32,
        evaluator=EvaluationPlugin(*metrics),
    )
    truth, scored = torch.tensor(y), 0
    for experience, trained in zip(data.streams["train"], ({0, 1, 2, 3}, {4, 5}), strict=True):
        strategy.eval(data.streams["test"])
        with torch.no_grad():
            old = model(x).argmax(1) == truth
        strategy.train(experience, eval_streams=[])
        strategy.eval(data.streams["test"])
        with torch.no_grad():
            new = model(x).argmax(1) == truth
        change = [((new.float() - old.float())[truth == label]).mean().item() for label in range(6)]
        kept = [change[label] for label in range(6) if label not in trained]
        target = [change[label] for label in trained]
        assert [metric.result() for metric in metrics] == [
            float(min(kept) >= 0),
            pytest.approx(min(kept)),
            pytest.approx(sum(target) / len(target)),  # equally many images per class
            pytest.approx((old & ~new).float().mean().item()),
        ]
        scored += min(kept) < 0
    assert scored, "no class was forgotten: the comparison shows nothing"


def test_a_stream_of_this_suite_in_plain_avalanche(toy_stream: Any) -> None:
    """Its experiences come from other Avalanche classes than a benchmark of data sets."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(6))
    model(toy_stream.test[0].images[:1].float())
    metrics = [metric() for metric in ALL]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    strategy = Naive(model=model, optimizer=optimizer, train_mb_size=30, evaluator=EvaluationPlugin(*metrics))
    strategy.eval(toy_stream.test)
    strategy.train(toy_stream.train, eval_streams=[])
    assert len(strategy.eval(toy_stream.test)) == 4
    preserved, safety, gain, flips = (metric.result() for metric in metrics)
    assert preserved == float(safety >= 0) and -1 <= safety <= 1 and gain > 0 and 0 <= flips <= 1
