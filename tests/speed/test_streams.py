"""Building a stream whose pictures are on disk already. Run with: tox -e benchmark"""

from __future__ import annotations

import pytest

import scenarios
from scenarios import gallery


@pytest.mark.parametrize("name", scenarios.rendered())
def test_second_build(benchmark, name):
    """All splits of a seed, read from the cache as a new process reads them."""
    scenarios.build(name)

    def build():
        gallery._store.cache_clear()
        return scenarios.build(name)

    stream = benchmark.pedantic(build, rounds=3, warmup_rounds=0)
    benchmark.extra_info["images"] = sum(
        len(part) for data in stream.data for part in (data.train, data.protected, data.val, data.test)
    )
