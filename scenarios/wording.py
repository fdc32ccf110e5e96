"""How messages name things: the nearest known name, and the first few of many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches


def some(items: Sequence[str], most: int = 3, between: str = ", ") -> str:
    """The first ``most`` items, and how many more there are."""
    return between.join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")


def quoted(name: str) -> str:
    """A name as it stands in a list with commas: in double quotes if it holds a comma, one of these or outer blanks."""
    return '"' + name.replace('"', '""') + '"' if set(name) & set(',"') or name != name.strip() else name


def known_names(name: str, known: Iterable[str], most: int | None = None, show: Callable[[str], str] = quoted) -> str:
    """The end of a message that refuses ``name``: the nearest known one, and all of them or the first ``most``."""
    known = list(known)
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}known are {some(list(map(show, known)), len(known) if most is None else most)}"


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """The message for an unknown name."""
    return f"unknown {kind} {name!r}: {known_names(name, known)}"
