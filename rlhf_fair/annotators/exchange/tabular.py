"""Feedback as plain tables: Parquet, JSONL and CSV, with what each of them does to a cell.

A spreadsheet runs a cell of a CSV that begins with one of ``= + - @``, a tab or a line end, whoever wrote it. Such
texts go out with an apostrophe in front, as a spreadsheet marks them itself, and come back without it. A text that
begins with apostrophes and then one of these gets one more, so that every text comes back as it was.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd

from rlhf_fair.annotators.exchange.losses import NOT_FINITE, Carried, Imported, Keeper, Loss, is_number, is_text
from rlhf_fair.tables import ATTRIBUTE_PREFIX, FEEDBACK, Quarantined, read_validated, write_table

EMPTY_CELL = Loss("empty_text", "CSV does not tell an empty text from a missing one; both come back as missing")
READ_AS_NUMBER = Loss("read_as_number", "CSV has no types: a column of number-like texts comes back as numbers")
LINE_ENDS = Loss("line_ends", "CSV keeps one kind of line end inside a text")
FORMULA = Loss("formula", "a spreadsheet would run the text: an apostrophe stands before it until it is imported again")
DIGITS = Loss("digits", "JSONL keeps 15 decimals of a number")
LOSSES: dict[str, tuple[Loss, ...]] = {
    "parquet": (),
    "jsonl": (DIGITS, NOT_FINITE),
    "csv": (EMPTY_CELL, READ_AS_NUMBER, LINE_ENDS, FORMULA),
}
RUN_BY_SPREADSHEETS = r"^'*[=+\-@\t\r\n]"
MARKED = r"^'+[=+\-@\t\r\n]"


def carried(table: pd.DataFrame, name: str) -> Carried:
    """What of a feedback table survives the format ``name``: parquet, jsonl or csv."""
    keeper = Keeper(table)
    for column in map(str, table.columns):
        cells = table[column]
        if name == "csv" and is_text(cells):
            _as_csv(keeper, column)
        elif name == "jsonl" and is_number(cells):
            keeper.blank(NOT_FINITE, column, cells.abs() == np.inf)
            rounded = keeper.table[column].round(15)
            keeper.count(DIGITS, column, int((rounded != keeper.table[column]).where(cells.notna(), False).sum()))
            keeper.table[column] = rounded
    return keeper.carried()


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a table as `carried` returns it."""
    if _is_csv(path):
        table = table.copy()
        for name in [name for name in table if is_text(table[name])]:
            table[name] = table[name].mask(_begins(table[name], RUN_BY_SPREADSHEETS), "'" + table[name])
    write_table(path, table)


def read(path: Path) -> Imported:
    """Feedback rows of a table file; the file's extension tells its format."""
    found: Quarantined = read_validated(path, FEEDBACK)
    table = found.table
    if _is_csv(path):
        for name in [name for name in table if is_text(table[name])]:
            table[name] = table[name].mask(_begins(table[name], MARKED), table[name].str[1:])
    return Imported(table, found.rejects, ())


def _is_csv(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").endswith(".csv")


def _begins(cells: pd.Series, pattern: str) -> pd.Series:
    """True for texts that begin so."""
    return cells.astype("str").str.match(pattern).fillna(False).astype(bool)


def _as_csv(keeper: Keeper, column: str) -> None:
    keeper.blank(EMPTY_CELL, column, keeper.table[column] == "")
    cells = keeper.table[column]
    told = cells.dropna()
    if told.empty:
        return
    plain = told.str.replace("\r\n", "\n").str.replace("\r", "\n")
    keeper.count(LINE_ENDS, column, int((plain != told).sum()))
    keeper.table[column] = cells.where(cells.isna(), plain.reindex(cells.index))
    if not (column in FEEDBACK.columns or column.endswith("_id") or column.startswith(ATTRIBUTE_PREFIX)):
        text = plain.to_frame().to_csv(index=False, lineterminator="\n")
        back = pd.read_csv(io.StringIO(text), keep_default_na=False, na_values=[""], low_memory=False).iloc[:, 0]
        if not is_text(back):
            keeper.count(READ_AS_NUMBER, column, len(plain))
            keeper.table[column] = pd.Series(back.to_numpy(), index=plain.index).reindex(cells.index)
            return
    keeper.count(FORMULA, column, int(_begins(plain, RUN_BY_SPREADSHEETS).sum()))
