"""Rows that a file holds and feedback cannot: collected while reading, then checked against the contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.annotators.exchange.losses import Imported, Lost
from rlhf_fair.tables import FEEDBACK, REJECT_COLUMNS, validate

SHOWN = 200
"""Characters of a faulty value that a reject shows."""


class Rejects:
    """Faults found while taking a nested file apart."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, str, str, str, str]] = []

    def add(self, row: int, column: str, value: object, code: str, message: str) -> None:
        text = str(value)[:SHOWN]
        self._rows.append((row, column, text, code, f"entry {row}, {column!r}: {message}"))

    def table(self) -> pd.DataFrame:
        table = pd.DataFrame(self._rows, columns=list(REJECT_COLUMNS))
        return table.astype({"row": np.int64, **dict.fromkeys(REJECT_COLUMNS[1:], "str")})


def finish(rows: Sequence[tuple[int, dict[str, Any]]], rejects: Rejects, lost: tuple[Lost, ...]) -> Imported:
    """Check the rows found (each with the number of its entry in the file) against the feedback contract."""
    names = list(dict.fromkeys(["item_id", "annotator_id", "kind", *(name for _, row in rows for name in row)]))
    cells = {name: pd.Series([row.get(name) for _, row in rows], dtype=object) for name in names}
    table = pd.DataFrame(cells)
    for name in set(names) - set(FEEDBACK.columns):
        table[name] = table[name].infer_objects()
    checked = validate(table, FEEDBACK)
    entries = np.array([number for number, _ in rows], dtype=np.int64)
    own = checked.rejects.assign(row=entries[checked.rejects["row"].to_numpy() - 1])
    parts = [part for part in (rejects.table(), own) if len(part)]
    every = pd.concat(parts).sort_values("row", kind="stable", ignore_index=True) if parts else rejects.table()
    return Imported(checked.table, every, lost)
