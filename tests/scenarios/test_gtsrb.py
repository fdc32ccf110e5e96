"""The streams of German traffic signs, on tiny folders in the layouts that people have."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import scenarios
from scenarios.gtsrb import TARGETS, pool
from scenarios.gtsrb_files import CLASSES
from scenarios.stream import DevelopmentStream
from scenarios.verify import verify

SIDE, BORDER = 16, 4  # px of a sign, and of what is around it
TRACKS, FRAMES, TESTED = 7, 3, 2
HEADER = ["Filename", "Width", "Height", "Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2", "ClassId"]
COPIED = [*HEADER[1:], "Path"]  # the columns of Train.csv and Test.csv


def photo(label: int, track: int, frame: int) -> Image.Image:
    """A sign in the middle of black: another one in each photo."""
    pixels = np.zeros((SIDE + 2 * BORDER,) * 2 + (3,), dtype=np.uint8)
    noise = np.random.default_rng([label, track, frame]).integers(1, 256, (SIDE, SIDE, 3))
    pixels[BORDER:-BORDER, BORDER:-BORDER] = noise
    return Image.fromarray(pixels)


def table(file: Path, header: list[str], rows: list[dict[str, object]], mark: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [mark.join(str(row[name]) for name in header) for row in rows]
    file.write_text("\n".join([mark.join(header), *lines]) + "\n")


def row(label: int, **names: str) -> dict[str, object]:
    size = SIDE + 2 * BORDER
    box = {"Roi.X1": BORDER, "Roi.Y1": BORDER, "Roi.X2": size - BORDER, "Roi.Y2": size - BORDER}
    return {"Width": size, "Height": size, "ClassId": label} | box | names


def save(image: Image.Image, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file)


def official(root: Path) -> Path:
    """As ``torchvision.datasets.GTSRB`` leaves it."""
    training = root / "gtsrb/GTSRB/Training"
    for label in range(len(CLASSES)):
        names = [(t, f, f"{t:05}_{f:05}.ppm") for t in range(TRACKS) for f in range(FRAMES)]
        for track, frame, name in names:
            save(photo(label, track, frame), training / f"{label:05}" / name)
        rows = [row(label, Filename=name) for *_, name in names]
        table(training / f"{label:05}/GT-{label:05}.csv", HEADER, rows, ";")
    rows = []
    for number in range(TESTED * len(CLASSES)):
        save(photo(number % len(CLASSES), 99, number), root / f"gtsrb/GTSRB/Final_Test/Images/{number:05}.ppm")
        rows.append(row(number % len(CLASSES), Filename=f"{number:05}.ppm"))
    table(root / "gtsrb/GT-final_test.csv", HEADER, rows, ";")
    return root


def copied(root: Path) -> Path:
    """With ``Train/``, ``Test/`` and two tables."""
    rows = []
    for label in range(len(CLASSES)):
        for track in range(TRACKS):
            for frame in range(FRAMES):
                name = f"Train/{label}/{label:05}_{track:05}_{frame:05}.png"
                save(photo(label, track, frame), root / name)
                rows.append(row(label, Path=name))
    table(root / "Train.csv", COPIED, rows, ",")
    rows = []
    for number in range(TESTED * len(CLASSES)):
        save(photo(number % len(CLASSES), 99, number), root / f"Test/{number:05}.png")
        rows.append(row(number % len(CLASSES), Path=f"Test/{number:05}.png"))
    table(root / "Test.csv", COPIED, rows, ",")
    return root


def bare(root: Path) -> Path:
    """A folder for each class's number, without tables and test."""
    for label in range(len(CLASSES)):
        for track in range(TRACKS):
            for frame in range(FRAMES):
                save(photo(label, track, frame), root / f"{label:05}/{track:05}_{frame:05}.png")
    return root


