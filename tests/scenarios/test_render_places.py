"""The renderer of places, through its public interface, and the tables it draws from."""

from __future__ import annotations

import hashlib
import random

import pytest
import torch
from torch import Tensor

from scenarios.render import PLACES, counterfactual_place, render_place
from scenarios.render.places import grammar, model
from scenarios.render.places.colours import COLOURS, LIGHTS, SKIES, TEXTURES
from scenarios.render.places.shapes import SHAPES

SEED = 11
EVERYTHING = torch.arange(len(PLACES))
# sha256 of the names in Places365's order, one a line; 160 of its places are indoors, 205 outdoors.
NAMES_SHA256 = "e24855d92f3e297f55fbbb4adde53f6e191189bf74aa59876ffaf63610ffb5ef"
INDOORS = 160
GOLDEN = "0186cb81eb76776f99d88d316047709108ef134273361721f148965664b38f69"  # sha256 of one picture of each place


@pytest.fixture(scope="module")
def gallery() -> Tensor:
    """Three pictures of every place, (3, 365, 3, 64, 64); the first three indices, alike for all places."""
    return torch.stack([render_place(SEED, torch.full_like(EVERYTHING, i), EVERYTHING) for i in range(3)])


def of(name: str, count: int, first: int = 0) -> Tensor:
    """``count`` pictures of one place."""
    index = torch.arange(first, first + count)
    return render_place(SEED, index, torch.full_like(index, PLACES.index(name)))


def test_names_are_those_of_places365_in_its_order():
    assert len(PLACES) == 365
    assert PLACES[0] == "airfield"
    assert PLACES.index("dressing_room") == 126
    assert hashlib.sha256("\n".join(PLACES).encode()).hexdigest() == NAMES_SHA256


def test_as_many_places_are_indoors_as_in_places365():
    assert sum(place.indoor for place in grammar.places()) == INDOORS


def test_rooms_are_indoors_and_have_three_surfaces():
    for place in grammar.places():
        assert len(place.surfaces) == (3 if place.layout.walled else 2), place.name


def test_rows_of_the_grammar_are_distinct():
    rows = [(p.layout, p.surfaces, p.lights, p.mentions) for p in grammar.places()]
    assert len(set(rows)) == len(rows)


def test_no_two_places_differ_in_colours_alone():
    """Structure tells places apart: a place is not another one in new paint."""
    structure = [
        (p.layout, tuple(s.texture for s in p.surfaces), tuple((m.thing.name, m.x, m.y) for m in p.mentions))
        for p in grammar.places()
    ]
    assert len(set(structure)) == len(structure)


def test_the_tables_name_only_what_exists():
    for thing in grammar.things().values():
        assert set(thing.colours) <= set(COLOURS), thing.name
        for part in thing.parts:
            assert part.shape in SHAPES, thing.name
            assert part.colour.rstrip("+-") in {*COLOURS, "main"}, thing.name
            assert part.left < part.right and part.bottom < part.top, thing.name
    for place in grammar.places():
        skies = [] if place.layout.walled else [place.surfaces[0]]
        walls = [s for s in place.surfaces if s not in skies]
        assert {c for s in skies for c in s.colours} <= set(SKIES), place.name
        assert {c for s in walls for c in s.colours} <= set(COLOURS), place.name
        assert {s.texture for s in place.surfaces} <= set(TEXTURES), place.name
        assert set(place.lights) <= set(LIGHTS), place.name
        assert {c for m in place.mentions for c in m.colours} <= set(COLOURS), place.name


def test_every_thing_is_somewhere():
    met = {m.thing.name for place in grammar.places() for m in place.mentions}
    assert set(grammar.things()) == met


def test_shape_and_type():
    pictures = render_place(SEED, EVERYTHING[:5], EVERYTHING[:5])
    assert pictures.shape == (5, 3, 64, 64)
    assert pictures.dtype == torch.uint8


def test_empty_batch():
    assert render_place(SEED, EVERYTHING[:0], EVERYTHING[:0]).shape == (0, 3, 64, 64)


def test_every_place_shows_a_picture(gallery):
    spread = gallery.float().std(dim=(2, 3, 4))
    dull = [PLACES[i] for i in range(len(PLACES)) if spread[:, i].min() < 5]
    assert not dull


def test_no_two_places_show_the_same_picture(gallery):
    for pictures in gallery:
        assert len(torch.unique(pictures.flatten(1), dim=0)) == len(PLACES)


def test_pictures_of_one_place_differ(gallery):
    for a, b in ((0, 1), (1, 2)):
        change = (gallery[a].float() - gallery[b].float()).abs().mean(dim=(1, 2, 3))
        alike = [PLACES[i] for i in range(len(PLACES)) if change[i] < 3]
        assert not alike


def test_no_place_has_a_brightness_of_its_own():
    """Light varies within a place by about as much as between places: brightness does not give one away."""
    levels = torch.stack([of(name, 24).float().mean(dim=(1, 2, 3)) for name in PLACES[::12]])
    assert levels.std(dim=1).mean() > 0.25 * levels.mean(dim=1).std()


@pytest.mark.parametrize("size", [32, 128])
def test_other_sizes_show_a_picture(size):
    some = EVERYTHING[::40]
    pictures = render_place(SEED, some, some, size=size)
    assert pictures.shape == (len(some), 3, size, size)
    assert (pictures.float().std(dim=(1, 2, 3)) > 5).all()


