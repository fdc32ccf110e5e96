"""What many tests share: a tiny stream of coloured noise, learned in seconds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # so that processes of workers are copies, with what tests patch


def pytest_collection_modifyitems(items):
    """Tests of a ``name`` that needs an extra of this package are skipped where it is not installed."""
    import methods

    for item in items:
        name = item.callspec.params.get("name") if hasattr(item, "callspec") else None
        extra = methods.missing_extra(name) if isinstance(name, str) else ""
        if extra:
            item.add_marker(pytest.mark.skip(reason=f'{name} needs {extra}: pip install "mds-bench[{extra}]"'))


@pytest.fixture(scope="session")
def toy_stream():
    """Six classes that a tiny model can learn: each tints noise in its own way; target 'f', protected the others."""
    return make_toy_stream(seed=0)


def make_toy_stream(seed: int, per_class: int = 30, rounds: int = 1):
    """Toy stream; a second round protects the first one's target and develops 'e'."""
    from scenarios.mock import LETTERS, Sizes, noise_stream
    from scenarios.stream import Round

    plan = [Round("f", tuple("abcde")), Round("e", tuple("abcdf"))][:rounds]
    return noise_stream("toy", LETTERS, plan, LETTERS[:5], Sizes(2 * per_class, per_class, per_class), seed)


@pytest.fixture(scope="session")
def toy_base(toy_stream):
    """A model that knows a to e and has never met f."""
    from benchmark.running.pretrain import Recipe, pretrain

    return pretrain(toy_stream.pretraining(), toy_stream.prompts, Recipe(steps=37, batch_size=64, prior=0.0))


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """A cache of the tests' own, so that they neither read nor fill the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MDS_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def photos() -> Path:
    """A folder of class-named folders of real photos, named by MDS_BENCH_PHOTOS."""
    folder = os.environ.get("MDS_BENCH_PHOTOS")
    if not folder or not Path(folder).is_dir():
        pytest.skip("set MDS_BENCH_PHOTOS to a folder of class-named folders of photos to run this test")
    return Path(folder)


def toy_scenario(
    seed: int = 0, rounds: int = 1, per_class: int = 30, image_size: int = 64, protected_per_class: int | None = None
):
    """The toy stream as a named scenario, for tests of the command line."""
    return make_toy_stream(seed, protected_per_class or per_class, rounds)


@pytest.fixture
def in_folder(monkeypatch, capsys, tmp_path):
    """``in_folder(*arguments) -> (exit code, stdout, stderr)`` of a command, in this process and an empty folder."""
    from benchmark import cli

    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["benchmark", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


@pytest.fixture
def command(in_folder, monkeypatch, toy_base):
    """As ``in_folder``, with a scenario ``toy`` and its base at hand."""
    from methods.checkpoints import checkpoint_bytes
    from scenarios import SCENARIOS, Scenario

    monkeypatch.setitem(SCENARIOS, "toy", Scenario("tests.conftest:toy_scenario", "coloured noise"))
    Path("toy.safetensors").write_bytes(checkpoint_bytes(toy_base, "mds-tiny"))
    return in_folder
