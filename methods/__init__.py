"""How a model is developed: the methods, by name.

Importing this package is cheap; ``load`` imports torch and Avalanche.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from methods.strategy import RoundStrategy

__all__ = ["METHODS", "load"]

# name -> (module:class, one line of description)
METHODS: dict[str, tuple[str, str]] = {
    "mds": ("methods.mds:MDS", "constrained optimisation: protected losses may not rise (arXiv 2410.03955)"),
    "rm": ("methods.mds:RM", "the same objective with a fixed weight on the protected losses"),
    "finetune": ("methods.finetune:Finetune", "FLYP-style contrastive fine-tuning on the target data alone"),
    "frozen": ("methods.reference:Frozen", "reference: the old model, untouched"),
    "joint": ("methods.reference:Joint", "reference: cross-entropy on target and protected data together"),
}


def load(name: str) -> type[RoundStrategy]:
    """The strategy class of a known method name."""
    module, _, cls = METHODS[name][0].partition(":")
    return getattr(import_module(module), cls)
