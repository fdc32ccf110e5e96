"""BDD100K's streams, on tiny folders in the layouts of both releases."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from scenarios import bdd100k_files, build, real
from scenarios.bdd100k import PLANS, foggy, frames, overcast, pool, rounds, stream, tunnel
from scenarios.bdd100k_files import LABELS
from scenarios.stream import DevelopmentStream

SIDE = 16
NEW, OLD = LABELS

# (weather, scene) -> frames in official train and val
COUNTS = {
    ("clear", "city street"): (20, 4),
    ("overcast", "highway"): (20, 4),
    ("snowy", "residential"): (10, 3),
    ("rainy", "city street"): (10, 3),
    ("partly cloudy", "highway"): (10, 3),
    ("foggy", "city street"): (9, 1),
    ("undefined", "tunnel"): (10, 2),
    ("clear", "parking lot"): (10, 2),
    ("clear", "gas stations"): (3, 1),
    ("undefined", "city street"): (2, 1),
    ("rainy", "undefined"): (1, 1),
}


def picture(number: int) -> Image.Image:
    """A picture of its own for every number, twice as wide as high."""
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (SIDE, 2 * SIDE, 3), dtype=np.uint8))


def frame(name: str, weather: str, scene: str) -> dict[str, object]:
    """A frame as in the label files, with some of the boxes that make these files large."""
    attributes = {"weather": weather, "scene": scene, "timeofday": "daytime"}
    boxes = [{"category": "car", "box2d": {"x1": 1.5, "y1": -2e3, "x2": 7, "y2": 8}, "note": '}],{"[\\'}] * 3
    return {"name": name, "attributes": attributes, "timestamp": 10000, "labels": boxes}


def write_bdd100k(root: Path, layout: str = NEW, residential: str = "residential") -> Path:
    """BDD100K in miniature."""
    number = 0
    for place, split in enumerate(("train", "val")):
        listed = []
        folder = root / "images/100k" / split
        folder.mkdir(parents=True, exist_ok=True)
        for (weather, scene), counts in COUNTS.items():
            for _ in range(counts[place]):
                number += 1
                name = f"{number:08x}-é.jpg"
                picture(number).save(folder / name, quality=95)
                listed.append(frame(name, weather, residential if scene == "residential" else scene))
        write_labels(root, layout, split, listed)
    return root


def write_labels(root: Path, layout: str, split: str, listed: list[dict[str, object]]) -> None:
    file = root / layout.format(split)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(listed, indent=1), encoding="utf-8")


def read_labels(root: Path, split: str) -> list[dict[str, object]]:
    return json.loads((root / NEW.format(split)).read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for each test, and no folder of data by default."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("MDS_BENCH_CACHE", str(folder))
    monkeypatch.delenv("MDS_BENCH_DATA", raising=False)
    return folder


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be written to."""
    return write_bdd100k(tmp_path_factory.mktemp("bdd") / "bdd100k")


@pytest.fixture
def data(originals: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(originals, tmp_path / "data"))


def make(data: Path, seed: int = 0, name: str = "bdd100k-foggy", **options: object) -> DevelopmentStream:
    return stream(name, seed, **{"data": str(data), "image_size": SIDE} | options)  # type: ignore[arg-type]


def counts(made: DevelopmentStream, split: str, number: int = 0) -> dict[str, int]:
    return dict(Counter(made.classes[label] for label in getattr(made.data[number], split).targets))


def pixels(made: DevelopmentStream, split: str, number: int = 0) -> list[bytes]:
    return [image.numpy().tobytes() for image in getattr(made.data[number], split).images]


