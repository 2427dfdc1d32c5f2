"""How well attributes single people out: the cells of a cross table, k-anonymity and l-diversity.

k-anonymity (Sweeney 2002): every combination of quasi-identifiers is shared by at least k people.
l-diversity, distinct (Machanavajjhala and others 2007): the people of every combination have at least l different
values of a sensitive attribute; where all have the same, belonging to the combination tells it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.tables import require_columns

UNKNOWN = "(unknown)"
"""The level of people whose attribute is missing: they are a cell as well, and may be alone in it."""


@dataclass(frozen=True)
class Gate:
    """What a release must keep to: ``k`` people in every cell, ``l`` values of every ``sensitive`` column in it."""

    k: int = 5
    l: int = 1  # noqa: E741  the field's own name for it
    sensitive: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.k < 2:
            raise SettingsError(f"k is {self.k}; below 2 nobody is hidden: allowed is 2 and more")
        if self.l < 1:
            raise SettingsError(f"l is {self.l}; allowed is 1 and more")
        if self.sensitive and self.l < 2:
            raise SettingsError(
                f"l is {self.l}, which protects nothing of {', '.join(self.sensitive)}: allowed is 2 and more"
            )
        if self.l > 1 and not self.sensitive:
            raise SettingsError(f"l is {self.l}, but no sensitive column is named")


@dataclass(frozen=True)
class Risk:
    """``unique`` people are alone in their cell, ``below_k`` people (in ``cells_below_k``) share it with too few.

    ``least_diverse``: the smallest number of known values of a sensitive column in any cell; None without one.
    """

    people: int
    cells: int
    smallest: int
    unique: int
    below_k: int
    cells_below_k: int
    least_diverse: int | None = None


def cell_labels(people: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The quasi-identifiers as text, missing ones as `UNKNOWN`."""
    if not columns:
        raise SettingsError("name at least one quasi-identifier")
    require_columns(people, columns, "people")
    if len(set(columns)) < len(columns):
        raise SettingsError(f"quasi-identifiers are named twice: {list(columns)}")
    labels = people[list(columns)].astype("str")
    clash = labels.isin([UNKNOWN]).any()
    if clash.any():
        raise RowError(f"column {clash.idxmax()!r} holds the text {UNKNOWN!r}, which stands for missing answers here")
    return labels.fillna(UNKNOWN)


def cell_sizes(people: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """For each person (index of ``people``): how many people share their combination, themselves included."""
    labels = cell_labels(people, columns)
    return labels.groupby(list(columns))[columns[0]].transform("size").astype(int)


def diversity(people: pd.DataFrame, columns: Sequence[str], sensitive: Sequence[str]) -> pd.Series:
    """For each person: the fewest different known values of a sensitive column in their cell."""
    require_columns(people, sensitive, "people")
    both = sorted(set(columns) & set(sensitive))
    if both:
        raise SettingsError(f"{both[0]!r} is both a quasi-identifier and sensitive; it can be one of them")
    keys = [cells for _, cells in cell_labels(people, columns).items()]
    counts = [people[name].groupby(keys).transform("nunique") for name in sensitive]
    return pd.concat(counts, axis=1).min(axis=1).astype(int)


def risk(people: pd.DataFrame, columns: Sequence[str], gate: Gate | None = None) -> Risk:
    """How many people the quasi-identifiers ``columns`` single out; one row of ``people`` is one person."""
    gate = gate or Gate()
    sizes = cell_sizes(people, columns)
    small = sizes < gate.k
    return Risk(
        people=len(people),
        cells=int(np.round((1 / sizes).sum())),
        smallest=int(sizes.min()) if len(sizes) else 0,
        unique=int((sizes == 1).sum()),
        below_k=int(small.sum()),
        cells_below_k=int(np.round((1 / sizes[small]).sum())),
        least_diverse=int(diversity(people, columns, gate.sensitive).min()) if gate.sensitive and len(people) else None,
    )
