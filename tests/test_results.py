"""What is committed in results/ and shown in the README is what the committed records say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from benchmark import leaderboard, plots, records

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"


def test_the_leaderboard_is_made_of_the_records(tmp_path):
    shutil.copytree(RESULTS / "records", tmp_path / "records")
    for made in leaderboard.write(tmp_path):
        assert made.read_bytes() == (RESULTS / made.name).read_bytes(), (
            f"run: python -m benchmark leaderboard ({made.name})"
        )


def test_every_count_follows_from_the_predictions_beside_it():
    paths = sorted((RESULTS / "records").rglob("*.json"))
    assert paths
    for path in paths:
        assert records.recompute(records.read(path), records.read_predictions(path)) == [], path


def test_the_readme_shows_rows_of_the_leaderboard_from_every_family():
    readme = (ROOT / "README.md").read_text().split("## What it shows")[1].split("\n## ")[0].splitlines()
    made = (RESULTS / "leaderboard.md").read_text().split("## driving-foggy")[1].split("## ")[0].splitlines()
    shown = [line for line in readme if line.startswith("| ")]
    assert set(shown) <= set(made), "copy rows of results/leaderboard.md into the README"
    families = {plots.family(row.split(" | ")[1].split(" ")[0]) for row in shown[2:]}
    assert families == set(plots.FAMILIES)


def plain(settings) -> dict:
    """Settings as a record gives them back."""
    return json.loads(settings.model_dump_json())


def test_what_was_tuned_is_what_the_searches_chose():
    from benchmark import tuned, tuning

    assert tuned.FILE.read_bytes() == tuning.tuned_bytes(RESULTS), "run: python -m benchmark adopt"


def test_searches_were_equal_and_on_seeds_that_are_not_reported():
    import methods
    from benchmark import tuning

    paths = sorted((RESULTS / "tuning").rglob("*.json"))
    assert paths
    reported = {record.seed for record in records.read_all(RESULTS)}
    for search in map(tuning.read, paths):
        strategy = methods.load(search.method)
        assert search.version == strategy.VERSION and search.seeds == tuning.TUNING_SEEDS
        assert not reported & set(search.seeds)
        wanted = tuning.candidates(strategy.SETTINGS, tuning.BUDGET, search.method)
        assert [trial.settings for trial in search.trials] == json.loads(json.dumps(wanted)), search.method


def test_records_were_made_by_the_code_as_it_is():
    """Settings, versions, pictures and the shipped bases of the committed records are today's."""
    import methods
    from benchmark.bases import shipped_base
    from benchmark.tuned import tuned
    from scenarios import fingerprints

    for record in records.read_all(RESULTS):
        strategy, today = methods.load(record.method.name), fingerprints()[record.scenario.name]
        assert record.method.version == strategy.VERSION
        chosen = tuned(record.scenario.name, record.method.name)
        assert record.method.settings in (plain(strategy.SETTINGS(**chosen)), plain(strategy.SETTINGS()))
        assert record.scenario.version == today["version"] and record.scenario.fingerprint == today["fingerprint"]
        assert shipped_base(record.base.name) is not None
