"""Count tables in which nobody can be counted out: small cells left out, and the companions that would give them away.

A table over several attributes is published with all its margins; which cells are left out, and what that promises, is
`rlhf_fair.disclosure.suppression`. Two tables of the same people over different attributes are two releases: the
promise holds for each, not for their combination.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from rlhf_fair.annotators.privacy_cells import cell_labels
from rlhf_fair.disclosure.suppression import hidden_cells, with_margins
from rlhf_fair.errors import RowError, SettingsError

ALL = "(all)"
"""The level of a margin: everybody, whatever their answer."""
MAX_CELLS = 5_000


@dataclass(frozen=True)
class CountTable:
    """``cells`` has a row for every combination of levels and margins (`ALL`): attributes, ``count`` and ``status``.

    ``status``: published, small (fewer than k people) or companion; ``count`` is missing for the last two.
    ``withheld``: only the total could be published (and not even that where it is below k).
    """

    cells: pd.DataFrame
    columns: tuple[str, ...]
    k: int
    people: int
    withheld: bool

    def suppressed(self, status: Literal["small", "companion"]) -> int:
        """How many cells, margins included, are left out for this reason."""
        return int((self.cells["status"] == status).sum())


def count_table(people: pd.DataFrame, columns: Sequence[str], *, k: int) -> CountTable:
    """Cross table of ``columns`` with all margins, from which no cell of 1 to k - 1 people can be shown to be one."""
    if k < 2:
        raise SettingsError(f"k is {k}; below 2 nobody is hidden: allowed is 2 and more")
    labels = cell_labels(people, columns)
    if labels.isin([ALL]).any(axis=None):
        raise RowError(f"an attribute holds the text {ALL!r}, which stands for margins here")
    levels = [sorted(labels[name].unique()) for name in columns]
    shape = tuple(len(names) for names in levels)
    if np.prod([size + 1.0 for size in shape]) > MAX_CELLS:
        raise SettingsError(f"{' x '.join(columns)} has more than {MAX_CELLS:,} cells; name fewer attributes")
    counts = np.zeros(shape, dtype=np.int64)
    codes = [pd.Categorical(labels[name], names).codes for name, names in zip(columns, levels, strict=True)]
    np.add.at(counts, tuple(codes), 1)
    hidden = hidden_cells(counts, k)
    full = with_margins(counts)
    withheld = hidden is None
    if hidden is None:
        hidden = np.ones(full.shape, dtype=bool)
        hidden[(-1,) * full.ndim] = full[(-1,) * full.ndim] < k
    index = pd.MultiIndex.from_product([[*names, ALL] for names in levels], names=list(columns))
    small, left_out = (full > 0) & (full < k), hidden.ravel()
    cells = index.to_frame(index=False)
    cells["count"] = pd.array(full.ravel(), dtype="Int64")
    cells.loc[left_out, "count"] = pd.NA
    # of a table that is withheld as a whole, not even which cells are small is told
    reasons = np.where(small.ravel() & (not withheld), "small", "companion")
    cells["status"] = pd.Series(np.where(left_out, reasons, "published"), dtype="str")
    return CountTable(cells, tuple(columns), k, len(people), withheld)
