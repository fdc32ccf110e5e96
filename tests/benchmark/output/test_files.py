"""Files are there in full or not at all, and a folder that cannot be written to is refused before anything slow."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from benchmark.output.files import check_writable, no_collection, replace_file


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
