"""HTML pages: templates in which nothing that is shown becomes markup, and the style that all pages share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

STYLE = Path(__file__).with_name("style.css")


def templates(folder: Path) -> Environment:
    """The templates in ``folder``, which may include ``style.css``."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader([folder, STYLE.parent])
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
