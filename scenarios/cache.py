"""Where files that are made once are kept, and how many bytes of them."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path

from scenarios.on_disk import at_home


def cache_folder() -> Path:
    """``MDS_BENCH_CACHE``, else ``mds-bench`` in the user's cache folder."""
    if folder := os.environ.get("MDS_BENCH_CACHE"):
        return at_home(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mds-bench"


def limit_bytes() -> float:
    """Bytes that all collections together may occupy."""
    text = os.environ.get("MDS_BENCH_CACHE_GB") or "20"
    try:
        gigabytes = float(text)
    except ValueError:
        gigabytes = math.nan
    if not gigabytes >= 0:
        raise ValueError(f"MDS_BENCH_CACHE_GB must be a number of gigabytes, 0 or more, not {text!r}")
    return gigabytes * 1e9


def delete_unused(mine: Path, limit: float) -> None:
    """Delete the collections longest not used until all fit in ``limit`` bytes, but never ``mine``."""
    total, others = 0, []
    for file in mine.parent.glob(f"*{mine.suffix}"):
        with suppress(OSError):  # another process has just deleted it
            status = file.stat()
            blocks = getattr(status, "st_blocks", None)  # a sparse file occupies less than its size; not on Windows
            occupied = status.st_size if blocks is None else blocks * 512
            total += occupied
            if file != mine:
                others.append((status.st_mtime_ns, occupied, file))
    for _, occupied, file in sorted(others):
        if total <= limit:
            return
        with suppress(OSError):
            file.unlink()
            total -= occupied
