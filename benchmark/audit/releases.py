"""Verdicts that a team remembers, over which the probability of a wrong one is spent.

Release n is judged at level alpha / (n (n + 1)): 1/2, 1/6, 1/12, ... of alpha, which add up to alpha. However many
releases there will be, the probability that one is called regressed wrongly is alpha at most, and so is that of one
that passes wrongly.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from benchmark.audit.judging import Request
from benchmark.audit.report import file_of
from benchmark.audit.rule import Audit
from benchmark.output.files import replace_file

FIELDS = ("release", "date", "old", "new", "policy", "alpha", "verdict", "model")


@dataclass(frozen=True)
class Release:
    """One that is judged: its place in the history, which is added to unless it was judged before."""

    path: Path
    before: list[dict[str, Any]]
    number: int
    files: dict[str, Any]

    @property
    def share(self) -> float:
        """The part of alpha that it may spend."""
        return 1 / (self.number * (self.number + 1))

    @property
    def is_known(self) -> bool:
        """Whether it was judged before, and so spends nothing more."""
        return self.number <= len(self.before)

    @property
    def line(self) -> str:
        """Itself in words."""
        again = ", judged again" if self.is_known else ""
        return f"release {self.number} of {self.path}{again}: spends 1/{self.number * (self.number + 1)} of α"

    def remember(self, found: Audit, model: Path) -> None:
        """Add the verdict on ``model`` to the file.

        Raises:
            OSError: it cannot be written.
        """
        if self.is_known:
            return
        own = {
            "release": self.number,
            "date": date.today().isoformat(),
            **self.files,
            "alpha": found.alpha,
            "verdict": found.verdict,
            "model": str(model),
        }
        lines = (json.dumps(one, ensure_ascii=False) for one in (*self.before, own))
        replace_file(self.path, ("\n".join(lines) + "\n").encode())


def upcoming(path: Path, request: Request, candidates: Sequence[Path]) -> Release:
    """The release that is about to be judged: a new one, or one of the same files, which keeps its level.

    Raises:
        ValueError: the file holds something else; one line names it and its line.
    """
    before = read(path)
    files = {
        "old": file_of(request.old)["sha256"],
        "new": sorted(file_of(candidate)["sha256"] for candidate in candidates),
        "policy": None if request.policy is None else file_of(request.policy)["sha256"],
    }
    same = [number for number, one in enumerate(before, 1) if all(one[name] == own for name, own in files.items())]
    return Release(path, before, same[0] if same else len(before) + 1, files)


def read(path: Path) -> list[dict[str, Any]]:
    """The verdicts in a file, in their order; none where there is no file.

    Raises:
        ValueError: it holds something else.
    """
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: is not in UTF-8, so it is no history of audits") from None
    found = []
    for number, line in enumerate(lines, 1):
        try:
            one = json.loads(line)
        except ValueError:
            one = None
        if not isinstance(one, dict) or not set(FIELDS) <= set(one) or one["release"] != number:
            raise ValueError(f"{path}: line {number} is no release {number} of a history that audit wrote: mend it")
        found.append(one)
    return found
