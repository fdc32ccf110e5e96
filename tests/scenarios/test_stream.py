"""What every development stream must be: checked when built, usable by plain Avalanche code, identified by content."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.training.plugins import EvaluationPlugin, LwFPlugin
from avalanche.training.supervised import LwF, Naive
from torch import nn

from scenarios.stream import DevelopmentStream, LabelledImages, Round, RoundData

CLASSES = ("clear", "rainy", "foggy")
SIDE = 4


def some_images(labels: list[int], seed: int) -> LabelledImages:
    """Noise whose brightness tells the label."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 40, (len(labels), 3, SIDE, SIDE), generator=generator)
    brightness = 100 * torch.tensor(labels).view(-1, 1, 1, 1)
    return LabelledImages((noise + brightness).to(torch.uint8), torch.tensor(labels))


def round_data(target: int, seed: int) -> RoundData:
    """Eight images per class in training, four in val and test."""
    others = [label for label in range(len(CLASSES)) if label != target]
    return RoundData(
        train=some_images([target] * 8, seed),
        protected=some_images(others * 8, seed + 1),
        val=some_images([0, 1, 2] * 4, seed + 2),
        test=some_images([0, 1, 2] * 4, seed + 3),
    )


def stream(**changes: Any) -> DevelopmentStream:
    """Two rounds, foggy and then rainy, with ``changes`` to the arguments."""
    arguments: dict[str, Any] = {
        "name": "toy",
        "version": 1,
        "seed": 0,
        "classes": CLASSES,
        "prompts": tuple(f"the weather is {name}." for name in CLASSES),
        "rounds": (Round("foggy", ("clear", "rainy")), Round("rainy", ("clear", "foggy"))),
        "data": (round_data(2, seed=10), round_data(1, seed=20)),
    }
    return DevelopmentStream(**arguments | changes)


def edited(images: LabelledImages) -> LabelledImages:
    """The same images with one bit of one pixel turned."""
    pixels = images.images.clone()
    pixels[0, 0, 0, 0] ^= 1
    return LabelledImages(pixels, images.labels)


class TestConstruction:
    @pytest.mark.parametrize(
        "changes",
        [
            {"prompts": ("one", "two")},
            {"classes": ("clear", "clear", "foggy")},
            {"rounds": (), "data": ()},
            {"data": (round_data(2, seed=10),)},
        ],
        ids=["a prompt is missing", "a class twice", "no round", "a round without data"],
    )
    def test_inconsistent_parts_are_refused(self, changes: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="'toy'"):
            stream(**changes)

    @pytest.mark.parametrize(
        "round_",
        [
            Round("foggy", ("clear", "snowy")),
            Round("snowy", ("clear",)),
            Round("foggy", ("foggy",)),
            Round("foggy", ()),
        ],
        ids=["unknown protected", "unknown target", "target protected", "nothing protected"],
    )
    def test_wrong_rounds_are_refused_by_number(self, round_: Round) -> None:
        with pytest.raises(ValueError, match="round 2"):
            stream(rounds=(Round("foggy", ("clear", "rainy")), round_))

    @pytest.mark.parametrize(
        ("images", "labels"),
        [
            (torch.zeros(2, 3, 4, 4), torch.zeros(2)),
            (torch.zeros(3, 4, 4, dtype=torch.uint8), torch.zeros(3)),
            (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(3)),
        ],
        ids=["float images", "no batch dimension", "one label too many"],
    )
    def test_wrong_tensors_are_refused(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        with pytest.raises(ValueError, match="expected uint8 images"):
            LabelledImages(images, labels)

    def test_the_classes_of_a_round_start_with_the_target(self) -> None:
        assert Round("foggy", ("clear", "rainy")).classes == ("foggy", "clear", "rainy")


class TestItems:
    def test_items_are_floats_from_0_to_1_and_int_labels(self) -> None:
        pixels = torch.zeros(1, 3, 1, 1, dtype=torch.uint8)
        pixels[0, :, 0, 0] = torch.tensor([0, 51, 255])
        image, label = LabelledImages(pixels, torch.tensor([2]))[0]
        assert image.dtype == torch.float32 and image.flatten().tolist() == pytest.approx([0, 0.2, 1])
        assert label == 2 and type(label) is int

    def test_concatenation_keeps_the_order(self) -> None:
        first, second = some_images([0, 1], seed=1), some_images([2], seed=2)
        both = LabelledImages.concatenate([first, second])
        assert both.targets == [0, 1, 2]
        assert torch.equal(both.images, torch.cat([first.images, second.images]))

    @pytest.mark.parametrize("split", ["train", "protected", "val", "test"])
    def test_experiences_offer_their_tensors_and_the_target(self, split: str) -> None:
        toy = stream()
        experiences = getattr(toy, split)
        assert [experience.target for experience in experiences] == [2, 1]
        for experience, data in zip(experiences, toy.data, strict=True):
            expected: LabelledImages = getattr(data, split)
            assert torch.equal(experience.images, expected.images) and torch.equal(experience.labels, expected.labels)
            image, label, task = experience.dataset[0]
            assert torch.equal(image, expected[0][0]) and (label, task) == (expected.targets[0], 0)
            assert list(experience.dataset.targets) == expected.targets


class TestWithAvalanche:
    """Library code that knows nothing of this suite must run on the streams, and learn from them."""

    @staticmethod
    def model() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 16), nn.ReLU(), nn.Linear(16, len(CLASSES)))

    def arguments(self) -> dict[str, Any]:
        model = self.model()
        return {
            "model": model,
            "optimizer": torch.optim.Adam(model.parameters(), lr=0.02),
            "criterion": nn.CrossEntropyLoss(),
            "train_mb_size": 8,
            "train_epochs": 12,
            "eval_mb_size": 8,
            "evaluator": EvaluationPlugin(accuracy_metrics(experience=True), loggers=[]),
        }

    @staticmethod
    def accuracies(results: dict[str, float]) -> list[float]:
        return [value for name, value in results.items() if name.startswith("Top1_Acc_Exp/eval_phase/test_stream")]

    def test_naive_learns_the_target_and_forgets(self) -> None:
        toy, strategy = stream(), Naive(**self.arguments())
        strategy.train(toy.train[0])
        # Trained on foggy images alone, it says foggy always: right on a third of either round's test.
        assert self.accuracies(strategy.eval(toy.test)) == pytest.approx([1 / 3, 1 / 3])

    def test_naive_learns_from_the_protected_stream(self) -> None:
        toy, strategy = stream(), Naive(**self.arguments())
        strategy.train(toy.protected[0])
        assert self.accuracies(strategy.eval(toy.test)) == pytest.approx([2 / 3, 2 / 3])  # it knows clear and rainy

    @pytest.mark.parametrize("as_plugin", [False, True], ids=["strategy", "plugin"])
    def test_lwf_runs_and_forgets_less(self, as_plugin: bool) -> None:
        toy, naive = stream(), Naive(**self.arguments())
        lwf = (
            Naive(**self.arguments(), plugins=[LwFPlugin(alpha=10, temperature=2)])
            if as_plugin
            else LwF(**self.arguments(), alpha=10, temperature=2)
        )
        margins = []
        for strategy in (naive, lwf):
            # The protected images first: LwF keeps the proportions of classes it has met in training, two or more.
            for experience in (toy.protected[0], toy.train[0]):
                torch.manual_seed(0)  # the same batches for both
                strategy.train(experience)
            assert len(self.accuracies(strategy.eval(toy.test))) == 2
            with torch.no_grad():
                logits = strategy.model(toy.protected[0].images.float() / 255)[:, :2]
            margins.append(float(nn.functional.cross_entropy(logits, toy.protected[0].labels)))
        assert margins[1] < 0.9 * margins[0]

    def test_a_batch_holds_images_labels_and_task_labels(self) -> None:
        loader = torch.utils.data.DataLoader(stream().val[0].dataset, batch_size=5)
        images, labels, tasks = next(iter(loader))
        assert images.shape == (5, 3, SIDE, SIDE) and labels.dtype == torch.int64 and tasks.tolist() == [0] * 5


