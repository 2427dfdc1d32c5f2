"""Aggregates that an audit keeps beside its findings, read with care, for a results file may come from anywhere.

``group_means`` and ``missing_bounds`` are lists of mappings under those keys of ``results.audit``; what counts people
is a table of ``results.audit["tables"]``, where small groups are withheld. Rows that lack an entry are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rlhf_fair.report import numbers as num

MEANS, BOUNDS = "group_means", "missing_bounds"
KEYS = (MEANS, BOUNDS)
RELIABILITY = "observed against predicted choices"
"""A table: see `rlhf_fair.report.calibration`."""
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


def read_table(audit: Mapping[str, Any], name: str, words: Iterable[str], numbers: Iterable[str]) -> list[Row]:
    """`read` for a table with columns and rows; a cell that is withheld is a number that there is not."""
    tables = audit.get("tables")
    table = tables.get(name) if isinstance(tables, Mapping) else None
    if not isinstance(table, Mapping):
        return []
    columns, rows = table.get("columns"), table.get("rows")
    if not (isinstance(columns, list | tuple) and isinstance(rows, list | tuple)):
        return []
    names = [str(column) for column in columns]
    kept = [dict(zip(names, row, strict=False)) for row in rows if isinstance(row, list | tuple)]
    return read({name: kept}, name, words, numbers)


def whole(value: float) -> str:
    """A count in text; a dash where there is none."""
    return num.count(round(value)) if num.finite(value) else "–"


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else NAN
