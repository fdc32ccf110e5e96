"""Views against torchvision's transforms: the same pixels for the same draws, and draws of the same distributions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp
from torch import Tensor
from torchvision.transforms import InterpolationMode, RandomResizedCrop, RandomRotation
from torchvision.transforms.v2 import functional as tv

from benchmark.running import pretrain as pretraining
from benchmark.running.pretrain import Recipe, pretrain
from methods import augmentation
from methods.augmentation import Views, augment, draw_views, show
from methods.batches import Permutations, generator

DRAWS = 4000
SCALE, RATIO = [0.7, 1.0], [3 / 4, 4 / 3]
FRAMES = [(64, 64), (90, 160), (50, 41)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int, height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=seeded())


def waves(count: int, height: int, width: int) -> Tensor:
    """Smooth pictures: slow waves, each of its own length, direction and colours."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    speed = torch.rand(count, 3, 2, 1, 1, generator=seeded()) * 9
    return ((speed[:, :, 0] * y + speed[:, :, 1] * x).sin() * 127 + 128).to(torch.uint8)


def torchvision_view(image, view: list[float], size: int):
    """One view by torchvision's own functions, of a tensor or a PIL image."""
    *box, degrees, mirrored = view
    top, left, height, width = map(int, box)
    image = tv.resized_crop(image, top, left, height, width, [size, size], InterpolationMode.BILINEAR)
    image = tv.rotate(image, degrees, InterpolationMode.NEAREST)
    return tv.horizontal_flip(image) if mirrored else image


def rows(views: Views) -> list[list[float]]:
    return torch.stack(views, dim=1).tolist()


class TestPixels:
    @pytest.mark.parametrize("size", [48, 64, 100])
    @pytest.mark.parametrize("frame", FRAMES)
    def test_the_same_draws_give_torchvisions_pixels(self, frame, size):
        images = noise(40, *frame).float() / 255
        views = draw_views(40, *frame, seeded())
        wanted = torch.stack([torchvision_view(i, v, size) for i, v in zip(images, rows(views), strict=True)])
        differs = (show(images, views, size) - wanted).abs() > 1e-5
        # Of the points that fall between two pixels, a few go to the other one.
        assert differs.float().mean() < 1e-4

    def test_the_same_draws_give_pils_pixels(self):
        images = waves(40, 90, 90)
        views = draw_views(40, 90, 90, seeded())
        for image, view, got in zip(images, rows(views), show(images, views, 64), strict=True):
            wanted = tv.pil_to_tensor(torchvision_view(tv.to_pil_image(image), view, 64)).float() / 255
            differs = (got - wanted).abs() > 1.5 / 255
            assert differs.float().mean() < 0.002  # PIL's coordinates have 16 bits behind the point

    def test_bytes_and_floats_agree(self):
        images = noise(8, 64, 64)
        assert torch.equal(augment(images, seeded()), augment(images.float() / 255, seeded()))

    def test_nothing_drawn_is_nothing_changed(self):
        images = noise(2, 64, 64)
        zero, full = torch.zeros(2), torch.full((2,), 64.0)
        torch.testing.assert_close(show(images, Views(zero, zero, full, full, zero, zero), 64), images.float() / 255)

    def test_corners_become_black_and_no_other_place(self):
        white = torch.ones(1, 3, 64, 64)
        zero, full = torch.zeros(1), torch.full((1,), 64.0)
        turned = show(white, Views(zero, zero, full, full, zero + 15, zero), 64)
        assert turned[..., 0, 0].eq(0).all() and turned[..., 16:48, 16:48].eq(1).all()
        assert set(turned.unique().tolist()) == {0.0, 1.0}

    @settings(max_examples=30, deadline=None)
    @given(st.integers(1, 5), st.integers(8, 60), st.integers(8, 60), st.integers(4, 60), st.integers(0, 1000))
    def test_views_have_the_size_and_range_asked_for(self, count, height, width, size, seed):
        views = augment(noise(count, height, width), seeded(seed), size)
        assert views.shape == (count, 3, size, size) and views.dtype == torch.float32
        assert views.isfinite().all() and views.min() >= 0 and views.max() <= 1

    def test_views_are_as_large_as_the_shorter_side_unless_told(self):
        assert augment(noise(1, 30, 50), seeded()).shape == (1, 3, 30, 30)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    def test_a_gpu_shows_the_same_and_is_not_waited_for(self):
        images = noise(32, 90, 160)
        on_gpu = images.cuda()
        augment(on_gpu, seeded(), 64)  # libraries start up
        torch.cuda.set_sync_debug_mode("error")
        try:
            views = augment(on_gpu, seeded(), 64)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert ((views.cpu() - augment(images, seeded(), 64)).abs() > 1e-5).float().mean() < 1e-3


