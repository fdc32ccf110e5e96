"""Settings have the types that methods say they have, so that a type check sees a misspelt one."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import methods
from methods.strategy import RoundStrategy
from methods.weight_space import WeightSpace
from tests import ROOT


def classes() -> list[type[Any]]:
    """The class of every method and weight-space plugin."""
    names = [methods.run_as(name) for name in methods.METHODS]
    loaded = [methods.load(name) for name in names]
    return [strategy.WEIGHT_SPACE or strategy for strategy in loaded]


def annotated(cls: type[Any]) -> str:
    """The name of the type that a class or its nearest base gives ``settings``."""
    return next(vars(base)["__annotations__"]["settings"] for base in cls.__mro__ if _has_settings(base))


def _has_settings(cls: type[Any]) -> bool:
    return "settings" in vars(cls).get("__annotations__", {})


@pytest.mark.parametrize("cls", classes(), ids=lambda cls: cls.__name__)
def test_the_annotation_is_the_class_of_the_settings(cls):
    assert issubclass(cls, RoundStrategy | WeightSpace)
    named = annotated(cls)
    if (
        cls.SETTINGS.__name__ != "WeightSpaceSettings" or named != "Hyperparameters"
    ):  # of plugins with nothing of their own
        assert named == cls.SETTINGS.__name__, f"write in {cls.__name__}: settings: {cls.SETTINGS.__name__}"


@pytest.mark.slow
def test_a_misspelt_setting_fails_the_type_check(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from methods.mds import MDS\n\n\n"
        "class Mine(MDS):\n"
        "    def doubled(self) -> float:\n"
        "        return self.settings.beta + self.settings.beat\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", str(file)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    (error,) = (line for line in done.stdout.splitlines() if ": error:" in line)
    assert '"MDSSettings" has no attribute "beat"' in error and done.returncode == 1