class TestFingerprints:
    def test_equal_content_has_equal_fingerprints(self) -> None:
        assert stream().fingerprint == stream(seed=5, options={"a": 1}).fingerprint
        assert stream().training_fingerprint == stream(seed=5, options={"a": 1}).training_fingerprint

    @pytest.mark.parametrize("number", [0, 1])
    @pytest.mark.parametrize("split", ["train", "protected", "val", "test"])
    def test_a_pixel_changes_the_fingerprint_of_its_part_alone(self, split: str, number: int) -> None:
        toy = stream()
        data = list(toy.data)
        data[number] = replace(data[number], **{split: edited(getattr(data[number], split))})
        other = stream(data=tuple(data))
        scored = split in ("val", "test")
        assert (other.fingerprint != toy.fingerprint) == scored
        assert (other.training_fingerprint != toy.training_fingerprint) == (not scored)

    @pytest.mark.parametrize(
        "changes",
        [
            {"prompts": ("clear", "rainy", "foggy")},
            {"rounds": (Round("foggy", ("rainy", "clear")), Round("rainy", ("clear", "foggy")))},
        ],
        ids=["prompts", "order of protected classes"],
    )
    def test_prompts_and_rounds_change_it(self, changes: dict[str, Any]) -> None:
        assert stream(**changes).fingerprint != stream().fingerprint

    @pytest.mark.parametrize("split", ["train", "protected", "val", "test"])
    def test_images_of_the_wrong_classes_are_refused(self, split: str) -> None:
        data = list(stream().data)
        data[0] = replace(data[0], **{split: some_images([1], seed=1)})
        with pytest.raises(ValueError, match=f"{split} data of round 1 has labels"):
            stream(data=tuple(data))

    def test_a_label_changes_the_digest(self) -> None:
        images = some_images([0, 1, 2], seed=1)
        assert images.digest() != LabelledImages(images.images, torch.tensor([0, 2, 2])).digest()

    def test_the_shape_changes_the_digest(self) -> None:
        wide, high = torch.zeros(1, 3, 2, 8, dtype=torch.uint8), torch.zeros(1, 3, 8, 2, dtype=torch.uint8)
        assert LabelledImages(wide, torch.zeros(1)).digest() != LabelledImages(high, torch.zeros(1)).digest()

    def test_memory_layout_does_not_change_the_digest(self) -> None:
        images = some_images([0, 1, 2], seed=1)
        strided = images.images.to(memory_format=torch.channels_last)
        assert not strided.is_contiguous()
        assert LabelledImages(strided, images.labels).digest() == images.digest()

    def test_a_shared_data_set_counts_in_every_round(self) -> None:
        once = round_data(2, seed=10)
        again = replace(once, test=LabelledImages(once.test.images.clone(), once.test.labels.clone()))
        rounds = (Round("foggy", ("clear", "rainy")),) * 2
        shared, copied = (stream(rounds=rounds, data=(once, second)) for second in (once, again))
        assert shared.fingerprint == copied.fingerprint
