"""The stages of ``gpu_proof.py``: each prints what it finds, in Markdown, and ends with an exception if it fails.

python -m scripts.gpu_stages NAME SECONDS RESULTS
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn
from xml.etree import ElementTree

import torch

from scripts.gpu_proof import SKIPPED

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FEW = "finetune,ewc,lwf,replay,gem,rm,mds,mds-l1" if DEVICE == "cuda" else "finetune,mds"
SIZES = ("target_images=8", "protected_per_class=2", "val_per_class=1", "test_per_class=2")
SMALL = ["--set", "steps=2", *(word for size in SIZES for word in ("--option", size))]


def correctness(seconds: float, results: Path) -> None:
    """All tests that want a GPU: every method, kernels, views; the most telling first."""
    kernels = run_tests("cuda", "tests/methods/test_cuda.py")
    methods = run_tests("gpu", "tests/methods/test_augmentation.py", "tests/test_every_method.py")
    if failed := kernels.failed + methods.failed:
        fail(f"{len(failed)} failed: {', '.join(failed)}")
    if not kernels.ran + methods.ran:
        skip("needs a GPU")


def renderer(seconds: float, results: Path) -> None:
    """The pictures of every rendered stream are those of the records, and a GPU draws the same bits."""
    import scenarios

    wrong = []
    for name in scenarios.rendered() if DEVICE == "cuda" else ["driving-foggy"]:
        start = time.perf_counter()
        stream = scenarios.build(name, target_images=1, protected_per_class=1)
        same = stream.fingerprint == scenarios.fingerprints()[name]["fingerprint"]
        pictures = sum(len(data.val) + len(data.test) for data in stream.data)
        say(
            f"- {name}: {pictures:,} pictures made on the CPU in {time.perf_counter() - start:.0f} s, "
            + ("bit for bit those of" if same else "NOT those of")
            + " `scenarios/fingerprints.json`"
        )
        wrong += [] if same else [name]
    wrong += run_tests("cuda", "tests/scenarios/test_render.py", "tests/scenarios/test_render_places.py").failed
    if wrong:
        fail(f"other pictures than the records': {', '.join(wrong)}")


def steps(seconds: float, results: Path) -> None:
    """Training steps at the published shapes, against the published code's."""
    from scripts.gpu_steps import measure

    measure(seconds, DEVICE)


def leaderboard(seconds: float, results: Path) -> None:
    """All methods on one stream, as many seeds as there is time for; several small models at once against one."""
    deadline = time.monotonic() + seconds
    took = develop("all" if DEVICE == "cuda" else "finetune,mds", "auto", results)
    say(f"- every method once, `--workers auto`: {took:.0f} s")
    if time.monotonic() + 2 * took < deadline:
        with tempfile.TemporaryDirectory() as folder:
            alone, together = (develop(FEW, workers, Path(folder) / workers) for workers in ("1", "auto"))
        say(f"- {FEW.count(',') + 1} methods one after the other: {alone:.0f} s; several at once: {together:.0f} s")
    seed = 1
    while time.monotonic() + 1.2 * took < deadline and DEVICE == "cuda":
        took = develop("all", "auto", results, seed)
        say(f"- every method with seed {seed}: {took:.0f} s")
        seed += 1
    call("leaderboard", "--results", str(results))
    say(f"- records of {seed} seed(s) and their tables: `{results.name}/`")


def develop(methods: str, workers: str, results: Path, seed: int = 0) -> float:
    """Seconds of wall time of ``python -m benchmark run``."""
    start = time.perf_counter()
    small = SMALL if DEVICE == "cpu" else []
    stream = ["--scenario", "driving-foggy", "--seed", str(seed)]
    how = ["--device", DEVICE, "--workers", workers, "--results", str(results), "--force", "--quiet"]
    call("run", "--method", methods, *stream, *small, *how)
    return time.perf_counter() - start


def call(*arguments: str) -> None:
    """A command of the benchmark; its last words where it fails."""
    done = subprocess.run([sys.executable, "-m", "benchmark", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        fail(f"python -m benchmark {arguments[0]}: {(done.stderr.strip() or done.stdout.strip())[-500:]}")


class Tests(NamedTuple):
    """How many tests ran, and did not merely skip; what failed."""

    ran: int
    failed: list[str]


def run_tests(keyword: str, *files: str) -> Tests:
    """Run the tests of the files whose names hold the keyword, and say how they went."""
    with tempfile.TemporaryDirectory() as folder:
        junit = Path(folder) / "tests.xml"
        command = ["-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider", f"--junit-xml={junit}"]
        done = subprocess.run(
            [sys.executable, *command, "-k", keyword, *files], capture_output=True, text=True, check=False
        )
        if not junit.is_file():
            return Tests(0, [f"pytest ({(done.stderr or done.stdout).strip()[-500:]})"])
        cases = list(ElementTree.parse(junit).iter("testcase"))
    failed = [str(c.get("name")) for c in cases if c.find("failure") is not None or c.find("error") is not None]
    ran = len(cases) - sum(case.find("skipped") is not None for case in cases)
    say(f"- {' '.join(files)}: {ran - len(failed)} of {len(cases)} passed, {len(cases) - ran} skipped")
    if failed:
        print(done.stdout, file=sys.stderr)
    return Tests(ran, failed)


def say(line: str) -> None:
    """A line of the report, there also if this process is ended before its time."""
    print(line, flush=True)


def fail(why: str) -> NoReturn:
    """End the stage as failed."""
    sys.exit(" ".join(why.split()))


def skip(why: str) -> NoReturn:
    """End the stage as one that cannot run here."""
    print(why, file=sys.stderr)
    sys.exit(SKIPPED)


STAGES: dict[str, Callable[[float, Path], None]] = {
    stage.__name__: stage for stage in (correctness, renderer, steps, leaderboard)
}

if __name__ == "__main__":
    STAGES[sys.argv[1]](float(sys.argv[2]), Path(sys.argv[3]))
