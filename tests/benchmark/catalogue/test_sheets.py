"""Contact sheets: made from what they say they show, the same each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import scenarios
from benchmark.catalogue import sheets

SIZES = ("target_images", "protected_per_class", "val_per_class", "test_per_class")


def test_a_contact_sheet_shows_the_test_images_of_each_class(tmp_path, toy_stream):
    path = tmp_path / "deep" / "sheet.png"
    sheets.contact_sheet(toy_stream, path, columns=3)
    pixels = np.asarray(Image.open(path))
    assert pixels.shape == (6 * 68, 110 + 3 * 68, 3)
    test = toy_stream.data[0].test
    wanted = test.images[test.labels == 4][1].permute(1, 2, 0).numpy()
    assert (pixels[4 * 68 : 4 * 68 + 64, 110 + 68 : 110 + 68 + 64] == wanted).all()


def test_many_classes_get_one_picture_each(tmp_path, toy_stream, monkeypatch):
    monkeypatch.setattr(sheets, "MOST_ROWS", 5)
    sheets.contact_sheet(toy_stream, tmp_path / "grid.png", columns=2)
    pixels = np.asarray(Image.open(tmp_path / "grid.png").convert("RGB"))
    assert pixels.shape == (2 * 78, 4 * 96, 3)  # six classes, four a row
    test = toy_stream.data[0].test
    wanted = test.images[test.labels == 4][0].permute(1, 2, 0).numpy()
    assert np.abs(pixels[78 : 78 + 64, 0:64].astype(int) - wanted).mean() < 8  # 256 colours a sheet


def test_pairs_stand_above_each_other(tmp_path):
    made = scenarios.build("driving-foggy", **dict.fromkeys(SIZES, 1)).counterfactuals("clear", "foggy", count=3)
    sheets.pair_sheet(made, tmp_path / "pairs.png")
    pixels = np.asarray(Image.open(tmp_path / "pairs.png"))
    assert pixels.shape == (2 * 68, 110 + 3 * 68, 3)
    assert (pixels[68:132, 110:174] == made.images_b[0].permute(1, 2, 0).numpy()).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--scenario", "toy", "--pair", "a,b"), "has no counterfactuals"),
        (("--pair", "clear", "--option", "test_per_class=1"), "two classes"),
    ],
)
def test_pairs_that_cannot_be_are_one_line(command, arguments, message):
    code, _, err = command("sheet", "--out", "sheet.png", *arguments)
    assert code == 2 and message in err.splitlines()[-1] and "Traceback" not in err


@pytest.mark.parametrize("out", ["file/sheet.png"])
def test_a_sheet_that_cannot_be_written_is_one_line(command, out):
    Path("file").write_text("")
    code, _, err = command("sheet", "--scenario", "toy", "--out", out)
    assert code == 2 and len(err.splitlines()) == 1 and "file" in err


@pytest.fixture
def photos(tmp_path):
    """Two classes of 24 photos each, named by numbers."""
    for label in ("0", "1"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(24):
            grey = np.full((16, 16, 3), int(label) * 100 + number, np.uint8)
            Image.fromarray(grey).save(tmp_path / "photos" / label / f"{number:02}.png")
    return tmp_path / "photos"


def test_a_sheet_never_takes_the_place_of_a_photo(command, photos):
    target = ("--scenario", "folder", "--target", "1", "--option", "image_size=16")
    before = (photos / "0/00.png").read_bytes()
    for data in (("--data", photos), ("--option", f"data={photos}")):
        code, _, err = command("sheet", "--out", photos / "0/00.png", *target, *data)
        assert code == 2 and "would overwrite a file among the photos" in err
    assert (photos / "0/00.png").read_bytes() == before


def test_options_that_look_like_numbers_are_names(command, photos):
    options = ("--option", "target=1", "--option", "prompt={}", "--option", "image_size=16")
    code, _, err = command("sheet", "--out", "sheet.WEBP", "--scenario", "folder", "--data", photos, *options)
    assert code == 0, err
    assert Image.open("sheet.WEBP").format == "WEBP"
    code, _, err = command(
        "sheet", "--out", "s.png", "--scenario", "folder", "--data", photos, *options, "--option", "protected=0"
    )
    assert code == 2 and """write one as '["a", "b"]'""" in err


def test_a_sheet_too_large_for_its_format_is_refused(toy_stream, tmp_path, monkeypatch):
    monkeypatch.setattr(sheets, "WEBP_MOST", 400)
    with pytest.raises(
        ValueError, match=r"--out .*sheet.webp: the sheet has 314 x 408 px, WebP holds 400: name a .png"
    ):
        sheets.contact_sheet(toy_stream, tmp_path / "sheet.webp", columns=3)
