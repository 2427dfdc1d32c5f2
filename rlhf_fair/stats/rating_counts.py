"""Ratings as counts by group, value and item, and the same counts after groups were dealt to the raters anew.

The null hypothesis of every test on groups of raters is that a group is a random draw of the raters, so labels are
handed out anew *to raters*, never to single ratings, which would take thousands of judgements by three people for
thousands of independent witnesses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.stats.columns import Codes, Floats, label_column

MOST_VALUES = 50
"""More distinct values than this are too many for thousands of permutations."""


@dataclass(frozen=True)
class RatingCounts:
    """``place``: (n,) value * items + item of each rating; ``rater``: (n,); ``group``: (raters,) codes of ``names``.

    ``levels``: (values,) the distinct values in order. ``items``: (items,) their ids.
    """

    place: Codes
    rater: Codes
    group: Codes
    levels: NDArray[np.generic]
    items: NDArray[np.generic]
    names: tuple[str, ...]

    @classmethod
    def of(cls, items: ArrayLike, raters: ArrayLike, values: ArrayLike, groups: ArrayLike) -> RatingCounts:
        """Count ratings, (n,) each; rows with a missing value or group are left out, and a rater has one group."""
        columns = {"item": items, "rater": raters, "value": values, "group": groups}
        table = pd.DataFrame({name: label_column(column) for name, column in columns.items()}).dropna()
        if table.empty:
            raise RowError("no rating has a value and a rater of known group")
        several = table.groupby("rater")["group"].nunique()
        if (several > 1).any():
            raise RowError(f"rater {several.index[several > 1][0]} has more than one group")
        item, item_ids = pd.factorize(table["item"])
        rater, _ = pd.factorize(table["rater"])
        value, levels = pd.factorize(table["value"], sort=True)
        if len(levels) > MOST_VALUES:
            raise SettingsError(f"{len(levels)} distinct values; group agreement allows {MOST_VALUES}, round them")
        group, names = pd.factorize(table.drop_duplicates("rater")["group"].astype(str), sort=True)
        place = (value * len(item_ids) + item).astype(np.intp)
        codes = rater.astype(np.intp), group.astype(np.intp)
        return cls(place, *codes, np.asarray(levels), np.asarray(item_ids), tuple(map(str, names)))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Groups, values, items."""
        return len(self.names), len(self.levels), len(self.items)

    @property
    def raters(self) -> Codes:
        """(G,) how many raters each group has."""
        return np.bincount(self.group, minlength=len(self.names)).astype(np.intp)

    def tally(self, group: Codes | None = None) -> Floats:
        """(G, V, I) ratings by group, value and item; ``group``: (raters,) other labels than their own."""
        label = self.group if group is None else group
        size = self.shape
        cell = (label * (size[1] * size[2]))[self.rater] + self.place
        return np.bincount(cell, minlength=size[0] * size[1] * size[2]).reshape(size).astype(float)

    def dealt(self, permutations: int, rng: np.random.Generator) -> Iterator[Floats]:
        """`tally` with the labels dealt to the raters by lot, sizes of groups kept, ``permutations`` times."""
        for _ in range(permutations):
            yield self.tally(rng.permutation(self.group))


def permutation_p(statistic: float, null: Floats) -> float:
    """Two-sided: twice the smaller tail, (1 + #) / (N + 1) each, at most 1; NaN where nothing can be compared.

    The null of a quotient is skewed, so distances from its centre would not be alike on both sides.

    >>> permutation_p(3.0, np.array([-1.0, 1.0, 0.0]))
    0.5
    """
    above, below, draws = _tails(statistic, null)
    return float(min(1.0, 2 * (1 + min(above, below)) / (draws + 1))) if draws else np.nan


def upper_permutation_p(statistic: float, null: Floats) -> float:
    """One-sided, for what can only be too large: (1 + # as large) / (N + 1); NaN where nothing can be compared.

    >>> upper_permutation_p(3.0, np.array([-1.0, 1.0, 0.0]))
    0.25
    """
    above, _, draws = _tails(statistic, null)
    return float((1 + above) / (draws + 1)) if draws else np.nan


def _tails(statistic: float, null: Floats) -> tuple[int, int, int]:
    """Draws at least as large, at most as large, and all that are known (0 without a statistic)."""
    draws = null[np.isfinite(null)] if np.isfinite(statistic) else null[:0]
    rounding = 1e-9 * abs(statistic)  # sums of floats in another order must not turn a tie into a difference
    above, below = (draws >= statistic - rounding).sum(), (draws <= statistic + rounding).sum()
    return int(above), int(below), len(draws)
