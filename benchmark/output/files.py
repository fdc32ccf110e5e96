"""Files that are there in full or not at all, folders that can be written to, and memory while many are read."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO


def replace_file(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``: readers, and a look after an interruption, find the old file or the new one.

    A symbolic link stays one: the file that it names is replaced. The new file has the mode of the old one.

    Raises:
        OSError: the file, which the error names, cannot be written; the old one is as it was.
    """
    with replacing(path) as file:
        file.write(content)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which becomes ``path`` at the end; raises as ``replace_file``.

    What a process leaves behind that is killed meanwhile is hidden, and its name starts as that of ``path``.
    """
    place = _place(path)
    temporary = place.with_name(f".{place.name[:40]}-{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            with suppress(OSError):  # there was none, or the disk knows no modes
                shutil.copymode(place, temporary)
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(place)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait until no other process has locked ``path``, which need not exist, and keep the others waiting.

    While it is locked, a hidden file lies beside it.

    Raises:
        OSError: the file beside it cannot be written.
    """
    import fcntl  # only now, as Windows has none

    place = _place(path)
    lock = place.with_name(f".{place.name[:40]}.lock")
    while True:
        with lock.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_at(file, lock):  # the one who had it has removed it
                continue
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


def check_outside(flag: str, path: Path, data: Path) -> None:
    """Refuse to overwrite a file that lies among the photos of ``data``, a folder or a CSV in their folder.

    Raises:
        ValueError: ``path`` is such a file.
    """
    folder = (data if data.is_dir() else data.parent).resolve()
    if path.exists() and path.resolve().is_relative_to(folder):
        raise ValueError(f"{flag} {path}: would overwrite a file among the photos in {folder}: name one elsewhere")


def _is_at(file: IO[Any], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def check_files(inputs: Iterable[Path | None] = (), **outputs: Path | None) -> None:
    """``check_file`` for every output of a command, named after its flag, which must be different files too."""
    given = [(flag, path) for flag, path in outputs.items() if path is not None]
    for number, (flag, path) in enumerate(given):
        check_file(f"--{flag}", path, inputs=inputs)
        for other, same in given[:number]:
            if _same_file(path, same):
                raise ValueError(f"--{other} and --{flag} name the same file {path}: name two")


def check_file(flag: str, path: Path, *suffixes: str, inputs: Iterable[Path | None] = ()) -> None:
    """Refuse, before any work, a file that could not be written or should not be.

    Args:
        flag: names the file in a message, such as ``--out``.
        path: the file, which need not exist.
        suffixes: the endings it may have, such as ``.png``; any where none is given.
        inputs: files that the command reads.

    Raises:
        ValueError: it is a folder or no regular file, its folder is missing or read-only, its ending is another, or it
            is one of ``inputs``.
    """
    folder = _place(path).parent
    if path.is_dir() or not folder.is_dir():
        raise ValueError(f"{flag} {path}: name a file in a folder that exists")
    if path.exists() and not path.is_file():
        raise ValueError(f"{flag} {path}: is a device or pipe: name a file")
    if suffixes and path.suffix.lower() not in suffixes:
        raise ValueError(f"{flag} {path}: the name must end in {' or '.join(suffixes)}")
    if any(_same_file(path, given) for given in inputs if given is not None):
        raise ValueError(f"{flag} {path}: would overwrite a file that this command reads: name another")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"{flag} {path}: cannot write to the folder {folder}: {error.strerror}") from None


def _same_file(one: Path, two: Path) -> bool:
    return _place(one) == _place(two) or (one.exists() and two.exists() and one.samefile(two))


def _place(path: Path) -> Path:
    """Where a path leads; unlike ``Path.resolve``, a circle of links is no error."""
    return Path(os.path.realpath(path))


def check_writable(folder: Path) -> None:
    """Make ``folder`` where it is missing.

    Raises:
        ValueError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"cannot write to {folder}: {error.strerror}; choose another folder") from None


@contextmanager
def no_collection() -> Iterator[None]:
    """Without looking for garbage among thousands of records that are all kept: it takes longer than making them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
