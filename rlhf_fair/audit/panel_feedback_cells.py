"""Cells of a ratings file, whatever their type, as text, as levels of an attribute, or as lists."""

from __future__ import annotations

import ast
from collections.abc import Sequence

import pandas as pd

from rlhf_fair.audit.panel_feedback_plan import ItemTypePlan

UNMAPPED = "other/unmapped"
"""The level of a text that the plan puts in no group."""


def as_text(cells: pd.Series) -> pd.Series:
    """Cells as text without outer spaces, empty ones as None; whole numbers lose their ``.0``."""
    if pd.api.types.is_float_dtype(cells.dtype):
        whole = (cells % 1 == 0) | cells.isna()
        cells = cells.astype("Int64") if whole.all() else cells
    texts = [None if pd.isna(cell) else str(cell).strip() for cell in cells]
    return pd.Series([text or None for text in texts], index=cells.index, name=cells.name, dtype=object)


def same_text(cells: pd.Series, texts: Sequence[str]) -> pd.Series:
    """True where a cell is one of ``texts``, without regard to case and outer spaces."""
    wanted = {text.strip().casefold() for text in texts}
    return cells.map(lambda cell: cell is not None and str(cell).casefold() in wanted).astype(bool)


def grouped_text(cells: pd.Series, levels: dict[str, tuple[str, ...]]) -> pd.Series:
    """Spellings merged into their groups; a text of no group is `UNMAPPED`, an empty cell stays empty."""
    group_of = {text.strip().casefold(): group for group, texts in levels.items() for text in texts}
    return cells.map(lambda cell: None if cell is None else group_of.get(cell.casefold(), UNMAPPED)).astype(object)


def parse_list(cell: str | None) -> list[object] | None:
    """The list that a cell spells, in Python or JSON; nothing in it is ever run."""
    if cell is None:
        return None
    try:
        found = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None
    return list(found) if isinstance(found, list | tuple) else None


def item_types(table: pd.DataFrame, plan: ItemTypePlan) -> pd.Series:
    """Labels of `ItemTypePlan`; empty cells stay empty."""
    cells = table[plan.column].mask(same_text(table[plan.column], plan.missing), None)
    if plan.fill:
        cells = cells.fillna(table["item"].map(cells.groupby(table["item"]).first())).astype(object)
        cells = cells.where(cells.notna(), None)
    if plan.prefixes:
        starts = [(prefix, group) for group, prefixes in plan.prefixes.items() for prefix in prefixes]
        return cells.map(
            lambda cell: None if cell is None else next((g for p, g in starts if cell.startswith(p)), UNMAPPED)
        ).astype(object)
    return grouped_text(cells, plan.levels) if plan.levels else cells
