"""Aggregates that an audit keeps beside its findings, read with care: ``group_means``, ``missing_bounds``,
``reliability``.

Each is a list of mappings under that key of ``results.audit``; rows that lack an entry are left out, for a results file
may come from anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rlhf_fair.report import numbers as num

MEANS, BOUNDS, RELIABILITY = "group_means", "missing_bounds", "reliability"
KEYS = (MEANS, BOUNDS, RELIABILITY)
NAN = float("nan")
Row = dict[str, Any]


def read(audit: Mapping[str, Any], key: str, words: Iterable[str], numbers: Iterable[str]) -> list[Row]:
    """The rows under ``key`` that have all ``words``, as text, and ``numbers``, NaN where there is none."""
    found = audit.get(key)
    rows = []
    for row in found if isinstance(found, list | tuple) else ():
        if isinstance(row, Mapping) and all(name in row for name in words):
            texts = {name: str(row[name]) for name in words}
            rows.append(texts | {name: _number(row.get(name)) for name in numbers})
    return rows


def whole(value: float) -> str:
    """A count in text; a dash where there is none."""
    return num.count(round(value)) if num.finite(value) else "–"


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else NAN
