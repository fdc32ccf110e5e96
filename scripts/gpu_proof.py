"""Everything that only a GPU can prove, in one command of at most ten minutes.

    python scripts/gpu_proof.py [--minutes 10] [--out FILE] [--results FOLDER] [--stages NAME,NAME]

The stages of ``gpu_stages.py`` run one after the other, the most important first, each in a process of its own. Time
that one does not use passes on to those after it; one that fails, crashes or does not end in time is reported and stops
no other. What each found is appended to ``docs/performance.md`` as soon as it ends. The exit code is 1 if any failed.

Without a GPU everything runs small on the CPU, to see that it runs at all, and nothing is written unless ``--out`` says
where. ``wheels.sh`` collects what a machine without a network lacks.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, NamedTuple

import torch

ROOT = Path(__file__).resolve().parents[1]
SHARES = {"correctness": 3, "renderer": 2, "steps": 4, "leaderboard": 4}  # of the time that is left
SKIPPED = 3  # exit code of a stage that cannot run here
KEPT_BACK = 30  # seconds, for starting and ending


class Verdict(NamedTuple):
    """How a stage ended, and what it printed."""

    word: str  # PASS, FAIL or skipped
    reason: str
    lines: str


def main() -> int:
    """Run the stages and report; 1 if any failed."""
    options = arguments()
    out = options.out or (ROOT / "docs" / "performance.md" if torch.cuda.is_available() else None)
    deadline = time.monotonic() + 60 * options.minutes - KEPT_BACK
    report(heading(), out)
    failed = False
    with tempfile.TemporaryDirectory() as cache:  # of its own: pictures are made here, not found
        for position, name in enumerate(options.stages):
            start = time.monotonic()
            share = SHARES[name] / sum(SHARES[later] for later in options.stages[position:])
            verdict = run_stage(name, max(0.0, share * (deadline - start)), options.results, cache)
            reason = f": {verdict.reason}" if verdict.reason else ""
            report(f"**{name}: {verdict.word}** ({time.monotonic() - start:.0f} s){reason}\n\n{verdict.lines}", out)
            failed |= verdict.word == "FAIL"
    return int(failed)


def arguments() -> argparse.Namespace:
    """What was asked for, with full paths."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="for everything (default: 10)")
    parser.add_argument("--out", type=full_path, help="file to append to (default: docs/performance.md on a GPU)")
    parser.add_argument("--results", type=full_path, default=ROOT / "runs" / "gpu", help="folder that keeps records")
    parser.add_argument("--stages", type=known_stages, default=tuple(SHARES), help=f"of: {', '.join(SHARES)}")
    return parser.parse_args()


def full_path(text: str) -> Path:
    """A path that means the same in a stage's process."""
    return Path(text).resolve()


def known_stages(text: str) -> Sequence[str]:
    """Names of stages, as separated by commas."""
    names = tuple(text.split(","))
    if unknown := set(names) - SHARES.keys():
        raise argparse.ArgumentTypeError(f"no stage is called {', '.join(sorted(unknown))}: choose of {list(SHARES)}")
    return names


def heading() -> str:
    """Which machine this is, and with what it computes."""
    card, cuda = "No GPU: small, on the CPU", ""
    if torch.cuda.is_available():
        found = torch.cuda.get_device_properties(0)
        card, cuda = f"{found.name}, {found.total_memory / 2**30:.0f} GiB", f" with CUDA {torch.version.cuda}"
    today = datetime.now(UTC).date()
    versions = f"torch {torch.__version__}{cuda}, Python {platform.python_version()}, {os.cpu_count()} cores"
    return f"### {card}\n\n{today}, {versions}; made by `python scripts/gpu_proof.py`.\n"


def run_stage(name: str, seconds: float, results: Path, cache: str) -> Verdict:
    """One stage in a process group of its own, ended after ``seconds``."""
    command = [sys.executable, "-m", "scripts.gpu_stages", name, str(seconds), str(results)]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        environment = os.environ | {"MDS_BENCH_CACHE": cache}
        child = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=errors, env=environment, start_new_session=True)
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            late = child.poll() is None
            with suppress(ProcessLookupError):  # its group is empty
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        lines, told = (read_again(file) for file in (out, errors))
    if child.returncode == 0:
        return Verdict("PASS", "", lines)
    if late:
        return Verdict("FAIL", f"did not end in {seconds:.0f} s", lines)
    last = (told.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
    if child.returncode == SKIPPED:
        return Verdict("skipped", last, lines)
    print(told, file=sys.stderr)
    return Verdict("FAIL", last, lines)


def read_again(file: IO[str]) -> str:
    """What a process wrote into a file."""
    file.seek(0)
    return file.read()


def report(text: str, out: Path | None) -> None:
    """Print a part of the report, and append it to the file where there is one."""
    print(text, flush=True)
    if out is not None:
        with out.open("a", encoding="utf-8") as file:
            file.write(f"\n{text}")


if __name__ == "__main__":
    sys.exit(main())
