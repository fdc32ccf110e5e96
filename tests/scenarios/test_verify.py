"""Whether a folder of a published data set is complete: what the report says."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from scenarios.bdd100k import PLANS
from scenarios.bdd100k_files import LABELS
from scenarios.verify import WEATHER_TEST, Count, Report, verify
from tests.scenarios.test_bdd100k import frame, read_labels, write_bdd100k, write_labels
from tests.scenarios.test_places365 import CATEGORIES, OF_CLASS, TRAIN, VAL_OF_CLASS, write_places365


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDS_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("MDS_BENCH_DATA", raising=False)


@pytest.fixture
def bdd(tmp_path: Path) -> Path:
    return write_bdd100k(tmp_path / "bdd100k")


@pytest.fixture
def places(tmp_path: Path) -> Path:
    return write_places365(tmp_path / "here/places365")


def count(report: Report, label: str, split: str) -> Count:
    [found] = [count for count in report.counts if (count.label, count.split) == (label, split)]
    return found


def text(report: Report) -> str:
    lines = report.lines()
    assert all(isinstance(line, str) and "\n" not in line for line in lines)
    return "\n".join(lines)


class TestBDD100K:
    @pytest.mark.parametrize("name", PLANS)
    def test_a_small_copy_is_ok_but_not_as_published(self, bdd: Path, name: str) -> None:
        report = verify(name, str(bdd.parent), decode=True)
        assert report.ok and report.unreadable == report.absent == ()
        known = name in ("bdd100k-foggy", "bdd100k-overcast")
        assert report.as_published is not known  # of scenes no count is known
        assert text(report).endswith("ok") is not known
        assert all(report.places.values()) and len(report.places) == 4

    def test_counts_stand_beside_the_published_ones(self, bdd: Path) -> None:
        report = verify("bdd100k-foggy", str(bdd))
        assert count(report, "clear", "test") == Count("clear", "test", 7, (5346, 5346))
        assert count(report, "foggy", "train") == Count("foggy", "train", 4, (57, 57))
        assert count(report, "clear", "train") == Count("clear", "train", 23)
        assert report.dropped == {"weather undefined": 15}
        said = text(report)
        assert "clear          train 23                  val 10                    test 7 of 5,346" in said
        assert "left out: 15 with weather undefined" in said
        assert "broken files would not be noticed" in said
        assert "ok, but not as published: clear test 7 of 5,346" in said

    def test_the_published_counts(self, tmp_path: Path) -> None:
        listed = {"train": 130, "val": 13}
        for split, foggy in listed.items():
            (tmp_path / "images/100k" / split).mkdir(parents=True)
            entries = [frame(f"{split} foggy {i}.jpg", "foggy", "highway") for i in range(foggy)]
            for weather in WEATHER_TEST.keys() - {"foggy"}:
                number = WEATHER_TEST[weather] if split == "val" else 10
                entries += [frame(f"{split} {weather} {i}.jpg", weather, "highway") for i in range(number)]
            write_labels(tmp_path, LABELS[0], split, entries)
        report = verify("bdd100k-foggy", str(tmp_path))
        assert sum(c.images for c in report.counts if c.split == "test") == 8873
        assert all(c.agrees for c in report.counts) and not report.ok
        assert len(report.absent) == report.images == sum(c.images for c in report.counts)
        assert "MISSING: 9,023 of 9,023 listed images: " in text(report)

    def test_missing_absent_and_unreadable_files(self, bdd: Path) -> None:
        names = [str(entry["name"]) for entry in read_labels(bdd, "val")]
        gone, empty, cut, other = (bdd / "images/100k/val" / name for name in names[:4])
        gone.unlink()
        empty.write_bytes(b"")
        cut.write_bytes(cut.read_bytes()[:-200])
        other.write_bytes(b"<html>not found</html>")
        seen: list[tuple[str, int, int]] = []
        report = verify("bdd100k-foggy", str(bdd), decode=True, progress=lambda *step: seen.append(step))
        assert report.absent == (str(gone),)
        assert report.unreadable is not None and len(report.unreadable) == 3
        assert all(any(line.startswith(str(f)) for line in report.unreadable) for f in (empty, cut, other))
        assert seen == [("pictures", report.images - 1, report.images - 1)]
        assert not report.ok
        said = text(report)
        assert f"MISSING: 1 of {report.images} listed images: {gone}" in said and "UNREADABLE: 3 of" in said
        assert "not ok: get what is missing or broken from bdd100k.com" in said
        assert verify("bdd100k-foggy", str(bdd)).unreadable is None

    def test_files_that_are_missing(self, bdd: Path) -> None:
        shutil.rmtree(bdd / "images/100k/val")
        (bdd / LABELS[0].format("train")).unlink()
        report = verify("bdd100k-foggy", str(bdd))
        assert not report.ok and not report.counts
        assert [what for what, place in report.places.items() if not place] == [
            "labels/det_20/det_train.json, labels/bdd100k_labels_images_train.json or labels/100k/train/*.json",
            "images/100k/val",
        ]
        assert "MISSING: images/100k/val" in text(report) and "found: " in text(report)

    def test_labels_that_are_broken(self, bdd: Path) -> None:
        (bdd / LABELS[0].format("val")).write_text('{"frames": []}')
        report = verify("bdd100k-tunnel", str(bdd))
        assert "det_val.json is no list" in report.problem and not report.ok
        assert f"UNUSABLE: {report.problem}" in text(report)

    def test_a_class_without_images(self, bdd: Path) -> None:
        for split in ("train", "val"):
            kept = [e for e in read_labels(bdd, split) if e["attributes"]["scene"] != "tunnel"]  # type: ignore[index]
            write_labels(bdd, LABELS[0], split, kept)
        report = verify("bdd100k-tunnel", str(bdd))
        assert count(report, "tunnel", "test").images == 0 and not report.ok

    def test_it_is_plain_data(self, bdd: Path) -> None:
        report = dataclasses.asdict(verify("bdd100k-foggy", str(bdd), decode=True))
        assert json.loads(json.dumps(report))["scenario"] == "bdd100k-foggy"


class TestPlaces365:
    def test_a_small_copy(self, places: Path) -> None:
        report = verify("places365-dressing-room", str(places), decode=True)
        assert not report.as_published
        assert not report.ok and "0 train, 12 val, 3 test images" in report.short[0]  # too small for the usual options
        assert count(report, "dressing_room", "train") == Count("dressing_room", "train", OF_CLASS, (3068, 5000))
        assert count(report, "dressing_room", "val") == Count("dressing_room", "val", VAL_OF_CLASS, (100, 100))
        assert count(report, "all classes", "train").published == (1_803_460, 1_803_460)
        assert "dressing_room           train 12 of 3,068 to 5,000" in text(report)

    def test_broken_files_and_lists(self, places: Path) -> None:
        file = places / "data_256/a/airfield/00000000.jpg"
        file.write_bytes(b"")
        report = verify("places365-dressing-room", str(places), decode=True)
        assert report.unreadable is not None and [line.startswith(str(file)) for line in report.unreadable] == [True]
        shutil.rmtree(file.parent)
        report = verify("places365-dressing-room", str(places))
        assert len(report.absent) == OF_CLASS and not report.ok
        (places / TRAIN).write_text("/a/airfield/1.jpg zero")
        assert "path index" in verify("places365-dressing-room", str(places)).problem

    def test_a_class_without_images(self, places: Path) -> None:
        with (places / CATEGORIES).open("a") as handle:
            handle.write("\n/z/zoo 4")
        report = verify("places365-dressing-room", str(places))
        assert count(report, "zoo", "train").images == 0 and not report.ok

    def test_of_many_classes_those_that_differ_are_named(self, places: Path) -> None:
        counts = [Count(f"class {n}", "train", 4000 - 1000 * (n == 7), (3068, 5000)) for n in range(365)]
        report = verify("places365-dressing-room", str(places))
        total = Count("all classes", "train", 1_800_000, (1_803_460, 1_803_460))
        said = text(dataclasses.replace(report, counts=(*counts, total)))
        assert "365 classes, of which these differ:" in said
        assert "class 7      train 3,000 of 3,068 to 5,000" in said and "class 8" not in said
        assert "all classes  train 1,800,000 of 1,803,460" in said


class TestRefusals:
    def test_other_scenarios(self, bdd: Path) -> None:
        with pytest.raises(ValueError, match="unknown scenario with data on disk 'bdd100k': did you mean"):
            verify("bdd100k", str(bdd))

    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="--data DIR or in MDS_BENCH_DATA"):
            verify("bdd100k-foggy", "")
        with pytest.raises(ValueError, match="there is no folder"):
            verify("places365-dressing-room", str(tmp_path / "nowhere"))

    def test_another_folder(self, tmp_path: Path) -> None:
        for name in (*PLANS, "places365-dressing-room"):
            report = verify(name, str(tmp_path))
            assert not report.ok and not any(report.places.values())
            assert text(report).count("MISSING") == len(report.places)
