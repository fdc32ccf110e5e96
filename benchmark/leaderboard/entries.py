"""Runs that make one row of a table: those that differ in nothing but their seed, and how they are unlike others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.leaderboard.families import REFERENCE, family
from benchmark.leaderboard.verdicts import outdated
from benchmark.output.tables import canonical, one_line
from benchmark.records.schema import Environment, Record
from benchmark.records.tuned import published

FEWEST = 5  # seeds, below which a row is marked


@dataclass(frozen=True)
class Entry:
    """A method on a stream, with its settings.

    ``variant`` names differences from the usual runs of the stream (data, options, base) or of the method on it
    (version, settings), none for usual ones; ``cautions`` other facts that a reader must know to compare it.
    ``same_data`` is false for data, options or a base unlike those of most runs of the stream.
    """

    runs: Sequence[Record]  # by seed
    variant: str
    cautions: str
    same_data: bool

    @property
    def stream(self) -> str:
        """Title of the stream."""
        return self.runs[0].scenario.title

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.runs[0].method.name

    @property
    def reference(self) -> bool:
        """Whether it is there for orientation only."""
        return family(self.method) == REFERENCE

    @property
    def name(self) -> str:
        """Its name where no table tells variants apart."""
        return shown_name(self.method, self.variant)


def shown_name(method: str, variant: str = "", reference: bool = False) -> str:
    """A method's name with a row's differences from usual, on one line: in tables and in the legends of plots."""
    remarks = "; ".join(filter(None, ("reference" if reference else "", variant)))
    return one_line(method) + (f" ({one_line(remarks)})" if remarks else "")


def entries(records: Iterable[Record]) -> list[Entry]:
    """All entries, by stream and method; in any order of the records the same."""
    groups: defaultdict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in records:
        alike = canonical(_data(record) | _development(record))
        groups[record.scenario.title, record.method.name, alike].append(record)
    by_stream: defaultdict[str, list[list[Record]]] = defaultdict(list)
    for (stream, *_), runs in sorted(groups.items()):
        by_stream[stream].append(_by_seed(runs))
    return [entry for rows in by_stream.values() for entry in _of_stream(rows)]


def _of_stream(rows: Sequence[list[Record]]) -> Iterator[Entry]:
    data = _most_common((_data(runs[0]), len(runs), _made(runs)) for runs in rows)
    usual_seeds = _most_common(({"seeds": _seeds(runs)}, 1, "") for runs in rows if _data(runs[0]) == data)["seeds"]
    by_method: defaultdict[str, list[list[Record]]] = defaultdict(list)
    for runs in rows:
        by_method[runs[0].method.name].append(runs)
    for variants in by_method.values():
        alike = [runs for runs in variants if _data(runs[0]) == data] or variants
        chosen = [runs for runs in alike if _is_tuned(runs[0])] or alike
        usual = data | _most_common((_development(runs[0]), len(runs), _made(runs)) for runs in chosen)
        for runs in variants:
            own = _data(runs[0]) | _development(runs[0])
            unlike = [word for word in own if canonical(own[word]) != canonical(usual[word])]
            same_data = not set(unlike) & set(data)
            if "data version" in unlike and "data" in unlike:
                unlike.remove("data")  # goes without saying
            variant = "; ".join(f"other {word}: {_difference(own[word], usual[word])}" for word in unlike)
            yield Entry(runs, variant, "; ".join(_cautions(runs, usual_seeds)), same_data)


def _data(record: Record) -> dict[str, Any]:
    """The data and the base of a run, by the words a note uses for them."""
    return {
        "data version": record.scenario.version,
        "data": record.scenario.fingerprint,
        "options": record.scenario.options,
        "base": f"{record.base.model} {record.base.sha256}",
    }


def _development(record: Record) -> dict[str, Any]:
    return {
        "method version": record.method.version,
        "code": record.method.code,
        "settings": record.method.settings,
    }


def _is_tuned(record: Record) -> bool:
    wanted = published(record.scenario.name, record.method.name)
    return all(canonical(record.method.settings.get(key)) == canonical(value) for key, value in wanted.items())


def _cautions(runs: Sequence[Record], usual_seeds: Sequence[int]) -> Iterator[str]:
    if old := outdated(runs[0]):
        yield old
    seeds = _seeds(runs)
    if len(seeds) < FEWEST:
        yield f"only {len(seeds)} seed{'s' if len(seeds) > 1 else ''}"
    if seeds != usual_seeds:
        yield f"seeds {_ranges(seeds)}, not {_ranges(usual_seeds)} as most"
    times = Counter(run.seed for run in runs)
    if repeated := [seed for seed in seeds if times[seed] > 1]:
        yield f"training data differ between runs of seed {', '.join(map(str, repeated))}"
    hardware = sorted({_hardware(run.environment) for run in runs})
    if len(hardware) > 1:
        yield f"mixed hardware: {' and '.join(hardware)}"


def _hardware(environment: Environment) -> str:
    name = environment.processor if environment.device == "cpu" else environment.device
    return f"{name or environment.device} with {environment.threads} thread{'s' if environment.threads > 1 else ''}"


def _by_seed(runs: list[Record]) -> list[Record]:
    """In an order that does not depend on that of files, as the bootstrap draws runs by their place."""
    unique = len({run.seed for run in runs}) == len(runs)
    return sorted(runs, key=lambda run: (run.seed, "" if unique else run.run_id))


def _made(runs: Sequence[Record]) -> str:
    """When the last of them was."""
    return max(run.created for run in runs)


def _seeds(runs: Sequence[Record]) -> list[int]:
    return sorted({run.seed for run in runs})


def _ranges(numbers: Sequence[int]) -> str:
    """0–2, 7 for 0, 1, 2 and 7."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{part[0]}–{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)


def _difference(own: Any, usual: Any) -> str:
    if isinstance(own, dict):
        mine, theirs = ({key: canonical(value) for key, value in part.items()} for part in (own, usual))
        unlike = [key for key in sorted(mine | theirs) if mine.get(key) != theirs.get(key)]
        return ", ".join(f"{key}={mine.get(key, 'unset')}".replace('"', "") for key in unlike)
    *words, last = str(own).split(" ")
    return " ".join([*words, last[:8]])  # of a hash, the first digits will do


def _most_common(variants: Iterable[tuple[dict[str, Any], int, str]]) -> dict[str, Any]:
    """The most frequent of ``variants``, each with a number of times and the date of the last.

    Ties go to the greatest first entry, a version, then to the variant that was made last.
    """
    found: dict[str, dict[str, Any]] = {}
    times: Counter[str] = Counter()
    made: dict[str, str] = {}
    for variant, number, date in variants:
        key = canonical(variant)
        found[key] = variant
        times[key] += number
        made[key] = max(made.get(key, ""), date)
    return found[max(found, key=lambda key: (times[key], next(iter(found[key].values())), made[key], key))]