class TestStreams:
    def test_foggy(self, originals: Path) -> None:
        made = foggy(3, data=str(originals), image_size=SIDE)
        assert (made.name, made.version, made.seed, made.augment) == ("bdd100k-foggy", 1, 3, True)
        assert made.classes == ("clear", "overcast", "snowy", "rainy", "partly cloudy", "foggy")
        assert made.prompts[4] == "the weather is partly cloudy."
        assert made.rounds[0].target == "foggy" and made.rounds[0].protected == made.classes[:5]
        # Whatever the scene: 33 clear frames of official train, 11 rainy ones.
        assert counts(made, "val") == {
            "clear": 10, "overcast": 6, "snowy": 3, "rainy": 3, "partly cloudy": 3, "foggy": 3
        }  # fmt: skip
        assert counts(made, "protected") == {"clear": 23, "overcast": 14, "snowy": 7, "rainy": 8, "partly cloudy": 7}
        assert counts(made, "train") == {"foggy": 4}  # the ten of both official splits: 4, 3 and 3
        assert counts(made, "test") == {
            "clear": 7, "overcast": 4, "snowy": 3, "rainy": 4, "partly cloudy": 3, "foggy": 3
        }  # fmt: skip

    @pytest.mark.parametrize(("name", "cap"), zip(PLANS, (1000, 2000, 1000, 1000), strict=True))
    def test_it_is_built_by_name_with_the_study_s_cap(self, originals: Path, name: str, cap: int) -> None:
        made = build(name, 2, data=str(originals), image_size=SIDE)
        assert (made.name, made.seed, made.options["protected_per_class"]) == (name, 2, cap)

    def test_overcast(self, originals: Path) -> None:
        made = overcast(data=str(originals), image_size=SIDE)
        assert made.classes == ("clear", "snowy", "rainy", "partly cloudy", "overcast")
        assert [(r.target, r.protected) for r in made.rounds] == [("overcast", made.classes[:4])]
        assert counts(made, "train") == {"overcast": 14}
        assert made.options["protected_per_class"] == 2000

    def test_tunnel(self, originals: Path) -> None:
        made = tunnel(data=str(originals), image_size=SIDE)
        assert made.classes == ("highway", "residential area", "city street", "parking lot", "tunnel")
        assert made.prompts[1] == "the scene is a residential area."
        assert made.rounds[0].target == "tunnel"
        assert counts(made, "train") == {"tunnel": 7}
        # foggy frames and those of undefined weather count: the scene alone is asked for
        assert counts(made, "test") == {
            "highway": 7, "residential area": 3, "city street": 9, "parking lot": 2, "tunnel": 2
        }  # fmt: skip

    def test_rounds(self, originals: Path) -> None:
        made = rounds(data=str(originals), image_size=SIDE)
        assert [r.target for r in made.rounds] == ["overcast", "foggy", "tunnel", "parking lot"]
        assert [len(r.protected) for r in made.rounds] == [4, 5, 6, 7]
        assert made.rounds[1].protected == ("clear", "snowy", "rainy", "partly cloudy", "overcast")
        assert made.prompts[3] == "the weather is partly cloudy." and made.prompts[7] == "the scene is a parking lot."
        assert [counts(made, "train", r) for r in range(4)] == [
            {"overcast": 14}, {"foggy": 4}, {"tunnel": 7}, {"parking lot": 7}
        ]  # fmt: skip
        last = counts(made, "test", 3)
        assert (last["clear"], last["parking lot"], last["tunnel"]) == (4, 2, 2)  # the class of a parking lot is that
        assert counts(made, "val", 3)["rainy"] == 3  # of ten: the one in an undefined scene is dropped
        assert set(counts(made, "test", 0)) == set(made.classes[:5])
        for r in range(3):
            assert pixels(made, "test", r) == pixels(made, "test", 3)[: len(pixels(made, "test", r))]

    @pytest.mark.parametrize(
        ("name", "dropped"),
        [
            ("bdd100k-foggy", {"weather undefined": 15}),
            ("bdd100k-overcast", {"weather undefined": 15, "weather foggy": 10}),
            ("bdd100k-tunnel", {"scene gas stations": 4, "scene undefined": 2}),
            ("bdd100k-rounds", {"scene gas stations": 4, "scene undefined": 2, "weather undefined": 3}),
        ],
    )
    def test_what_has_no_class_is_dropped_and_counted(
        self, originals: Path, name: str, dropped: dict[str, int]
    ) -> None:
        held = pool(name, originals)
        assert held.dropped == dropped
        assert sum(map(len, held.rows.values())) + sum(dropped.values()) == len(held.files)

    def test_the_study_s_numbers_of_foggy_frames(self, tmp_path: Path) -> None:
        for split, count in (("train", 130), ("val", 13)):
            (tmp_path / "images/100k" / split).mkdir(parents=True)
            write_labels(tmp_path, NEW, split, [frame(f"{split}{i}.jpg", "foggy", "city street") for i in range(count)])
        rows = pool("bdd100k-foggy", tmp_path).rows
        assert [len(rows["foggy", split]) for split in ("train", "val", "test")] == [57, 43, 43]


