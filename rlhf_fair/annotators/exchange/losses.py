"""What a format cannot carry: declared once for the format, and counted for each table."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rlhf_fair.tables import ATTRIBUTE_PREFIX, TEXT_KINDS


@dataclass(frozen=True)
class Loss:
    """One thing a format does to a table: ``code`` and a sentence."""

    code: str
    message: str


@dataclass(frozen=True)
class Lost:
    """A declared loss that a table really meets: how many ``cells`` of ``column`` (or rows, where column is empty)."""

    code: str
    column: str
    cells: int
    message: str


@dataclass(frozen=True)
class Carried:
    """The part of a table that a format carries, and what is lost of the rest."""

    table: pd.DataFrame
    lost: tuple[Lost, ...]


@dataclass(frozen=True)
class Imported:
    """Feedback rows, rows set aside (row, column, value, code, message), and what of the file has no place here."""

    table: pd.DataFrame
    rejects: pd.DataFrame
    lost: tuple[Lost, ...]


ATTRIBUTES = Loss("attributes", "the tool keeps answers, not attributes of who gave them")
OFF_KIND = Loss("off_kind", "a judgement of another kind than the row's has no place")
RESERVED = Loss("reserved_name", "the column's name is that of one of the tool's controls")
OTHER_TYPE = Loss("other_type", "the column holds neither text nor numbers")
EMPTY_TEXT = Loss("empty_text", "an empty text comes back as missing")
NOT_FINITE = Loss("not_finite", "JSON has no infinite numbers; they come back as missing")
BAD_ORDER = Loss("order", "an order of answers other than ab and ba has no place")
ROW_ORDER = Loss("row_order", "rows come back grouped by item")
NUMBER_TYPE = Loss("number_type", "whole numbers and decimals are not told apart")

JUDGEMENT = {"pair": "choice", "rating": "value", "scalar": "value", **dict.fromkeys(TEXT_KINDS, "text")}
"""Kind of feedback -> the column that holds the judgement."""
MARK = "simulated"
"""Rows that nobody gave: tools hold the mark as the text true or false, so that it comes back with the row."""
CONTRACT_COLUMNS = ("item_id", "annotator_id", "kind", "choice", "value", "text", "seconds")


class Keeper:
    """Takes from a table what a format does not carry, keeping count."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.table = table.copy()
        self.lost: list[Lost] = []

    def count(self, loss: Loss, column: str, cells: int) -> None:
        if cells:
            self.lost.append(Lost(loss.code, column, int(cells), loss.message))

    def drop(self, loss: Loss, columns: Sequence[Hashable]) -> None:
        for name in columns:
            self.count(loss, str(name), int(self.table[name].notna().sum()))
        self.table = self.table.drop(columns=list(columns))

    def blank(self, loss: Loss, column: str, cells: pd.Series) -> None:
        """Empty the cells where ``cells`` is True."""
        cells = cells.astype(bool) & self.table[column].notna()
        self.count(loss, column, int(cells.sum()))
        if cells.any():
            self.table[column] = self.table[column].mask(cells)

    def drop_rows(self, loss: Loss, rows: pd.Series) -> None:
        self.count(loss, "", int(rows.sum()))
        self.table = self.table[~rows.astype(bool)]

    def carried(self) -> Carried:
        return Carried(self.table.reset_index(drop=True), tuple(self.lost))


def keep_answers(table: pd.DataFrame, controls: Sequence[str]) -> Keeper:
    """What annotation tools with one place for each answer have in common.

    ``controls``: names of the tool's places for judgements, which no further column may have.
    """
    keeper = Keeper(table)
    keeper.drop(ATTRIBUTES, [name for name in table if str(name).startswith(ATTRIBUTE_PREFIX)])
    keeper.drop(RESERVED, [name for name in keeper.table if name in controls and name not in CONTRACT_COLUMNS])
    others = [name for name in keeper.table if name not in CONTRACT_COLUMNS]
    odd = [name for name in others if not (is_text(keeper.table[name]) or is_number(keeper.table[name]))]
    odd = [name for name in odd if name != MARK]
    keeper.drop(OTHER_TYPE, odd)
    kinds = keeper.table["kind"].map(JUDGEMENT)
    for name in ("choice", "value"):
        if name in keeper.table:
            keeper.blank(OFF_KIND, name, kinds != name)
    if "order" in keeper.table:
        keeper.blank(BAD_ORDER, "order", ~keeper.table["order"].isin(["ab", "ba"]))
    for name in map(str, keeper.table):
        cells = keeper.table[name]
        if name not in CONTRACT_COLUMNS and is_text(cells):
            keeper.blank(EMPTY_TEXT, name, cells == "")
        elif is_number(cells):
            keeper.blank(NOT_FINITE, name, cells.abs() == float("inf"))
    return keeper


def is_text(cells: pd.Series) -> bool:
    """Texts and missing cells only."""
    return bool(pd.api.types.is_string_dtype(cells.dropna())) and not isinstance(cells.dtype, pd.CategoricalDtype)


def is_number(cells: pd.Series) -> bool:
    """Whole numbers or decimals; truth values are neither."""
    return pd.api.types.is_numeric_dtype(cells.dtype) and not pd.api.types.is_bool_dtype(cells.dtype)


def mark_text(cell: object) -> object:
    """A truth value as a text; everything else as it is."""
    return str(bool(cell)).lower() if isinstance(cell, bool | np.bool_) else cell


def present(value: object) -> bool:
    """Is there anything in this cell?"""
    return not (value is None or (not isinstance(value, list | dict) and bool(pd.isna(value))))  # type: ignore[call-overload]
