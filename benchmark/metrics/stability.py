"""Whether an order of methods would be the same with other seeds: Kendall's τ between two halves of the seeds."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean
from typing import NamedTuple, TypeVar

Run = TypeVar("Run")

FEWEST_RUNS = 4  # of a row: two a half
FEWEST_ROWS = 4  # that make an order
MOST_DIVISIONS = 200


class Stability(NamedTuple):
    """How alike the orders are that two halves of the seeds give, over divisions of the seeds into halves.

    Attributes:
        mean: of Kendall's tau-b, in [-1, 1]; 1 where both halves order all rows alike.
        lowest: of the divisions.
        divisions: how many there were.
        rows: how many were ordered.
    """

    mean: float
    lowest: float
    divisions: int
    rows: int


def split_half(rows: Sequence[Sequence[Run]], merit: Callable[[Sequence[Run]], tuple[float, ...]]) -> Stability | None:
    """Kendall's tau-b (Biometrika 33, 1945) between the orders of ``rows`` by the two halves of their runs.

    Seeds are divided in every way, or in ``MOST_DIVISIONS`` drawn ones where there are more; an odd one out is in the
    second half. All rows are divided alike. In a half in which all rows are equal there is no order, and no τ.

    Args:
        rows: the runs of each, of the same seeds in the same order.
        merit: of a row by some of its runs; rows of equal merit stand together.

    Returns:
        None with fewer than ``FEWEST_ROWS`` rows or ``FEWEST_RUNS`` runs of each, or where no half has an order.

    Raises:
        ValueError: rows differ in their number of runs.

    Example:
        >>> split_half([[1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3], [4, 4, 4, 4]], lambda runs: (sum(runs),))
        Stability(mean=1.0, lowest=1.0, divisions=3, rows=4)
    """
    if len({len(runs) for runs in rows}) > 1:
        raise ValueError("rows differ in their number of runs: compare those of the same seeds")
    if len(rows) < FEWEST_ROWS or len(rows[0]) < FEWEST_RUNS:
        return None
    found = [_tau(rows, half, merit) for half in _halves(len(rows[0]))]
    taus = [tau for tau in found if not math.isnan(tau)]
    return Stability(fmean(taus), min(taus), len(taus), len(rows)) if taus else None


def _halves(number: int) -> Iterator[frozenset[int]]:
    """The first half of each division of so many runs."""
    half = number // 2
    twice = 1 + (number % 2 == 0)  # each division of an even number has two first halves
    if math.comb(number, half) // twice <= MOST_DIVISIONS:
        halves = map(frozenset, itertools.combinations(range(number), half))
        yield from (one for one in halves if twice == 1 or 0 in one)
        return
    rng = random.Random("halves of the seeds")
    yield from (frozenset(rng.sample(range(number), half)) for _ in range(MOST_DIVISIONS))


def _tau(
    rows: Sequence[Sequence[Run]], half: frozenset[int], merit: Callable[[Sequence[Run]], tuple[float, ...]]
) -> float:
    from scipy.stats import kendalltau  # a second of imports, for tables only

    orders = []
    for inside in (True, False):
        merits = [merit([run for place, run in enumerate(runs) if (place in half) == inside]) for runs in rows]
        place_of = {value: place for place, value in enumerate(sorted(set(merits)))}
        orders.append([place_of[value] for value in merits])
    return float(kendalltau(*orders).statistic)
