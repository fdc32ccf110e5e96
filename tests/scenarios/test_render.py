"""The road-scene renderer, through its public interface."""

import hashlib

import pytest
import torch
from torch import Tensor

from scenarios.render import SCENES, TIMES, WEATHERS, counterfactual_pair, render_road
from scenarios.render.canvas import root

SEED = 11
DAY, NIGHT = TIMES.index("daytime"), TIMES.index("night")
OPEN = [code for code, name in enumerate(SCENES) if name != "tunnel"]
TUNNEL = SCENES.index("tunnel")
GOLDEN = "8cf3e81a7eefbef2f208fd124fcb71af0e83b6fe65187528b6a081e5e818c49d"  # sha256 of the pixels


def mixture(count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Index, weather, scene and time of `count` images that cover every combination when there are enough of them."""
    i = torch.arange(count)
    return i, i % 6, (i // 6) % 6, (i // 36 + i) % 3


def twins(a: str, b: str, count: int = 60, scenes: list[int] | None = None) -> tuple[Tensor, Tensor]:
    """Daylight twins under the weathers `a` and `b`, as float in [0, 1]."""
    index = torch.arange(count)
    chosen = torch.tensor(scenes or OPEN)
    scene = chosen[index % len(chosen)]
    codes = [torch.full((count,), WEATHERS.index(name)) for name in (a, b)]
    pair = counterfactual_pair(SEED, index, *codes, scene, torch.full((count,), DAY))
    return pair[0].float() / 255, pair[1].float() / 255


def grey(pictures: Tensor) -> Tensor:
    return pictures.mean(dim=1)


def saturation(pictures: Tensor) -> float:
    return float((pictures.amax(dim=1) - pictures.amin(dim=1)).mean())


def test_shape_and_type() -> None:
    pictures = render_road(SEED, *mixture(5))
    assert pictures.shape == (5, 3, 64, 64)
    assert pictures.dtype == torch.uint8


def test_empty_batch() -> None:
    assert render_road(SEED, *mixture(0)).shape == (0, 3, 64, 64)


@pytest.mark.parametrize("size", [32, 224])
def test_other_sizes_show_a_picture(size: int) -> None:
    index, weather, scene, time = mixture(6)
    pictures = render_road(SEED, index, weather, scene, torch.zeros_like(time), size=size)
    assert pictures.shape == (6, 3, size, size)
    assert (pictures.float().std(dim=(1, 2, 3)) > 8).all()


def test_same_bits_one_by_one_and_in_a_batch() -> None:
    arguments = mixture(108)
    together = render_road(SEED, *arguments)
    for i in range(0, 108, 5):
        alone = render_road(SEED, *(a[i : i + 1] for a in arguments))
        assert torch.equal(alone[0], together[i]), f"image {i} differs"


def test_same_bits_across_chunks_of_one_scene() -> None:
    count = 150  # one scene, so several chunks
    index, weather = torch.arange(count), torch.arange(count) % 6
    scene, time = torch.full((count,), 2), torch.arange(count) % 3
    whole = render_road(SEED, index, weather, scene, time)
    parts = [render_road(SEED, *(a[s : s + 37] for a in (index, weather, scene, time))) for s in range(0, count, 37)]
    assert torch.equal(torch.cat(parts), whole)


def test_same_bits_in_any_order() -> None:
    arguments = mixture(72)
    order = torch.randperm(72, generator=torch.Generator().manual_seed(3))
    shuffled = render_road(SEED, *(a[order] for a in arguments))
    assert torch.equal(shuffled, render_road(SEED, *arguments)[order])


def test_same_bits_on_any_number_of_threads() -> None:
    arguments = mixture(108)
    threads = torch.get_num_threads()
    pictures = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            pictures.append(render_road(SEED, *arguments))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(pictures[0], pictures[1])
    assert torch.equal(pictures[0], pictures[2])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_same_bits_on_cuda() -> None:
    arguments = mixture(216)
    assert torch.equal(render_road(SEED, *arguments, device="cuda").cpu(), render_road(SEED, *arguments))


def test_seed_and_index_change_the_picture() -> None:
    index, weather, scene, time = mixture(36)
    base = render_road(SEED, index, weather, scene, time)
    for other in (
        render_road(SEED + 1, index, weather, scene, time),
        render_road(SEED, index + 36, weather, scene, time),
    ):
        assert ((base.int() - other.int()).abs().float().mean(dim=(1, 2, 3)) > 2).all()


def test_large_and_negative_seeds_work() -> None:
    arguments = mixture(2)
    pictures = [render_road(seed, *arguments) for seed in (-1, 0, 1 << 62)]
    assert not torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[1], pictures[2])


def test_a_twin_of_the_same_weather_is_identical() -> None:
    first, second = twins("rainy", "rainy", 30, list(range(6)))
    assert torch.equal(first, second)


def test_a_twin_is_the_picture_of_its_own_weather() -> None:
    index, weather, scene, time = mixture(36)
    other = (weather + 1) % 6
    first, second = counterfactual_pair(SEED, index, weather, other, scene, time)
    assert torch.equal(first, render_road(SEED, index, weather, scene, time))
    assert torch.equal(second, render_road(SEED, index, other, scene, time))


def test_twins_of_two_weathers_differ_but_show_the_same_scene() -> None:
    clear, foggy = twins("clear", "foggy")
    assert ((clear - foggy).abs().mean(dim=(1, 2, 3)) > 0.01).all()
    # Edges of the own foreground line up better than those of another image's.
    near = [grey(p)[:, 38:] - grey(p)[:, 38:].mean(dim=(1, 2), keepdim=True) for p in (clear, foggy)]
    own = (near[0] * near[1]).sum(dim=(1, 2))
    strange = (near[0] * near[1].roll(5, dims=0)).sum(dim=(1, 2))
    assert (own > strange).float().mean() > 0.9


def test_fog_takes_more_contrast_at_the_horizon_than_near_by() -> None:
    city = [SCENES.index("city street")]
    clear, foggy = (grey(p) for p in twins("clear", "foggy", 40, city))

    def contrast(rows: Tensor) -> Tensor:
        return (rows[:, :, 1:] - rows[:, :, :-1]).abs().mean()

    far = contrast(foggy[:, 24:32]) / contrast(clear[:, 24:32])
    near = contrast(foggy[:, 46:54]) / contrast(clear[:, 46:54])
    assert far < 0.75 * near


def test_night_is_darker_than_dusk_and_dusk_than_day() -> None:
    index = torch.arange(50)
    scene, weather = torch.tensor(OPEN)[index % len(OPEN)], index % 6
    day, dusk, night = (render_road(SEED, index, weather, scene, torch.full((50,), t)).float().mean() for t in range(3))
    assert night < 0.6 * dusk < 0.6 * 0.95 * day


def test_snow_brightens_the_ground() -> None:
    clear, snowy = (grey(p)[:, 40:] for p in twins("clear", "snowy"))
    assert snowy.mean() > clear.mean() + 0.04


@pytest.mark.parametrize("weather", ["overcast", "rainy", "foggy"])
def test_dull_weather_greys_the_sky(weather: str) -> None:
    highway = [SCENES.index("highway")]
    clear, dull = (p[:, :, :14] for p in twins("clear", weather, 30, highway))
    assert saturation(dull) < 0.5 * saturation(clear)
    blueness = [float((p[:, 2] - p[:, 0]).mean()) for p in (clear, dull)]
    assert blueness[1] < 0.5 * blueness[0]


def test_partly_cloudy_lies_between_clear_and_overcast() -> None:
    highway = [SCENES.index("highway")]
    clear, partly = (saturation(p[:, :, :20]) for p in twins("clear", "partly cloudy", 30, highway))
    _, overcast = (saturation(p[:, :, :20]) for p in twins("clear", "overcast", 30, highway))
    assert overcast < partly < clear


def test_rain_darkens_the_road() -> None:
    residential = [SCENES.index("residential area")]
    overcast, rainy = (grey(p)[:, 56:, 24:40] for p in twins("overcast", "rainy", 40, residential))
    assert rainy.mean() < overcast.mean() - 0.005


def test_a_tunnel_is_dark_above_whatever_the_weather() -> None:
    index = torch.arange(36)
    arguments = (index, index % 6, torch.full((36,), TUNNEL), torch.full((36,), DAY))
    ceiling = render_road(SEED, *arguments)[:, :, :5].float().mean() / 255
    highway = (index, index % 6, torch.zeros_like(index), torch.full((36,), DAY))
    assert ceiling < 0.5 * render_road(SEED, *highway)[:, :, :5].float().mean() / 255


def test_a_tunnel_keeps_the_weather_outside() -> None:
    clear, snowy = twins("clear", "snowy", 20, [TUNNEL])
    change = (clear - snowy).abs().mean(dim=(0, 1))
    assert change[58:, :].max() < 0.02  # the road under the camera
    assert change[26:30, 28:36].mean() > 0.08  # the opening


@pytest.mark.parametrize(("time", "bound"), [(DAY, 2.8), (NIGHT, 4.0)])
def test_resolutions_show_the_same_picture(time: int, bound: float) -> None:
    index, weather, scene, _ = mixture(72)
    when = torch.full((72,), time)
    low = render_road(SEED, index, weather, scene, when, size=64).float()
    high = render_road(SEED, index, weather, scene, when, size=128).float()
    difference = (torch.nn.functional.avg_pool2d(high, 2) - low).abs()
    assert difference.mean() < bound  # of 255; sensor noise is drawn anew at each resolution
    assert difference.mean(dim=(1, 2, 3)).max() < 2 * bound


def test_every_scene_has_its_own_layout() -> None:
    index = torch.arange(60)
    clear, day = torch.zeros_like(index), torch.full_like(index, DAY)
    means = [render_road(SEED, index, clear, torch.full_like(index, s), day).float().mean(dim=0) for s in range(6)]
    for a in range(6):
        for b in range(a):
            assert (means[a] - means[b]).abs().mean() > 8, f"{SCENES[a]} and {SCENES[b]} look alike"


@pytest.mark.parametrize(
    ("position", "bad", "message"),
    [(1, 6, "unknown weather code 6"), (2, -1, "unknown scene code -1"), (3, 3, "unknown time code 3")],
)
def test_unknown_codes_are_refused(position: int, bad: int, message: str) -> None:
    arguments = [a.clone() for a in mixture(4)]
    arguments[position][2] = bad
    with pytest.raises(ValueError, match=message) as caught:
        render_road(SEED, *arguments)
    assert "\n" not in str(caught.value)


def test_a_small_size_is_refused() -> None:
    with pytest.raises(ValueError, match="size must be at least 32 px, got 31"):
        render_road(SEED, *mixture(1), size=31)


def test_unequal_lengths_are_refused() -> None:
    index, weather, scene, time = mixture(4)
    with pytest.raises(ValueError, match="scene must have the shape of index"):
        render_road(SEED, index, weather, scene[:3], time)


def test_pictures_are_those_of_the_published_streams() -> None:
    pictures = render_road(SEED, *mixture(108))
    assert hashlib.sha256(pictures.numpy().tobytes()).hexdigest() == GOLDEN, (
        "roads look different: raise the version of every stream made of them, train its base anew, then set GOLDEN"
    )


def test_roots_are_correctly_rounded_on_every_processor():
    squares = torch.rand(100_000, generator=torch.Generator().manual_seed(0))
    exact = squares.double().sqrt().float()  # twice as many digits and two: rounding twice is rounding once
    assert torch.equal(root(squares), exact)