class TestSplits:
    @pytest.mark.parametrize("name", PLANS)
    def test_no_image_is_in_two_splits_whatever_the_seed(self, originals: Path, name: str) -> None:
        scored: set[bytes] = set()
        trained: set[bytes] = set()
        for seed in range(3):
            made = make(originals, seed, name, protected_per_class=5)
            for r in range(len(made.rounds)):
                val, test = pixels(made, "val", r), pixels(made, "test", r)
                assert len(set(val + test)) == len(val + test)
                scored |= {*val, *test}
                trained |= {*pixels(made, "train", r), *pixels(made, "protected", r)}
        assert scored and trained and not scored & trained

    def test_a_name_in_both_official_splits_is_one_of_val(self, data: Path) -> None:
        expected = make(data)
        val = read_labels(data, "val")
        write_labels(data, NEW, "train", [*read_labels(data, "train"), *val, val[0]])
        for entry in val:  # the same names in both image folders too
            shutil.copy(data / "images/100k/val" / str(entry["name"]), data / "images/100k/train")
        made = make(data)
        assert made.fingerprint == expected.fingerprint
        assert made.training_fingerprint == expected.training_fingerprint
        assert pool("bdd100k-foggy", data).dropped["a name listed before"] == len(val) + 1

    def test_the_seed_draws_the_protected_frames_and_nothing_else(self, originals: Path) -> None:
        one, same, other = (make(originals, seed, protected_per_class=5) for seed in (0, 0, 1))
        assert one.fingerprint == same.fingerprint == other.fingerprint
        assert one.training_fingerprint == same.training_fingerprint != other.training_fingerprint
        assert pixels(one, "train") == pixels(other, "train")
        assert counts(one, "protected") == counts(other, "protected") == dict.fromkeys(one.classes[:5], 5)

    def test_the_hash_stays_what_it_is(self) -> None:
        """Another one would move frames between validation and training without a word."""
        import pandas as pd

        hashes = real.ranks(pd.Series(["0000f77c-6257be58.jpg", "é"]))
        assert hashes.tolist() == [6248734700131680874, 16908809132758853863]

    def test_caps_take_the_first_and_move_nothing(self, originals: Path) -> None:
        whole, capped = make(originals), make(originals, val_per_class=2, test_per_class=1, target_images=3)
        assert set(pixels(capped, "val")) < set(pixels(whole, "val"))
        assert counts(capped, "val") == dict.fromkeys(whole.classes, 2)
        assert counts(capped, "test") == dict.fromkeys(whole.classes, 1)
        assert pixels(capped, "train") == pixels(whole, "train")[:3]
        assert pixels(capped, "protected") == pixels(whole, "protected")

    def test_val_share(self, originals: Path) -> None:
        assert counts(make(originals, val_share=0.5), "val")["overcast"] == 10
        assert counts(make(originals, val_share=0.5), "val")["foggy"] == 3  # always as in the study

    def test_options_name_the_content_not_the_place(self, originals: Path) -> None:
        assert make(originals).options == {
            "image_size": SIDE,
            "protected_per_class": 1000,
            "target_images": None,
            "val_share": 0.3,
            "val_per_class": None,
            "test_per_class": None,
            "augment": True,
            "external": False,
        }
        assert not make(originals, augment=False).augment


