"""Do raters agree beyond chance: Krippendorff's α from counts of values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from rlhf_fair.errors import SettingsError
from rlhf_fair.stats.columns import label_column

Level = Literal["nominal", "ordinal", "interval", "ratio"]

MAX_VALUES = 4_000
"""Distinct values whose pairwise distances still fit into memory."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """Krippendorff's α; 1 = perfect, 0 = chance, below 0 = systematic disagreement; range (-1, 1].

    ``observed`` and ``expected`` are the mean squared distances within units and between all values. ``n_units`` and
    ``n_ratings`` count what could be compared; ``n_alone`` ratings stood alone in their unit. NaN comes with a reason.
    """

    alpha: float
    observed: float
    expected: float
    level: Level
    n_units: int
    n_ratings: int
    n_alone: int
    reason: str = ""


@dataclass(frozen=True)
class Comparable:
    """The ratings that share their unit with another one, as codes.

    ``unit``, ``value``, ``row``: (n,) unit, place among ``levels``, row of the input. ``n_alone``: ratings left out.
    """

    unit: NDArray[np.intp]
    value: NDArray[np.intp]
    row: NDArray[np.intp]
    levels: NDArray[np.generic]
    n_alone: int

    @property
    def counts(self) -> sparse.csr_array:
        """(units, values) how often each value was given to each unit."""
        shape = (int(self.unit.max()) + 1, len(self.levels))
        return sparse.csr_array((np.ones(len(self.unit)), (self.unit, self.value)), shape=shape)


def comparable(units: ArrayLike, values: ArrayLike) -> Comparable:
    """Code the ratings that have a value and are not alone in their unit; ``units``, ``values``: (n,)."""
    table = pd.DataFrame({"unit": label_column(units), "value": label_column(values)}).dropna()
    unit, _ = pd.factorize(table["unit"])
    paired = np.bincount(unit, minlength=1)[unit] >= 2
    value, levels = pd.factorize(table["value"][paired], sort=True)
    unit, _ = pd.factorize(unit[paired])
    codes = (unit.astype(np.intp), value.astype(np.intp), table.index.to_numpy()[paired])
    return Comparable(*codes, np.asarray(levels), int((~paired).sum()))


def krippendorff_alpha(units: ArrayLike, values: ArrayLike, *, level: Level) -> Agreement:
    """α = 1 - D_o/D_e over any number of raters and any gaps (Krippendorff 2011, "Computing Krippendorff's Alpha").

    Parameters
    ----------
    units, values
        (n,) the unit judged and the value given; missing values are left out.
    level
        What a distance means: ``nominal`` (same or not), ``ordinal`` (ranks), ``interval``, ``ratio`` (values >= 0).

    Raises
    ------
    SettingsError
        An unknown level, or values that it has no distance for.

    Examples
    --------
    >>> krippendorff_alpha(["x", "x", "y", "y"], [1, 1, 2, 2], level="nominal").alpha
    1.0
    """
    ratings = comparable(units, values)
    if not len(ratings.unit):
        return Agreement(np.nan, np.nan, np.nan, level, 0, 0, ratings.n_alone, "no unit has two ratings")
    counts = ratings.counts
    coincidences = sparse.coo_array(coincidence_matrix(counts))
    marginal = np.asarray(counts.sum(axis=0), dtype=float)
    distance = squared_distances(ratings.levels, marginal, level)
    total = float(marginal.sum())
    observed = float(coincidences.data @ distance[coincidences.row, coincidences.col]) / total
    expected = float(marginal @ distance @ marginal) / (total * (total - 1))
    alpha = 1 - observed / expected if expected > 0 else np.nan
    reason = "" if expected > 0 else "all comparable ratings have the same value"
    return Agreement(alpha, observed, expected, level, counts.shape[0], len(ratings.unit), ratings.n_alone, reason)


def coincidence_matrix(counts: sparse.csr_array) -> sparse.csr_array:
    """(V, V) how often two values meet in a unit, each unit with the weight of its ratings; ``counts``: (units, V).

    A rating paired with itself adds to the diagonal only, where every distance is 0.
    """
    weight = 1 / (np.asarray(counts.sum(axis=1)) - 1)
    return sparse.csr_array(counts.T @ sparse.diags_array(weight) @ counts)


def squared_distances(levels: NDArray[np.generic], marginal: FloatArray, level: Level) -> FloatArray:
    """(V, V) squared distances between the sorted distinct values."""
    if len(levels) > MAX_VALUES:
        raise SettingsError(f"{len(levels)} distinct values; agreement allows {MAX_VALUES}, round or bin them")
    if level == "nominal":
        return 1 - np.eye(len(levels))
    if level == "ordinal":
        middle = np.cumsum(marginal) - marginal / 2  # mid-ranks: their difference is Krippendorff's ordinal distance
        return np.asarray((middle[:, None] - middle[None, :]) ** 2)
    try:
        x = levels.astype(float)
    except ValueError as error:
        raise SettingsError(f"level {level!r} needs numbers, found {levels[0]!r}") from error
    difference = x[:, None] - x[None, :]
    if level == "interval":
        return np.asarray(difference**2)
    if level != "ratio":
        raise SettingsError(f"level = {level!r}; allowed: nominal, ordinal, interval, ratio")
    if x.min() < 0:
        raise SettingsError(f"level 'ratio' needs values >= 0, found {x.min():g}")
    total = x[:, None] + x[None, :]
    return np.asarray(np.divide(difference, total, out=np.zeros_like(difference), where=total > 0) ** 2)
