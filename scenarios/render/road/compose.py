"""From codes to road pictures: grouping by scene, and the order of the layers."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..batches import check_batch, check_codes, chunks, draw_chunks
from ..draws import Draws
from ..sensor import develop
from .atmosphere import add_fog, add_rain, add_snowflakes, illuminate, reflect
from .city import draw_city
from .light import TIMES, sample_light
from .lots import draw_gas_station, draw_parking
from .open_scenes import draw_highway, draw_residential
from .shot import PURPOSES, Shot
from .sky import draw_sky
from .tunnel import draw_tunnel
from .weather import WEATHERS, sample_weather

DRAW_SCENE: dict[str, Callable[[Shot], None]] = {
    "highway": draw_highway,
    "residential area": draw_residential,
    "city street": draw_city,
    "parking lot": draw_parking,
    "gas stations": draw_gas_station,
    "tunnel": draw_tunnel,
}
SCENES = tuple(DRAW_SCENE)  # a scene code is a position here


def render_road(
    seed: int,
    index: Tensor,
    weather: Tensor,
    scene: Tensor,
    time: Tensor,
    size: int = 64,
    device: str | torch.device = "cpu",
) -> Tensor:
    """Draw forward-facing road scenes.

    `index`, `weather`, `scene` and `time` are (B,) int64; the last three are positions in WEATHERS, SCENES and TIMES.
    `size` is the side in pixels, at least 32. Returns (B, 3, size, size) uint8 RGB on `device`. A picture depends on
    (seed, its index, its codes, size) alone: bit for bit the same in any batch, on any number of threads or device.
    """
    check_batch(index, size)
    for what, given, names in (("weather", weather, WEATHERS), ("scene", scene, SCENES), ("time", time, TIMES)):
        check_codes(what, given, index, names)
    codes = [t.detach().cpu().to(torch.int64) for t in (index, weather, scene, time)]
    out = torch.empty(len(index), 3, size, size, dtype=torch.uint8, device=device)

    def draw(scene_code: int, pick: Tensor) -> None:
        shot = _expose(seed, codes[0][pick], codes[1][pick], codes[3][pick], size, out.device)
        out[pick.to(out.device)] = _picture(shot, DRAW_SCENE[SCENES[scene_code]])

    # Neighbours alike in scene, weather and time let whole layers be skipped; skipping never changes a picture.
    order = torch.argsort((codes[2] * len(WEATHERS) + codes[1]) * len(TIMES) + codes[3], stable=True)
    draw_chunks(draw, chunks(codes[2], order, size), parallel=out.device.type == "cpu")
    return out


def counterfactual_pair(
    seed: int,
    index: Tensor,
    weather_a: Tensor,
    weather_b: Tensor,
    scene: Tensor,
    time: Tensor,
    size: int = 64,
    device: str | torch.device = "cpu",
) -> tuple[Tensor, Tensor]:
    """The same scenes, with the same random draws, under two weathers; arguments and results as `render_road`."""
    first = render_road(seed, index, weather_a, scene, time, size, device)
    return first, render_road(seed, index, weather_b, scene, time, size, device)


def _expose(seed: int, index: Tensor, weather: Tensor, time: Tensor, size: int, device: torch.device) -> Shot:
    draws = Draws.of(seed, index, PURPOSES)
    conditions, light = sample_weather(weather, draws), sample_light(time, draws)
    for group in (conditions, light):
        for name, value in vars(group).items():
            setattr(group, name, value.to(device))
    return Shot(draws.to(device), conditions, light, size)


def _picture(shot: Shot, draw_scene: Callable[[Shot], None]) -> Tensor:
    draw_sky(shot)
    draw_scene(shot)
    illuminate(shot)
    reflect(shot)
    add_fog(shot)
    add_rain(shot)
    add_snowflakes(shot)
    return develop(shot, grain=shot.light.night * 0.006)