class TestLayouts:
    def test_both_releases_give_the_same_stream(self, originals: Path, tmp_path: Path) -> None:
        older = write_bdd100k(tmp_path / "older", OLD, "residential area")
        for name in PLANS:
            one, other = make(originals, name=name), make(older, name=name)
            assert (one.fingerprint, one.training_fingerprint) == (other.fingerprint, other.training_fingerprint)

    def test_the_newer_labels_win_if_complete(self, data: Path) -> None:
        write_bdd100k(data, OLD)
        for split in ("train", "val"):
            write_labels(data, OLD, split, [])
        assert make(data).classes
        (data / NEW.format("val")).unlink()
        with pytest.raises(ValueError, match="class 'clear' has 0 train, 0 val, 0 test images"):
            make(data)

    def test_each_archive_in_a_folder_of_its_own(self, originals: Path, tmp_path: Path) -> None:
        shutil.copytree(originals / "labels", tmp_path / "bdd100k_labels_release/bdd100k/labels")
        shutil.copytree(originals / "images", tmp_path / "bdd100k_images/bdd100k/images")
        assert make(tmp_path).fingerprint == make(originals).fingerprint

    @pytest.mark.parametrize("place", ["labels/100k", "bdd100k_labels/100k"])
    def test_one_file_per_image(self, originals: Path, data: Path, place: str) -> None:
        for split in ("train", "val"):
            (data / place / split).mkdir(parents=True)
            for listed in read_labels(data, split):
                stem = str(listed["name"]).removesuffix(".jpg")
                one = {"name": stem, "frames": [{"objects": []}], "attributes": listed["attributes"]}
                (data / place / split / f"{stem}.json").write_text("\n" + json.dumps(one), encoding="utf-8-sig")
            (data / place / split / "._x.json").write_bytes(b"\0")
        shutil.rmtree(data / "labels/det_20")
        one, other = make(originals), make(data)
        assert (one.fingerprint, one.training_fingerprint) == (other.fingerprint, other.training_fingerprint)
        broken = next(file for file in (data / place / "val").iterdir() if not file.name.startswith("."))
        broken.write_text("[" * 100_000)
        with pytest.raises(ValueError, match=rf"{broken.name} is no label of a BDD100K frame") as caught:
            make(data)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("before", "encoding"),
        [("", "utf-8-sig"), ("\n \r\n", "utf-8"), ("\n", "utf-8-sig"), (" " * 9_000, "utf-8"), ("", "utf-16")],
    )
    def test_labels_that_an_editor_wrote(self, originals: Path, data: Path, before: str, encoding: str) -> None:
        for split in ("train", "val"):
            text = before + json.dumps(read_labels(data, split), ensure_ascii=False)
            (data / NEW.format(split)).write_text(text, encoding=encoding)
        assert make(data).fingerprint == make(originals).fingerprint

    def test_one_level_down_and_from_the_environment(self, originals: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        expected = make(originals).fingerprint
        assert make(originals.parent).fingerprint == expected
        monkeypatch.setenv("MDS_BENCH_DATA", str(originals.parent))
        assert foggy(image_size=SIDE).fingerprint == expected

    def test_frames(self, originals: Path) -> None:
        table, repeated = frames(originals)
        assert list(table) == ["name", "weather", "scene", "timeofday", "split"] and not repeated
        assert table["split"].value_counts().to_dict() == {"train": 105, "val": 25}


class TestCache:
    def test_labels_are_read_once_and_images_decoded_once(
        self, data: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        decoded: list[Path] = []
        read, parsed = real.decode, []
        monkeypatch.setattr(real, "decode", lambda paths, *others: decoded.extend(paths) or read(paths, *others))
        parse = bdd100k_files.ijson.items
        monkeypatch.setattr(
            bdd100k_files.ijson, "items", lambda handle, prefix: parsed.append(handle.name) or parse(handle, prefix)
        )
        one = make(data, protected_per_class=3)
        first = len(decoded)
        again = make(data, protected_per_class=3)
        assert first == len(decoded) == len(set(decoded)) and len(parsed) == 2
        assert (one.fingerprint, one.training_fingerprint) == (again.fingerprint, again.training_fingerprint)
        make(data, 1, protected_per_class=3)
        assert first < len(decoded) == len(set(decoded)) <= first + 15  # what this seed alone has drawn
        make(data, name="bdd100k-overcast", protected_per_class=3)  # streams share frames
        assert len(decoded) == len(set(decoded))

        write_labels(data, NEW, "val", read_labels(data, "val")[1:])
        assert counts(make(data), "test")["clear"] == 6 and len(parsed) == 3
        for kept in (cache / "labels").iterdir():
            kept.write_text('[["cut')
        assert counts(make(data), "test")["clear"] == 6 and len(parsed) == 5

    def test_an_edited_image_is_decoded_anew(self, data: Path) -> None:
        before = make(data)
        file = data / "images/100k/val" / str(read_labels(data, "val")[0]["name"])
        Image.new("RGB", (40, 30), "red").save(file)
        assert make(data).fingerprint != before.fingerprint

    def test_without_a_writable_cache(self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        expected = make(data).fingerprint
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("MDS_BENCH_CACHE", str(tmp_path / "file"))
        with pytest.warns(UserWarning, match="kept in memory"):
            assert make(data).fingerprint == expected


class TestImages:
    def test_gray_transparent_and_turned_images(self, data: Path) -> None:
        folder = data / "images/100k/val"
        names = [str(entry["name"]) for entry in read_labels(data, "val")]
        picture(1).convert("L").save(folder / names[0])
        picture(2).convert("RGBA").save(folder / names[1], "PNG")  # by its content, whatever its name
        exif = Image.Exif()
        exif[0x0112] = 6
        left_dark = Image.new("L", (SIDE, SIDE), 255)
        left_dark.paste(0, (0, 0, SIDE // 2, SIDE))
        left_dark.save(folder / names[2], exif=exif, quality=100)
        held = pool("bdd100k-foggy", data)
        place = [held.files[row] for row in held.rows["clear", "test"]].index(str(folder / names[2]))
        turned = make(data).data[0].test.images[place]
        assert turned[:, :6].max() < 50 and turned[:, -6:].min() > 200

    def test_broken_and_missing_images_are_named_together(self, data: Path) -> None:
        names = [str(entry["name"]) for entry in read_labels(data, "val")][:3]
        files = [data / "images/100k/val" / name for name in names]
        files[0].unlink()
        files[1].write_bytes(b"")
        files[2].write_bytes(files[2].read_bytes()[:-200])
        with pytest.raises(ValueError, match=r"3 of \d+ images of BDD100K cannot be read.*get them again") as caught:
            make(data)
        assert all(str(file) in str(caught.value) for file in files) and "\n" not in str(caught.value)

    def test_what_is_not_taken_may_be_missing(self, data: Path) -> None:
        for entry in read_labels(data, "train"):
            if entry["attributes"]["weather"] == "undefined":  # type: ignore[index]
                (data / "images/100k/train" / str(entry["name"])).unlink()
        assert make(data)


class TestRefusals:
    def refused(self, data: Path | str, message: str, name: str = "bdd100k-foggy", **options: object) -> None:
        with pytest.raises(ValueError, match=message) as caught:
            make(Path(data), name=name, **options)
        assert "\n" not in str(caught.value)

    def test_no_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(ValueError, match=r"--data DIR or in MDS_BENCH_DATA.*bdd100k\.com.*never downloaded"):
            foggy()
        self.refused(tmp_path / "nowhere", r"there is no folder .*nowhere.*--data")
        monkeypatch.setenv("MDS_BENCH_DATA", str(tmp_path / "gone"))
        with pytest.raises(ValueError, match=r"there is no folder .*gone"):
            foggy()

    def test_another_folder(self, tmp_path: Path) -> None:
        picture(0).save(tmp_path / "0.png")
        self.refused(tmp_path, r"holds no labels/det_20/det_train\.json, .* or labels/100k/val/.*bdd100k\.com")

    def test_no_images(self, data: Path) -> None:
        shutil.rmtree(data / "images/100k/val")
        self.refused(data, "holds no images/100k/val: unpack BDD100K there")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", r"does not begin with \["),
            ('{"frames": []}', r"does not begin with \["),
            ('[{"name": "a.jpg"', "premature EOF"),
            ('[{"name": "a.jpg"} {', "parse error"),
            ('[{"name": "a.jpg"}] x', "trailing garbage"),
            ('[{"name": "a.jpg", "attributes": [1]}]', "frame 1 has no name or no attributes"),
            ('[{"name": "a.jpg"}, {"attributes": {}}]', "frame 2 has no name"),
            ("[1]", "frame 1 has no name"),
            ("[", "premature EOF"),
            ("\xff\xfe", "det_val.json is no list of BDD100K's frames"),
        ],
    )
    def test_broken_labels(self, data: Path, content: str, message: str) -> None:
        file = data / NEW.format("val")
        file.write_bytes(content.encode("latin-1"))
        self.refused(data, message)
        self.refused(data, "get the labels again")
        self.refused(data, "det_val.json")

    def test_a_class_without_images(self, data: Path) -> None:
        for split in ("train", "val"):
            kept = [e for e in read_labels(data, split) if e["attributes"]["scene"] != "tunnel"]  # type: ignore[index]
            write_labels(data, NEW, split, kept)
        assert make(data).classes
        self.refused(data, r"cannot serve bdd100k-tunnel: class 'tunnel' has 0 train, 0 val, 0 test", "bdd100k-tunnel")

    def test_missing_attributes_are_undefined(self, data: Path) -> None:
        write_labels(
            data, NEW, "val", [*read_labels(data, "val"), {"name": "a.jpg"}, {"name": "b.jpg", "attributes": None}]
        )
        assert pool("bdd100k-foggy", data).dropped == {"weather undefined": 17}

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"val_share": 0.0}, "val_share must be above 0"),
            ({"val_share": 1.0}, "val_share must be above 0"),
            ({"image_size": 8}, "image_size must be between 16 and 1024 px"),
            ({"protected_per_class": 0}, "protected_per_class must be 1 or more"),
            ({"test_per_class": -1}, "test_per_class must be 1 or more"),
            ({"val_share": 0.001}, "class 'clear' has 33 train, 0 val, 7 test"),
        ],
        ids=str,
    )
    def test_options(self, originals: Path, options: dict[str, object], message: str) -> None:
        self.refused(originals, message, **options)


