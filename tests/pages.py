"""Pages of the documentation whose code tests run."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BLOCK = r"^```python\n(.*?)^```$"


def files_of(page: str) -> dict[str, str]:
    """The Python files that a page shows: each block beneath a file's name; a later block goes on with the file.

    A block that belongs to no file would be run by no test, so it is an error.
    """
    found: dict[str, str] = {}
    for name, block in re.findall(r"^`(\w+\.py)`[^\n]*\n\n" + BLOCK, page, re.M | re.S):
        found[name] = found.get(name, "") + block
    assert "".join(found.values()) and sum(map(len, found.values())) == sum(
        map(len, re.findall(BLOCK, page, re.M | re.S))
    )
    return found


@contextmanager
def importable(files: dict[str, str], folder: Path) -> Iterator[None]:
    """The files of a page in ``folder``, each a module within the context."""
    for name, code in files.items():
        (folder / name).write_text(code, encoding="utf-8")
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in files:
            sys.modules.pop(name.removesuffix(".py"), None)
