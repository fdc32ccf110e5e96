"""Commands that run beside the test, so that they can be killed, and scenarios for them."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from scenarios import SCENARIOS, Scenario
from tests.benchmark.running.commands import NOTING


@pytest.fixture
def toys(command, monkeypatch):
    """``command`` with a second scenario, ``toy-rounds``, and a method ``noting.py:Noting``."""
    builder = f"{__package__}.commands:toy_rounds"
    monkeypatch.setitem(SCENARIOS, "toy-rounds", Scenario(builder, "two rounds of coloured noise"))
    Path("noting.py").write_text(NOTING)
    return command


@pytest.fixture
def start(toys):
    """``start(*arguments)``: a command of a process of its own, the head of a group; what it says goes to ``said``."""
    started = []

    def call(*arguments: str) -> multiprocessing.context.ForkProcess:
        def work() -> None:
            os.setsid()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            code, out, err = toys(*arguments)
            Path("said").write_text(out + err)
            os._exit(code)

        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        started.append(process)
        return process

    yield call
    for process in started:
        process.kill()
        process.join()