class TestExternal:
    @pytest.fixture
    def pairs(self, tmp_path: Path) -> Path:
        folder = tmp_path / "pairs"
        (folder / "imgs").mkdir(parents=True)
        for number in range(3):
            picture(900 + number).save(folder / f"imgs/{number}.png")
        rows = ("imgs/0.png,a foggy road,1", f'"{folder}/imgs/1.png","fog, thick",1', "imgs/2.png,sun,0")
        return self.write(folder / "pairs.csv", *rows)

    @staticmethod
    def write(file: Path, *rows: str, header: str = "filepath,title,slabel") -> Path:
        file.write_text("\r\n".join([header, *rows]), encoding="utf-8")
        return file

    def test_positives_join_the_new_images(self, originals: Path, pairs: Path) -> None:
        plain, joined = make(originals), make(originals, external=str(pairs))
        assert counts(joined, "train") == {"foggy": 6}
        assert pixels(joined, "train")[:4] == pixels(plain, "train")
        assert (joined.fingerprint, joined.options["external"]) == (plain.fingerprint, True)
        assert joined.training_fingerprint != plain.training_fingerprint

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ("imgs/9.png,fog,1", r"line 3, column filepath: there is no file 'imgs/9\.png'"),
            (",fog,1", "line 3, column filepath"),
            ("imgs/1.png,,1", "line 3, column title: it is empty"),
            ("imgs/1.png,fog,yes", "line 3, column slabel: 'yes' is neither 1"),
            ("imgs/1.png,fog", "line 3, column slabel: '' is neither 1"),
        ],
    )
    def test_a_wrong_row_is_named(self, originals: Path, pairs: Path, row: str, message: str) -> None:
        self.write(pairs, "imgs/0.png,fog,1", row)
        with pytest.raises(ValueError, match=message) as caught:
            make(originals, external=str(pairs))
        assert str(pairs) in str(caught.value) and "\n" not in str(caught.value)

    def test_other_files(self, originals: Path, pairs: Path) -> None:
        for file, message in (
            (self.write(pairs, "imgs/0.png,fog", header="filepath,title"), "line 1 has no column slabel"),
            (pairs.parent / "none.csv", r"none\.csv is no CSV"),
            (pairs.parent / "imgs/0.png", r"0\.png is no CSV"),
        ):
            with pytest.raises(ValueError, match=message):
                make(originals, external=str(file))
        self.write(pairs, "imgs/0.png,fog,0")
        with pytest.raises(ValueError, match="no row with slabel 1"):
            make(originals, external=str(pairs))

    def test_frames_of_the_data_set_are_refused(self, originals: Path, pairs: Path) -> None:
        scored = next((originals / "images/100k/val").iterdir())
        self.write(pairs, f"{scored},fog,1")
        with pytest.raises(ValueError, match="belongs to BDD100K itself"):
            make(originals, external=str(pairs))

    def test_an_image_is_taken_once_and_shows_the_target_or_not(self, originals: Path, pairs: Path) -> None:
        self.write(pairs, "imgs/0.png,fog,1", "imgs/../imgs/0.png,mist,1", "imgs/1.png,fog,1")
        assert counts(make(originals, external=str(pairs)), "train") == {"foggy": 6}
        self.write(pairs, "imgs/0.png,fog,1", "imgs/../imgs/0.png,mist,0")
        with pytest.raises(ValueError, match=r"line 3, column slabel: imgs/../imgs/0.png has another one in line 2"):
            make(originals, external=str(pairs))

    def test_copies_of_what_is_scored_are_refused(self, originals: Path, pairs: Path) -> None:
        scored = sorted((originals / "images/100k/val").iterdir())
        for number, frame in enumerate(scored):
            shutil.copy(frame, pairs.parent / f"imgs/copy{number}.jpg")
        self.write(pairs, *(f"imgs/copy{number}.jpg,fog,1" for number in range(len(scored))))
        with pytest.raises(ValueError, match=r"line \d+, column filepath: .*copy.* is a copy of .*, which is scored"):
            make(originals, external=str(pairs))

    def test_four_targets_take_none(self, originals: Path, pairs: Path) -> None:
        with pytest.raises(ValueError, match="external: bdd100k-rounds has 4 targets"):
            make(originals, name="bdd100k-rounds", external=str(pairs))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "attributes", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


def is_read_or_refused_in_a_line(value: object, folder: Path) -> None:
    for file in (folder / "labels.json", folder / "100k" / "one.json"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(value))
        place = file if file.parent == folder else file.parent
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MDS_BENCH_CACHE", str(folder / "cache"))
            try:
                table = bdd100k_files.read_labels(place)
                real.ranks(table["name"])
            except ValueError as error:
                assert str(error).startswith(f"data: {file} is no ") and len(str(error).splitlines()) == 1
            shutil.rmtree(folder / "cache", ignore_errors=True)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(JSON)
def test_any_json_is_labels_or_refused_in_a_line(scratch: Path, value: object) -> None:
    is_read_or_refused_in_a_line(value, scratch)


@pytest.mark.slow
@settings(max_examples=2_000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(JSON)
def test_any_json_is_labels_or_refused_in_a_line_often(scratch: Path, value: object) -> None:
    is_read_or_refused_in_a_line(value, scratch)
