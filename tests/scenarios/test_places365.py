"""The Places365 stream, on tiny folders in its exact layout."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scenarios import build, places365, real
from scenarios.places365 import dressing_room, pool
from scenarios.places365_files import CATEGORIES, TRAIN, VAL, categories
from scenarios.stream import DevelopmentStream

SIDE = 16
CLASSES = ("airfield", "athletic_field/outdoor", "dressing_room", "zen_garden")
OF_CLASS, VAL_OF_CLASS, CARVED = 12, 3, 4


def picture(number: int) -> Image.Image:
    """A picture of its own for every number."""
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))


def write_places365(root: Path, newline: str = "\n") -> Path:
    """Places365 in miniature; as in the original, the list of categories lacks the last newline."""
    root.mkdir(parents=True, exist_ok=True)
    lists: dict[str, list[str]] = {CATEGORIES: [], TRAIN: [], VAL: []}
    for index, label in enumerate(CLASSES):
        lists[CATEGORIES].append(f"/{label[0]}/{label} {index}")
        for number in range(OF_CLASS):
            path = f"/{label[0]}/{label}/{number:08}{'é' if number % 2 else ''}.jpg"
            save(root / f"data_256{path}", 1000 * index + number)
            lists[TRAIN].append(f"{path} {index}")
        for number in range(VAL_OF_CLASS):
            path = f"Places365_val_{VAL_OF_CLASS * index + number:08}.jpg"
            save(root / "val_256" / path, 1000 * index + 500 + number)
            lists[VAL].append(f"{path} {index}")
    for name, lines in lists.items():
        end = "" if name == CATEGORIES else newline
        (root / name).write_bytes((newline.join(lines) + end).encode())
    return root


def save(file: Path, number: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    picture(number).save(file, quality=95)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own for each test, and no folder of data by default."""
    monkeypatch.setenv("MDS_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("MDS_BENCH_DATA", raising=False)


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be written to."""
    return write_places365(tmp_path_factory.mktemp("places") / "places365")


@pytest.fixture
def data(originals: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(originals, tmp_path / "places/data"))


def make(data: Path, seed: int = 0, **options: object) -> DevelopmentStream:
    chosen = {"data": str(data), "image_size": SIDE, "val_per_class": CARVED} | options
    return dressing_room(seed, **chosen)  # type: ignore[arg-type]


def counts(made: DevelopmentStream, split: str) -> dict[str, int]:
    return dict(Counter(made.classes[label] for label in getattr(made.data[0], split).targets))


def pixels(made: DevelopmentStream, split: str) -> list[bytes]:
    return [image.numpy().tobytes() for image in getattr(made.data[0], split).images]


def replace(file: Path, old: str, new: str) -> None:
    file.write_bytes(file.read_bytes().replace(old.encode(), new.encode()))


class TestStream:
    def test_it_follows_the_study(self, originals: Path) -> None:
        made = build(places365.NAME, 3, data=str(originals), image_size=SIDE, val_per_class=CARVED)
        assert (made.name, made.version, made.seed, made.augment) == ("places365-dressing-room", 1, 3, True)
        assert made.classes == CLASSES
        assert made.prompts == (
            "the scene is a(n) airfield.",
            "the scene is a(n) athletic field, outdoor.",
            "the scene is a(n) dressing room.",
            "the scene is a(n) zen garden.",
        )
        assert made.rounds[0].target == "dressing_room"
        assert made.rounds[0].protected == ("airfield", "athletic_field/outdoor", "zen_garden")
        assert counts(made, "test") == dict.fromkeys(CLASSES, VAL_OF_CLASS)
        assert counts(made, "val") == dict.fromkeys(CLASSES, CARVED)
        assert counts(made, "train") == {"dressing_room": OF_CLASS - CARVED}
        assert counts(made, "protected") == dict.fromkeys(made.rounds[0].protected, OF_CLASS - CARVED)
        assert made.options == {
            "image_size": SIDE,
            "protected_per_class": 2000,
            "target_images": None,
            "val_per_class": CARVED,
            "test_per_class": None,
            "augment": True,
            "external": False,
            "target": "dressing_room",
        }

    def test_labels_belong_to_their_images(self, originals: Path) -> None:
        made = make(originals)
        for split in ("train", "protected", "val"):
            for image, label in zip(pixels(made, split), getattr(made.data[0], split).targets, strict=True):
                name = CLASSES[label]
                files = (originals / "data_256" / name[0] / name).iterdir()
                assert image in {np.asarray(Image.open(file)).transpose(2, 0, 1).tobytes() for file in files}

    def test_no_image_is_in_two_splits_whatever_the_seed(self, originals: Path) -> None:
        scored: set[bytes] = set()
        trained: set[bytes] = set()
        for seed in range(3):
            made = make(originals, seed, protected_per_class=5)
            held = [pixels(made, split) for split in ("val", "test", "train", "protected")]
            assert len({image for images in held for image in images}) == sum(map(len, held))
            scored |= {*held[0], *held[1]}
            trained |= {*held[2], *held[3]}
        assert not scored & trained

    def test_the_seed_draws_the_protected_photos_and_nothing_else(self, originals: Path) -> None:
        one, same, other = (make(originals, seed, protected_per_class=3) for seed in (0, 0, 1))
        assert one.fingerprint == same.fingerprint == other.fingerprint
        assert one.training_fingerprint == same.training_fingerprint != other.training_fingerprint
        assert pixels(one, "train") == pixels(other, "train")
        assert counts(one, "protected") == dict.fromkeys(one.rounds[0].protected, 3)

    def test_sizes_and_target(self, originals: Path) -> None:
        made = make(originals, target="airfield", target_images=2, test_per_class=1)
        assert (made.rounds[0].target, counts(made, "train")) == ("airfield", {"airfield": 2})
        assert counts(made, "test") == dict.fromkeys(CLASSES, 1)

    def test_external_images_join_the_new_ones(self, originals: Path, tmp_path: Path) -> None:
        picture(9_999).save(tmp_path / "00000001.jpg")  # a name that Places365 has too
        (tmp_path / "pairs.csv").write_text("filepath,title,slabel\n00000001.jpg,a dressing room,1\n")
        made = make(originals, external=str(tmp_path / "pairs.csv"))
        assert counts(made, "train") == {"dressing_room": OF_CLASS - CARVED + 1}

    def test_the_order_of_lines_does_not_matter(self, originals: Path, data: Path) -> None:
        for name in (TRAIN, VAL):
            (data / name).write_text("\n".join((data / name).read_text().split("\n")[-2::-1]))
        one, other = make(originals, protected_per_class=3), make(data, protected_per_class=3)
        assert (one.fingerprint, one.training_fingerprint) == (other.fingerprint, other.training_fingerprint)

    def test_what_is_taken_is_decoded_once(self, originals: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        decoded: list[Path] = []
        read = real.decode
        monkeypatch.setattr(real, "decode", lambda paths, *others: decoded.extend(paths) or read(paths, *others))
        for seed in (0, 0, 1):
            make(originals, seed, protected_per_class=1)
        scored = len(CLASSES) * (CARVED + VAL_OF_CLASS) + OF_CLASS - CARVED
        assert scored + 3 <= len(decoded) == len(set(decoded)) <= scored + 6

    def test_an_edited_list_is_read_again(self, data: Path) -> None:
        assert counts(make(data), "test")["airfield"] == VAL_OF_CLASS
        lines = (data / VAL).read_text().splitlines()
        (data / VAL).write_text("\n".join(lines[1:]))
        assert counts(make(data), "test")["airfield"] == VAL_OF_CLASS - 1


class TestLayouts:
    def test_windows_line_ends(self, originals: Path, tmp_path: Path) -> None:
        windows = write_places365(tmp_path / "windows", "\r\n")
        one, other = make(originals), make(windows)
        assert (one.fingerprint, one.training_fingerprint) == (other.fingerprint, other.training_fingerprint)

    @pytest.mark.parametrize(
        "moves",
        [
            {"data_256": "data_256_standard"},
            {"data_256": "data_large", "val_256": "val_large"},
            {name: f"filelist_places365-standard/{name}" for name in (CATEGORIES, TRAIN, VAL)},
            {name: f"../{name}" for name in (CATEGORIES, TRAIN, VAL)},
            {name: f"below/{name}" for name in (CATEGORIES, TRAIN, VAL, "data_256", "val_256")},
        ],
        ids=str,
    )
    def test_other_places(self, originals: Path, data: Path, moves: dict[str, str]) -> None:
        for old, new in moves.items():
            (data / new).parent.mkdir(exist_ok=True)
            (data / old).rename(data / new)
        assert make(data).fingerprint == make(originals).fingerprint

    @pytest.mark.parametrize("lists", [True, False])
    @pytest.mark.parametrize("letters", [True, False])
    def test_class_folders_are_the_same_stream(
        self, originals: Path, tmp_path: Path, lists: bool, letters: bool
    ) -> None:
        easy = tmp_path / "places365_standard"
        train, val = ("data_256", "val_256") if letters else ("train", "val")
        for number, line in enumerate((originals / VAL).read_text().split("\n")[:-1]):
            name, label = line.split(" ")[0], CLASSES[int(line.split(" ")[1])]
            below = f"{label[0]}/{label}" if letters else label.replace("/", "-")
            save(easy / val / below / name, 1000 * (number // VAL_OF_CLASS) + 500 + number % VAL_OF_CLASS)
        for index, label in enumerate(CLASSES):
            below = f"{label[0]}/{label}" if letters else label.replace("/", "-")
            for number in range(OF_CLASS):
                name = f"{number:08}{'é' if number % 2 else ''}.jpg"
                save(easy / train / below / name, 1000 * index + number)
        (easy / train / "__MACOSX").mkdir()
        for name in (CATEGORIES, TRAIN, VAL) if lists else ():
            shutil.copy(originals / name, easy)
        one, other = make(originals), make(tmp_path)
        assert (one.fingerprint, one.training_fingerprint) == (other.fingerprint, other.training_fingerprint)
        save(easy / train / "zoo2" / "0.jpg", 1)
        if lists and not letters:
            with pytest.raises(ValueError, match="folders of no class: zoo2"):
                make(tmp_path)

    def test_flat_val_without_categories_needs_them(self, data: Path) -> None:
        (data / TRAIN).unlink()
        assert make(data).classes == CLASSES  # images in class folders stand for the list
        (data / CATEGORIES).unlink()
        with pytest.raises(ValueError, match=r"holds 4 of 365 classes, so .*places365_val\.txt needs categories"):
            make(data)

    def test_from_the_environment(self, originals: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MDS_BENCH_DATA", str(originals.parent))
        made = dressing_room(image_size=SIDE, val_per_class=CARVED)
        assert made.fingerprint == make(originals).fingerprint

    def test_repeated_lines_count_once(self, originals: Path, data: Path) -> None:
        lines = (data / TRAIN).read_text().splitlines()
        (data / TRAIN).write_text("\n".join([*lines, lines[0], lines[3].replace(" 0", " 1")]))
        assert make(data).training_fingerprint == make(originals).training_fingerprint
        assert pool(data, CARVED).dropped == {"a path listed before": 2}

    def test_the_official_categories(self, data: Path) -> None:
        place = os.environ.get("MDS_BENCH_DATA_LISTS")
        if not place:
            pytest.skip("set MDS_BENCH_DATA_LISTS to a folder with categories_places365.txt to try it")
        names = categories(Path(place))
        assert len(names) == 365 and names[126] == "dressing_room" and names[-1] == "zen_garden"


class TestRefusals:
    def refused(self, data: Path, message: str, **options: object) -> None:
        with pytest.raises(ValueError, match=message) as caught:
            make(data, **options)
        assert "\n" not in str(caught.value)

    def test_no_folder(self) -> None:
        with pytest.raises(ValueError, match=r"--data DIR or in MDS_BENCH_DATA.*places2\.csail\.mit\.edu"):
            dressing_room()

    def test_another_folder(self, tmp_path: Path) -> None:
        self.refused(tmp_path, r"holds no categories_places365\.txt: unpack Places365-Standard there")
        (tmp_path / CATEGORIES).write_text("/a/airfield 0\n/d/dressing_room 1")
        self.refused(tmp_path, r"holds no places365_train_standard\.txt, places365_val\.txt, data_256 and 1 more")

    def test_unknown_target(self, originals: Path) -> None:
        self.refused(originals, "unknown target 'dressing room': did you mean 'dressing_room'", target="dressing room")

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            (CATEGORIES, "", "no list of lines 'path index'"),
            (CATEGORIES, "/a/airfield 0\n/b/barn 2", "must name each class once, with the indices 0 to 1"),
            (CATEGORIES, "/a/airfield 0\n/b/airfield 1", "must name each class once"),
            (TRAIN, "", "no list of lines 'path index'"),
            (TRAIN, "/a/airfield/1.jpg\n", "no list of lines 'path index'"),
            (TRAIN, "/a/airfield/1.jpg 0 0\n", "lines have more than two parts"),
            (TRAIN, "/a/airfield/1.jpg 0\n/a/airfield/2.jpg 0 0 0\n", "no list of lines 'path index'"),
            (TRAIN, "/a/airfield/1.jpg zero\n", "no list of lines 'path index'"),
            (VAL, "\xff\xfe\x00", "no list of lines 'path index'"),
            (VAL, "a.jpg 0\nb.jpg 4\n", r"entry 2 has the index 4, categories_places365\.txt goes to 3"),
            (VAL, "a.jpg 0\n", "class 'athletic_field/outdoor' has 8 train, 4 val, 0 test images"),
        ],
    )
    def test_broken_lists(self, data: Path, name: str, content: str, message: str) -> None:
        (data / name).write_bytes(content.encode("latin-1"))
        self.refused(data, message)
        self.refused(data, r"places2\.csail\.mit\.edu")

    def test_a_class_without_enough_images(self, originals: Path) -> None:
        self.refused(originals, "class 'airfield' has 0 train, 12 val, 3 test", val_per_class=OF_CLASS)

    def test_broken_and_missing_images(self, data: Path) -> None:
        files = sorted((data / "val_256").iterdir())[:2]
        files[0].write_bytes(b"no image")
        files[1].unlink()
        self.refused(data, r"2 of 60 images of Places365-Standard cannot be read: .*get them again")


def test_a_million_lines_need_no_loop(data: Path) -> None:
    """100,000 further lines cost little: nothing is looked at on disk but what is taken."""
    import time

    make(data)
    more = "".join(f"/a/airfield/{number:09}.jpg 0\n" for number in range(100_000))
    with (data / TRAIN).open("a") as handle:
        handle.write(more)
    start = time.perf_counter()
    held = places365.pool(data, CARVED)
    assert sum(map(len, held.rows.values())) == 100_000 + len(CLASSES) * (OF_CLASS + VAL_OF_CLASS)
    assert time.perf_counter() - start < 5
