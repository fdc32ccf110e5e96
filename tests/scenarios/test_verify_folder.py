"""What a folder of photos lacks is said before it costs a run."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scenarios.verify_folder import verify_folder


@pytest.fixture(autouse=True)
def _no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MDS_BENCH_DATA", raising=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two classes of 24 photos: of them 6 test, 3 val, 6 base, 9 train."""
    for seed, label in enumerate(("barn", "yard")):
        (tmp_path / label).mkdir()
        for number in range(24):
            pixels = np.random.default_rng([seed, number]).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / label / f"{number:02}.png")
    return tmp_path


def test_a_whole_folder_is_ok(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = verify_folder(str(data), decode=True)
    assert report.ok and report.lines()[-1] == "ok"
    assert report.counts["barn"] == {"base": 6, "train": 9, "val": 3, "test": 6}
    assert json.loads(json.dumps(dataclasses.asdict(report)))["data"] == str(data)
    monkeypatch.setenv("MDS_BENCH_DATA", str(data))
    assert verify_folder("").ok


def test_all_that_is_wrong_is_said_together(data: Path) -> None:
    (data / "barn" / "00.png").write_bytes(b"no image")
    (data / "barn" / "a.heic").write_bytes(b"0")
    shutil.copy(data / "barn" / "01.png", data / "yard" / "copy.png")
    (data / "zoo").mkdir()
    report = verify_folder(str(data), decode=True)
    text = "\n".join(report.lines())
    assert not report.ok and all("\n" not in line for line in report.lines())
    assert "UNREADABLE: 1 photos:" in text and "left out of barn: 1 .heic" in text
    assert "TOO FEW: class 'zoo' has 0" in text
    assert "DUPLICATE: 1 photo in several classes or splits: barn/01.png (barn, " in text and "yard/copy.png" in text
    assert text.splitlines()[-1].startswith("not ok: add photos (each class needs 5 test")


def test_a_copy_in_one_class_and_split_is_no_fault_and_one_across_splits_is(data: Path) -> None:
    for split in ("base", "train", "val", "test"):
        shutil.copytree(data / "barn", data / "s" / split / "barn")
        shutil.copytree(data / "yard", data / "s" / split / "yard")
    report = verify_folder(str(data / "s"))
    assert len(report.leaked) == 48 and not report.repeated  # each stands in all four
    for split in ("base", "train", "val"):
        shutil.rmtree(data / "s" / split / "yard")
    shutil.rmtree(data / "s" / "val")
    shutil.rmtree(data / "s" / "test" / "barn")
    report = verify_folder(str(data / "s"))
    assert len(report.repeated) == 24 and not report.leaked  # base or train: that is up to the target


def test_classes_of_the_same_name_are_told(data: Path) -> None:
    shutil.copytree(data / "barn", data / "old barn")
    (data / "yard").rename(data / "old_barn")
    report = verify_folder(str(data))
    assert not report.ok and "SAME NAME: several classes are 'old barn'" in "\n".join(report.lines())
    assert "rename classes of the same name" in report.lines()[-1]


def test_splits_without_a_base_are_told_what_a_base_takes(data: Path) -> None:
    for split, chosen in (("test", range(6)), ("val", range(6, 10)), ("train", range(10, 24))):
        for label in ("barn", "yard"):
            (data / "s" / split / label).mkdir(parents=True)
            for number in chosen:
                shutil.copy(data / label / f"{number:02}.png", data / "s" / split / label)
    report = verify_folder(str(data / "s"))
    assert report.ok and "--base FILE.safetensors, or photos in a folder or split base" in "\n".join(report.lines())


def test_of_many_copies_some_are_named(data: Path) -> None:
    for number in range(24):
        shutil.copy(data / "barn/00.png", data / "yard" / f"copy{number}.png")
    assert "and 21 more" in "\n".join(verify_folder(str(data)).lines())


def test_one_class_is_too_few(data: Path) -> None:
    shutil.rmtree(data / "yard")
    report = verify_folder(str(data))
    assert not report.ok and "one class" in "\n".join(report.lines())


def test_a_csv_is_looked_at_too(data: Path) -> None:
    rows = [f"{label}/{number:02}.png,{label}" for label in ("barn", "yard") for number in range(24)]
    (data / "photos.csv").write_text("\n".join(["path,label", *rows]))
    assert verify_folder(str(data / "photos.csv"), decode=True).ok
