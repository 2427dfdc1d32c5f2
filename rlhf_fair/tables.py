"""The tables users bring (annotators, items, assignments, feedback): what they hold, and which rows break that.

Nothing is lost on the way in: every input row is either accepted or listed among the rejects with a reason.
`rlhf_fair.table_files` reads and writes the files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from rlhf_fair.errors import ColumnError, about_file
from rlhf_fair.table_files import ATTRIBUTE_PREFIX as ATTRIBUTE_PREFIX
from rlhf_fair.table_files import FORMATS as FORMATS
from rlhf_fair.table_files import REJECT_COLUMNS as REJECT_COLUMNS
from rlhf_fair.table_files import Quarantined as Quarantined
from rlhf_fair.table_files import as_text as as_text
from rlhf_fair.table_files import flatten, read_with_rejects, reject_rows, text_cells
from rlhf_fair.table_files import read_jsonl_with_rejects as read_jsonl_with_rejects
from rlhf_fair.table_files import read_table as read_table
from rlhf_fair.table_files import write_rejects as write_rejects
from rlhf_fair.table_files import write_table as write_table


@dataclass(frozen=True)
class Column:
    """What one column may hold. ``required``: it must exist; ``nullable``: single cells may be empty.

    A flag is true or false, in whatever way the file's format spells it.
    """

    kind: Literal["text", "number", "flag"] = "text"
    required: bool = True
    nullable: bool = False
    allowed: tuple[str, ...] = ()
    low: float = -np.inf
    high: float = np.inf


@dataclass(frozen=True)
class Rule:
    """A condition over several columns: ``broken`` returns True for the rows that violate it."""

    column: str
    broken: Callable[[pd.DataFrame], pd.Series]
    message: str


@dataclass(frozen=True)
class Contract:
    """A table's columns, the columns whose combination is unique, and rules over several columns."""

    name: str
    columns: Mapping[str, Column]
    key: tuple[str, ...]
    rules: tuple[Rule, ...] = field(default=())


_ID = Column()
_OPTIONAL_TEXT = Column(required=False, nullable=True)

ANNOTATORS = Contract(
    "annotators",
    {
        "annotator_id": _ID,
        "cost": Column("number", required=False, low=0),
        "capacity": Column("number", required=False, low=0),
        "languages": _OPTIONAL_TEXT,
        "skills": _OPTIONAL_TEXT,
        "consent": _OPTIONAL_TEXT,
    },
    key=("annotator_id",),
)
ITEMS = Contract(
    "items", {"item_id": _ID, "prompt": Column(), "response_a": Column(), "response_b": Column()}, key=("item_id",)
)
ASSIGNMENTS = Contract(
    "assignments",
    {
        "item_id": _ID,
        "annotator_id": _ID,
        "slot": Column("number", low=0),
        "order": Column(required=False, allowed=("ab", "ba")),
    },
    key=("item_id", "annotator_id"),
)
TEXT_KINDS = ("edit", "revised_instruction")
"""An answer made better, and an instruction made clearer: collected, since texts have no mean."""
FEEDBACK_KINDS = ("pair", "rating", "scalar", *TEXT_KINDS)
"""pair: a choice. rating: a value on a scale. scalar: a reward or punishment, any number with its sign."""
FEEDBACK = Contract(
    "feedback",
    {
        "item_id": _ID,
        "annotator_id": _ID,
        "kind": Column(allowed=FEEDBACK_KINDS),
        "choice": Column(required=False, nullable=True, allowed=("a", "b", "tie")),
        "value": Column("number", required=False, nullable=True),
        "text": Column(required=False, nullable=True),
        "seconds": Column("number", required=False, nullable=True, low=0),
        "simulated": Column("flag", required=False, nullable=True),
    },
    key=("item_id", "annotator_id", "kind"),
    rules=(
        Rule("choice", lambda t: (t["kind"] == "pair") & _absent(t, "choice"), "a pair needs a choice: a, b or tie"),
        Rule("value", lambda t: (t["kind"] == "rating") & _absent(t, "value"), "a rating needs a value"),
        Rule("value", lambda t: (t["kind"] == "scalar") & _absent(t, "value"), "a scalar reward needs a value"),
        Rule("text", lambda t: t["kind"].isin(TEXT_KINDS) & _absent(t, "text"), "an edit or revision needs a text"),
    ),
)


def require_columns(table: pd.DataFrame, columns: Iterable[str], name: str) -> None:
    """Raise `ColumnError` naming the first column that ``table`` lacks."""
    for column in columns:
        if column not in table.columns:
            raise ColumnError(name, column, table.columns)


def attribute_columns(table: pd.DataFrame) -> list[str]:
    """Names of the ``attr.*`` columns, in table order."""
    return [column for column in table.columns if str(column).startswith(ATTRIBUTE_PREFIX)]


def is_simulated(feedback: pd.DataFrame) -> pd.Series:
    """True for the rows of a validated feedback table marked as drawn from a model; an unmarked row is a person's."""
    if "simulated" not in feedback:
        return pd.Series(False, index=feedback.index)
    return feedback["simulated"].eq(True).fillna(False).astype(bool)


def simulated_rows(feedback: pd.DataFrame) -> int:
    """How many rows `is_simulated` finds."""
    return int(is_simulated(feedback).sum())


def simulated_note(feedback: pd.DataFrame) -> str:
    """A sentence that says how much of the feedback no person gave; empty where all of it is people's."""
    simulated, n = simulated_rows(feedback), len(feedback)
    if not simulated:
        return ""
    if simulated == n:
        return f"simulated: {n} of {n} rows were drawn from a model; no person gave any of them"
    return (
        f"warning: {simulated} of {n} rows are simulated (drawn from a model) and stand beside {n - simulated} "
        "of people; results mix the two"
    )


