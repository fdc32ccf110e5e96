"""The cores that this process may use."""

from __future__ import annotations

import os
from pathlib import Path


def available(root: Path = Path("/")) -> int:
    """How many cores this process may keep busy: no more than its affinity and its control groups' quotas allow.

    Args:
        root: of the file system that tells of control groups, of version 1 or 2.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, min([cores, *map(int, _quotas(root))]))


def _quotas(root: Path) -> list[float]:
    """Cores' worth of time that this process's control groups allow it."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounted = root / "sys/fs/cgroup" / controllers
        own = mounted / path.lstrip("/")
        found += [_quota(group) for group in (own, *own.parents) if group.is_relative_to(mounted)]
    return [quota for quota in found if quota is not None]


def _quota(group: Path) -> float | None:
    """Of one control group: its time over its period; None without a limit."""
    try:
        if (file := group / "cpu.max").is_file():
            quota, period = file.read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return None if quota.strip() in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
