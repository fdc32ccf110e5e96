"""What the old model said, long after the model has changed."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from methods.batches import generator
from methods.old_model import OldOutputs, frozen_similarity
from methods.strategy import RoundStrategy, Settings

WANTED = [{"target": True}, {"protected": True}, {"target": True, "protected": True}]


class Pictures:
    """An experience with images and labels, as far as a round needs one."""

    def __init__(self, images, labels, augment):
        self.images, self.labels, self.augment = images, labels, augment
        self.dataset = self
        self.train = self.eval = self.logging = lambda: self


def pictures(labels: list[int], augment: bool, seed: int) -> Pictures:
    rng = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (len(labels), 3, 64, 64), generator=rng, dtype=torch.uint8)
    return Pictures(images, torch.tensor(labels), augment)


def similarities(model, images):
    """Written out: a classifier's logits are its similarities, CLIP's are cosines."""
    with torch.no_grad():
        return model.similarity(images) if hasattr(model, "similarity") else model(images)


@pytest.fixture(params=["plain", "clip"])
def old_model(request):
    """A model that nobody has trained; the plain one says something else in training mode."""
    if request.param == "plain":
        torch.manual_seed(0)
        return nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.BatchNorm1d(48), nn.Dropout(0.5), nn.Linear(48, 4))
    return request.getfixturevalue("toy_base")


@pytest.mark.parametrize("wanted", WANTED, ids=["target", "protected", "both"])
@pytest.mark.parametrize("views", [(False, False), (True, True), (True, False), (False, True)])
def test_outputs_are_those_of_the_old_model_on_the_very_images_shown(wanted, views, old_model):
    seen = []

    class Watched(RoundStrategy):
        def prepare_round(self):
            self.old = OldOutputs(self, **wanted)

        def round_loss(self, logits, labels):
            targets, parts = len(self.batches.target_rows), []
            if "target" in wanted:
                parts.append(self.mb_x[:targets])
            if "protected" in wanted:
                parts.append(self.mb_x[targets:])
            shown, said = torch.cat(parts), self.old.of_step()
            assert said.shape == (len(shown), logits.shape[1]) and not said.requires_grad
            torch.testing.assert_close(said, similarities(reference, shown), atol=1e-5, rtol=1e-4)
            now = copy.deepcopy(self.model).eval()
            seen.append((said - similarities(now, shown)).abs().max().item())
            return nn.functional.cross_entropy(logits, labels)

    reference = copy.deepcopy(old_model).eval()
    strategy = Watched(
        model=copy.deepcopy(old_model), settings=Settings(steps=3, batch_size=10, lr=0.05, weight_decay=0.0)
    )
    strategy.protect(pictures([0, 1, 2] * 4, views[1], 1))
    strategy.train(pictures([3] * 9, views[0], 2), eval_streams=[])
    assert len(seen) == 3 and min(seen[1:]) > 1e-2


def test_more_classes_than_a_step_can_show_keep_their_own_rows():
    compared = []

    class Watched(RoundStrategy):
        def prepare_round(self):
            self.old = OldOutputs(self, protected=True)

        def round_loss(self, logits, labels):
            shown = self.mb_x[len(self.batches.target_rows) :]
            torch.testing.assert_close(self.old.of_step(), similarities(reference, shown), atol=1e-5, rtol=1e-4)
            compared.append(tuple(self.batches.class_positions.tolist()))
            return nn.functional.cross_entropy(logits, labels)

    torch.manual_seed(0)
    model = nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(48, 11))
    reference = copy.deepcopy(model)
    strategy = Watched(model=model, settings=Settings(steps=6, batch_size=12, lr=0.05))
    strategy.protect(pictures(list(range(10)) * 3, False, 1))
    strategy.train(pictures([10] * 9, False, 2), eval_streams=[])
    assert len(set(compared)) > 1 and all(len(classes) < 10 for classes in compared)


def test_a_frozen_copy_is_neither_changed_nor_trained_by_what_becomes_of_the_model(toy_base):
    model = copy.deepcopy(toy_base)
    model.add_heads(2, generator(0, "heads"))
    with torch.no_grad():
        model.heads_out.normal_(generator=torch.Generator().manual_seed(0))
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    before = model.similarity(images).detach()
    frozen = frozen_similarity(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    torch.testing.assert_close(frozen(images), before)
    assert not frozen(images).requires_grad and all(p.requires_grad for p in model.parameters())
    assert (model.similarity(images) - before).abs().max() > 1e-2
