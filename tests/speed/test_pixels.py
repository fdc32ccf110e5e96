"""Kept images against plain copies, and decoding photos against a plain loop. Run with: tox -e benchmark

Each pair is measured in turns, so that both meet the same machine; extra_info holds the median of the paired ratios.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from scenarios.pixels import PixelStore, photo_store

TURNS = 15


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own for each test."""
    monkeypatch.setenv("MDS_BENCH_CACHE", str(tmp_path / "cache"))


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


@pytest.mark.parametrize("order", ["contiguous", "sorted", "shuffled"])
def test_reading_kept_images(benchmark, tmp_path, order):
    """2,000 of 6,000 images of 64 px, against copying the same bytes out of a plain memory map."""
    count, side = 6_000, 64
    images = torch.randint(
        0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    images.numpy().tofile(tmp_path / "plain")
    plain = np.memmap(tmp_path / "plain", np.uint8, "r", shape=tuple(images.shape))
    store = PixelStore("noise", [1] * count, side, lambda rows: images[torch.tensor(rows)])
    store.fill(range(count))
    shuffled = np.random.default_rng(0).permutation(count)[:2_000]
    rows = {"contiguous": np.arange(1_000, 3_000), "sorted": np.sort(shuffled), "shuffled": shuffled}[order]
    copy = (lambda: np.array(plain[1_000:3_000])) if order == "contiguous" else (lambda: plain[rows])
    assert np.array_equal(store.take(rows).numpy(), copy())

    ratios = [seconds(lambda: store.take(rows)) / seconds(copy) for _ in range(10 * TURNS)]
    benchmark.extra_info["times_a_plain_copy"] = statistics.median(ratios)
    benchmark.pedantic(store.take, (rows,), rounds=50, warmup_rounds=5)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Path]:
    """60 JPEGs of 1280×720 px: smooth noise on several scales, and edges."""
    folder = tmp_path_factory.mktemp("photos")
    return [save_photo(folder / f"{number}.jpg", np.random.default_rng(number)) for number in range(60)]


def save_photo(path: Path, rng: np.random.Generator) -> Path:
    picture = np.full((720, 1280, 3), 110.0)
    for rows, strength in ((4, 40), (18, 20), (80, 9), (240, 4), (720, 1.5)):
        noise = Image.fromarray(rng.normal(0, strength, (rows, rows * 16 // 9)).astype(np.float32))
        picture += np.asarray(noise.resize((1280, 720), Image.Resampling.BICUBIC))[..., None] * rng.normal(1, 0.3, 3)
    image = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
    for _ in range(40):
        x, y, width, height = (int(rng.integers(low, high)) for low, high in ((0, 1280), (0, 720), (9, 200), (9, 200)))
        fill = tuple(int(level) for level in rng.integers(0, 256, 3))
        ImageDraw.Draw(image).rectangle((x, y, x + width, y + height), fill=fill)
    image.save(path, quality=90)
    assert 60_000 < path.stat().st_size < 180_000
    return path


def plain_loop(paths: list[Path], side: int) -> np.ndarray:
    """What one writes down first."""
    images = []
    for path in paths:
        with Image.open(path) as file:
            image = file.convert("RGB")
        width, height = (side * length // min(image.size) for length in image.size)
        left, top = (width - side) // 2, (height - side) // 2
        resized = image.resize((width, height), Image.Resampling.BICUBIC)
        images.append(np.array(resized.crop((left, top, left + side, top + side))))
    return np.stack(images)


@pytest.mark.parametrize("side", [64, 224])
def test_decoding_photos(benchmark, photos, side, monkeypatch, tmp_path):
    """60 photos decoded and kept, against a loop that decodes them and keeps nothing."""
    empty = iter(range(10_000))

    def keep() -> torch.Tensor:
        monkeypatch.setenv("MDS_BENCH_CACHE", str(tmp_path / str(next(empty))))
        return photo_store(photos, side).take(range(len(photos)))

    difference = np.abs(keep().permute(0, 2, 3, 1).numpy().astype(int) - plain_loop(photos, side))
    assert difference.mean() < 1  # the same pictures

    ratios = [seconds(lambda: plain_loop(photos, side)) / seconds(keep) for _ in range(TURNS)]
    benchmark.extra_info["times_faster_than_a_loop"] = statistics.median(ratios)
    benchmark.pedantic(keep, rounds=5, warmup_rounds=1)
    benchmark.extra_info["photos_per_second"] = len(photos) / benchmark.stats["median"]
