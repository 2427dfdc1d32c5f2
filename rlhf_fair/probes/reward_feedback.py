"""Feedback of one's own for the audit ``reward``: choices between two answers, ratings of single texts, or both.

A file says in its column ``kind`` what a row is (`rlhf_fair.tables.FEEDBACK_KINDS`). A file without it holds ratings if
it has a column ``value`` and none named ``choice``, and choices otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd

from rlhf_fair.errors import ColumnError, about_file
from rlhf_fair.tables import (
    ATTRIBUTE_PREFIX,
    Contract,
    Quarantined,
    attribute_columns,
    read_jsonl_with_rejects,
    read_table,
    require_columns,
    validate,
)

Kind = Literal["pair", "rating"]
SUBJECT = "subject"


@dataclass(frozen=True)
class Grouping:
    """``column`` of the records and the name it goes by: "race of the rater", "subject of the prompt"."""

    column: str
    name: str


@dataclass(frozen=True)
class FeedbackFile:
    """A file's rows by kind. ``others``: kind -> rows that are neither choices nor ratings."""

    path: Path
    rows: Quarantined
    by_kind: Mapping[str, pd.DataFrame]

    @property
    def others(self) -> dict[str, int]:
        """Kind -> rows that this audit has no use for."""
        return {kind: len(rows) for kind, rows in self.by_kind.items() if kind not in ("pair", "rating")}

    def accepted(self, kind: Kind, contract: Contract) -> Quarantined:
        """The rows of one kind that keep ``contract``, and the others with their place in the file."""
        with about_file(self.path):
            return validate(self.by_kind.get(kind, self.rows.table.iloc[:0]), contract)


def read_feedback_file(
    path: Path, *, columns: Mapping[str, str] | None = None, missing_values: Sequence[str] = ()
) -> FeedbackFile:
    """A feedback table, told apart by kind.

    ``columns``: name here -> name in the file, such as ``{"value": "offensiveness"}``. ``missing_values``: cells that
    mean "not known".

    Raises
    ------
    ColumnError
        The file lacks a column of ``columns``, or there is neither an ``attr.*`` column nor ``subject``.
    """
    read = _read(path, missing_values)
    table = read.table
    if columns:
        require_columns(table, columns.values(), path.name)
        table = table[list(dict.fromkeys(columns.values()))]
        table = pd.DataFrame({name: table[found] for name, found in columns.items()})
    if not attribute_columns(table) and SUBJECT not in table:
        raise ColumnError(path.name, f"{ATTRIBUTE_PREFIX}*", table.columns)
    if "kind" in table:
        by_kind = {str(kind): rows for kind, rows in table.groupby("kind", sort=False, dropna=False)}
    else:
        by_kind = {"rating" if "value" in table and "choice" not in table else "pair": table}
    return FeedbackFile(path, replace(read, table=table), by_kind)


def groupings(records: pd.DataFrame, subject: str) -> list[Grouping]:
    """By which columns judgements can be told apart; ``subject``: what the column of that name is called."""
    found = [
        Grouping(name, f"{name.removeprefix(ATTRIBUTE_PREFIX)} of the rater") for name in attribute_columns(records)
    ]
    if SUBJECT in records and records[SUBJECT].notna().any():
        found.append(Grouping(SUBJECT, subject))
    return found


def too_few(rows: pd.DataFrame, grouping: Grouping, least: int) -> str:
    """Why a group is too small to be measured; "" if it is large enough. Subjects are counted in items."""
    column, what = ("feedback_item", "items") if grouping.column == SUBJECT else ("annotator_id", "raters")
    count = rows[column].nunique()
    return "" if count >= least else f"{count} {what}; at least {least} needed"


def _read(path: Path, missing_values: Sequence[str]) -> Quarantined:
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        return read_jsonl_with_rejects(path, missing_values=missing_values)
    table = read_table(path, missing_values=missing_values)
    rows = pd.RangeIndex(1, len(table) + 1, name="row")
    none = pd.DataFrame(columns=["row", "column", "value", "code", "message"])
    return Quarantined(table.set_axis(rows, axis=0), none)
