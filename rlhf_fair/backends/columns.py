"""Groups and strata of samples, from the columns that travel with the prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rlhf_fair.errors import ColumnError

UNKNOWN = "unknown"
"""The stratum of samples without one."""


def group_labels(columns: Mapping[str, Sequence[Any]], by: Sequence[str]) -> list[str | None]:
    """One label per sample, intersections joined by " & "; None where a part is unknown (None, NaN, empty).

    >>> group_labels({"gender": ["woman", ""], "age": [30, 40]}, ["gender", "age"])
    ['woman & 30', None]
    """
    for name in by:
        if name not in columns:
            raise ColumnError("the prompts' data set", name, columns)
    rows = zip(*(columns[name] for name in by), strict=True)
    return [None if any(_unknown(part) for part in row) else " & ".join(map(str, row)) for row in rows]


def strata_labels(columns: Mapping[str, Sequence[Any]], by: Sequence[str]) -> list[str] | None:
    """One label per sample; None where strata are not asked for."""
    return [label or UNKNOWN for label in group_labels(columns, by)] if by else None


def _unknown(part: Any) -> bool:
    return part is None or part == "" or part != part
