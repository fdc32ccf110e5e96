"""Methods in files of a user's own: which code belongs to one, and how it is named and loaded. Imports no torch."""

from __future__ import annotations

import ast
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

NEVER_OWN = {"benchmark", "methods", "scenarios"} | sys.stdlib_module_names

_owners: dict[str, Path] = {}  # top-level module: the folder of the method that loaded it


def plain_path(file: str) -> str:
    """The one name of a file: as seen from the working directory, without detours, with forward slashes."""
    path = Path(os.path.normpath(os.path.expanduser(file)))  # noqa: PTH111 Path's own raises
    if path.is_absolute() or ".." in path.parts:
        try:
            path = Path(os.path.relpath(path.resolve(), Path.cwd().resolve()))
        except ValueError:  # another drive
            path = path.resolve()
    return path.as_posix()


def load_file(path: Path) -> tuple[ModuleType, str]:
    """The module in a file, run from the bytes that are hashed, with its own folder importable as for a script.

    Returns:
        The module, and 16 hexadecimal digits of the hash of its code. Without modules of its own folder that is the
        hash of the file, else of the relative paths and contents of all of them.

    Raises:
        ValueError: another module has the name of one that it imports from its folder.
        BaseException: whatever the file raises.
    """
    folder = path.resolve().parent
    files = code_files(path)
    digest = digest_of(files)
    _claim(folder, files)
    spec = spec_from_file_location(f"mds_bench_{path.stem}_{digest}", path)
    assert spec is not None and spec.loader is not None  # it is a .py file
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses, pydantic and pickle look modules up by name
    try:
        with _no_bytecode():
            exec(compile(files[path.name], path, "exec", dont_inherit=True), vars(module))
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module, digest


def digest_of(files: dict[str, bytes]) -> str:
    """16 hexadecimal digits that change with any of the files, given by their relative paths."""
    if len(files) == 1:
        return hashlib.sha256(next(iter(files.values()))).hexdigest()[:16]
    parts = (f"{name} {len(content)}\n".encode() + content for name, content in sorted(files.items()))
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def code_files(path: Path) -> dict[str, bytes]:
    """A file and what it imports from its own folder, and so on, found without running any: relative path, content."""
    folder = path.resolve().parent
    found, waiting = {path.name: path.read_bytes()}, [path.name]
    while waiting:
        name = waiting.pop()
        for imported in _imports(found[name], name):
            for file in _files_of(imported, folder):
                own = file.relative_to(folder).as_posix()
                if own not in found:
                    found[own] = file.read_bytes()
                    waiting.append(own)
    return found


def _imports(content: bytes, name: str) -> Iterator[str]:
    """Dotted names of what a file of this relative path may import: modules, and what is taken from them."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError):  # told when it is run
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = Path(name).parent.parts  # the package that the file is in
            kept = parents[: len(parents) - node.level + 1] if node.level else ()
            start = ".".join([*kept, *filter(None, [node.module])])
            if start and (not node.level or kept):
                yield from (f"{start}.{alias.name}" for alias in node.names)


def _files_of(imported: str, folder: Path) -> Iterator[Path]:
    """The files in ``folder`` that an import runs: of the packages on the way, and of the module."""
    parts = imported.split(".")
    if parts[0] in NEVER_OWN or not _is_own(parts[0], folder):
        return
    for depth in range(1, len(parts) + 1):
        place = folder.joinpath(*parts[:depth])
        package, module = place / "__init__.py", place.with_name(f"{place.name}.py")
        if package.is_file():
            yield package
        elif module.is_file():
            yield module
            return


def _is_own(top: str, folder: Path) -> bool:
    if (folder / f"{top}.py").is_file() or (folder / top / "__init__.py").is_file():
        return True
    # a folder without __init__.py stands behind every module of that name that is installed
    return (folder / top).is_dir() and getattr(PathFinder.find_spec(top), "origin", None) is None


def _claim(folder: Path, files: dict[str, bytes]) -> None:
    """Make the folder importable, and its modules be loaded afresh: what runs is what was hashed."""
    for top in {Path(name).parts[0].removesuffix(".py") for name in list(files)[1:]}:
        loaded = sys.modules.get(top)
        places = [*getattr(loaded, "__path__", ()), *filter(None, [getattr(loaded, "__file__", None)])]
        elsewhere = [place for place in places if not Path(place).resolve().is_relative_to(folder)]
        if elsewhere or _owners.setdefault(top, folder) != folder:
            raise ValueError(
                f"its module {top} has the name of one that is loaded from {(elsewhere or [_owners[top]])[0]}"
            )
        for name in [name for name in sys.modules if name.split(".")[0] == top]:
            del sys.modules[name]
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@contextmanager
def _no_bytecode() -> Iterator[None]:
    """Without compiled files beside the user's, which would be taken for a file changed within the same second."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


__all__ = ["code_files", "digest_of", "load_file", "plain_path"]
