"""How many trainings fit on a GPU at a time: measured on the first."""

from __future__ import annotations

import os
import subprocess

SPARE = 0.9  # share of the free memory that may be taken: sizes of later trainings differ a little


class Room:
    """The memory of the GPU, as it was before the first training."""

    def __init__(self) -> None:
        self.before = _memory()

    def trainings(self) -> int:
        """How many like the one that runs now fit; 1 where the driver does not tell."""
        now = _memory()
        if self.before is None or now is None:
            return 1
        used, total = self.before
        own = now[0] - used
        return max(1, int(SPARE * (total - used) / own)) if own > 0 else 1


def _memory() -> tuple[int, int] | None:
    """Memory of the first GPU that is in use, and all of it, in MiB; None where there is no tool that tells.

    torch would have to use the GPU first, which takes memory itself.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0]  # an index or the name of a device
    which = [f"--id={visible}"] if visible else []
    command = ["nvidia-smi", *which, "--query-gpu=memory.used,memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
        used, total = told.splitlines()[0].split(",")
        return int(used), int(total)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
