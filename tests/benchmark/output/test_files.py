"""Files are there in full or not at all, and a folder that cannot be written to is refused before anything slow."""

from __future__ import annotations

import gc
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmark.output.files import check_file, check_files, check_writable, locked, no_collection, replace_file


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for content in (b"first", b"", b"a longer third"):
        replace_file(path, content)
        assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]


def test_a_link_stays_one_and_its_file_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    kept, link = tmp_path / "far" / "kept.json", tmp_path / "link.json"
    kept.write_bytes(b"old")
    kept.chmod(0o640)
    link.symlink_to(kept)
    check_file("--out", link)
    replace_file(link, b"new")
    assert link.is_symlink() and kept.read_bytes() == b"new" and kept.stat().st_mode & 0o777 == 0o640
    assert list((tmp_path / "far").iterdir()) == [kept]
    (tmp_path / "nowhere.json").symlink_to("missing/a.json")
    with pytest.raises(ValueError, match=r"--out .*nowhere\.json: name a file in a folder that exists"):
        check_file("--out", tmp_path / "nowhere.json")


def test_one_at_a_time_holds_a_lock_whatever_the_name_it_comes_by(tmp_path: Path) -> None:
    count, link = tmp_path / "count", tmp_path / "link"
    count.write_text("0")
    link.symlink_to(count)

    def add(path: Path) -> None:
        for _ in range(20):
            with locked(path):
                replace_file(path, str(int(path.read_text()) + 1).encode())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, [count, link] * 2))
    assert count.read_text() == "80" and sorted(tmp_path.iterdir()) == [count, link]


def test_a_file_that_cannot_be_put_in_place_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").write_bytes(b"old")
    with pytest.raises(OSError):
        replace_file(tmp_path / "folder", b"new")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "old"]


def test_a_folder_is_made_or_refused_by_name(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir() and not list((tmp_path / "a" / "b").iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"cannot write to .*file: .*; choose another folder"):
        check_writable(tmp_path / "file")


@pytest.mark.parametrize("enabled", [True, False])
def test_collection_is_as_before_even_after_an_error(enabled: bool) -> None:
    before = gc.isenabled()
    try:
        gc.enable() if enabled else gc.disable()
        with pytest.raises(KeyError), no_collection():
            assert not gc.isenabled()
            raise KeyError
        assert gc.isenabled() == enabled
    finally:
        gc.enable() if before else gc.disable()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder", "name a file in a folder that exists"),
        ("missing/a.png", "name a file in a folder that exists"),
        ("a.jpg", r"the name must end in \.png or \.webp"),
        ("given.png", "would overwrite a file that this command reads"),
        ("link.png", "would overwrite a file that this command reads"),
        ("folder/../given.png", "would overwrite a file that this command reads"),
        ("pipe", "is a device or pipe"),
    ],
)
def test_a_file_that_could_or_should_not_be_written_is_refused_by_its_flag(
    tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "given.png").touch()
    (tmp_path / "link.png").symlink_to("given.png")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=rf"^--out .*{name}: {message}"):
        check_file("--out", tmp_path / name, ".png", ".webp", inputs=[None, tmp_path / "given.png"])


def test_outputs_are_different_files(tmp_path: Path) -> None:
    check_files([tmp_path / "a"], html=tmp_path / "b", junit=None)
    check_files([tmp_path / "a"], html=tmp_path / "b", junit=tmp_path / "c")
    with pytest.raises(ValueError, match="--html and --junit name the same file"):
        check_files([], html=tmp_path / "b", junit=tmp_path / "." / "b")


def test_an_error_names_the_file_that_was_to_be_written(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        replace_file(tmp_path / "none" / "a.xml", b"")
    assert caught.value.filename == str(tmp_path / "none" / "a.xml")
