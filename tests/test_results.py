"""What is committed in results/ and shown in the README is what the committed records say."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from benchmark.leaderboard.families import FAMILIES, family
from benchmark.leaderboard.text import write
from benchmark.records import files
from tests import ROOT

RESULTS = ROOT / "results"
PHOTOGRAPHS = RESULTS / "photographs"  # of streams whose images this package does not have
FRESH = RESULTS / "fresh-seeds"  # of the best methods, on seeds that nothing was looked at before


@pytest.mark.parametrize("folder", [RESULTS, FRESH, PHOTOGRAPHS], ids=["today", "fresh seeds", "photographs"])
def test_the_leaderboard_is_made_of_the_records(folder, tmp_path):
    shutil.copytree(folder / "records", tmp_path / "records")
    for made in write(tmp_path):
        assert made.read_bytes() == (folder / made.name).read_bytes(), (
            f"run: python -m benchmark leaderboard ({made.name})"
        )


def test_fresh_seeds_are_in_no_table_and_no_search():
    from benchmark.running.tuning import TUNING_SEEDS

    fresh = [record.seed for record in files.read_all(FRESH)]
    assert len(set(fresh)) >= 20
    assert not set(fresh) & ({record.seed for record in files.read_all(RESULTS)} | set(TUNING_SEEDS))


@pytest.mark.parametrize(
    "folder",
    [RESULTS, RESULTS / "version-1", FRESH, PHOTOGRAPHS],
    ids=["today", "version 1", "fresh seeds", "photographs"],
)
def test_every_count_follows_from_the_predictions_beside_it(folder):
    paths = sorted((folder / "records").rglob("*.json"))
    assert paths
    for path in paths:
        assert files.recompute(files.read(path), files.read_predictions(path)) == [], path


def test_the_readme_shows_rows_of_the_leaderboard_from_every_family():
    readme = (ROOT / "README.md").read_text().split("## What it shows")[1].split("\n## ")[0].splitlines()
    made = (RESULTS / "leaderboard.md").read_text().split("## driving-foggy-full")[1].split("## ")[0].splitlines()
    shown = [line for line in readme if line.startswith("| ")]
    assert set(shown) <= set(made), "copy rows of results/leaderboard.md into the README"
    of_readme, of_table = (
        {family(row.split(" | ")[1].split(" ")[0]) for row in rows if row.startswith("| ")}
        for rows in (shown[2:], made)
    )
    assert of_readme == of_table & set(FAMILIES)


def plain(settings) -> dict:
    """Settings as a record gives them back."""
    return json.loads(settings.model_dump_json())


def test_what_was_tuned_is_what_the_searches_chose():
    from benchmark.records import tuned
    from benchmark.running import tuning

    assert tuned.FILE.read_bytes() == tuning.tuned_bytes(RESULTS), "run: python -m benchmark adopt"


def test_searches_were_equal_and_on_seeds_that_are_not_reported():
    import methods
    from benchmark.running import tuning
    from benchmark.running.jobs import budget_of

    paths = sorted((RESULTS / "tuning").rglob("*.json"))
    assert paths
    reported = {record.seed for record in files.read_all(RESULTS)}
    for search in map(tuning.read, paths):
        strategy = methods.load(search.method)
        assert search.version == strategy.VERSION and search.seeds == tuning.TUNING_SEEDS
        assert not reported & set(search.seeds)
        usual = strategy.SETTINGS(**budget_of(strategy, search.scenario))
        wanted = tuning.candidates(usual, tuning.BUDGET, strategy.SEARCHED_AS or search.method)
        assert [trial.settings for trial in search.trials] == json.loads(json.dumps(wanted)), search.method


def test_records_were_made_by_the_code_as_it_is():
    """Settings, versions, pictures and the shipped bases of the committed records are today's."""
    import methods
    from benchmark.running.bases import shipped_base
    from scenarios import fingerprints

    for record in files.read_all(RESULTS):
        strategy, today = methods.load(record.method.name), fingerprints()[record.scenario.name]
        assert record.method.version == strategy.VERSION
        assert record.method.settings == plain(strategy.SETTINGS(**record.method.settings))
        assert record.scenario.version == today["version"] and record.scenario.fingerprint == today["fingerprint"]
        assert shipped_base(record.base.name) is not None


def test_every_method_was_run_with_the_settings_that_a_newcomer_gets():
    import methods
    from benchmark.records.tuned import tuned
    from benchmark.running.jobs import budget_of

    found: dict[tuple[str, str], list[dict]] = {}
    for record in files.read_all(RESULTS):
        found.setdefault((record.scenario.name, record.method.name), []).append(record.method.settings)
    for (scenario, method), settings in found.items():
        strategy = methods.load(method)
        usual = strategy.SETTINGS(**budget_of(strategy, scenario) | tuned(scenario, method))
        assert plain(usual) in settings, (scenario, method)


def test_no_page_has_a_heading_twice():
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
        headings = re.findall(r"^#+ .*", prose, re.M)
        assert len(headings) == len(set(headings)), page
