"""Images decoded or rendered once and kept on disk as bytes, for every seed, method and process to come."""

from __future__ import annotations

import hashlib
import math
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scenarios.cache import cache_folder, delete_unused, limit_bytes
from scenarios.decoding import TRANSFORM, UnreadablePhotos, decode
from scenarios.on_disk import stamp
from scenarios.pixel_file import PixelFile, reason

CHUNK_BYTES, CHUNK_IMAGES = 32_000_000, 1_024  # made between two writes: the most that an interruption costs
SUFFIX = ".pixels"
FORMAT = 1  # raised whenever files of before cannot be read any more
NO_ZERO = 0x5EED_57A3  # kept instead of the stamp 0, as 0 in a file means absent

Rows = Sequence[int] | NDArray[np.int64]
Progress = Callable[[str, int, int], None]  # the task under way, done, total

_progress: ContextVar[Progress | None] = ContextVar("progress", default=None)


@contextmanager
def reporting(callback: Progress) -> Iterator[None]:
    """Within it, ``callback(what, done, total)`` is called for each of several chunks of images that have been made."""
    token = _progress.set(callback)
    try:
        yield
    finally:
        _progress.reset(token)


def load_photos(paths: Sequence[Path], image_size: int) -> Tensor:
    """The photos as (N, 3, image_size, image_size) uint8 RGB, each decoded once and kept on disk.

    Raises:
        ValueError: photos cannot be read; one line has the first few and their number.
    """
    return photo_store(paths, image_size).take(range(len(paths)))


def photo_store(paths: Sequence[Path], image_size: int) -> PixelStore:
    """A store of photos, of which only those taken are decoded; a photo edited since is decoded anew.

    Args:
        paths: the files: always the same list where photos are drawn from a pool, as the list names the collection.
        image_size: side in px; see ``decode`` for how photos come to it.
    """
    paths = [Path(path).absolute() for path in paths]
    digest = hashlib.sha256("\0".join(map(str, paths)).encode(errors="surrogateescape")).hexdigest()
    place = Path(os.path.commonpath(paths)).name if paths else ""
    return PixelStore(
        name=f"{place} photos {TRANSFORM} {digest}",
        stamps=[stamp(path) for path in paths],
        image_size=image_size,
        make=lambda rows: decode([paths[row] for row in rows], image_size),
    )