LAYOUTS: dict[str, Callable[[Path], Path]] = {"official": official, "copied": copied, "bare": bare}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own for each test, no folder of data by default, and no track that a shipped base has met."""
    monkeypatch.setattr("scenarios.gtsrb.met_tracks", lambda: frozenset())
    monkeypatch.setenv("MDS_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("MDS_BENCH_DATA", raising=False)


@pytest.fixture(params=LAYOUTS)
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return LAYOUTS[request.param](tmp_path / "data")


def make(data: Path, name: str = "gtsrb-pedestrians", seed: int = 0, **options: object) -> DevelopmentStream:
    return scenarios.build(name, seed, data=str(data), image_size=SIDE, **options)


def signs(stream: DevelopmentStream) -> dict[str, set[bytes]]:
    """The pictures of each split of the last round, base included."""
    assert stream.pretraining is not None
    parts = vars(stream.data[-1]) | {"base": stream.pretraining()}
    return {split: {image.numpy().tobytes() for image in part.images} for split, part in parts.items()}


def test_every_layout_is_the_same_data(tmp_path):
    one, other = make(official(tmp_path / "a")), make(copied(tmp_path / "b"))
    assert one.fingerprint == other.fingerprint and one.training_fingerprint == other.training_fingerprint
    whole = make(bare(tmp_path / "c"))  # neither boxes nor a test
    assert whole.training_fingerprint != one.training_fingerprint
    uncut = make(tmp_path / "a", crop=False)
    assert signs(uncut)["base"] & signs(whole)["base"]


def test_the_box_is_cut_out(tmp_path):
    cut = signs(make(official(tmp_path)))
    for label, split in ((3, "protected"), (27, "train")):
        wanted = {
            torch.from_numpy(np.array(photo(label, track, frame)))[BORDER:-BORDER, BORDER:-BORDER]
            .permute(2, 0, 1)
            .contiguous()
            .numpy()
            .tobytes()
            for track in range(TRACKS)
            for frame in range(FRAMES)
        }
        assert wanted & cut[split]


def test_targets_are_learned_one_after_the_other_and_all_else_is_kept(data):
    stream = make(data, "gtsrb-rounds")
    assert tuple(round_.target for round_ in stream.rounds) == TARGETS["gtsrb-rounds"]
    assert set(stream.classes) == set(CLASSES) and len(stream.rounds[0].protected) == 39
    assert stream.rounds[-1].protected[-3:] == ("pedestrians", "children", "bicycles")
    assert stream.prompts[stream.classes.index("stop")] == "the traffic sign is stop."


def test_what_the_shipped_base_has_met_is_never_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever other tracks there are: in a part of the data set they were ordered otherwise."""
    root, met = bare(tmp_path), frozenset({"00003/00000", "00003/00004", "00014/00002", "00027/00001", "00027/00003"})
    monkeypatch.setattr("scenarios.gtsrb.met_tracks", lambda: met)
    photos = pool("gtsrb-pedestrians", root)
    for label, tracks in ((3, {"00003/00000", "00003/00004"}), (14, {"00014/00002"})):
        found = {photos.groups[row] for row in photos.rows[CLASSES[label], "base"]}  # type: ignore[index]
        assert found == tracks
    (one,) = {photos.groups[row] for row in photos.rows["pedestrians", "base"]}  # type: ignore[index]
    assert one in met, "of a target one track"
    other = pool("gtsrb-pedestrians", root, base_share=0.3)
    assert {other.groups[row] for row in other.rows[CLASSES[3], "base"]} != {"00003/00000", "00003/00004"}  # type: ignore[index]


def test_the_shipped_base_is_for_the_tracks_it_has_not_met(tmp_path: Path) -> None:
    from benchmark.running.bases import shipped_base

    root = bare(tmp_path)
    for name in TARGETS:
        found = make(root, name).base
        assert found is not None and shipped_base(found) is not None
    assert make(root, base_share=0.3).base is None, "its splits do not know what the shipped base has met"


def test_no_track_is_in_two_splits(data):
    stream = make(data)
    assert stream.pretraining is not None
    places = defaultdict(set)
    (held,) = stream.data
    for split, images in (vars(held) | {"base": stream.pretraining()}).items():
        assert images.groups is not None
        for group, label in zip(images.groups, images.targets, strict=True):
            if group:
                assert CLASSES[int(group.split("/")[0])] == stream.classes[label]
                places[group].add(split)
    assert len(places) == TRACKS * len(CLASSES) and {len(found) for found in places.values()} == {1}


def test_held_out_images_of_a_method_are_whole_tracks(data):
    given = make(data).experiences(0, 0.3)
    assert given.held_out is not None
    kept, held = given.protected.data.groups, given.held_out[1].data.groups
    assert kept and held and not set(kept) & set(held)


def test_the_official_test_is_the_test_and_else_tracks_are(tmp_path):
    (with_test,) = make(official(tmp_path / "a")).data
    assert len(with_test.test) == TESTED * len(CLASSES) and set(with_test.test.groups or []) == {""}
    (without,) = make(bare(tmp_path / "b")).data
    assert len(without.test) == 2 * FRAMES * len(CLASSES)  # two tracks of seven


def test_what_judges_the_stream_is_its_validation(data):
    (usual,), (probe,) = make(data).data, make(data, scored="probe").data
    assert torch.equal(probe.test.images, usual.val.images) and not set(probe.test.groups) & set(usual.test.groups)
    with pytest.raises(ValueError, match="scored must be test or probe, not 'val'"):
        make(data, scored="val")


def test_the_base_meets_few_frames_of_the_target(data):
    stream = make(data)
    assert stream.pretraining is not None
    base = stream.pretraining()
    seen = base.labels.bincount(minlength=len(CLASSES))
    assert int(seen[stream.classes.index("pedestrians")]) == 1 < int(seen.float().median())


def test_views_are_never_mirrored(data):
    stream = make(data)
    assert not stream.mirror and not stream.protected[0].mirror and stream.protected[0].augment
    given = stream.experiences(0, 0.5)
    assert given.held_out is not None and not given.held_out[0].mirror


