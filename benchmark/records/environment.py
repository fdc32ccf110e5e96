"""The environment of a run, as its record describes it."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from importlib.metadata import packages_distributions, version
from pathlib import Path

from benchmark.records.schema import Environment, Frozen

# torch is imported where it is asked: reading records does without

PACKAGES = ("torch", "torchvision", "avalanche-lib", "open_clip_torch", "numpy", "mds-bench")


class Platform(Frozen):
    """Everything that decides the last bits of a run: on equal platforms equal code gives equal outcomes."""

    processor: str  # vendor, family and model, by which libraries choose their kernels
    capability: str  # the vector instructions that torch uses
    torch: str
    threads: int


def describe(device: str, modules: Sequence[str] = ()) -> Environment:
    """Versions, processor and device of this process, and the most memory it has held so far.

    Args:
        device: cpu or cuda.
        modules: that a run needs beside those of ``PACKAGES``.
    """
    import torch

    if device == "cuda":
        name, peak = torch.cuda.get_device_name(), torch.cuda.max_memory_allocated() / 2**20
    else:
        name, peak = "cpu", _peak_memory()
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        processor=_processor(),
        device=name,
        threads=torch.get_num_threads(),
        packages={package: _version(package) for package in (*PACKAGES, *_distributions(modules))},
        peak_memory_mb=round(peak, 1),
    )


def this_platform() -> Platform:
    """Everything that decides the last bits of this process's computations on its CPU."""
    import torch

    return Platform(
        processor=_kind_of_processor(),
        capability=torch.backends.cpu.get_cpu_capability(),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
    )


def _peak_memory() -> float:
    """The most memory in MiB that this process has held so far; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _distributions(modules: Sequence[str]) -> list[str]:
    """The packages that modules are of."""
    known = packages_distributions() if modules else {}
    return [name for module in modules for name in dict.fromkeys(known.get(module, ()))]


def _version(package: str) -> str:
    try:
        return version(package)
    except ModuleNotFoundError:  # run from a checkout without installation
        return "not installed"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _kind_of_processor() -> str:
    """Vendor, family and model, as libraries ask for them; marketing names hide them in virtual machines."""
    wanted = ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part")
    info = Path("/proc/cpuinfo")
    found: dict[str, str] = {}
    for line in info.read_text().splitlines() if info.is_file() else ():
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    return " ".join(found[key] for key in wanted if key in found) or platform.processor() or platform.machine()
