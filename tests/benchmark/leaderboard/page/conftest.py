"""A headless Chromium, and pages for it to open."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from benchmark.leaderboard import page as pages
from benchmark.leaderboard import plots
from tests.benchmark.example_records import EXAMPLE, a_round, diverged, record

FLAGS = """
    --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync
"""
ATTACKS = (  # each sets a flag if any part of the page takes it for markup or script
    '"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>',
    "</script><script>window.hacked=1</script>",
    "'-window.hacked=1-'{{ 7*7 }}<!--<script>\u001b[31m$x_{$\u2028",
)


def two_streams() -> list:
    """The worked example, a diverged run, and a stream of two rounds, the first of them with scene pairs."""
    scenes = {"scene_pairs": {"group": {"n": 80, "old_correct": 29, "new_correct": 30, "both_correct": 20}}}
    stream = {"name": "two rounds", "rounds": 2}
    runs = [
        record("mds", seed, rounds=[a_round(10, 0, 2) | scenes, a_round(5 + seed, -1, 0)], scenario=stream)
        for seed in (0, 1)
    ]
    return [*EXAMPLE, diverged("broken", 0), *runs]


def hostile_records() -> list:
    """Records with an attack in every place for text."""
    made = []
    for attack in ATTACKS:
        names = {"foggy": f"foggy{attack}", "clear": f"clear{attack}", "partly cloudy": f"cloudy{attack}"}
        text = json.dumps(record(attack, 0, (10, 0, 2)).model_dump(mode="json", exclude={"rounds", "scenario"}))
        data = json.loads(text) | {
            "scenario": {
                "name": f"stream{attack}",
                "version": 1,
                "fingerprint": attack,
                "training_fingerprint": attack,
                "classes": list(names.values()),
                "rounds": 1,
                "options": {attack: attack},
            },
            "base": {"name": attack, "sha256": attack, "model": attack},
            "environment": dict.fromkeys(("python", "platform", "processor", "device"), attack)
            | {"threads": 1, "packages": {attack: attack}, "peak_memory_mb": 1.0},
        }
        data["method"]["settings"] = {attack: attack}
        (one,) = record("mds", 0, (10, -1, 2)).model_dump(mode="json")["rounds"]
        one |= {"target": names["foggy"], "protected": [names["clear"], names["partly cloudy"]]}
        one |= {"test": {names[key]: counts for key, counts in one["test"].items()}, "selected": attack}
        one["checkpoints"] = [{"step": 1, "candidate": attack, "devsafety": 0.0, "target_accuracy": 0.5}]
        one["constraints"] = {"steps": [1, 2], "violations": {names["clear"]: [0.1, -0.1]}}
        made.append(type(EXAMPLE[0]).model_validate(data | {"rounds": [one]}))
        made.append(diverged(attack, 1))
    return made


def written(records, folder: Path) -> Path:
    """The page of ``records``, with their plots, in ``folder``."""
    folder.mkdir(exist_ok=True)
    plots.write_all(records, folder)
    return pages.write(records, folder)


@pytest.fixture(scope="session")
def page(tmp_path_factory) -> Path:
    return written(two_streams(), tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="session")
def hostile_page(tmp_path_factory) -> Path:
    return written(hostile_records(), tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """A driver of Chromium that keeps what its console and its network say."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (browser and driver):
        missing = "chromium and chromedriver are not installed: run .ci/chromium"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    opened.set_window_size(1300, 900)
    yield opened
    opened.quit()
