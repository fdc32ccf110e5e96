"""Files as the disk knows them: where home is, what they hold, and whether they were changed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def at_home(path: str | Path) -> Path:
    """A path with ``~`` as the home folder: shells know it at the start of a word alone, not after ``--flag=``.

    Where there is no user of that name it stays: a folder that is called so.
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111 Path's own raises there


def digest(file: Path) -> bytes:
    """SHA-256 of a file's bytes.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()


def stamp(file: str | Path) -> int:
    """An int64 that is another one after the file was edited or another took its place; -1 where there is none."""
    try:
        status = os.stat(file)  # noqa: PTH116 a Path for each of a million files takes seconds
    except OSError:
        return -1  # opening it will fail too, and is reported with the other unreadable files
    return hash((status.st_size, status.st_mtime_ns, status.st_ino))