class TestDraws:
    def test_the_generator_alone_decides(self):
        images, rng = noise(4, 64, 64), seeded(3)
        first, second = augment(images, rng), augment(images, rng)
        torch.manual_seed(5)
        assert torch.equal(augment(images, seeded(3)), first)
        assert not torch.equal(first, second)

    @pytest.mark.parametrize("frame", FRAMES)
    def test_crops_are_distributed_as_torchvisions(self, frame):
        height, width = frame
        image = torch.empty(3, height, width)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            wanted = torch.tensor([RandomResizedCrop.get_params(image, SCALE, RATIO) for _ in range(DRAWS)]).double()
        got = torch.stack(draw_views(DRAWS, height, width, seeded(1))[:4], dim=1)
        for name, feature in {
            "area": lambda c: c[:, 2] * c[:, 3],
            "log ratio": lambda c: (c[:, 3] / c[:, 2]).log(),
            "top": lambda c: c[:, 0],
            "left": lambda c: c[:, 1],
            "bottom": lambda c: height - c[:, 0] - c[:, 2],
            "right": lambda c: width - c[:, 1] - c[:, 3],
        }.items():
            assert ks_2samp(feature(got).numpy(), feature(wanted).numpy(), method="asymp").pvalue > 0.01, name

    @pytest.mark.parametrize(("frame", "box"), [((90, 401), (0, 140, 90, 120)), ((401, 90), (140, 0, 120, 90))])
    def test_where_no_crop_fits_it_is_torchvisions_central_one(self, frame, box):
        assert RandomResizedCrop.get_params(torch.empty(3, *frame), SCALE, RATIO) == box
        views = draw_views(50, *frame, seeded())
        assert torch.stack(views[:4], dim=1).eq(torch.tensor(box)).all()

    def test_angles_and_mirroring_are_distributed_as_torchvisions(self):
        views = draw_views(DRAWS, 64, 64, seeded(1))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            wanted = [RandomRotation.get_params([-15.0, 15.0]) for _ in range(DRAWS)]
        assert ks_2samp(views.degrees.numpy(), wanted, method="asymp").pvalue > 0.01
        assert views.mirrored.mean() == pytest.approx(0.5, abs=0.02)

    def test_draws_do_not_hang_together(self):
        views = torch.stack(draw_views(DRAWS, 64, 64, seeded(1)))
        views[0] /= (64 - views[2]).clamp_min(1)  # the place within the room that the crop leaves
        views[1] /= (64 - views[3]).clamp_min(1)
        links = torch.corrcoef(views) - torch.eye(6)
        links[2, 3] = links[3, 2] = 0  # area and ratio decide both sides
        assert links.abs().max() < 0.15


