"""Whether an implementation of a method keeps the promises of every method, found out on tiny streams in seconds."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable

import methods
from benchmark.running.guards import global_seeds, place
from benchmark.running.promises import CHECKS, OF_TRAINING, Broken, Subject, check_contract
from methods.strategy import RoundStrategy


def try_method(name: str, report: Callable[[str], None] = print) -> bool:
    """Load a method and try it; a file that ends the program when it is imported has failed.

    Raises:
        ValueError: there is no such method, its file cannot be imported, or an extra that it needs is not installed.
    """
    methods.check_runnable(name)
    try:
        strategy = methods.load(name)
    except (SystemExit, ValueError) as error:
        if not isinstance(ended := error if isinstance(error, SystemExit) else error.__cause__, SystemExit):
            raise
        report(_line("import", f"ends the program with SystemExit({ended.code!r}): a file of a method must not"))
        report(f"{name}: 1 failed")
        return False
    return run_trial(strategy, name, report)


def run_trial(strategy: type[RoundStrategy], name: str, report: Callable[[str], None] = print) -> bool:
    """Try a method on the mock streams; whether it passed everything.

    Args:
        strategy: the class.
        name: as in a record.
        report: is given one line per check and a summary, as they come.
    """
    start, subject, failed = time.perf_counter(), Subject(strategy, name), 0
    checks = CHECKS
    if reason := _reason(check_contract, subject):
        failed, checks = 1, {}  # the other checks rely on the contract
    report(_line("contract", reason))
    for title, check in checks.items():
        if check in OF_TRAINING and not strategy.trains:
            report(f"{title}: skipped, the method takes no steps")
            continue
        reason = _reason(check, subject)
        failed += bool(reason)
        report(_line(title, reason))
    verdict = f"{failed} failed" if failed else "all checks passed"
    report(f"{name}: {verdict} ({time.perf_counter() - start:.0f} s)")
    return not failed


def _line(title: str, reason: str) -> str:
    return f"{title}: FAILED {reason}" if reason else f"{title}: ok"


def _reason(check: Callable[[Subject], None], subject: Subject) -> str:
    """Why the check fails, in one line; nothing if it passes."""
    try:
        with global_seeds(0):
            check(subject)
    except Broken as broken:
        return str(broken)
    except KeyboardInterrupt:  # the user's
        raise
    except BaseException as error:  # whatever the method raised: to end the program is to fail
        where = place(traceback.extract_tb(error.__traceback__), subject.strategy)
        return f"{type(error).__name__}: {' '.join(str(error).split())}{where}"
    return ""
