"""Standard output and error that lose no verdict: to a reader who has gone, in any encoding, or closed."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

GONE = {errno.EPIPE} | ({errno.EINVAL} if os.name == "nt" else set())  # errors of a pipe that nobody reads any more
PLAIN = {"−": "-", "–": "-", "—": "-", "→": ">", "×": "x", "·": ".", "≥": ">", "≤": "<", "●": "*", "α": "a"}
HANDLER = "benchmark.plain"  # of characters that an encoding has not


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Let nothing that is printed inside raise because of who reads it.

    A reader who has gone, as after ``| head -1``, is written to no more; a closed stream takes everything and keeps
    nothing; a character that the encoding has not is replaced by a plainer one. A full disk is an error still, at the
    latest when the stream is flushed.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _lasting(sys.stdout), _lasting(sys.stderr)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        sys.stdout, sys.stderr = before


def _lasting(stream: TextIO | None) -> TextIO:
    if stream is None:  # closed before Python started
        return Path(os.devnull).open("w", encoding="utf-8")
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    if not isinstance(raw, io.RawIOBase):  # in memory, as in tests: nothing behind it can go
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Lasting(raw)),
        encoding=stream.encoding,
        errors=HANDLER,
        line_buffering=stream is sys.stderr or getattr(stream, "line_buffering", False),
        write_through=getattr(stream, "write_through", False),
    )


class _Lasting(io.RawIOBase):
    """Bytes to ``raw`` for as long as they can be written."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self.raw, self.gone = raw, False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.raw.fileno()

    def isatty(self) -> bool:
        return self.raw.isatty()

    def write(self, data: Any) -> int | None:
        if not self.gone:
            try:
                return self.raw.write(data)
            except OSError as error:
                self.gone = True  # what is left in buffers is not tried again when Python ends
                if error.errno not in GONE:
                    raise
        return len(data)


def _plain(error: UnicodeError) -> tuple[str, int]:
    """What stands for the characters that cannot be shown, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plainer, error.object[error.start : error.end])), error.end


def _plainer(char: str) -> str:
    found = PLAIN.get(char) or unicodedata.normalize("NFKD", char)[:1]
    return found if found.isascii() else "?"


codecs.register_error(HANDLER, _plain)