class TestRelight:
    def test_each_part_does_what_its_name_says(self, monkeypatch: pytest.MonkeyPatch) -> None:
        images = 0.3 + 0.1 * torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        off = {"SATURATION": (1.0, 1.0), "CONTRAST": 1.0, "BRIGHTNESS": 1.0, "CAST": 0.0}

        def shown(**on: object) -> Tensor:
            for name, value in (off | on).items():
                monkeypatch.setattr(augmentation, name, value)
            return augmentation.relight(images, generator(0, "light"))

        assert torch.allclose(shown(), images, atol=1e-6)
        factors = shown(BRIGHTNESS=2.0) / images
        assert factors.std(dim=(1, 2, 3)).max() < 1e-5 and 0.5 <= factors.min() < 0.6 and 1.9 < factors.max() <= 2.0001
        mean, seen = images.mean(dim=(1, 2, 3)), shown(CONTRAST=3.0)
        assert torch.allclose(seen.mean(dim=(1, 2, 3)), mean, atol=1e-6)
        spread = seen.std(dim=(1, 2, 3)) / images.std(dim=(1, 2, 3))
        assert 1 / 3 <= spread.min() < 0.5 and 2 < spread.max() <= 3.001
        seen = shown(SATURATION=(0.0, 0.0))
        assert torch.allclose(seen, images.mean(dim=1, keepdim=True).expand_as(images), atol=1e-6)
        cast = shown(CAST=0.1).mean(dim=(2, 3)) / images.mean(dim=(2, 3))
        assert cast.log().std().item() == pytest.approx(0.1, rel=0.2)

    def test_the_generator_alone_decides_and_values_stay_in_range(self) -> None:
        images = torch.rand(9, 3, 20, 12, generator=torch.Generator().manual_seed(1))
        seen = augmentation.relight(images, generator(3, "light"))
        assert torch.equal(seen, augmentation.relight(images, generator(3, "light")))
        assert seen.shape == images.shape and seen.min() >= 0 and seen.max() <= 1
        assert not torch.equal(seen, augmentation.relight(images, generator(4, "light")))


class TestPretraining:
    RECIPE = Recipe(steps=3, batch_size=16, prior=0.0)

    @pytest.fixture
    def seen(self, monkeypatch):
        """The images of each step."""
        seen: list[Tensor] = []
        create = pretraining.create_classifier

        def watched(*args):
            model = create(*args)
            encode = model.encode_images
            monkeypatch.setattr(model, "encode_images", lambda images: seen.append(images.clone()) or encode(images))
            return model

        monkeypatch.setattr(pretraining, "create_classifier", watched)
        return seen

    def test_without_augmentation_images_are_mirrored_alone(self, toy_stream, seen):
        data, rng = toy_stream.pretraining(), generator(0, "mirror")
        pretrain(data, toy_stream.prompts, self.RECIPE)
        order = Permutations(len(data), 0, "pretraining")
        for step, images in enumerate(seen):
            plain, flip = data.images[order.take(step * 16, 16)], torch.rand(16, generator=rng) < 0.5
            assert torch.equal(images[flip], plain[flip].flip(-1)) and torch.equal(images[~flip], plain[~flip])
        assert len(seen) == 3

    def test_with_augmentation_it_trains_on_views(self, toy_stream, seen):
        data, recipe = toy_stream.pretraining(), self.RECIPE.model_copy(update={"augment": True, "steps": 60})
        model = pretrain(data, toy_stream.prompts, recipe)
        plain = data.images[Permutations(len(data), 0, "pretraining").take(0, 16)]
        assert seen[0].dtype == torch.float32 and (seen[0] - plain / 255).abs().mean() > 0.05
        right = model(data.images[::5]).argmax(1) == data.labels[::5]
        assert right.float().mean() > 0.6  # chance is 0.2

    def test_in_another_light_it_sees_the_same_views(self, toy_stream, seen):
        data = toy_stream.pretraining()
        for relit in (False, True):
            pretrain(data, toy_stream.prompts, self.RECIPE.model_copy(update={"relight": relit}))
        plain, lit = seen[0] / 255, seen[3]
        assert lit.dtype == torch.float32 and lit.shape == plain.shape
        assert (lit - plain).abs().mean() > 0.05
