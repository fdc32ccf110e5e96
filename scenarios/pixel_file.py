"""A file of images as bytes that any number of processes read and write at once."""

from __future__ import annotations

import errno
import math
import os
import weakref
from contextlib import suppress
from mmap import ACCESS_READ, mmap
from pathlib import Path
from threading import Lock

import numpy as np

PAGE = 4_096
FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)  # the one is not on Windows, the other only there
FULL = (errno.ENOSPC, errno.EDQUOT)


class PixelFile:
    """Stamps (N,) int64 and, from the next page on, pixels (N, 3, S, S) uint8, in one sparse file: they cannot part.

    It is read through a memory map, but written as a file: writing to a map ends the process when the disk is full.
    So can reading what was never written, where a file system finds room for it only then: the stamps have theirs
    before they are mapped, and pixels are read where a stamp says that they are there.
    A file that cannot be opened, or that others cut off, is as an empty one that refuses every write.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.path = path
        self._stamps: np.ndarray = np.zeros(shape[0], dtype=np.int64)
        self._pixels: np.ndarray | None = None  # None where there is no file
        self._start = -(-self._stamps.nbytes // PAGE) * PAGE
        self._size = self._start + math.prod(shape)
        self._refused = ""  # why nothing can be written
        try:
            self._descriptor = self._open(self._size)
            if shape[0]:  # nothing cannot be mapped
                mapped = mmap(self._descriptor, 0, access=ACCESS_READ)
                self._stamps = np.frombuffer(mapped, np.int64, shape[0])
                self._pixels = np.frombuffer(mapped, np.uint8, offset=self._start).reshape(shape)
        except OSError as error:
            self._refused = self._refused or reason(error)

    @property
    def stamps(self) -> np.ndarray:
        """The stamps (N,) int64 of now, 0 where there is no image."""
        if self._pixels is not None and os.fstat(self._descriptor).st_size < self._size:
            # Beyond the end of a file, reading its map ends the process.
            self._refused = self._refused or "the file was cut off by another program"
            self._stamps, self._pixels = np.zeros(len(self._stamps), dtype=np.int64), None
        return self._stamps

    def _open(self, size: int) -> int:
        """A descriptor of the file, made or made anew where it has not the right size; to read from, if need be."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = self._owned(os.O_RDWR | os.O_CREAT)
            if os.fstat(descriptor).st_size not in (0, size):
                self.path.unlink(missing_ok=True)  # rather than changed: another process may have it mapped
                descriptor = self._owned(os.O_RDWR | os.O_CREAT)
            os.ftruncate(descriptor, size)
            os.utime(descriptor if os.utime in os.supports_fd else self.path)  # the time it was last used
            _reserve(descriptor, self._start)
            return descriptor
        except OSError as error:
            self._refused = reason(error)
            full = error.errno in FULL
        descriptor = self._owned(os.O_RDONLY)
        if os.fstat(descriptor).st_size != size:
            raise OSError("the file is cut off")
        if full and _has_holes(descriptor, self._start):
            raise OSError("there is no room for it")
        return descriptor

    def _owned(self, flags: int) -> int:
        descriptor = os.open(self.path, flags | FLAGS, 0o666)
        weakref.finalize(self, os.close, descriptor)
        return descriptor

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Copy the pixels of ``rows`` to ``out``; nothing where the file was cut off, which ``stamps`` shows too."""
        self.stamps  # noqa: B018 looks whether the file is whole
        if self._pixels is None:
            return
        if np.count_nonzero(np.diff(rows) != 1) * 8 >= len(rows):
            np.take(self._pixels, rows, axis=0, out=out, mode="clip")  # other modes copy twice
            return
        for start, stop in _runs(rows):
            out[start:stop] = self._pixels[rows[start] : rows[start] + stop - start]

    def write(self, rows: np.ndarray, images: np.ndarray, stamps: np.ndarray) -> None:
        """Keep the images of ``rows``, which are sorted.

        Stamps go last, and once the pixels are on disk: no stamp can be found whose pixels are not there in full.

        Raises:
            OSError: the disk does not take them, or did not take others before.
        """
        if self._refused:
            raise OSError(self._refused)
        try:
            found = self.stamps[rows]
            stale = rows[(found != 0) & (found != stamps)]
            if len(stale):
                self._write(stale, np.zeros(len(stale), dtype=np.int64), 0)
                os.fsync(self._descriptor)
            self._write(rows, images, self._start)
            os.fsync(self._descriptor)
            self._write(rows, stamps, 0)
        except OSError as error:
            self._refused = reason(error)
            raise

    def _write(self, rows: np.ndarray, values: np.ndarray, offset: int) -> None:
        for start, stop in _runs(rows):
            data = np.ascontiguousarray(values[start:stop]).data.cast("B")
            place = offset + int(rows[start]) * values[0].nbytes
            while data:
                written = _write_at(self._descriptor, data, place)
                data, place = data[written:], place + written


_moving = Lock()  # of the place in a file that is written next


def _write_at(descriptor: int, data: memoryview, place: int) -> int:
    """``os.pwrite``, also where the system has none."""
    if hasattr(os, "pwrite"):
        return os.pwrite(descriptor, data, place)
    with _moving:
        os.lseek(descriptor, place, os.SEEK_SET)
        return os.write(descriptor, data)


def _reserve(descriptor: int, size: int) -> None:
    """Let the first ``size`` bytes have their place on the disk, where the system can do this.

    Raises:
        OSError: the disk is full.
    """
    if size and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno in FULL:
                raise  # others mean that this kind of file system cannot do it


def _has_holes(descriptor: int, size: int) -> bool:
    """Whether some of the first ``size`` bytes have no place on the disk yet, as far as can be known."""
    with suppress(AttributeError, OSError):
        return os.lseek(descriptor, 0, os.SEEK_HOLE) < size
    return True


def _runs(rows: np.ndarray) -> list[tuple[int, int]]:
    """Where rows follow one another: (start, stop) of each such run in ``rows``."""
    if not len(rows):
        return []
    starts = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist()]
    return list(zip(starts, [*starts[1:], len(rows)], strict=True))


def reason(error: OSError) -> str:
    """Why the system refused."""
    return error.strerror or str(error)
