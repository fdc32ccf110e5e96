"""Images a second of the renderer. Run with: tox -e benchmark"""

from __future__ import annotations

import pytest
import torch

from scenarios.render import SCENES, TIMES, WEATHERS, render_road


@pytest.mark.parametrize(("size", "count"), [(64, 1000), (224, 100)])
def test_render(benchmark, size, count):
    """``count`` pictures of every weather, scene and time alike; extra_info holds images a second."""
    index = torch.arange(count)
    weather, scene, time = index % len(WEATHERS), index // 6 % len(SCENES), index // 36 % len(TIMES)
    pictures = benchmark.pedantic(render_road, (0, index, weather, scene, time, size), rounds=5, warmup_rounds=1)
    assert pictures.shape == (count, 3, size, size)
    benchmark.extra_info["images_per_second"] = count / benchmark.stats["median"]
