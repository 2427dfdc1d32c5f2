"""Who may judge what: items name the language and skills they need, members the ones they have.

Cells are lists whose entries are separated by ``;``, ``,`` or ``|``, or JSON arrays; spaces around an entry and case do
not count (``EN`` is ``en``, but ``en-GB`` is not ``en``). An item needs everything it lists; an empty cell needs
nothing. A member of whom nothing is known (an empty cell) has nothing to show, so gets no item that needs anything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.json_cells import json_cell
from rlhf_fair.tables import ATTRIBUTE_PREFIX, require_columns

NEEDS = {"language": "languages", "skills": "skills"}
"""Item column -> the member column that has to hold all of it."""
SEPARATORS = ";,|"

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Entries = frozenset[str]


@dataclass(frozen=True)
class Eligibility:
    """Items in classes that need the same, members in kinds that may judge the same classes.

    item_class (items,), member_kind (members,): codes; allowed (kinds, classes): True where that kind may judge that
    class; names (classes,): what a class needs, in words.
    """

    item_class: IntArray
    member_kind: IntArray
    allowed: BoolArray
    names: tuple[str, ...]

    @property
    def items(self) -> IntArray:
        """Items of each class, (classes,)."""
        return np.bincount(self.item_class, minlength=len(self.names)).astype(np.int64)


def needs_anything(items: pd.DataFrame) -> bool:
    """Whether a column of ``items`` asks for a language or skills."""
    return any(column in items and bool(items[column].notna().any()) for column in NEEDS)


def eligibility(items: pd.DataFrame, members: pd.DataFrame) -> Eligibility:
    """Classes and kinds by the columns ``language``, ``skills`` of items and ``languages``, ``skills`` of members.

    Raises
    ------
    ColumnError
        Items need a language or skills, and the panel has no such column.
    RowError
        A cell looks like a JSON array and is none.
    """
    used = [column for column in NEEDS if column in items and items[column].notna().any()]
    require_columns(members, (NEEDS[column] for column in used), "panel")
    item_class, needs = _distinct_rows(items, used, "items")
    member_kind, has = _distinct_rows(members, [NEEDS[column] for column in used], "panel")
    allowed = np.ones((len(has), len(needs)), dtype=np.bool_)
    for part in range(len(used)):
        required, owned = _incidence([row[part] for row in needs], [row[part] for row in has])
        allowed &= owned @ required.T == required.sum(axis=1)
    merged, kind = np.unique(allowed, axis=0, return_inverse=True)
    names = tuple(_name(used, row) for row in needs)
    return Eligibility(item_class, kind.reshape(-1)[member_kind].astype(np.int64), merged, names)


def capacities(members: pd.DataFrame, column: str, n: int) -> IntArray:
    """Most items for each member: all ``n``, or fewer where the panel's ``column`` says so."""
    if column not in members:
        return np.full(len(members), n, dtype=np.int64)
    given = members[column].to_numpy(float)
    if not np.all(given >= 0):
        raise SettingsError(f"panel: every {column!r} must be a number >= 0")
    return np.asarray(np.minimum(np.floor(given), n), dtype=np.int64)


def group_codes(members: pd.DataFrame, columns: Sequence[str]) -> IntArray:
    """A code for each combination of ``columns``, by first appearance; a missing value is a level of its own."""
    if not columns:
        return np.zeros(len(members), dtype=np.int64)
    return np.asarray(members.groupby(list(columns), dropna=False, sort=False).ngroup(), dtype=np.int64)


def group_labels(members: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """What each of `group_codes` stands for; none where there are no columns."""
    levels = members[list(columns)].drop_duplicates()
    names = [column.removeprefix(ATTRIBUTE_PREFIX) for column in columns]
    return [
        " x ".join(f"{name}={'unknown' if pd.isna(level) else level}" for name, level in zip(names, row, strict=True))
        for row in levels.itertuples(index=False, name=None)
        if row
    ]


def _distinct_rows(
    table: pd.DataFrame, columns: Sequence[str], name: str
) -> tuple[IntArray, list[tuple[Entries, ...]]]:
    """A code for each row, by what its cells list, and what each code lists."""
    code = np.zeros(len(table), dtype=np.int64)
    parts: list[list[Entries]] = []
    for column in columns:
        cell, texts = pd.factorize(table[column])
        lists = [entries(text, f"{name}, column {column!r}") for text in texts] + [frozenset()]  # -1: an empty cell
        known = {listed: number for number, listed in enumerate(dict.fromkeys(lists))}
        number = np.array([known[listed] for listed in lists], dtype=np.int64)[cell]
        code = code * len(known) + number
        parts.append(list(known))
    found, code = np.unique(code, return_inverse=True)
    rows: list[tuple[Entries, ...]] = []
    for value in found.tolist():
        row: list[Entries] = []
        rest = value
        for part in reversed(parts):
            rest, place = divmod(rest, len(part))
            row.insert(0, part[place])
        rows.append(tuple(row))
    return code.astype(np.int64), rows


def entries(cell: object, where: str = "cell") -> Entries:
    """What a cell lists, case folded.

    >>> sorted(entries("EN; pt-BR"))
    ['en', 'pt-br']
    """
    text = str(cell).strip()
    if not text.startswith("["):
        return frozenset(part.strip().casefold() for part in re.split(f"[{SEPARATORS}]", text) if part.strip())
    try:
        listed = json_cell(text)
    except ValueError as error:
        raise RowError(f"{where}: {text!r} is not a JSON array: {error}") from error
    return frozenset(str(part).strip().casefold() for part in listed if part is not None and str(part).strip())


def _incidence(needs: Sequence[Entries], has: Sequence[Entries]) -> tuple[IntArray, IntArray]:
    """0/1 tables of who needs and who has which entry, (classes, entries) and (kinds, entries)."""
    names = {name: place for place, name in enumerate(sorted(frozenset().union(*needs)))}
    tables = []
    for rows in (needs, has):
        table = np.zeros((len(rows), len(names)), dtype=np.int64)
        for row, listed in enumerate(rows):
            table[row, [names[name] for name in listed if name in names]] = 1
        tables.append(table)
    return tables[0], tables[1]


def _name(columns: Sequence[str], row: Sequence[Entries]) -> str:
    parts = [f"{column} {' + '.join(sorted(listed))}" for column, listed in zip(columns, row, strict=True) if listed]
    return ", ".join(parts) or "nothing in particular"
