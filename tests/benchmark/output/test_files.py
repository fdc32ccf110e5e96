"""Files are there in full or not at all, and a folder that cannot be written to is refused before anything slow."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from benchmark.output.files import check_file, check_files, check_writable, no_collection, replace_file


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for content in (b"first", b"", b"a longer third"):
        replace_file(path, content)
        assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]


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