class PixelStore:
    """The images of one collection, each made on first demand and kept on disk for later processes.

    Any number of processes may use a store at once. Where nothing can be written, images are kept in memory and one
    warning says so. Whenever all collections together exceed ``MDS_BENCH_CACHE_GB`` (default: 20), those longest not
    opened are deleted; a process that has one of them open can go on using it.

    Args:
        name: identifies the collection and how its images are made.
        stamps: one int64 per image; an image kept with another stamp is made anew.
        image_size: side S in px.
        make: the images (n, 3, S, S) uint8 of n rows. It is called for some tens of MB at a time; images that it has
            returned stay, whatever happens next.

    Raises:
        ValueError: ``MDS_BENCH_CACHE_GB`` is no number of gigabytes.
    """

    def __init__(self, name: str, stamps: Rows, image_size: int, make: Callable[[list[int]], Tensor]) -> None:
        self._limit = limit_bytes()
        self._stamps = np.array(stamps, dtype=np.int64)
        self._stamps[self._stamps == 0] = NO_ZERO
        self._shape = (3, image_size, image_size)
        self._make = make
        path = _path(name, len(self._stamps), image_size)
        self._file = PixelFile(path, (len(self._stamps), *self._shape))
        self._memory = _memory.setdefault(path, {})
        delete_unused(path, self._limit)

    def take(self, rows: Rows) -> Tensor:
        """The images of ``rows`` in that order, (n, 3, S, S) uint8; rows may repeat.

        Raises:
            IndexError: a row is not in the collection.
            ValueError: photos cannot be read.
        """
        wanted = self._checked(rows)
        while True:
            self._fill(wanted)
            images = self._copy(wanted)
            if not len(self._absent(wanted)):  # else another process began to replace some of them meanwhile
                return torch.from_numpy(images)

    def fill(self, rows: Rows) -> None:
        """Make those images of ``rows`` that are not there yet; raises as ``take`` does."""
        self._fill(self._checked(rows))

    def _checked(self, rows: Rows) -> np.ndarray:
        wanted = np.asarray(rows, dtype=np.int64)
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < len(self._stamps):
            raise IndexError(
                f"rows must be between 0 and {len(self._stamps) - 1}, not from {wanted.min()} to {wanted.max()}"
            )
        return wanted

    def _fill(self, wanted: np.ndarray) -> None:
        absent = self._absent(wanted)
        if not len(absent):
            return
        size = min(CHUNK_IMAGES, max(1, CHUNK_BYTES // math.prod(self._shape)))
        unreadable: list[str] = []
        for start in range(0, len(absent), size):
            rows = absent[start : start + size]
            try:
                self._keep(rows, self._make(rows.tolist()))
            except UnreadablePhotos as error:  # go on: the user wants to hear of all of them at once
                unreadable += error.reports
            if len(absent) > size and (report := _progress.get()) is not None:  # quick work is no news
                report("pictures", start + len(rows), len(absent))
        if unreadable:
            raise UnreadablePhotos(unreadable, len(np.unique(wanted)))
        delete_unused(self._file.path, self._limit)

    def _absent(self, wanted: np.ndarray) -> np.ndarray:
        """The rows that are neither on disk nor in memory, sorted and once each."""
        rows = np.unique(wanted[self._file.stamps[wanted] != self._stamps[wanted]])
        return np.array([row for row in rows.tolist() if not self._in_memory(row)], dtype=np.int64)

    def _in_memory(self, row: int) -> bool:
        return row in self._memory and self._memory[row][0] == self._stamps[row]

    def _keep(self, rows: np.ndarray, images: Tensor) -> None:
        values = images.numpy()
        if values.dtype != np.uint8 or values.shape != (len(rows), *self._shape):
            raise ValueError(f"make must give uint8 {(len(rows), *self._shape)}, not {values.dtype} {values.shape}")
        try:
            self._file.write(rows, values, self._stamps[rows])
        except OSError as error:
            _warn_once(self._file.path.parent, error)
            self._memory.update(zip(rows.tolist(), zip(self._stamps[rows], values, strict=True), strict=True))

    def _copy(self, wanted: np.ndarray) -> np.ndarray:
        images: np.ndarray = np.empty((len(wanted), *self._shape), dtype=np.uint8)
        if not self._memory:
            self._file.read(wanted, images)
        else:
            kept = np.array([self._in_memory(row) for row in wanted.tolist()], dtype=bool)
            for place in np.flatnonzero(kept).tolist():
                images[place] = self._memory[int(wanted[place])][1]
            others = np.flatnonzero(~kept)
            on_disk = np.empty((len(others), *self._shape), dtype=np.uint8)
            self._file.read(wanted[others], on_disk)
            images[others] = on_disk
        return images


# Images that no disk would take, kept for this process: file -> row -> (stamp, pixels).
_memory: dict[Path, dict[int, tuple[int, np.ndarray]]] = {}
_warned: set[Path] = set()


def _warn_once(folder: Path, error: OSError) -> None:
    if folder not in _warned:
        _warned.add(folder)
        warnings.warn(
            f"{folder} cannot be written ({reason(error)}), so images are kept in memory and made again in "
            "the next run: set MDS_BENCH_CACHE to a folder with space",
            stacklevel=2,
        )


def _path(name: str, count: int, image_size: int) -> Path:
    key = hashlib.sha256(repr((FORMAT, name, count, image_size)).encode(errors="surrogateescape")).hexdigest()
    label = re.sub(r"[^A-Za-z0-9]+", "-", name)[:40].strip("-")
    return cache_folder() / "pixels" / f"{label}-{image_size}px-{key[:16]}{SUFFIX}"
