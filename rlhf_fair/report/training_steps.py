"""Which steps of a long training are shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

MOST_STEPS = 60
T = TypeVar("T")


def share_range(values: Iterable[float]) -> tuple[float, float]:
    """Ends of an axis for shares: from 0, and not so far that a share of nothing looks like one of half.

    >>> share_range([0.0, 0.0]), share_range([0.0, 0.5])
    ((0.0, 0.1), (0.0, 0.53))
    """
    return 0.0, round(max(0.1, *(1.06 * value for value in values)), 6)


def thinned(rows: Sequence[T]) -> list[T]:
    """At most `MOST_STEPS` evenly spaced rows, the first and the last among them.

    >>> thinned(range(120))[:3], thinned(range(120))[-1], thinned("abc")
    ([0, 2, 4], 119, ['a', 'b', 'c'])
    """
    if len(rows) <= MOST_STEPS:
        return list(rows)
    last = len(rows) - 1
    kept = sorted({round(position * last / (MOST_STEPS - 1)) for position in range(MOST_STEPS)})
    return [rows[position] for position in kept]
