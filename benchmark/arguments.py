"""Arguments of the command line as values, with a clear line where one means nothing. Imports no torch."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import methods
from scenarios import SCENARIOS, Scenario
from scenarios.wording import unknown_name

MOST_SEEDS = 10_000  # of --seeds: each is a run of its own
LEAST_ALPHA = 1e-9  # of a million classes it is the finest level that has critical values
LARGEST_SEED = 2**32 - 1  # NumPy takes no larger ones
WORD = re.compile(r'\s*(?:"(?P<quoted>(?:[^"]|"")*)"\s*|(?P<plain>[^,]*))(?P<end>,|$)')  # of a list, with its comma
FLAGS = ("data", "target", "protected")  # that a scenario may take
TEXTS = ("data", "target", "prompt")  # options that are text, whatever they look like
NO_OPTIONS = {"seed": "--seed of run, tune or calibrate", "name": "--scenario"}  # what every builder is given


def seeds_of(count: int | None, listed: str | None) -> tuple[int, ...]:
    """The seeds of ``--seeds N`` or ``--seed A,B``; 0 to 4 by default."""
    if listed is None:
        count = 5 if count is None else count
        if count < 1:
            raise ValueError(f"--seeds must be 1 or more, not {count}")
        if count > MOST_SEEDS:
            raise ValueError(f"--seeds must be {MOST_SEEDS:,} or less, not {count}")
        return tuple(range(count))
    if count is not None:
        raise ValueError("give --seeds or --seed, not both")
    try:
        chosen = tuple(int(part) for part in listed.split(","))
    except ValueError:
        raise ValueError(f"--seed takes whole numbers with commas, such as 0,1,2, not {listed!r}") from None
    if min(chosen) < 0 or len(set(chosen)) < len(chosen):
        raise ValueError(f"--seed: seeds must be distinct and not negative, got {listed!r}")
    if max(chosen) > LARGEST_SEED:
        raise ValueError(f"--seed: seeds must be {LARGEST_SEED} or less, got {listed!r}")
    return chosen


def key_values(pairs: Sequence[str], flag: str, texts: Collection[str] = ()) -> dict[str, Any]:
    """``key=value`` pairs; a value is read as JSON where it is JSON, else as text, as those of ``texts`` always are.

    Raises:
        ValueError: one is no such pair, or a key is given twice.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ValueError(f"{flag} takes key=value, not {pair!r}")
        if key in values:
            raise ValueError(f"{flag} {key} given twice: give it once")
        try:
            values[key] = text if key in texts else json.loads(text)
        except (ValueError, RecursionError):  # no JSON, or none that Python reads
            values[key] = text
    return values


def names_of(texts: Sequence[str], flag: str, known: Collection[str] = ()) -> tuple[str, ...]:
    """The names in the values of a flag, each with commas between names, without doubles.

    A name that holds a comma stands in double quotes, as in CSV; if it is one of ``known``, they may be left out.

    Raises:
        ValueError: there is no name, or words may be one known name or several.

    Example:
        >>> names_of(['clear, rainy', '"crane, bird"'], "--protected")
        ('clear', 'rainy', 'crane, bird')
    """
    names = [name for text in texts for name in _names_in(text, flag, known) if name]
    if not names:
        raise ValueError(f"{flag} holds no name")
    return tuple(dict.fromkeys(names))


def _names_in(text: str, flag: str, known: Collection[str]) -> Iterator[str]:
    """As many words at once as make a known name, else one word; none in between is an empty one."""
    words = [word for word in WORD.finditer(text) if word.start() < len(text)]
    while words:
        most = len(words) if known else 1
        wholes = ((many, text[words[0].start() : words[many - 1].start("end")].strip()) for many in range(most, 1, -1))
        many, whole = next((found for found in wholes if found[1] in known), (1, ""))
        names = [_unquoted(word) for word in words[:many]]
        if whole and set(names) <= set(known):
            raise ValueError(f"{flag}: {whole!r} is one name or several: put each name in double quotes")
        yield whole or names[0]
        del words[:many]


def _unquoted(word: re.Match[str]) -> str:
    return word["plain"].strip() if word["quoted"] is None else word["quoted"].replace('""', '"')


def known_scenario(name: str) -> Scenario:
    """The scenario of this name.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in SCENARIOS:
        raise ValueError(unknown_name("scenario", name, SCENARIOS))
    return SCENARIOS[name]


def known_method(name: str) -> str:
    """``name``, once it has the form of a method's.

    Raises:
        ValueError: there is none of that name.
    """
    if not methods.is_method(name):
        raise ValueError(unknown_name("method", name, methods.METHODS))
    return name


def scenario_options(
    scenario: str,
    pairs: Sequence[str],
    data: Path | None,
    target: str | None,
    protected: str | Sequence[str] | None,
    flags: Collection[str] = FLAGS,
    needs: Collection[str] = FLAGS,
) -> dict[str, Any]:
    """The scenario's own arguments: ``--option`` pairs, and those of its flags that it takes.

    ``MDS_BENCH_DATA`` stands in for ``--data``.

    Args:
        scenario: its name.
        pairs: values of ``--option``.
        data: value of ``--data``.
        target: value of ``--target``.
        protected: values of ``--protected``.
        flags: those of ``FLAGS`` that the command has.
        needs: those that it cannot do without, if the scenario cannot.

    Raises:
        ValueError: the scenario is unknown or not for a command without its flags, or a flag or option is not for it,
            missing or given twice.
    """
    takes, needed = known_scenario(scenario).flags, known_scenario(scenario).needed
    options = key_values(pairs, "--option", TEXTS)
    for name in options.keys() & NO_OPTIONS.keys():
        raise ValueError(f"--option {name}: {name} is not an option, use {NO_OPTIONS[name]}")
    given: dict[str, Any] = {name: value for name, value in (("data", data), ("target", target)) if value is not None}
    given = {name: str(value) for name, value in given.items()}
    if protected is not None:
        texts = [protected] if isinstance(protected, str) else protected
        given["protected"] = names_of(texts, "--protected")
    for name in given:
        if name not in takes:
            owners = ", ".join(owner for owner, entry in SCENARIOS.items() if name in entry.flags)
            raise ValueError(f"--{name} is not for --scenario {scenario}: it belongs to {owners}")
        if name in options:
            raise ValueError(f"--{name} and --option {name} are the same: give one")
    if "data" in takes and "data" not in {*given, *options} and os.environ.get("MDS_BENCH_DATA"):
        given["data"] = os.environ["MDS_BENCH_DATA"]
    needed = tuple(name for name in needed if name in needs)
    for name in needed:
        if name not in flags:
            raise ValueError(f"--scenario {scenario} is not for this command, which has no --{name}")
    for name in needed:
        if name not in {*given, *options}:
            raise ValueError(f"--scenario {scenario} needs --{name}")
    if "data" in takes and "data" not in {*given, *options, *flags}:
        raise ValueError(f"--scenario {scenario}: name the folder of its data set in the variable MDS_BENCH_DATA")
    return options | given
