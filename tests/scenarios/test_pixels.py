"""Images made once and kept on disk."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from scenarios import pixel_file, pixels
from scenarios.cache import cache_folder, limit_bytes
from scenarios.pixel_file import PAGE
from scenarios.pixels import PixelStore, load_photos, photo_store, reporting

SIDE = 8
IMAGE_BYTES = 3 * SIDE * SIDE


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and nothing that an earlier test kept in memory."""
    monkeypatch.setenv("MDS_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MDS_BENCH_CACHE_GB", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five images a chunk."""
    monkeypatch.setattr(pixels, "CHUNK_BYTES", 5 * IMAGE_BYTES)


def render(rows: list[int], salt: int = 0) -> Tensor:
    """An image of its own for every row and salt."""
    images = [np.random.default_rng((salt, row)).integers(0, 256, (3, SIDE, SIDE), dtype=np.uint8) for row in rows]
    return torch.from_numpy(np.stack(images))


class Maker:
    """``render``, which remembers the rows of each call."""

    def __init__(self, salt: int = 0) -> None:
        self.calls: list[list[int]] = []
        self.salt = salt

    def __call__(self, rows: list[int]) -> Tensor:
        self.calls.append(rows)
        return render(rows, self.salt)


def store(make: Callable[[list[int]], Tensor], name: str = "noise", count: int = 20, stamp: int = 1) -> PixelStore:
    return PixelStore(name, [stamp] * count, SIDE, make)


def refuse(rows: list[int]) -> Tensor:
    raise AssertionError(f"{rows} should have been kept")


def files() -> list[Path]:
    return sorted((cache_folder() / "pixels").iterdir())


class TestTaking:
    @pytest.mark.parametrize("rows", [[3, 1, 2], [7, 7, 0, 7], list(range(20)), [4, 5, 6, 9, 8], []], ids=str)
    def test_images_come_in_the_order_of_rows_which_may_repeat(self, rows: list[int]) -> None:
        images = store(render).take(rows)
        assert images.dtype == torch.uint8 and images.shape == (len(rows), 3, SIDE, SIDE)
        assert all(torch.equal(image, render([row])[0]) for row, image in zip(rows, images, strict=True))

    def test_each_image_is_made_once(self) -> None:
        first, second = Maker(), Maker()
        noise = store(first)
        noise.take([2, 9, 2])
        noise.take([9, 2])
        store(second).take([2, 3, 9])
        assert (first.calls, second.calls) == ([[2, 9]], [[3]])

    def test_what_is_taken_is_the_callers_own(self) -> None:
        noise = store(render)
        noise.take([1]).zero_()
        assert torch.equal(noise.take([1]), render([1]))

    @pytest.mark.parametrize("rows", [[20], [-1], [0, 99]], ids=str)
    def test_a_row_outside_is_refused(self, rows: list[int]) -> None:
        with pytest.raises(IndexError, match="between 0 and 19"):
            store(refuse).take(rows)

    def test_an_empty_collection_is_possible(self) -> None:
        assert store(refuse, count=0).take([]).shape == (0, 3, SIDE, SIDE)

    def test_collections_are_told_apart_by_name_count_and_size(self) -> None:
        store(Maker(1)).take([0])
        for other in (store(render, name="noise 2"), store(render, count=21), PixelStore("noise", [1] * 20, 4, tiny)):
            side = other.take([0]).shape[-1]
            assert torch.equal(other.take([0]), render([0])[:, :, :side, :side])
        assert torch.equal(store(refuse).take([0]), render([0], 1))

    def test_any_name_will_do(self) -> None:
        for number, name in enumerate(("", "../../a b", "x" * 500, "été \udcff", "a\0b")):
            store(Maker(number), name=name).take([0])
            assert torch.equal(store(refuse, name=name).take([0]), render([0], number))
        assert len(files()) == 5 and files()[0].parent == cache_folder() / "pixels"

    def test_what_is_made_must_be_bytes_of_the_right_shape(self) -> None:
        for wrong in (torch.zeros(1, 3, SIDE, SIDE), torch.zeros(2, 3, SIDE, SIDE, dtype=torch.uint8)):
            with pytest.raises(ValueError, match="make must give uint8"):
                store(lambda rows, wrong=wrong: wrong).take([0])  # type: ignore[misc]

    def test_images_need_not_be_contiguous(self) -> None:
        store(lambda rows: render(rows).transpose(2, 3)).take([4, 5])
        assert torch.equal(store(refuse).take([4, 5]), render([4, 5]).transpose(2, 3))

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 19), max_size=30)), max_size=6))
    def test_whatever_is_taken_is_what_would_be_made(self, takes: list[tuple[bool, list[int]]]) -> None:
        shutil.rmtree(cache_folder(), ignore_errors=True)
        noise = store(render)
        for again, rows in takes:
            noise = store(render) if again else noise
            assert torch.equal(noise.take(rows), render(rows) if rows else torch.empty(0, 3, SIDE, SIDE))


def tiny(rows: list[int]) -> Tensor:
    return render(rows)[:, :, :4, :4]


class TestStamps:
    def test_only_an_image_with_another_stamp_is_made_anew(self) -> None:
        stamps = [5, 0, -7, 2**63 - 1, -(2**63)]
        PixelStore("stamped", stamps, SIDE, render).take(range(5))
        PixelStore("stamped", stamps, SIDE, refuse).take(range(5))
        changed = Maker(salt=1)
        images = PixelStore("stamped", [5, 0, -8, *stamps[3:]], SIDE, changed).take(range(5))
        assert changed.calls == [[2]]
        assert torch.equal(images[2], render([2], 1)[0]) and torch.equal(images[3], render([3])[0])

    def test_stamp_0_is_a_stamp(self) -> None:
        first = Maker()
        for _ in range(2):
            store(first, stamp=0).take([1])
        store(first, stamp=1).take([1])
        assert first.calls == [[1], [1]]

    def test_who_has_the_store_open_with_the_old_stamp_never_gets_the_new_image(self) -> None:
        old = store(Maker(salt=0), stamp=1)
        old.take([3])
        assert torch.equal(store(Maker(salt=1), stamp=2).take([3]), render([3], 1))
        assert torch.equal(old.take([3]), render([3], 0))

    def test_an_image_replaced_while_it_is_copied_is_not_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        noise = store(Maker(salt=0), stamp=1)
        noise.take([3])
        copy = PixelStore._copy

        def replaced_meanwhile(self: PixelStore, wanted: np.ndarray) -> np.ndarray:
            monkeypatch.setattr(PixelStore, "_copy", copy)
            store(Maker(salt=1), stamp=2).take([3])
            return copy(self, wanted)

        monkeypatch.setattr(PixelStore, "_copy", replaced_meanwhile)
        assert torch.equal(noise.take([3]), render([3], 0))


class TestInterruption:
    @pytest.mark.usefixtures("small_chunks")
    @pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError])
    def test_finished_chunks_stay_and_the_rest_is_made_next_time(self, error: type[BaseException]) -> None:
        def interrupted(rows: list[int]) -> Tensor:
            if rows[0] == 5:
                raise error
            return render(rows)

        with pytest.raises(error):
            store(interrupted).take(range(12))
        resumed = Maker()
        assert torch.equal(store(resumed).take(range(12)), render(list(range(12))))
        assert resumed.calls == [[5, 6, 7, 8, 9], [10, 11]]

    @pytest.mark.parametrize("kept", [[], [0, 5]], ids=["absent", "stale"])
    @pytest.mark.parametrize("reader", [1, 2])
    def test_an_image_is_marked_only_when_it_is_whole(
        self, kept: list[int], reader: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The process ends in the middle of any of its writes."""
        write = os.pwrite
        for survived in range(10):
            shutil.rmtree(cache_folder(), ignore_errors=True)
            store(Maker(salt=1), stamp=1).take(kept)
            left = survived

            def cut(descriptor: int, data: memoryview, place: int) -> int:
                nonlocal left
                left -= 1
                if left < 0:
                    write(descriptor, data[: len(data) // 2], place)
                    raise KeyboardInterrupt
                return write(descriptor, data, place)

            with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
                patch.setattr(os, "pwrite", cut)
                store(Maker(salt=2), stamp=2).take([0, 1, 5])
            images = store(Maker(salt=reader), stamp=reader).take(range(6))
            assert torch.equal(images, render(list(range(6)), reader)), survived
        assert left > 0, "not every write was cut"

    @pytest.mark.parametrize("left", [0, 1, 100, 5_000])
    def test_a_file_of_the_wrong_size_is_made_anew(self, left: int) -> None:
        store(Maker(salt=1)).take(range(20))
        [file] = files()
        os.truncate(file, left)
        again = Maker()
        assert torch.equal(store(again).take(range(20)), render(list(range(20))))
        assert again.calls == [list(range(20))]
        store(refuse).take(range(20))

    def test_a_file_that_is_too_large_is_made_anew(self) -> None:
        store(Maker(salt=1)).take([1])
        with files()[0].open("ab") as file:
            file.write(b"more")
        assert torch.equal(store(render).take([1]), render([1]))

    def test_no_space_is_taken_by_images_that_were_not(self) -> None:
        PixelStore("large", [1] * 10_000, 64, lambda rows: torch.ones(len(rows), 3, 64, 64, dtype=torch.uint8)).take(
            [9_999]
        )
        [file] = files()
        assert file.stat().st_size > 120_000_000 and file.stat().st_blocks * 512 < 1_000_000


def fill_in_chunks(rows: list[int], log: Path) -> None:
    """What a process of its own does."""
    pixels.CHUNK_BYTES = 5 * IMAGE_BYTES

    def slowly(chunk: list[int]) -> Tensor:
        with log.open("a") as file:
            file.write("".join(f"{row}\n" for row in chunk))
        time.sleep(0.01)
        return render(chunk)

    images = store(slowly, count=200).take(rows)
    assert torch.equal(images, render(rows))


class TestProcesses:
    def test_two_may_fill_one_store_and_a_third_makes_nothing(self, tmp_path: Path) -> None:
        spawn = multiprocessing.get_context("spawn")
        orders = ([*range(200)], [*range(199, 49, -1)])
        workers = [spawn.Process(target=fill_in_chunks, args=(rows, tmp_path / "log")) for rows in orders]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert [worker.exitcode for worker in workers] == [0, 0]
        assert torch.equal(store(refuse, count=200).take(range(200)), render(list(range(200))))

    def test_what_another_process_made_is_not_made_again(self, tmp_path: Path) -> None:
        open_before = store(refuse, count=200)
        worker = multiprocessing.get_context("spawn").Process(target=fill_in_chunks, args=([3, 4], tmp_path / "log"))
        worker.start()
        worker.join()
        assert (tmp_path / "log").read_text() == "3\n4\n"
        assert torch.equal(open_before.take([4, 3]), render([4, 3]))


class TestBound:
    @staticmethod
    def fill(name: str, age: float = 0) -> Path:
        """A collection of about 1 MB, last used ``age`` seconds ago; its file."""
        before = set((cache_folder() / "pixels").glob("*"))
        make = lambda rows: torch.full((len(rows), 3, 64, 64), 7, dtype=torch.uint8)  # noqa: E731
        PixelStore(name, [1] * 85, 64, make).take(range(85))
        [file] = set(files()) - before
        os.utime(file, (time.time() - age,) * 2)
        return file

    def test_the_least_recently_used_are_deleted_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        second, first, third = self.fill("b", 200), self.fill("a", 300), self.fill("c", 100)
        monkeypatch.setenv("MDS_BENCH_CACHE_GB", "0.0035")  # room for three of them
        fourth = self.fill("d")
        assert files() == sorted([second, third, fourth]) and not first.exists()

    def test_opening_is_using(self, monkeypatch: pytest.MonkeyPatch) -> None:
        old, young = self.fill("a", 300), self.fill("b", 200)
        PixelStore("a", [1] * 85, 64, refuse).take([0])
        monkeypatch.setenv("MDS_BENCH_CACHE_GB", "0.0025")
        third = self.fill("c")
        assert files() == sorted([old, third]) and not young.exists()

    def test_the_bound_holds_from_the_opening_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fill("a", 300)
        young = self.fill("b", 200)
        monkeypatch.setenv("MDS_BENCH_CACHE_GB", "0.0015")
        store(refuse)
        assert len(files()) == 2 and young in files()

    def test_without_room_only_the_one_in_use_stays_and_other_files_are_left_alone(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = self.fill("a", 300)
        (first.parent / "notes.txt").write_text("mine")
        monkeypatch.setenv("MDS_BENCH_CACHE_GB", "0")
        second = self.fill("b")
        assert files() == sorted([second, first.parent / "notes.txt"])

    def test_twenty_gigabytes_by_default(self) -> None:
        self.fill("a", 300)
        self.fill("b")
        assert len(files()) == 2 and limit_bytes() == 20e9

    def test_a_store_deleted_while_open_goes_on(self) -> None:
        noise = store(render)
        noise.take([1, 2])
        files()[0].unlink()
        again = store(Maker(salt=1))
        assert torch.equal(again.take([1, 2]), render([1, 2], 1))
        assert torch.equal(noise.take([2, 3]), render([2, 3]))  # reads on, writes on
        assert torch.equal(store(render).take([1, 3]), torch.stack([render([1], 1)[0], render([3])[0]]))

    @pytest.mark.parametrize("value", ["lots", "-1", "nan", "20 GB"])
    def test_a_bound_that_is_no_number_is_refused(self, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MDS_BENCH_CACHE_GB", value)
        with pytest.raises(ValueError, match=f"MDS_BENCH_CACHE_GB must be a number of gigabytes.*{value}") as caught:
            store(render)
        assert "\n" not in str(caught.value)


class TestNoDisk:
    """Where nothing can be written, images are made in memory, and one line says so."""

    @staticmethod
    def expect_one_warning(make: Maker) -> None:
        with pytest.warns(UserWarning, match="cannot be written.*set MDS_BENCH_CACHE") as caught:
            noise = store(make)
            for _ in range(2):
                assert torch.equal(noise.take([3, 1, 3]), render([3, 1, 3]))
            assert torch.equal(store(make).take([1, 4]), render([1, 4]))  # as long as the process lives
        assert len(caught) == 1 and "\n" not in str(caught[0].message)
        assert make.calls == [[1, 3], [4]]

    def test_a_folder_that_cannot_be_made(self, cache: Path) -> None:
        cache.write_text("a file")
        self.expect_one_warning(Maker())

    def test_a_folder_without_permission(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        open_ = os.open  # root may write anywhere, so refusal is made here

        def read_only(path: object, flags: int, *mode: int, **more: int) -> int:
            if flags & (os.O_RDWR | os.O_CREAT):
                raise PermissionError(errno.EACCES, "Permission denied")
            return open_(path, flags, *mode, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(os, "open", read_only)
        self.expect_one_warning(Maker())

    def test_what_is_in_a_read_only_folder_is_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        store(Maker(salt=1)).take([1])
        open_ = os.open

        def read_only(path: object, flags: int, *mode: int, **more: int) -> int:
            if flags & (os.O_RDWR | os.O_CREAT):
                raise OSError(errno.EROFS, "Read-only file system")
            return open_(path, flags, *mode, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(os, "open", read_only)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            noise = store(Maker())
            assert torch.equal(noise.take([1]), render([1], 1))
        with pytest.warns(UserWarning, match="Read-only file system"):
            assert torch.equal(noise.take([1, 2, 1]), torch.cat([render([1], 1), render([2]), render([1], 1)]))

    @pytest.mark.usefixtures("small_chunks")
    def test_a_disk_that_is_full_half_way(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write, make = os.pwrite, Maker()

        def full(descriptor: int, data: memoryview, place: int) -> int:
            if place > PAGE + 7 * IMAGE_BYTES or len(data) + place > PAGE + 8 * IMAGE_BYTES:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(descriptor, data, place)

        monkeypatch.setattr(os, "pwrite", full)
        with pytest.warns(UserWarning, match="No space left on device") as caught:
            noise = store(make)
            assert torch.equal(noise.take(range(20)), render(list(range(20))))
            assert torch.equal(noise.take([19, 0]), render([19, 0]))
        assert len(caught) == 1 and len(make.calls) == 4
        monkeypatch.setattr(os, "pwrite", write)
        pixels._memory.clear()  # the next process
        rest = Maker()
        store(rest).take(range(20))
        assert [row for call in rest.calls for row in call] == list(range(5, 20))

    def test_a_disk_without_room_for_the_stamps(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Reading what was never written can end the process where a file system finds room for it only then."""

        def full(descriptor: int, offset: int, size: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", full)
        with pytest.warns(UserWarning, match="No space left on device") as caught:
            assert torch.equal(store(Maker()).take(range(20)), render(list(range(20))))
            store(refuse).take([3])  # from memory
        assert len(caught) == 1
        assert all(file.stat().st_blocks == 0 for file in files())

    def test_a_file_that_others_cut_off_is_given_up(self) -> None:
        noise = store(Maker())
        noise.take(range(20))
        os.truncate(files()[0], 100)
        with pytest.warns(UserWarning, match="cut off by another program"):
            assert torch.equal(noise.take([5, 0]), render([5, 0]))
        assert noise.take([]).shape == (0, 3, SIDE, SIDE)

    def test_a_system_without_these_calls(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("pwrite", "posix_fallocate", "sched_getaffinity"):
            monkeypatch.delattr(os, name, raising=False)
        monkeypatch.setattr(os, "supports_fd", set())
        monkeypatch.setattr(pixel_file, "FLAGS", 0)
        assert torch.equal(store(Maker()).take(range(20)), render(list(range(20))))
        assert torch.equal(store(refuse).take([7, 2]), render([7, 2]))

    @pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL])
    def test_a_file_system_that_cannot_reserve(self, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
        def unable(descriptor: int, offset: int, size: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "posix_fallocate", unable)
        store(Maker()).take(range(20))
        assert torch.equal(store(refuse).take([7, 2]), render([7, 2]))

    def test_errors_of_the_maker_are_not_taken_for_a_full_disk(self) -> None:
        def broken(rows: list[int]) -> Tensor:
            raise OSError(errno.ENOSPC, "No space left on device")

        with pytest.raises(OSError, match="No space left"):
            store(broken).take([0])


class TestFolder:
    def test_the_place_of_the_cache(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        assert cache_folder() == tmp_path / "cache"
        monkeypatch.delenv("MDS_BENCH_CACHE")
        monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
        assert cache_folder() == Path("/somewhere/mds-bench")
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", "/home/someone")
        assert cache_folder() == Path("/home/someone/.cache/mds-bench")


class TestProgress:
    @pytest.mark.usefixtures("small_chunks")
    def test_every_chunk_is_reported(self) -> None:
        seen: list[tuple[str, int, int]] = []
        with reporting(lambda *what: seen.append(what)):
            store(render).take(range(12))
            store(render).take(range(12))  # nothing to do, nothing to say
        store(render).take(range(20))  # nobody listens
        assert seen == [("pictures", 5, 12), ("pictures", 10, 12), ("pictures", 12, 12)]


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "photos" / f"{number}.png" for number in range(12)]
    paths[0].parent.mkdir()
    for number, path in enumerate(paths):
        Image.fromarray(render([number])[0].permute(1, 2, 0).numpy()).save(path)
    return paths


class TestPhotos:
    @pytest.fixture
    def decoded(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The names of the files decoded, in no order."""
        names: list[str] = []
        decode = pixels.decode

        def listed(paths: list[Path], image_size: int) -> Tensor:
            names.extend(path.name for path in paths)
            return decode(paths, image_size)

        monkeypatch.setattr(pixels, "decode", listed)
        return names

    def test_all_are_loaded_in_order(self, photos: list[Path]) -> None:
        assert torch.equal(load_photos(photos, SIDE), render(list(range(12))))
        assert load_photos(photos, 4).shape == (12, 3, 4, 4)
        assert load_photos([], SIDE).shape == (0, 3, SIDE, SIDE)

    def test_only_what_is_taken_is_decoded_and_once(self, photos: list[Path], decoded: list[str]) -> None:
        assert torch.equal(photo_store(photos, SIDE).take([7, 2]), render([7, 2]))
        assert torch.equal(photo_store(photos, SIDE).take([2, 3, 7]), render([2, 3, 7]))
        assert decoded == ["2.png", "7.png", "3.png"]

    def test_a_photo_edited_on_disk_is_decoded_again_and_no_other(self, photos: list[Path], decoded: list[str]) -> None:
        load_photos(photos, SIDE)
        decoded.clear()
        Image.new("RGB", (SIDE, SIDE), "red").save(photos[4])
        images = load_photos(photos, SIDE)
        assert decoded == ["4.png"]
        assert images[4].flatten(1).tolist() == [[255] * SIDE**2, [0] * SIDE**2, [0] * SIDE**2]

    def test_photos_that_change_places_are_decoded_again(self, tmp_path: Path) -> None:
        """Two of the same size and time, as archives of pixels unpack."""
        files = [tmp_path / f"{colour}.bmp" for colour in ("red", "blue")]
        for file in files:
            Image.new("RGB", (SIDE, SIDE), file.stem).save(file)
            os.utime(file, (1e9, 1e9))
        before = load_photos(files, SIDE)
        for old, new in ((0, "spare"), (1, "red.bmp")):
            files[old].rename(tmp_path / new)
        (tmp_path / "spare").rename(files[1])
        assert torch.equal(load_photos(files, SIDE), before.flip(0))

    def test_a_relative_path_is_the_same_photo(
        self, photos: list[Path], decoded: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        load_photos(photos, SIDE)
        monkeypatch.chdir(photos[0].parent)
        load_photos([Path(path.name) for path in photos], SIDE)
        assert len(decoded) == 12

    @pytest.mark.usefixtures("small_chunks")
    def test_all_that_cannot_be_read_are_reported_in_one_line(self, photos: list[Path]) -> None:
        for number in (1, 3, 8, 11):
            photos[number].write_bytes(b"this is no image")
        photos[6].unlink()
        with pytest.raises(ValueError, match=r"^data: 5 of 12 photos cannot be read: .*and 2 more: delete") as caught:
            load_photos(photos, SIDE)
        assert "\n" not in str(caught.value)
        with pytest.raises(ValueError, match=r"^data: 1 of 1 photos cannot be read: .*6\.png"):
            photo_store(photos, SIDE).take([6])
        for number in (1, 3, 6, 8, 11):  # repaired
            Image.fromarray(render([number])[0].permute(1, 2, 0).numpy()).save(photos[number])
        assert torch.equal(load_photos(photos, SIDE), render(list(range(12))))

    def test_unreadable_photos_that_are_not_taken_do_not_matter(self, photos: list[Path]) -> None:
        photos[0].unlink()
        assert torch.equal(photo_store(photos, SIDE).take([1]), render([1]))
