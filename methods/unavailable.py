"""Why a model, tokenizer or method cannot be had, in one line: a missing package, the network, a cache, or the file."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

NETWORK = re.compile(r"Connect|Timeout|URLError|HTTP|SSLError|Proxy|LocalEntryNotFound|Offline")  # names of exceptions
SAID = re.compile(r"connect|offline|timed out|unreachable|name resolution|internet", re.I)  # by others, of these
NO_SPACE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}
LOCAL = "give a local file with --base FILE.safetensors"


def installed(extra: str) -> bool:
    """Whether what an extra of this package installs is there; the extra is named after its module."""
    return find_spec(extra) is not None


def check_extra(what: str, extra: str) -> None:
    """See that ``what`` has the extra that it needs.

    Raises:
        ValueError: it is not installed.
    """
    if not installed(extra):
        raise ValueError(f'{what}: {extra} is not installed: pip install "mds-bench[{extra}]"')


def check_usable(model: str, config: dict[str, Any]) -> None:
    """Look at an architecture before it is built or its weights are fetched.

    Raises:
        ValueError: its text tower is no transformer of open_clip's, or a package is missing.
    """
    text = config.get("text_cfg", {})
    if hub := text.get("hf_model_name"):
        raise ValueError(
            f"--model {model}: its text tower is {hub} of the package transformers, not open_clip's transformer with "
            "a projection: choose another --model (no pip install transformers makes up for it)"
        )
    if text.get("hf_tokenizer_name") and find_spec("transformers") is None:
        raise ValueError(f"--model {model}: its tokenizer needs the package transformers: pip install transformers")


def why_not(what: str, error: BaseException) -> ValueError:
    """An error that says what to do, from whatever was raised while ``what`` was built, fetched or read."""
    chain = list(_chain(error))
    reason = f"{what} ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
    for cause in chain:
        if isinstance(cause, ImportError) and cause.name:
            package = cause.name.split(".")[0]
            return ValueError(f"cannot get {what}: it needs the package {package}: pip install {package}")
        if found := re.search(r"pip install ([\w.\[\]-]+)", str(cause)):
            return ValueError(f"cannot get {what}: it needs another package: pip install {found[1]}")
    for cause in chain:
        if isinstance(cause, OSError) and cause.errno in NO_SPACE:
            return ValueError(
                f"cannot keep {reason}: set HF_HOME to a folder that can be written to and has room, or {LOCAL}"
            )
    if any(NETWORK.search(type(cause).__name__) or SAID.search(str(cause)) for cause in chain):
        return ValueError(
            f"cannot get {reason}: run once with a connection so that it is cached, set HF_HOME to a folder that has "
            f"it, or {LOCAL}"
        )
    return ValueError(f"cannot get {reason}: {LOCAL}")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and those it was raised from or after."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
