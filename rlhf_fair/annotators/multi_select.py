"""Attributes of which a person may name several levels: a cell ``Asian|White`` counts as Asian and as White.

The rule: such a person counts, as one, in every level named (and in every crossed cell whose levels are all named),
so the share of a level is the share of people who name it and a margin's shares may sum to more than 1. Whoever names
a level that the population does not know is not placed. The order of the levels does not matter, and a level that
itself contains the separator (``Asian|White`` as a census category) is that level alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from rlhf_fair.annotators.population import Margin, Population
from rlhf_fair.tables import ATTRIBUTE_PREFIX, require_columns

SEPARATOR = "|"
JOINED = "\x1f"
"""Joins several levels once they are told apart, so that a level which holds the separator is not split."""

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def named_levels(cell: object, levels: Collection[str]) -> tuple[str, ...]:
    """The levels a cell names, sorted; empty where it is missing or names one that is not among ``levels``.

    >>> named_levels("White|Asian", ["Asian", "Black", "White"])
    ('Asian', 'White')
    >>> named_levels("White|Martian", ["Asian", "Black", "White"])
    ()
    """
    if not isinstance(cell, str):
        return ()
    if cell in levels:
        return (cell,)
    parts = sorted({part.strip() for part in cell.split(SEPARATOR)})
    return tuple(parts) if all(part in levels for part in parts) else ()


def canonical(cells: pd.Series, levels: Collection[str]) -> pd.Series:
    """Cells with their levels in order, joined by `JOINED`; None where not placed."""
    code, distinct = pd.factorize(cells)
    known = [JOINED.join(named_levels(cell, levels)) or None for cell in distinct]
    return pd.Series(np.array([*known, None], dtype=object)[code], index=cells.index)  # -1, missing: the last


def canonical_table(table: pd.DataFrame, population: Population) -> pd.DataFrame:
    """The table with the population's attributes in `canonical` form."""
    columns = {name: ATTRIBUTE_PREFIX + name for name in population.attributes}
    require_columns(table, columns.values(), "pool")
    return table.assign(**{c: canonical(table[c], population.levels(name)) for name, c in columns.items()})


def names_level(cells: pd.Series, level: str) -> NDArray[np.bool_]:
    """(n,) whether each cell, in `canonical` form, is ``level`` or names it among others."""
    distinct = {cell: level in str(cell).split(JOINED) for cell in cells.dropna().unique()}
    return np.array([distinct.get(cell, False) for cell in cells], dtype=bool)


def membership(table: pd.DataFrame, margin: Margin) -> sparse.csr_array:
    """(cells of the margin, rows of a `canonical_table`) 1 where the row counts in the cell."""
    named = {
        (name, level): names_level(table[ATTRIBUTE_PREFIX + name], level)
        for place, name in enumerate(margin.attributes)
        for level in {cell[place] for cell in margin.levels()}
    }
    rows = [
        sparse.csr_array(
            np.logical_and.reduce([named[pair] for pair in zip(margin.attributes, cell, strict=True)])[None, :].astype(
                float
            )
        )
        for cell in margin.levels()
    ]
    return sparse.csr_array(sparse.vstack(rows, format="csr"))


def has_several(table: pd.DataFrame, margin: Margin) -> bool:
    """Whether any row of a `canonical_table` names several levels of one of the margin's attributes."""
    return any(
        JOINED in str(cell) for name in margin.attributes for cell in table[ATTRIBUTE_PREFIX + name].dropna().unique()
    )


def yes_no_margins(cells: sparse.csr_array, shares: FloatArray) -> tuple[Sequence[IntArray], Sequence[FloatArray]]:
    """Each cell as a margin of its own, outside or inside, since overlapping cells cannot share one.

    Returns codes (0 outside, 1 inside) and shares for `weights.rake_rows`.
    """
    codes = [np.asarray(row, dtype=np.int64) for row in cells.toarray()]
    return codes, [np.array([1 - share, share]) for share in np.clip(shares, 0, 1)]
