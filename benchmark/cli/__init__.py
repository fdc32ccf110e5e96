"""The command line: argument parsing only. Every command imports its modules when it runs."""

from __future__ import annotations

import sys
import warnings

from benchmark.cli import develop, judge, tell  # each registers its commands
from benchmark.cli.app import app

__all__ = ["develop", "fail", "judge", "main", "tell"]

INTERRUPTED = 130  # the code that typer returns after Ctrl-C


def main() -> None:
    """Run a command; a user's mistake gives one line and exit code 2."""
    # older pips install Avalanche without the solvers that it asks for, and that nothing here uses
    warnings.filterwarnings("ignore", "no QP solver found")
    try:
        code = app(args=sys.argv[1:] or ["--help"], standalone_mode=False) or 0
    except (ValueError, OSError) as error:
        fail(" ".join(str(error).split()), 2)
    except Exception as error:
        if not hasattr(error, "format_message"):  # not the option parser's
            raise
        fail(" ".join(error.format_message().split()) or "see --help", 2)
    if code == INTERRUPTED:
        fail("interrupted; finished runs are kept, the same command goes on from there", code)
    sys.exit(code)


def fail(message: str, code: int) -> None:
    """End with one line on standard error."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
