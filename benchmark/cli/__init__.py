"""The command line: argument parsing only. Every command imports its modules when it runs."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

from benchmark.output.streams import lasting_streams
from benchmark.output.tables import one_line
from benchmark.running.engines import who_ended
from benchmark.running.threads import set_defaults

# Exit codes beside those of verdicts, which are 0, 1 and 3: no error ends with one of these.
UNUSABLE = 2  # what was given cannot be used, read or written
UNFORESEEN = 70  # a fault of this package or of a method; EX_SOFTWARE of BSD's sysexits
INTERRUPTED = 130  # the code that typer returns after Ctrl-C


def main() -> None:
    """Run the command of ``sys.argv`` and end with its exit code; a user's mistake gives one line and exit code 2."""
    set_defaults()
    with lasting_streams():
        code = _run(sys.argv[1:] or ["--help"])
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    """The exit code of a command; whatever goes wrong has been told on standard error."""
    try:
        code = _call(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except (ValueError, OSError) as error:
        return _failed(_words(error), UNUSABLE)
    except SystemExit as ended:
        return _failed(who_ended(ended), UNUSABLE)
    except BaseException as error:
        if hasattr(error, "format_message"):  # the option parser's
            return _failed(_misused(error), UNUSABLE)
        traceback.print_exc()
        return _failed(f"unforeseen {type(error).__name__}, which is no verdict: see above", UNFORESEEN)
    if code == INTERRUPTED:
        return _failed("interrupted; finished runs are kept, the same command goes on from there", code)
    return code


def _call(arguments: list[str]) -> int:
    """What a command returns: commands give their exit code back, and nothing or 0 where all is well."""
    # older pips install Avalanche without the solvers that it asks for, and that nothing here uses
    warnings.filterwarnings("ignore", "no QP solver found")
    warnings.formatwarning = _format_warning
    _keep_matplotlib_quiet()
    from benchmark.cli import develop, judge, tell  # noqa: F401 each registers its commands
    from benchmark.cli.app import app

    return app(args=arguments, standalone_mode=False) or 0


def _format_warning(message: Warning | str, *where: object, **more: object) -> str:
    """One line for people, without the line of code that warned."""
    return f"warning: {one_line(str(message))}\n"


def _keep_matplotlib_quiet() -> None:
    """Where the home folder cannot be written, matplotlib says so twice in every command: it may use the cache."""
    from scenarios.cache import cache_folder

    home = Path(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"))  # noqa: PTH111 there may be none
    existing = next((place for place in (home, *home.parents) if place.exists()), home)
    if not os.access(existing, os.W_OK):
        os.environ.setdefault("MPLCONFIGDIR", str(cache_folder() / "matplotlib"))


def _failed(message: str, code: int) -> int:
    """Tell ``message`` in one line on standard error; ``code``."""
    print(f"error: {one_line(message)}", file=sys.stderr)
    return code


def _misused(error: Any) -> str:
    """What the option parser says, and how the command is called."""
    message, context = error.format_message(), getattr(error, "ctx", None)
    if context is None:
        return message or "see --help"
    usage = " ".join([context.command_path, *context.command.collect_usage_pieces(context)])
    return f"{message} (usage: {usage}; see {context.command_path} --help)"


def _words(error: ValueError | OSError) -> str:
    """The message; of an error of the system, the file and what is wrong with it."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    return str(error) or type(error).__name__