def read_validated(
    path: Path,
    contract: Contract,
    *,
    known: Mapping[str, Collection[str]] | None = None,
    missing_values: Sequence[str] = (),
) -> Quarantined:
    """`read_table` and `validate` in one, with malformed JSONL lines among the rejects."""
    read = read_with_rejects(path, missing_values)
    with about_file(path):
        checked = validate(read.table, contract, known=known)
    rejects = pd.concat([read.rejects, checked.rejects]) if len(read.rejects) else checked.rejects
    return Quarantined(checked.table, rejects.sort_values("row", ignore_index=True))


def validate(
    table: pd.DataFrame, contract: Contract, *, known: Mapping[str, Collection[str]] | None = None
) -> Quarantined:
    """Check every row against ``contract``; a row with a fault is rejected under its first one.

    Codes: ``missing``, ``not_a_number``, ``out_of_range``, ``not_allowed``, ``unknown_id`` (not among
    ``known[column]``), ``inconsistent`` (a rule over several columns) and ``duplicate`` (the first sound row is kept).

    Raises
    ------
    ColumnError
        A required column does not exist.
    """
    require_columns(table, (name for name, column in contract.columns.items() if column.required), contract.name)
    known = known or {}
    require_columns(table, known, contract.name)
    rows = table.index if table.index.name == "row" else pd.RangeIndex(1, len(table) + 1)
    table = flatten(table.set_axis(pd.Index(rows, name="row"), axis=0))
    faults = _Faults(contract.name, table)
    for name, column in contract.columns.items():
        if name in table.columns:
            table[name] = _check_column(table[name], column, faults)
    for name, ids in known.items():
        faults.add(~table[name].isin(list(ids)), name, "unknown_id", "is unknown here")
    for rule in contract.rules:
        faults.add(rule.broken(table), rule.column, "inconsistent", f"does not fit: {rule.message}")
    key = list(contract.key)
    duplicate = pd.Series(False, index=table.index)
    duplicate[faults.sound] = table[faults.sound].duplicated(key)
    faults.add(duplicate, key[0], "duplicate", f"repeats an earlier row with the same {', '.join(key)}")
    return Quarantined(table[faults.sound].reset_index(drop=True), faults.rejects())


class _Faults:
    """Collects, for each row, the first fault found."""

    def __init__(self, name: str, table: pd.DataFrame) -> None:
        self.name, self.original = name, table.copy()
        self.sound = pd.Series(True, index=table.index)
        self._parts: list[pd.DataFrame] = []

    def add(self, bad: pd.Series, column: str, code: str, message: str) -> None:
        new = bad.astype(bool) & self.sound
        if not new.any():
            return
        self.sound &= ~new
        values = self.original.loc[new, column] if column in self.original else pd.Series(None, index=new.index[new])
        texts = ["" if pd.isna(value) else str(value) for value in values.astype(object)]
        messages = [
            f"{self.name} row {row}, column {column!r}: {_shortened(text)!r} {message}"
            for row, text in zip(values.index, texts, strict=True)
        ]
        self._parts.append(reject_rows(values.index, column, texts, code, messages))

    def rejects(self) -> pd.DataFrame:
        parts = [part for part in self._parts if len(part)]
        return pd.concat(parts).sort_values("row", ignore_index=True) if parts else reject_rows([], "", [], "", [])


def _shortened(text: str, longest: int = 200) -> str:
    """A cell as messages quote it; the whole of it stands in the column ``value``."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _check_column(cells: pd.Series, column: Column, faults: _Faults) -> pd.Series:
    """Record the column's faults; returns it with its type."""
    name = str(cells.name)
    empty = cells.isna() | (cells.astype(object) == "")
    if not column.nullable:
        faults.add(empty, name, "missing", "is missing")
    if column.kind == "number":
        numbers = as_numbers(cells.where(~empty))
        faults.add(numbers.isna() & ~empty, name, "not_a_number", "is not a number")
        outside = ~empty & ((numbers < column.low) | (numbers > column.high) | np.isinf(numbers))
        faults.add(outside, name, "out_of_range", f"is out of range; allowed: {column.low:g} to {column.high:g}")
        return numbers
    if column.kind == "flag":
        flags = as_flags(cells)
        faults.add(flags.isna() & ~empty, name, "not_allowed", "is not allowed; allowed: true, false, 1, 0")
        return flags if flags.isna().any() else flags.astype(bool)
    texts = text_cells(cells.where(~empty))
    if column.allowed:
        allowed = f"is not allowed; allowed: {', '.join(column.allowed)}"
        faults.add(~empty & ~texts.isin(column.allowed), name, "not_allowed", allowed)
    return texts


def as_numbers(cells: pd.Series) -> pd.Series:
    """Cells as floats, NaN for what is no number; True and False are none."""
    if isinstance(cells.dtype, np.dtype) and cells.dtype.kind in "Ob":
        wrong = cells.map(
            lambda cell: isinstance(cell, bool | np.bool_) or (isinstance(cell, int) and abs(cell) > 1e300)
        )
        cells = cells.where(~wrong.astype(bool))
    return pd.to_numeric(cells, errors="coerce")


def as_flags(cells: pd.Series) -> pd.Series:
    """Cells as true or false, missing for what is neither; files without types spell them as words or as 1 and 0."""
    if pd.api.types.is_bool_dtype(cells.dtype):
        return cells.astype("boolean")
    spelled = cells.astype(object).map(lambda cell: str(cell).strip().casefold())
    return spelled.map({"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}).astype(
        "boolean"
    )


def _absent(table: pd.DataFrame, column: str) -> pd.Series:
    return table[column].isna() if column in table else pd.Series(True, index=table.index)
