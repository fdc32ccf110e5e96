"""Avalanche without its file of settings in the home folder, which it writes, or fails to, as it is imported."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import ModuleType

MODULE = "avalanche.benchmarks.datasets.dataset_utils"  # all that it does is to keep the folder of data sets


def write_nothing_at_home() -> None:
    """Stand in for the module of Avalanche that writes the file, unless there is one: to be called before any import.

    Data sets that Avalanche itself would fetch stay where it would put them.
    """
    if MODULE in sys.modules or _settings_are_there():
        return
    root = ["~/.avalanche/data"]
    module = ModuleType(MODULE)

    def set_dataset_root(root_dir: str) -> None:
        root[0] = root_dir

    def default_dataset_location(dataset_name: str) -> Path:
        return Path(os.path.expanduser(root[0])) / dataset_name  # noqa: PTH111 - without a home it stays as it is

    vars(module).update(
        __all__=["default_dataset_location"],
        default_dataset_location=default_dataset_location,
        set_dataset_root=set_dataset_root,
    )
    sys.modules[MODULE] = module


def _settings_are_there() -> bool:
    try:
        text = (Path.home() / ".avalanche" / "config.json").read_text(encoding="utf-8")
        return "dataset_location" in json.loads(text)
    except (OSError, ValueError, TypeError, RuntimeError):  # none, not to be read, half-written, or no home at all
        return False
