"""Memory that a training step gives back and the next asks for again: kept in between."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # options of mallopt, as malloc.h numbers them
KEEP = {MMAP_MAX: 0, TRIM_THRESHOLD: -1}  # -1: no limit
GIVE_BACK = {MMAP_MAX: 2**16, MMAP_THRESHOLD: 2**25, TRIM_THRESHOLD: 2**26}  # glibc's own, once it freed large tensors


@contextmanager
def kept_memory() -> Iterator[None]:
    """Within it the C library keeps what is freed; afterwards it gives back what it can.

    Large tensors are otherwise given back to the system each time, and each page of the next is a fault: most where a
    convolutional tower has large activations (docs/performance.md). Nothing happens where the C library is not glibc,
    or the user has set its ``MALLOC_`` variables.
    """
    glibc = _glibc()
    if glibc is None:
        yield
        return
    _set(glibc, KEEP)
    try:
        yield
    finally:
        _set(glibc, GIVE_BACK)
        glibc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if any(name.startswith("MALLOC_") for name in os.environ):
        return None
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows
        return None
    return library if hasattr(library, "gnu_get_libc_version") else None


def _set(glibc: ctypes.CDLL, options: dict[int, int]) -> None:
    for option, value in options.items():
        glibc.mallopt(option, value)
