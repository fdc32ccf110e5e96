"""Verdicts that a team remembers, over which the probability of a wrong one is spent.

Release n is judged at level alpha / (n (n + 1)): 1/2, 1/6, 1/12, ... of alpha, which add up to alpha. However many
releases there will be, the probability that one is called regressed wrongly is alpha at most, and so is that of one
that passes wrongly.
"""

from __future__ import annotations

import hashlib
import json
import os
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
FLAGS = (  # that decide a verdict, beside files and numbers
    *("target", "protected", "group", "abstain", "score", "format", "columns"),
    *("scenario", "options", "model", "like", "device"),
)


@dataclass(frozen=True)
class Release:
    """One that is judged: its place in the history, which is added to unless it was judged before.

    ``question`` is all that decides the verdict: digests of the files, and what was asked of them.
    """

    path: Path
    before: list[dict[str, Any]]
    number: int
    question: dict[str, Any]

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
            **self.question,
            "alpha": found.alpha,
            "verdict": found.verdict,
            "model": str(model),
        }
        lines = (json.dumps(one, ensure_ascii=False) for one in (*self.before, own))
        replace_file(self.path, ("\n".join(lines) + "\n").encode(errors="replace"))


def upcoming(path: Path, request: Request, candidates: Sequence[Path]) -> Release:
    """The release that is about to be judged: a new one, or the same question again, which keeps its level.

    Lines of older versions do not tell what was asked, so they answer no question again.

    Raises:
        ValueError: the file holds something else; one line names it and its line. Or a file to be judged is missing.
    """
    before = read(path)
    question = {
        "old": file_of(request.old, request.format)["sha256"],
        "new": sorted(file_of(candidate, request.format)["sha256"] for candidate in candidates),
        "policy": None if request.policy is None else file_of(request.policy)["sha256"],
        "asked": _asked(request),
    }
    same = [number for number, one in enumerate(before, 1) if question.items() <= one.items()]
    return Release(path, before, same[0] if same else len(before) + 1, question)


def _asked(request: Request) -> dict[str, Any]:
    """What decides a verdict beside models and policy; what is not said, or nothing, is left out."""
    found = {name: getattr(request, name) for name in FLAGS}
    if request.policy is None:  # which says these itself
        found |= {"alpha": request.level.alpha, "margin": request.asked.margin, "drop": request.asked.drop}
    if request.scenario is not None and (data := request.data or os.environ.get("MDS_BENCH_DATA")):
        found["data"] = _digest_of_data(Path(data))
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items() if value}


def _digest_of_data(data: Path) -> str:
    """Of names and sizes in a folder, as its photos take too long to read; of a file all of it."""
    if not data.is_dir():
        return file_of(data)["sha256"]
    files = sorted((str(file.relative_to(data)), file.stat().st_size) for file in data.rglob("*") if file.is_file())
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def read(path: Path) -> list[dict[str, Any]]:
    """The verdicts in a file, in their order; none where there is no file, or an empty one.

    Raises:
        ValueError: it holds something else.
    """
    if not path.exists():
        return []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: is not in UTF-8, so it is no history of audits") from None
    found = []
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text.strip() else (), 1):
        try:
            one = json.loads(line)
        except ValueError:
            one = None
        if not isinstance(one, dict) or not set(FIELDS) <= set(one) or one["release"] != number:
            raise ValueError(f"{path}: line {number} is no release {number} of a history that audit wrote: mend it")
        found.append(one)
    return found
