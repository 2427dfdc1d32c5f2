"""Free-form values of an audit as text and tables: nested mappings, lists of rows, sentences. None of it is trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.display import Cell, Column, Table

LONGEST_TEXT = 600
PAGE_ROWS = 30
STACKED_COLUMNS = 5
"""Tables with so many columns are read as cards on a narrow page."""
_NAMES = ("name", "stage", "attribute", "group", "reference", "panel", "metric")


def text(value: object) -> str:
    """Any JSON value in words; a missing number reads 'not measured'."""
    if value is None:
        return num.MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return num.count(value)
    if isinstance(value, float):
        return num.significant(value) if math.isfinite(value) else num.MISSING
    if isinstance(value, Mapping):
        return "; ".join(f"{say.words(str(key))}: {text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(text(item) for item in value)
    return say.shortened(str(value), LONGEST_TEXT)


def pairs(value: object, name: str = "") -> list[tuple[str, str]]:
    """Nested mappings and lists as (dotted name, text), one for each leaf."""
    if isinstance(value, Mapping):
        return [pair for key, item in value.items() for pair in pairs(item, f"{name} › {key}" if name else str(key))]
    if isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        return [pair for i, item in enumerate(value, 1) for pair in pairs(item, f"{name} {i}".strip())]
    if value is None or value == "" or value == [] or value == ():
        return []
    # A seed or a version is a name, not a quantity: no thousands separators.
    shown = str(value) if isinstance(value, int) and not isinstance(value, bool) else text(value)
    return [(say.sentence_case(say.words(name)) or "Value", shown)]


def sentences(value: object) -> tuple[str, ...]:
    """A list of sentences from a string, a list or a mapping."""
    if not value:
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Mapping):
        return tuple(f"{name}: {shown}" for name, shown in pairs(value))
    if isinstance(value, list | tuple):
        return tuple(text(item) for item in value)
    return (text(value),)


def pairs_table(id: str, caption: str, value: object, *, columns: tuple[str, str] = ("What", "Value")) -> Table | None:
    """A two-column table of a nested value; None if there is nothing in it."""
    found = pairs(value)
    if not found:
        return None
    rows = tuple((Cell(name), Cell(shown)) for name, shown in found)
    return Table(id, caption, tuple(Column(label) for label in columns), rows, paged=len(rows) > PAGE_ROWS)


def rows_table(id: str, name: str, rows: object) -> Table | None:
    """A list of plain rows as a table; a missing number shows the row's reason.

    ``{"columns": [...], "rows": [[...]]}`` keeps the order of its columns. Plain rows come from sorted JSON and have
    none, so names come first, then other text, then numbers, then the reason.
    """
    caption = say.sentence_case(say.words(name))
    ordered: list[str] = []
    if isinstance(rows, Mapping):
        columns, values = rows.get("columns"), rows.get("rows")
        if not (isinstance(columns, list | tuple) and isinstance(values, list | tuple)):
            return pairs_table(id, caption, rows)
        ordered = [str(column) for column in columns]
        rows = [dict(zip(ordered, row, strict=False)) for row in values if isinstance(row, list | tuple)]
    if not isinstance(rows, list | tuple) or not rows:
        return None
    records = [
        {str(key): value for key, value in row.items()} if isinstance(row, Mapping) else {"value": row} for row in rows
    ]
    met = dict.fromkeys(key for record in records for key in record)
    numeric = {key: _all_numbers([record.get(key) for record in records]) for key in met}
    keys = ordered or sorted(met, key=lambda key: _column_order(key, numeric[key]))
    return Table(
        id,
        caption,
        tuple(Column(key if key in ("n", "p") else say.sentence_case(say.words(key)), numeric[key]) for key in keys),
        tuple(tuple(_cell(record, key, numeric[key]) for key in keys) for record in records),
        paged=len(records) > PAGE_ROWS,
        stacked=len(keys) >= STACKED_COLUMNS,
    )


def _column_order(key: str, numeric: bool) -> tuple[int, str]:
    if key in _NAMES:
        return _NAMES.index(key), ""
    return len(_NAMES) + (2 if key == "reason" and not numeric else 1 if numeric else 0), key


def _all_numbers(values: Sequence[object]) -> bool:
    return all(_is_number(value) for value in values) and any(value is not None for value in values)


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(record: Mapping[str, Any], key: str, numeric: bool) -> Cell:
    value = record.get(key)
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return Cell(say.not_measured(str(record.get("reason") or "")) if numeric else "–", missing=numeric)
    return Cell(text(value))
