"""From codes to pictures: checks, grouping by scene, chunks, and the order of the layers."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from .atmosphere import add_fog, add_rain, add_snowflakes, illuminate, reflect
from .city import draw_city
from .draws import Draws, uniforms
from .light import TIMES, sample_light
from .lots import draw_gas_station, draw_parking
from .open_scenes import draw_highway, draw_residential
from .sensor import develop
from .shot import Shot
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
MIN_SIZE = 32
CHUNK_PIXELS = 64 * 64 * 64  # pixels drawn at once by a thread: 64 images of 64 px


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
    _check(index, weather, scene, time, size)
    codes = [t.detach().cpu().to(torch.int64) for t in (index, weather, scene, time)]
    out = torch.empty(len(index), 3, size, size, dtype=torch.uint8, device=device)

    def draw(scene_code: int, pick: Tensor) -> None:
        shot = _expose(seed, codes[0][pick], codes[1][pick], codes[3][pick], size, out.device)
        out[pick.to(out.device)] = _picture(shot, DRAW_SCENE[SCENES[scene_code]])

    _run_all(draw, _chunks(codes, size), parallel=out.device.type == "cpu")
    return out


def _chunks(codes: list[Tensor], size: int) -> list[tuple[int, Tensor]]:
    """(scene code, positions) of groups of images small enough to draw together."""
    _, weather, scene, time = codes
    # Neighbours alike in scene, weather and time let whole layers be skipped; skipping never changes a picture.
    order = torch.argsort((scene * len(WEATHERS) + weather) * len(TIMES) + time, stable=True)
    length = max(1, CHUNK_PIXELS // (size * size))
    chunks: list[tuple[int, Tensor]] = []
    for code in range(len(SCENES)):
        members = order[scene[order] == code]
        chunks += [(code, pick) for pick in members.split(length) if len(pick)]
    return chunks


def _run_all(draw: Callable[[int, Tensor], None], chunks: list[tuple[int, Tensor]], parallel: bool) -> None:
    """Draw the chunks, each on one thread: threads that share every operation stall when another process is busy."""
    threads = torch.get_num_threads()
    if not parallel or threads == 1 or not chunks:
        for code, pick in chunks:
            draw(code, pick)
        return
    try:
        with ThreadPoolExecutor(min(threads, len(chunks)), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for done in [pool.submit(draw, code, pick) for code, pick in chunks]:
                done.result()
    finally:
        torch.set_num_threads(threads)  # the workers' setting is also the default of threads made later


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
    draws = Draws(uniforms(seed, index))
    conditions, light = sample_weather(weather, draws), sample_light(time, draws)
    for group in (conditions, light):
        for name, value in vars(group).items():
            setattr(group, name, value.to(device))
    return Shot(Draws(draws.table.to(device)), conditions, light, size)


def _picture(shot: Shot, draw_scene: Callable[[Shot], None]) -> Tensor:
    draw_sky(shot)
    draw_scene(shot)
    illuminate(shot)
    reflect(shot)
    add_fog(shot)
    add_rain(shot)
    add_snowflakes(shot)
    return develop(shot)


def _check(index: Tensor, weather: Tensor, scene: Tensor, time: Tensor, size: int) -> None:
    if size < MIN_SIZE:
        raise ValueError(f"size must be at least {MIN_SIZE} px, got {size}")
    if index.dim() != 1:
        raise ValueError(f"index must be one-dimensional, got shape {tuple(index.shape)}")
    for what, codes, names in (("weather", weather, WEATHERS), ("scene", scene, SCENES), ("time", time, TIMES)):
        if codes.shape != index.shape:
            raise ValueError(f"{what} must have the shape of index {tuple(index.shape)}, got {tuple(codes.shape)}")
        if codes.numel() and (int(codes.min()) < 0 or int(codes.max()) >= len(names)):
            worst = int(codes.max()) if int(codes.max()) >= len(names) else int(codes.min())
            raise ValueError(f"unknown {what} code {worst}: codes are 0 to {len(names) - 1}")
