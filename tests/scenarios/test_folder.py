"""The folder scenario: anyone's photos as a development stream."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torchvision import transforms

from scenarios import build, decoding
from scenarios.decoding import decode
from scenarios.folder import ENOUGH, MINIMUM, RARE_SHARE, divided, folder, split_photos
from scenarios.photo_kinds import readable_suffixes
from scenarios.photos import SPLITS, Photo, find_photos, look
from scenarios.stream import DevelopmentStream

SIDE = 16
COUNTS = {"barn": 40, "tall_building": 30, "pier": 25, "yard": 20}


def picture(number: int, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    """A picture of its own for every number."""
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes of PNGs, of which no two are alike; one class has folders below it. Not to be written to."""
    root = tmp_path_factory.mktemp("originals")
    number = 0
    for label, count in COUNTS.items():
        for i in range(count):
            file = root / label / ("north" if label == "pier" and i % 2 else "") / f"{i:03}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            picture(number).save(file)
            number += 1
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of pixels for each test: what one has decoded must not decide what another sees."""
    monkeypatch.setenv("MDS_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def data(originals: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(originals, tmp_path / "data"))


def make(data: Path, seed: int = 0, **options: object) -> DevelopmentStream:
    return folder(seed, **{"data": str(data), "target": "barn", "image_size": SIDE} | options)  # type: ignore[arg-type]


def pixels(stream: DevelopmentStream) -> dict[str, list[bytes]]:
    """What tells one image from another, for each split."""
    held = {split: getattr(stream.data[0], split) for split in ("train", "protected", "val", "test")}
    if stream.pretraining:
        held["base"] = stream.pretraining()
    return {split: [image.numpy().tobytes() for image in images.images] for split, images in held.items()}


def write_csv(file: Path, rows: list[str], header: str = "path,label,split") -> Path:
    file.write_text("\n".join([header, *rows]), encoding="utf-8")
    return file


class TestStream:
    def test_it_is_built_by_name(self, originals: Path) -> None:
        stream = build("folder", 3, data=str(originals), target="pier", image_size=SIDE)
        assert (stream.name, stream.version, stream.seed, stream.base) == ("folder", 2, 3, None)
        assert stream.classes == ("barn", "pier", "tall_building", "yard")
        assert stream.prompts[2] == "a photo of a tall building."
        assert stream.rounds[0].target == "pier"
        assert stream.rounds[0].protected == ("barn", "tall_building", "yard")

    def test_counts_follow_the_rule(self, originals: Path) -> None:
        stream = make(originals)
        held = stream.data[0]
        # test, val, base, train: barn 10, 6, 1, 23; pier 6, 3, 6, 10; tall_building 7, 4, 8, 11; yard 5, 3, 5, 7
        assert held.test.labels.bincount().tolist() == [10, 6, 7, 5]
        assert held.val.labels.bincount().tolist() == [6, 3, 4, 3]
        assert held.protected.labels.bincount().tolist() == [0, 10, 11, 7]
        assert held.train.labels.tolist() == [0] * 23
        assert stream.pretraining is not None
        assert stream.pretraining().labels.bincount().tolist() == [1, 6, 8, 5]

    def test_labels_belong_to_their_images(self, originals: Path) -> None:
        stream = make(originals)
        for split in ("train", "protected", "val", "test"):
            images = getattr(stream.data[0], split)
            for image, label in zip(images.images, images.targets, strict=True):
                files = (originals / stream.classes[label]).rglob("*.png")
                assert any(np.array_equal(np.asarray(Image.open(file)), image.permute(1, 2, 0)) for file in files)

    @pytest.mark.parametrize(
        "options", [{}, {"protected_per_class": 3}, {"base_share": 0.0}, {"target": "yard"}], ids=str
    )
    def test_no_image_is_in_two_splits_whatever_the_seed(self, originals: Path, options: dict[str, object]) -> None:
        outside: set[bytes] = set()
        for seed in range(4):
            held = pixels(make(originals, seed, **options))
            used = [image for images in held.values() for image in images]
            assert len(set(used)) == len(used)
            # what one seed scores on, another must not train on
            outside |= set(held["val"] + held["test"])
            assert not outside & set(held["train"] + held["protected"] + held.get("base", []))

    def test_the_seed_draws_the_protected_data_and_nothing_else(self, originals: Path) -> None:
        streams = [make(originals, seed, protected_per_class=4) for seed in (0, 0, 1)]
        assert streams[0].training_fingerprint == streams[1].training_fingerprint != streams[2].training_fingerprint
        held = [pixels(stream) for stream in streams]
        for split in ("train", "val", "test", "base"):
            assert held[0][split] == held[2][split]
        assert streams[2].data[0].protected.labels.tolist() == [1] * 4 + [2] * 4 + [3] * 4
        assert set(held[2]["protected"]) < set(pixels(make(originals))["protected"])

    def test_without_protected_per_class_the_whole_pool_is_used(self, originals: Path) -> None:
        assert make(originals, 0).training_fingerprint == make(originals, 1).training_fingerprint

    def test_the_place_and_the_order_of_files_do_not_matter(
        self, originals: Path, data: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = make(originals, protected_per_class=4)
        walk = os.walk

        def backwards(top: Path, onerror: Callable[[OSError], object]) -> object:
            return ((parent, folders, files[::-1]) for parent, folders, files in walk(top, onerror=onerror))

        monkeypatch.setattr(os, "walk", backwards)
        stream = make(data, protected_per_class=4)
        assert stream.fingerprint == expected.fingerprint
        assert stream.training_fingerprint == expected.training_fingerprint

    def test_other_classes_do_not_move_a_split(self, data: Path) -> None:
        before = make(data).data[0]
        for number in range(60):
            picture(10_000 + number).save(data / "yard" / f"new{number}.png")
        shutil.rmtree(data / "pier")
        after = make(data).data[0]  # now barn is 0, tall_building 1
        assert torch.equal(before.train.images, after.train.images)
        for old, new in ((0, 0), (2, 1)):
            for split in ("val", "test"):
                one, other = getattr(before, split), getattr(after, split)
                assert torch.equal(one.images[one.labels == old], other.images[other.labels == new])

    def test_options_name_the_content_not_the_place(self, originals: Path, data: Path) -> None:
        stream = make(originals, protected_per_class=4)
        assert stream.options == {
            "target": "barn",
            "protected": ["pier", "tall_building", "yard"],
            "image_size": SIDE,
            "protected_per_class": 4,
            "base_share": 0.4,
            "prompt": "a photo of a {}.",
            "augment": True,
        }
        assert json.loads(json.dumps(stream.options)) == make(data, protected_per_class=4).options
        named = make(originals, protected_per_class=4, protected=["yard", "tall_building", "pier"])
        assert (named.options, named.fingerprint) == (stream.options, stream.fingerprint)

    def test_classes_that_are_not_named_are_left_out(self, originals: Path) -> None:
        stream = make(originals, protected=["yard"])
        assert stream.classes == ("barn", "yard")
        assert stream.data[0].test.labels.bincount().tolist() == [10, 5]

    def test_no_base_share_means_no_pretraining(self, originals: Path) -> None:
        stream = make(originals, base_share=0)
        assert stream.pretraining is None
        assert stream.data[0].train.labels.tolist() == [0] * 24

    def test_the_prompt_may_be_chosen(self, originals: Path) -> None:
        assert make(originals, prompt="{}!").prompts == ("barn!", "pier!", "tall building!", "yard!")


class TestRule:
    """The split by itself, on photos that need not exist."""

    @staticmethod
    def listed(label: str, count: int, split: str | None = None) -> list[Photo]:
        return [Photo(label, f"{i}.jpg", Path(f"{split}{i}.jpg"), split) for i in range(count)]

    @given(st.integers(ENOUGH, 400), st.floats(0, 0.95))
    def test_every_photo_is_in_one_split_and_no_split_is_too_small(self, count: int, share: float) -> None:
        photos = {"a": self.listed("a", count), "b": self.listed("b", 50), "t": self.listed("t", count)}
        splits = split_photos(photos, "t", ["a", "b"], share)
        for label, parts in splits.items():
            assert sorted(p.name for part in parts.values() for p in part) == sorted(p.name for p in photos[label])
            assert all(len(parts[split]) >= least for split, least in MINIMUM.items() if split != "train")
            assert bool(parts["base"]) == (share > 0)
        assert splits["t"]["train"] and len(splits["t"]["base"]) <= 1  # 0.18 % of a small base is less than one photo

    def test_the_shares(self) -> None:
        parts = divided({"a": self.listed("a", 1000)}, 0.25)["a"]
        assert {split: len(part) for split, part in parts.items()} == {
            "base": 150,
            "train": 450,
            "val": 150,
            "test": 250,
        }

    @pytest.mark.parametrize(
        ("protected", "target", "rare"), [(10, 100, 1), (8000, 1000, 3), (8000, 20, 3), (8000, 9, 2)]
    )
    def test_the_base_sees_the_target_rarely(self, protected: int, target: int, rare: int) -> None:
        splits = split_photos({"a": self.listed("a", protected), "t": self.listed("t", target)}, "t", ["a"], 0.4)
        assert len(splits["t"]["base"]) == rare
        assert rare == 1 or rare <= RARE_SHARE * len(splits["a"]["base"])

    def test_order_is_not_taken_from_names(self) -> None:
        test = [int(Path(p.name).stem) for p in divided({"a": self.listed("a", 100)}, 0)["a"]["test"]]
        assert 30 < sum(test) / len(test) < 70 and test != list(range(25))

    def test_given_splits_are_obeyed_and_the_rest_divided(self) -> None:
        given_rows = [photo for split in SPLITS for photo in self.listed("a", 3, split)]
        free = [Photo("a", f"free{i}", Path(f"free{i}")) for i in range(20)]
        parts = divided({"a": given_rows + free}, 0.2)["a"]
        for split in SPLITS:
            assert set(parts[split]) >= {photo for photo in given_rows if photo.split == split}
        assert {split: len(part) for split, part in parts.items()} == {"base": 5, "train": 13, "val": 6, "test": 8}


class TestCsv:
    def test_a_list_of_the_folder_is_the_same_stream(self, data: Path) -> None:
        rows = [
            f"{file.relative_to(data).as_posix()},{file.relative_to(data).parts[0]}" for file in data.rglob("*.png")
        ]
        listed = make(write_csv(data / "photos.csv", rows, "path,label"))
        assert listed.fingerprint == make(data).fingerprint
        assert listed.training_fingerprint == make(data).training_fingerprint

    def test_splits_are_obeyed(self, data: Path) -> None:
        splits = ["test"] * 6 + ["val"] * 4 + ["base"] * 2 + ["train"] * 3
        rows = [f"{c}/{i:03}.png,{c},{s}" for c in ("barn", "yard") for i, s in enumerate(splits)]
        stream = make(write_csv(data / "photos.csv", rows), base_share=0)
        held = pixels(stream)
        assert {split: len(images) for split, images in held.items()} == {
            "train": 3,
            "protected": 3,
            "val": 8,
            "test": 12,
            "base": 4,
        }
        first = np.asarray(Image.open(data / "barn" / "000.png")).transpose(2, 0, 1).tobytes()
        assert held["test"][0] == first

    def test_photos_of_a_group_are_in_one_split_and_the_stream_tells_which(self, data: Path) -> None:
        rows = [f"{c}/{i:03}.png,{c},drive {i // 4}" for c in ("barn", "yard") for i in range(20)]
        stream = make(write_csv(data / "photos.csv", rows, "path,label,group"))
        assert stream.pretraining is not None
        (held,) = stream.data
        found = {split: set(part.groups or []) for split, part in (vars(held) | {"base": stream.pretraining()}).items()}
        apart = [found["test"], found["val"], found["base"], found["train"] | found["protected"]]
        assert sum(map(len, apart)) == len(set.union(*apart)) == 5
        assert make(data).data[0].test.groups is None

    def test_too_few_groups_are_refused_with_the_counts(self, data: Path) -> None:
        rows = [f"{c}/{i:03}.png,{c},{c} {i // 10}" for c in ("barn", "yard") for i in range(20)]
        with pytest.raises(ValueError, match=r"class 'barn' has 20 \(.*0 train, 10 val, 10 test; 2 groups\)"):
            make(write_csv(data / "photos.csv", rows, "path,label,group"))

    def test_splits_without_base_offer_no_pretraining(self, data: Path) -> None:
        splits = ["test"] * 6 + ["val"] * 4 + ["train"] * 3
        rows = [f"{c}/{i:03}.png,{c},{s}" for c in ("barn", "yard") for i, s in enumerate(splits)]
        assert make(write_csv(data / "photos.csv", rows)).pretraining is None

    def test_columns_may_be_in_any_order_with_others_and_a_byte_order_mark(self, data: Path) -> None:
        file = data / "photos.csv"
        rows = [f"me, barn ,barn/{i:03}.png" for i in range(3)]
        file.write_text("\n".join(["author,label,path", *rows]), encoding="utf-8-sig")
        assert [photo.name for photo in find_photos(str(file))["barn"]] == ["000.png", "001.png", "002.png"]

    @pytest.mark.parametrize(
        ("header", "message"),
        [("path,label,Split", "'Split' is not 'split'"), ("path,label,split,groups", "'groups' is not 'group'")],
    )
    def test_columns_that_would_not_be_read_are_refused(self, data: Path, header: str, message: str) -> None:
        file = write_csv(data / "photos.csv", ["barn/000.png,barn" + ",test" * (header.count(",") - 1)], header)
        with pytest.raises(ValueError, match=f"column {message} and would not be read: rename it"):
            find_photos(str(file))

    def test_names_of_groups_are_composed_too(self, data: Path) -> None:
        forms = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
        rows = [f"barn/{i:03}.png,barn,{form}" for i, form in enumerate(forms)]
        one, other = find_photos(str(write_csv(data / "photos.csv", rows, "path,label,group")))["barn"]
        assert one.group == other.group

    def test_a_path_through_a_link_is_the_file_that_it_names(self, data: Path) -> None:
        (data / "elsewhere/deep").mkdir(parents=True)
        shutil.copy(data / "barn/000.png", data / "elsewhere/sign.png")
        (data / "link").symlink_to(data / "elsewhere/deep")
        (found,) = find_photos(str(write_csv(data / "photos.csv", ["link/../sign.png,barn"], "path,label")))["barn"]
        assert found.path.samefile(data / "elsewhere/sign.png")

    def test_a_name_that_is_too_long_is_a_wrong_row(self, data: Path) -> None:
        with pytest.raises(ValueError, match="line 2: there is no file aaa"):
            find_photos(str(write_csv(data / "photos.csv", ["a" * 300 + ".png,barn"], "path,label")))

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            (
                "barn/000.png,barn,validation",
                "line 3: split 'validation' must be empty or one of base, train, val, test",
            ),
            ("barn/zzz.png,barn,", "line 3: there is no file barn/zzz.png"),
            ("./barn/001.png,barn,", r"line 3: path ./barn/001.png is listed already in line 2"),
            ("barn/000.png,,", "line 3: path or label is empty"),
            ("barn/000.png", "line 3: path or label is empty"),
            ("/barn/000.png,barn,", "must be relative to the CSV's folder"),
        ],
    )
    def test_a_wrong_row_is_named(self, data: Path, row: str, message: str) -> None:
        file = write_csv(data / "photos.csv", ["barn/001.png,barn,test", row])
        with pytest.raises(ValueError, match=f"photos.csv.*{re.escape(message) if row[0] == '.' else message}"):
            make(file)

    def test_many_wrong_rows_are_one_line(self, data: Path) -> None:
        file = write_csv(data / "photos.csv", [f"{i}.png,barn,test" for i in range(10)])
        with pytest.raises(ValueError, match=r"0\.png.*2\.png and 7 more: correct or remove") as caught:
            make(file)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"path;label\na.png;barn\n", "line 2: there is no file a.png"),
            (b"path,klass\na.png,barn\n", "no column label"),
            (b"path,label\n", "no rows"),
            (b"", "no column path"),
            (b"\x89PNG\r\n\xff\xfe\x00", "neither a folder nor a CSV"),
            (b'path,label\n"a.png"b,barn\n', "neither a folder nor a CSV"),
        ],
    )
    def test_a_file_that_is_no_such_csv_is_refused(self, tmp_path: Path, content: bytes, message: str) -> None:
        file = tmp_path / "photos.csv"
        file.write_bytes(content)
        with pytest.raises(ValueError, match=message) as caught:
            make(file)
        assert str(file) in str(caught.value) and "\n" not in str(caught.value)


class TestRefusals:
    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"there is no .*nowhere.*give a folder"):
            make(tmp_path / "nowhere")
        with pytest.raises(ValueError, match="there is no ''"):
            folder(data="", target="barn")

    def test_no_class_folders(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="holds no class folders"):
            make(tmp_path)
        picture(0).save(tmp_path / "0.png")
        (tmp_path / ".hidden").mkdir()
        with pytest.raises(ValueError, match="holds no class folders"):
            make(tmp_path)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"target": "tall building"}, "unknown target class.*did you mean 'tall_building'.*known are barn, pier"),
            ({"protected": ["yards"]}, "unknown protected class 'yards': did you mean 'yard'"),
            ({"protected": ["yard", "barn"]}, "'barn' is the target: take it out"),
            ({"protected": ["yard", "pier", "yard"]}, "yard given more than once"),
            ({"protected": []}, "protected must be a list"),
            ({"protected": "yard"}, "protected must be a list.*'yard'"),
            ({"image_size": 8}, "image_size must be between 16 and 1024"),
            ({"image_size": 2000}, "image_size must be between 16 and 1024"),
            ({"base_share": 1.0}, "base_share must be 0 or more and below 1"),
            ({"base_share": -0.1}, "base_share must be"),
            ({"protected_per_class": 0}, "protected_per_class must be 1 or more"),
            ({"protected_per_class": 8}, "protected_per_class is 8, but class 'yard' has 7"),
            ({"prompt": "a photo."}, "prompt must have one {}"),
            ({"base_share": 0.99}, "12 base, 0 train.*lower base_share"),
        ],
        ids=str,
    )
    def test_options_are_refused_with_the_remedy(
        self, originals: Path, options: dict[str, object], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message) as caught:
            make(originals, **options)
        assert "\n" not in str(caught.value)

    def test_too_few_photos(self, data: Path) -> None:
        (data / "yard" / "000.png").unlink()
        message = (
            r"class 'yard' has 19 \(5 base, 8 train, 2 val, 4 test\).*needs 5 test, 3 val, 1 train, that is 20 photos"
        )
        with pytest.raises(ValueError, match=message):
            make(data)
        assert make(data, protected=["pier"]).classes == ("barn", "pier")

    def test_a_class_of_other_files_is_not_dropped_in_silence(self, data: Path) -> None:
        (data / "zoo").mkdir()
        (data / "zoo" / "0.heic").write_bytes(b"0")
        with pytest.raises(ValueError, match="class 'zoo' has 0"):
            make(data)

    def test_one_class(self, data: Path) -> None:
        for label in ("pier", "tall_building", "yard"):
            shutil.rmtree(data / label)
        with pytest.raises(ValueError, match="'barn' is the only class"):
            make(data)

    def test_prompts_must_differ(self, data: Path) -> None:
        shutil.copytree(data / "yard", data / "tall building")
        with pytest.raises(ValueError, match="several classes have the prompt of 'tall building': rename one"):
            make(data)

    def test_broken_files_are_refused_together(self, data: Path) -> None:
        broken = [
            data / "barn" / "003.png",
            data / "pier" / "000.png",
            *(data / "yard" / f"00{i}.png" for i in range(3)),
        ]
        broken[0].write_bytes(b"")
        broken[1].write_bytes(broken[1].read_bytes()[:-200])
        for file in broken[2:]:
            file.write_bytes(b"this is no image")
        for seed in range(3):  # drawn or not
            with pytest.raises(
                ValueError, match=r"5 of 115 photos cannot be read.*and 2 more: delete or repair"
            ) as caught:
                make(data, seed, protected_per_class=1)
            assert str(broken[0]) in str(caught.value) and str(broken[1]) in str(caught.value)
        for file in broken[:2]:
            file.unlink()
        for file in broken[2:]:
            picture(int(file.stem)).save(file)
        make(data)  # repaired: read again


class TestFiles:
    def test_hidden_files_and_other_files_are_ignored(self, data: Path) -> None:
        expected = make(data).fingerprint
        for name in (".hidden.png", "notes.txt", "Thumbs.db", ".cache/0.png"):
            file = data / "yard" / name
            file.parent.mkdir(exist_ok=True)
            picture(5).save(file, "PNG")
        (data / ".git").mkdir()
        picture(6).save(data / "loose.png")
        assert make(data).fingerprint == expected

    def test_what_systems_leave_behind_is_ignored_and_the_rest_is_counted(self, data: Path) -> None:
        expected = make(data).fingerprint
        for name in ("._000.png", "Thumbs.db", "desktop.ini", ".DS_Store", ".ipynb_checkpoints/0.png"):
            file = data / "yard" / name
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(b"0")
        for name in ("__MACOSX", "lost+found", "$RECYCLE.BIN"):
            shutil.copytree(data / "yard", data / name)
        assert make(data).fingerprint == expected and list(find_photos(str(data))) == sorted(COUNTS)
        assert look(str(data)).told("yard") == ""
        for name in (".hidden.png", "a.heic", "b.HEIC", "notes.txt", "README", "c.cr2"):
            (data / "yard" / name).write_bytes(b"0")
        (data / "loose.png").write_bytes(b"0")
        assert make(data).fingerprint == expected
        told = look(str(data)).told("yard")
        assert "1 hidden" in told and "2 .heic (install pillow-heif" in told and "1 .txt (no photos)" in told
        assert "1 without a suffix" in told and "1 .cr2 (cannot be read" in told
        assert look(str(data)).left_out[""] == {"beside the class folders": 1}

    @pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".avif", ".jp2", ".tga", ".JPG"])
    def test_whatever_pillow_reads_is_read(self, data: Path, suffix: str) -> None:
        if suffix not in (".JPG", *readable_suffixes()):
            pytest.skip("this Pillow has no codec for it")
        for file in (data / "yard").iterdir():
            Image.open(file).save(file.with_suffix(suffix))
            file.unlink()
        assert len(find_photos(str(data))["yard"]) == COUNTS["yard"]
        make(data)

    def test_a_class_that_is_too_small_says_what_was_left_out(self, data: Path) -> None:
        for file in list((data / "yard").iterdir())[:3]:
            file.rename(file.with_suffix(".svg"))
        with pytest.raises(ValueError, match=r"class 'yard' has 17 \(.*; left out: 3 \.svg \(cannot be read"):
            make(data)

    def test_a_folder_that_cannot_be_listed_stops_it(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (data / "yard" / "secret").mkdir()
        scan = os.scandir

        def refuse(path: object) -> object:
            if str(path).endswith("secret"):
                raise PermissionError(13, "Permission denied", str(path))
            return scan(path)  # type: ignore[call-overload]

        monkeypatch.setattr(os, "scandir", refuse)
        with pytest.raises(ValueError, match=r"data: .*secret cannot be listed \(Permission denied\)"):
            make(data)

    def test_split_folders_are_splits(self, originals: Path, tmp_path: Path) -> None:
        names = {"base": "base", "train": "Train", "val": "validation", "test": "test"}
        for label, parts in split_photos(
            find_photos(str(originals)), "barn", ["pier", "tall_building", "yard"], 0.4
        ).items():
            for split, photos in parts.items():
                for photo in photos:
                    place = tmp_path / names[split] / label / photo.name
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(photo.path, place)
        one, other = make(originals), make(tmp_path)
        assert (one.fingerprint, one.training_fingerprint) == (other.fingerprint, other.training_fingerprint)
        shutil.rmtree(tmp_path / "test")
        with pytest.raises(ValueError, match="0 test"):
            make(tmp_path)
        (tmp_path / "extra").mkdir()
        with pytest.raises(ValueError, match="folders of classes in Train, base, validation, and extra beside them"):
            find_photos(str(tmp_path))

    def test_classes_may_be_named_as_splits(self, data: Path) -> None:
        for old, new in (("barn", "train"), ("pier", "base")):
            (data / old).rename(data / new)
        shutil.rmtree(data / "yard")
        shutil.rmtree(data / "tall_building")
        assert list(find_photos(str(data))) == ["base", "train"]

    def test_names_need_not_be_ascii(self, data: Path) -> None:
        composed, decomposed = (unicodedata.normalize(form, "plage_été") for form in ("NFC", "NFD"))
        (data / "yard").rename(data / composed)
        (data / composed / "000.png").rename(data / composed / unicodedata.normalize("NFC", "münze 1.PNG"))
        one = make(data, target=decomposed)
        assert (one.rounds[0].target, one.prompts[2]) == (composed, "a photo of a plage été.")
        (data / composed / unicodedata.normalize("NFC", "münze 1.PNG")).rename(data / composed / "tmp")
        (data / composed).rename(data / decomposed)
        (data / decomposed / "tmp").rename(data / decomposed / unicodedata.normalize("NFD", "münze 1.PNG"))
        other = make(data, target=composed)
        assert (other.fingerprint, other.training_fingerprint) == (one.fingerprint, one.training_fingerprint)

    def test_each_file_is_decoded_once(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        opened: list[Path] = []
        read: Callable[..., np.ndarray] = decoding._pixels
        monkeypatch.setattr(decoding, "_pixels", lambda path, *others: opened.append(path) or read(path, *others))
        for seed in range(3):
            stream = make(data, seed, protected_per_class=2)
            assert stream.pretraining is not None
            stream.pretraining()
        assert len(opened) == len(set(opened)) == 115
        edited = data / "yard" / "000.png"
        Image.new("RGB", (SIDE, SIDE), "red").save(edited)
        held = pixels(make(data))
        assert opened[115:] == [edited]  # an edited file is read again, and no other
        assert any(np.tile([[255], [0], [0]], SIDE**2).astype(np.uint8).tobytes() in images for images in held.values())


class TestPixels:
    @staticmethod
    def decoded(
        image: Image.Image, tmp_path: Path, name: str = "0.png", side: int = SIDE, **options: object
    ) -> np.ndarray:
        image.save(tmp_path / name, **options)
        [tensor] = decode([tmp_path / name], side)
        assert tensor.dtype == torch.uint8 and tensor.shape == (3, side, side)
        return tensor.permute(1, 2, 0).numpy()

    @pytest.mark.parametrize("size", [(16, 16), (40, 23), (23, 40), (16, 300), (37, 16), (90, 91), (7, 5)], ids=str)
    def test_it_is_clips_evaluation_transform(self, tmp_path: Path, size: tuple[int, int]) -> None:
        image = picture(1, size)
        clip = transforms.Compose(
            [transforms.Resize(SIDE, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(SIDE)]
        )
        np.testing.assert_array_equal(self.decoded(image, tmp_path), np.asarray(clip(image)))

    @pytest.mark.parametrize("size", [(800, 600), (797, 593), (598, 805), (769, 769)], ids=str)
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_a_large_jpeg_is_near_what_clip_sees(self, tmp_path: Path, size: tuple[int, int], orientation: int) -> None:
        x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
        waves = np.stack([np.sin((x + y) / 6), np.cos(x / 4), np.sin(y / 5)], -1)  # as fine as 64 pixels can show
        image = Image.fromarray((128 + 100 * waves).astype(np.uint8))
        exif = Image.Exif()
        exif[0x0112] = orientation
        seen = self.decoded(image, tmp_path, "0.jpg", 64, quality=95, exif=exif).astype(int)
        clip = transforms.Compose(
            [transforms.Resize(64, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(64)]
        )
        with Image.open(tmp_path / "0.jpg") as jpeg:
            difference = np.abs(seen - np.asarray(clip(ImageOps.exif_transpose(jpeg))))
        assert difference.mean() < 2 and difference.max() <= 16  # half a pixel aside the mean is over 16

    @pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "RGBA", "LA"])
    def test_modes_become_rgb(self, tmp_path: Path, mode: str) -> None:
        gray = Image.new("L", (SIDE, SIDE), 0 if mode == "1" else 200)
        source = gray.convert("RGB").convert(mode) if mode in ("CMYK", "RGBA") else gray.convert(mode)
        np.testing.assert_array_equal(self.decoded(source, tmp_path, "0.tif"), np.asarray(gray.convert("RGB")))

    @pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
    def test_transparency_is_laid_over_white(self, tmp_path: Path, mode: str) -> None:
        if mode == "P":
            image = Image.new("P", (SIDE, SIDE), 0)
            image.putpalette([0, 0, 0, 255, 0, 0])
            values = self.decoded(image, tmp_path, transparency=0)
        else:
            values = self.decoded(Image.new(mode, (SIDE, SIDE), 0), tmp_path)
        assert (values == 255).all()

    def test_16_bits_are_scaled(self, tmp_path: Path) -> None:
        ramp = np.repeat(np.arange(SIDE, dtype=np.uint16)[None] * 4369, SIDE, 0)
        np.testing.assert_array_equal(self.decoded(Image.fromarray(ramp), tmp_path)[0, :, 0], np.arange(SIDE) * 17)

    @pytest.mark.parametrize("name", ["0.png", "0.webp", "0.jpg"])
    def test_broken_exif_is_none(self, tmp_path: Path, name: str) -> None:
        values = self.decoded(Image.new("RGB", (SIDE, SIDE), "white"), tmp_path, name, exif=b"Exif\0\0garbage!")
        assert (values == 255).all()

    def test_too_many_pixels_are_told_as_such(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        with pytest.raises(ValueError, match=r"0\.png \(more than 200 pixels: make it smaller\)"):
            self.decoded(Image.new("RGB", (20, 20)), tmp_path)

    def test_exif_orientation_is_honoured(self, tmp_path: Path) -> None:
        left_dark = Image.new("L", (SIDE, SIDE), 255)
        left_dark.paste(0, (0, 0, SIDE // 2, SIDE))
        exif = Image.Exif()
        exif[0x0112] = 6  # to be shown turned by 90° clockwise: the left becomes the top
        values = self.decoded(left_dark, tmp_path, "0.jpg", exif=exif, quality=100)
        assert values[:6].max() < 50 and values[-6:].min() > 200

    @pytest.mark.parametrize("left", [0.1, 0.5, 0.95])
    @pytest.mark.parametrize("progressive", [False, True])
    def test_a_truncated_jpeg_is_refused(self, tmp_path: Path, left: float, progressive: bool) -> None:
        buffer = io.BytesIO()
        picture(3, (300, 200)).save(buffer, "JPEG", progressive=progressive)
        file = tmp_path / "cut.jpg"
        file.write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * left)])
        with pytest.raises(
            ValueError, match=r"1 of 1 photos cannot be read: .*cut\.jpg \(.*truncated.*\): delete or repair"
        ):
            decode([file], SIDE)

    def test_float_pixels_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="floating-point"):
            self.decoded(Image.new("F", (SIDE, SIDE), 0.5), tmp_path, "0.tif")


@pytest.fixture
def real_photos() -> Path:
    """A folder of real photos of 15 classes of scenes."""
    place = os.environ.get("MDS_BENCH_PHOTOS")
    if not place:
        pytest.skip("set MDS_BENCH_PHOTOS to a folder of class-named folders of photos to try them")
    return Path(place)


def test_real_photos(real_photos: Path) -> None:
    labels = list(find_photos(str(real_photos)))
    target, protected = labels[0], labels[1:4]
    streams = [make(real_photos, seed, target=target, protected=protected, protected_per_class=10) for seed in (0, 1)]
    assert streams[0].fingerprint == streams[1].fingerprint
    assert streams[0].training_fingerprint != streams[1].training_fingerprint
    assert len(streams[0].data[0].protected) == 30
    assert streams[0].data[0].test.images.float().std() > 20  # pictures, not blanks


def test_photos_that_are_left_out_are_told(data: Path) -> None:
    label = sorted(path.name for path in data.iterdir() if path.is_dir())[0]
    (data / label / "phone.heic").write_bytes(b"0")
    others = [path.name for path in data.iterdir() if path.is_dir() and path.name != label]
    with pytest.warns(UserWarning, match=rf"photos left out: of {label} 1 \.heic"):
        make(data, target=others[0])
