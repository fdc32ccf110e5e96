"""What tests of the release gate share."""

from __future__ import annotations

from functools import partial

import pytest


@pytest.fixture
def call(in_folder):
    """``call(*arguments) -> (exit code, stdout, stderr)`` of ``audit``, in a folder of its own."""
    return partial(in_folder, "audit")
