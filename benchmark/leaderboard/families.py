"""Families of methods, by which rows and plots are told apart."""

from __future__ import annotations

from methods import METHODS

FAMILIES = tuple(dict.fromkeys(method.family for method in METHODS.values()))
OTHER = "other"  # of methods that no registry knows
BIASES = ("balanced", "certified")  # plugins that leave the weights as they were trained
REFERENCE = "reference"  # doing nothing, training on everything and the like: for orientation, never ranked


def family(method: str) -> str:
    """The family that a method is shown as; that of the plugin where there is one that makes other weights."""
    trainer, _, last = ("", "", method) if method in METHODS else method.rpartition("+")
    if trainer and last in BIASES:
        return family(trainer)
    return METHODS[last].family if last in METHODS else OTHER
