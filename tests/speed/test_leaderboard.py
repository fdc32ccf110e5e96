"""Building the leaderboard of thousands of records. Run with: tox -e benchmark"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmark.leaderboard import text
from benchmark.records import files
from tests.synthetic import save, synthetic_records

COUNT = 10_000


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return save(synthetic_records(COUNT), tmp_path_factory.mktemp("results"))


def test_reading(benchmark, results):
    assert len(benchmark.pedantic(files.read_all, args=(results,), rounds=3)) == COUNT


def test_aggregating(benchmark, results):
    found = files.read_all(results)
    frame, across, _ = benchmark.pedantic(text.frames, args=(found,), rounds=3, warmup_rounds=1)
    assert frame["seeds"].sum() == COUNT and len(across) == COUNT // 20


def test_the_files(benchmark, results):
    """From nothing to both files in a process of its own: less than 1 GB, and ten times what parsing JSON takes.

    Parsing takes about half a second on an idle core; to compare with it says the same on a busy one.
    """
    code = "import sys, pathlib, benchmark.leaderboard as board; board.write(pathlib.Path(sys.argv[1]))"

    def build() -> None:
        subprocess.run([sys.executable, "-c", code, str(results)], check=True)

    contents = [path.read_bytes() for path in Path(results).rglob("*.json")]
    start = time.process_time()
    for content in contents:
        json.loads(content)
    parsing = time.process_time() - start
    benchmark.pedantic(build, rounds=1)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    benchmark.extra_info |= {"cpu_s": used.ru_utime + used.ru_stime, "json_s": parsing, "mb": used.ru_maxrss / 1024}
    assert used.ru_maxrss < 1e6  # KiB
    assert used.ru_utime + used.ru_stime < 10 * parsing