def test_the_seed_draws_protected_photos_alone(data):
    one, other = make(data, seed=0, protected_per_class=2), make(data, seed=1, protected_per_class=2)
    assert one.fingerprint == other.fingerprint and one.training_fingerprint != other.training_fingerprint


def test_line_ends_of_windows_in_a_header_do_not_turn_colours(tmp_path):
    before = make(official(tmp_path))
    for file in (tmp_path / "gtsrb/GTSRB").rglob("*.ppm"):
        size = f"{SIDE + 2 * BORDER}"
        header = f"P6\n{size} {size}\n255\n".encode()
        content = file.read_bytes()
        assert content.startswith(header)
        file.write_bytes(header.replace(b"\n", b"\r\n") + content[len(header) :])
    after = make(tmp_path)
    assert after.fingerprint == before.fingerprint and after.training_fingerprint == before.training_fingerprint


def damage(root: Path) -> str:
    file = root / "gtsrb/GTSRB/Final_Test/Images/00005.ppm"
    file.write_bytes(file.read_bytes()[:100])
    return "1 of .* images of GTSRB cannot be read: .*Images/00005.ppm"


def empty(root: Path) -> str:
    for file in (root / "gtsrb/GTSRB/Training/00007").iterdir():
        file.unlink()
    return "class 'speed limit 100' has 0 train, 0 val, 2 test images"


def no_labels(root: Path) -> str:
    (root / "gtsrb/GT-final_test.csv").unlink()
    return "holds no GT-final_test.csv or Test.csv"


def bad_class(root: Path) -> str:
    file = root / "gtsrb/GT-final_test.csv"
    file.write_text(file.read_text().replace(";0\n", ";43\n", 1))
    return "GT-final_test.csv: line 2: 00000.ppm,43,4,4,20,20,24,24: ClassId must be 0 to 42"


def no_training(root: Path) -> str:
    (root / "gtsrb/GTSRB/Training").rename(root / "gtsrb/GTSRB/Other")
    return "holds no Training/000NN"


def listed_twice(root: Path) -> str:
    file = root / "gtsrb/GT-final_test.csv"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines, lines[1].replace(";0", ";1")]) + "\n")
    return f"GT-final_test.csv: line {len(lines) + 1}: 00000.ppm is listed already in line 2"


def other_sizes(root: Path) -> str:
    for file in (root / "gtsrb/GTSRB/Final_Test/Images").iterdir():
        Image.open(file).resize((48, 48)).save(file)
    return "Images/00000.ppm .it has 48 x 48 px, and the table with its box says 24 x 24"


@pytest.mark.parametrize("spoil", [damage, empty, no_labels, bad_class, no_training, listed_twice, other_sizes])
def test_what_is_missing_or_broken_is_told_in_one_line(spoil, tmp_path):
    message = spoil(official(tmp_path))
    with pytest.raises(ValueError, match=message) as caught:
        make(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_photo_of_two_classes_is_refused(tmp_path):
    file = copied(tmp_path) / "Train.csv"
    file.write_text(file.read_text().replace(",0,Train/0/", ",1,Train/0/", 1))
    with pytest.raises(ValueError, match="has ClassId 1 and lies in the folder of class 0"):
        make(tmp_path)


def test_a_table_beside_the_folder_is_read_if_it_lists_photos(tmp_path):
    data = bare(tmp_path / "signs")
    plain = make(data).fingerprint
    (tmp_path / "train.csv").write_text("id,label\n1,2\n")
    assert make(data).fingerprint == plain


def test_names_that_tell_no_track_are_left_out_and_counted(tmp_path):
    save(photo(1, 77, 1), bare(tmp_path) / "00001/sign.png")
    assert pool("gtsrb-pedestrians", tmp_path).dropped["a name that tells no track"] == 1


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_shares_out_of_range_are_refused(tmp_path, share):
    with pytest.raises(ValueError, match="base_share must be 0 or more and below 1"):
        make(bare(tmp_path), base_share=share)


def test_verify_counts_photos_and_tracks(tmp_path):
    report = verify("gtsrb-pedestrians", str(official(tmp_path)), decode=True)
    assert report.ok and not report.as_published
    lines = "\n".join(report.lines())
    assert "photos 903 of 39,209" in lines and "tracks 301 of 1,307" in lines and "test 86 of 12,630" in lines
    assert "photos 21 of 210" in lines and "tracks 7 of 74" in lines
    (tmp_path / "gtsrb/GTSRB/Training/00000/00000_00000.ppm").unlink()
    assert not verify("gtsrb-pedestrians", str(tmp_path)).ok


@pytest.mark.parametrize("spoil", [empty, other_sizes])
def test_verify_finds_what_a_run_would_refuse(spoil, tmp_path):
    message = spoil(official(tmp_path))
    report = verify("gtsrb-pedestrians", str(tmp_path), decode=True)
    assert not report.ok and re.search(message.removeprefix("class "), "\n".join(report.lines()))