def test_resolutions_show_the_same_picture():
    some = EVERYTHING[::6]
    low, high = (render_place(SEED, some, some, size=size).float() for size in (64, 128))
    difference = (torch.nn.functional.avg_pool2d(high, 2) - low).abs().mean(dim=(1, 2, 3))
    assert difference.mean() < 5  # of 255; sensor noise is drawn anew at each resolution


def test_same_bits_in_any_batch_and_order():
    index = torch.arange(400)
    place = (index * 7) % 23 * 15
    together = render_place(SEED, index, place)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(3))
    assert torch.equal(render_place(SEED, index[order], place[order]), together[order])
    for i in range(0, 400, 19):
        assert torch.equal(render_place(SEED, index[i : i + 1], place[i : i + 1])[0], together[i]), f"image {i} differs"


def test_same_bits_across_chunks_of_one_place():
    count = 150
    parts = [of("dressing_room", min(37, count - first), first) for first in range(0, count, 37)]
    assert torch.equal(torch.cat(parts), of("dressing_room", count))


def test_same_bits_on_any_number_of_threads():
    threads, pictures = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            pictures.append(render_place(SEED, EVERYTHING, EVERYTHING))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(pictures[0], pictures[1])
    assert torch.equal(pictures[0], pictures[2])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_same_bits_on_cuda():
    assert torch.equal(
        render_place(SEED, EVERYTHING, EVERYTHING, device="cuda").cpu(), render_place(SEED, EVERYTHING, EVERYTHING)
    )


def test_seed_and_index_change_the_picture():
    base = render_place(SEED, EVERYTHING, EVERYTHING)
    for other in (render_place(SEED + 1, EVERYTHING, EVERYTHING), render_place(SEED, EVERYTHING + 1, EVERYTHING)):
        assert ((base.int() - other.int()).abs().float().mean(dim=(1, 2, 3)) > 2).all()


def test_a_twin_is_the_picture_of_its_own_place():
    index, other = torch.arange(20), torch.arange(20) + 100
    first, second = counterfactual_place(SEED, index, index, other)
    assert torch.equal(first, render_place(SEED, index, index))
    assert torch.equal(second, render_place(SEED, index, other))


@pytest.mark.parametrize(
    "pair",
    [("bedroom", "hotel_room"), ("childs_room", "nursery"), ("forest_path", "forest_road"), ("lawn", "park")],
    ids="-".join,
)
def test_twins_share_what_both_places_have(pair):
    """Camera, light and common things are drawn alike: a picture resembles its own twin more than another's."""
    index = torch.arange(60)
    codes = [torch.full_like(index, PLACES.index(name)) for name in pair]
    first, second = (p.float().mean(dim=1) for p in counterfactual_place(SEED, index, *codes))
    first, second = first - first.mean(dim=0), second - second.mean(dim=0)
    own = (first * second).sum(dim=(1, 2))
    strange = (first * second.roll(7, dims=0)).sum(dim=(1, 2))
    assert (own > strange).float().mean() > 0.65


@pytest.mark.parametrize("code", [-1, 365])
def test_unknown_codes_are_refused(code):
    with pytest.raises(ValueError, match=f"unknown place code {code}: codes are 0 to 364"):
        render_place(SEED, torch.arange(2), torch.tensor([3, code]))


def test_a_small_size_is_refused():
    with pytest.raises(ValueError, match="size must be at least 32 px, got 31"):
        render_place(SEED, EVERYTHING[:1], EVERYTHING[:1], size=31)


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="place must have the shape of index"):
        render_place(SEED, torch.arange(4), torch.arange(3))


def test_a_misprint_in_the_table_is_named():
    row = {"place": "closet", "io": "in", "layout": "nook", "surfaces": "white oak white", "light": "lamp"}
    with pytest.raises(ValueError, match=r"closet: cannot read 'hangign\*2'"):
        grammar.read_place({**row, "things": "mirror hangign*2"})


def test_mentions_are_read():
    row = {"place": "closet", "io": "in", "layout": "nook back=.6", "surfaces": "white/cream~tiles oak white"}
    place = grammar.read_place({**row, "light": "lamp/dim", "things": "mirror:gold/oak*3x2@-.5|.25^1.2? mirror"})
    first, second = place.mentions
    assert place.layout.back == 0.6
    assert place.surfaces[0] == model.Surface(("white", "cream"), "tiles")
    assert (first.colours, first.across, first.deep) == (("gold", "oak"), 3, 2)
    assert (first.x, first.y, first.scale, first.optional) == (-0.5, 0.25, 1.2, True)
    assert (second.number, second.across, second.optional) == (1, 1, False)


def test_a_simple_statistic_does_not_tell_the_places_apart():
    """The nearest mean colour finds the place of few pictures: structure is needed."""
    chosen = random.Random(5).sample(range(len(PLACES)), 60)
    pictures = torch.stack([of(PLACES[code], 12).float().mean(dim=(2, 3)) for code in chosen])  # (60, 12, 3)
    centres = pictures[:, :6].mean(dim=1)
    nearest = torch.cdist(pictures[:, 6:].reshape(-1, 3), centres).argmin(dim=1)
    right = nearest == torch.arange(60).repeat_interleave(6)
    assert right.float().mean() < 0.35


def test_pictures_are_those_of_the_published_streams():
    pictures = render_place(SEED, EVERYTHING, EVERYTHING)
    assert hashlib.sha256(pictures.numpy().tobytes()).hexdigest() == GOLDEN, (
        "places look different: raise the version of every stream made of them, train its base anew, then set GOLDEN"
    )
