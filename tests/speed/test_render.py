"""Images a second of the renderers. Run with: tox -e benchmark"""

from __future__ import annotations

import pytest
import torch

from scenarios.render import PLACES, SCENES, TIMES, WEATHERS, render_place, render_road


@pytest.mark.parametrize(("size", "count"), [(64, 1000), (224, 100)])
def test_road(benchmark, size, count):
    """``count`` pictures of every weather, scene and time alike; extra_info holds images a second."""
    index = torch.arange(count)
    weather, scene, time = index % len(WEATHERS), index // 6 % len(SCENES), index // 36 % len(TIMES)
    pictures = benchmark.pedantic(render_road, (0, index, weather, scene, time, size), rounds=5, warmup_rounds=1)
    assert pictures.shape == (count, 3, size, size)
    benchmark.extra_info["images_per_second"] = count / benchmark.stats["median"]


@pytest.mark.parametrize(("size", "places", "each"), [(64, 73, 50), (224, 73, 2)])
def test_places(benchmark, size, places, each):
    """``each`` pictures of every fifth place, as streams draw them; extra_info holds images a second."""
    place = (torch.arange(places) * (len(PLACES) // places)).repeat_interleave(each)
    index = torch.arange(len(place))
    pictures = benchmark.pedantic(render_place, (0, index, place, size), rounds=3, warmup_rounds=1)
    assert pictures.shape == (len(place), 3, size, size)
    benchmark.extra_info["images_per_second"] = len(place) / benchmark.stats["median"]
