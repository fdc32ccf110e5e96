"""Names of classes and columns: as they are typed, shown in a line of words, and compared."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable

from benchmark.arguments import names_of
from benchmark.output.tables import one_line
from scenarios.wording import quoted


def renaming(given: str | None, known: Collection[str]) -> dict[str, str]:
    """What ``--columns id=image,label=truth`` says: a known column -> its name in the file.

    Raises:
        ValueError: a part is no such pair, or names an unknown column or one twice.

    Example:
        >>> renaming("id=image,label=truth", ("id", "label", "prediction"))
        {'id': 'image', 'label': 'truth'}
    """
    renamed: dict[str, str] = {}
    for part in names_of([given], "--columns") if given and given.strip() else ():
        name, is_pair, own = (text.strip() for text in part.partition("="))
        if name not in known or not is_pair or not own or name in renamed:
            example = ",".join(f"{name}=NAME" for name in known)
            raise ValueError(f"--columns {part}: give each column once, as in {example}")
        renamed[name] = own
    if double := sorted(own for own in renamed.values() if list(renamed.values()).count(own) > 1):
        raise ValueError(f"--columns: {double[0]!r} cannot be two columns")
    return renamed


def shown(name: str) -> str:
    """A name in a line of words: in quotes where it would not be seen where it begins and ends.

    Example:
        >>> shown("living, modern"), shown("kitchen "), shown("kitchen")
        ('"living, modern"', "'kitchen '", 'kitchen')
    """
    return quoted(name) if one_line(name) == name else repr(name)


def lookalikes(names: Iterable[str], labels: Iterable[str]) -> dict[str, str]:
    """Those of ``names`` that are a label but for case, spaces, ``_``, Unicode's form or a final ``.0``.

    Example:
        >>> lookalikes(["partly_cloudy", "2.0", "other"], ["partly cloudy", "2"])
        {'partly_cloudy': 'partly cloudy', '2.0': '2'}
    """
    folded = {_folded(label): label for label in labels}
    return {name: folded[key] for name in names if (key := _folded(name)) and key in folded}


def _folded(name: str) -> str:
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    text = re.sub(r"^([+-]?\d+)\.0+$", r"\1", text.strip())
    return "".join(char for char in text if not (char.isspace() or char == "_" or unicodedata.category(char) == "Cf"))
