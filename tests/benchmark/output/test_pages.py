"""Templates: nothing shown becomes markup, nothing missing is shown as nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from benchmark.output.pages import STYLE, templates


def test_text_is_escaped_and_the_shared_style_is_not(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<style>{% include 'style.css' %}</style><p>{{ text }}</p>")
    page = templates(tmp_path).get_template("a.html").render(text="<script>&")
    assert page == f"<style>{STYLE.read_text().rstrip()}</style><p>&lt;script&gt;&amp;</p>"


def test_a_name_that_was_not_given_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("{{ text }}")
    with pytest.raises(UndefinedError):
        templates(tmp_path).get_template("a.html").render()
