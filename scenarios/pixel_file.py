"""A file of images as bytes that any number of processes read and write at once."""

from __future__ import annotations

import math
import os
import weakref
from mmap import ACCESS_READ, mmap
from pathlib import Path

import numpy as np

PAGE = 4_096


class PixelFile:
    """Stamps (N,) int64 and, from the next page on, pixels (N, 3, S, S) uint8, in one sparse file: they cannot part.

    It is read through a memory map, but written as a file: writing to a map ends the process when the disk is full.
    A file that cannot be opened is as an empty one that refuses every write.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.path = path
        self.stamps: np.ndarray = np.zeros(shape[0], dtype=np.int64)
        self.pixels: np.ndarray = np.empty((0, *shape[1:]), dtype=np.uint8)
        self._start = -(-self.stamps.nbytes // PAGE) * PAGE
        self._refused = ""  # why nothing can be written
        try:
            self._descriptor = self._open(self._start + math.prod(shape))
            if shape[0]:  # nothing cannot be mapped
                mapped = mmap(self._descriptor, 0, access=ACCESS_READ)
                self.stamps = np.frombuffer(mapped, np.int64, shape[0])
                self.pixels = np.frombuffer(mapped, np.uint8, offset=self._start).reshape(shape)
        except OSError as error:
            self._refused = self._refused or reason(error)

    def _open(self, size: int) -> int:
        """A descriptor of the file, made or made anew where it has not the right size; to read from, if need be."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = self._owned(os.O_RDWR | os.O_CREAT)
            if os.fstat(descriptor).st_size not in (0, size):
                self.path.unlink(missing_ok=True)  # rather than changed: another process may have it mapped
                descriptor = self._owned(os.O_RDWR | os.O_CREAT)
            os.ftruncate(descriptor, size)
            os.utime(descriptor)  # the time it was last used
            return descriptor
        except OSError as error:
            self._refused = reason(error)
        descriptor = self._owned(os.O_RDONLY)
        if os.fstat(descriptor).st_size != size:
            raise OSError("the file is cut off")
        return descriptor

    def _owned(self, flags: int) -> int:
        descriptor = os.open(self.path, flags | os.O_CLOEXEC, 0o666)
        weakref.finalize(self, os.close, descriptor)
        return descriptor

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Copy the pixels of ``rows`` to ``out``."""
        if np.count_nonzero(np.diff(rows) != 1) * 8 >= len(rows):
            np.take(self.pixels, rows, axis=0, out=out, mode="clip")  # other modes copy twice
            return
        for start, stop in _runs(rows):
            out[start:stop] = self.pixels[rows[start] : rows[start] + stop - start]

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
                written = os.pwrite(self._descriptor, data, place)
                data, place = data[written:], place + written


def _runs(rows: np.ndarray) -> list[tuple[int, int]]:
    """Where rows follow one another: (start, stop) of each such run in ``rows``."""
    if not len(rows):
        return []
    starts = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist()]
    return list(zip(starts, [*starts[1:], len(rows)], strict=True))


def reason(error: OSError) -> str:
    """Why the system refused."""
    return error.strerror or str(error)
