"""Does a group of raters agree with itself more than with everybody else: α inside, XRR across, and their quotient.

The null hypothesis is that the group's raters are a random draw from all raters, so its distribution comes from handing
the group labels out anew *to raters* (never to single ratings, which would take thousands of labels by three people for
thousands of independent witnesses).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.stats.agreement import Level, squared_distances
from rlhf_fair.stats.columns import label_column

FloatArray = NDArray[np.float64]

MOST_VALUES = 50
"""More distinct values than this are too many for thousands of permutations."""

CELLS_AT_ONCE = 2_000_000
"""Size of the largest array: items x values x permutations worked on together."""


@dataclass(frozen=True)
class GroupAgreement:
    """One group against all other raters.

    ``inside``: Krippendorff's α among the group's raters; ``across``: cross-group reliability XRR. Both 1 = perfect,
    0 = chance. ``difference`` = inside - across, null value about 0. ``ratio`` = inside / across, the group association
    index GAI (Prabhakaran et al. 2024), null value about 1; it explodes as ``across`` nears 0, the difference does not.
    ``p_difference`` and ``p_ratio`` are two-sided permutation p-values, ``null_sd_*`` the SD of the statistic under
    the null: a group whose null SD is large could differ a lot without being noticed.
    """

    group: str
    n_raters: int
    n_items_inside: int
    n_items_across: int
    inside: float
    across: float
    difference: float
    ratio: float
    p_difference: float = np.nan
    p_ratio: float = np.nan
    null_sd_difference: float = np.nan
    null_sd_ratio: float = np.nan
    reason: str = ""


@dataclass(frozen=True)
class _Ratings:
    """``cells``: (items * values, raters) counts of ratings; ``groups``: (raters,) code of each rater's group."""

    cells: sparse.csr_array
    levels: NDArray[np.generic]
    groups: NDArray[np.intp]
    names: tuple[str, ...]

    @property
    def n_items(self) -> int:
        return int(self.cells.shape[0]) // len(self.levels)


def group_agreement(
    items: ArrayLike,
    raters: ArrayLike,
    values: ArrayLike,
    groups: ArrayLike,
    *,
    level: Level,
    permutations: int = 999,
    rng: np.random.Generator,
) -> tuple[GroupAgreement, ...]:
    """Agreement inside each group and with all other raters of known group, groups in order of name.

    Parameters
    ----------
    items, raters, values, groups
        (n,) one rating each. Rows with a missing value or group are left out; a rater has one group.
    permutations
        How often the labels are handed out anew; p = (1 + #) / (permutations + 1), so never 0.
    """
    ratings = _count(items, raters, values, groups)
    if len(ratings.levels) > MOST_VALUES:
        raise SettingsError(f"{len(ratings.levels)} distinct values; group agreement allows {MOST_VALUES}, round them")
    observed = _statistics(ratings, ratings.groups[:, None], level)
    draws = [_statistics(ratings, labels, level) for labels in _permuted(ratings, permutations, rng)]
    null = np.concatenate(draws, axis=2) if draws else np.empty((*observed.shape[:2], 0))
    found = []
    for code, name in enumerate(ratings.names):
        inside, across, n_inside, n_across = (float(x) for x in observed[code, :, 0])
        statistics = [inside - across, float(_divide(inside, across))]
        nulls = [null[code, 0] - null[code, 1], _divide(null[code, 0], null[code, 1])]
        p = [permutation_p(statistic, draw) for statistic, draw in zip(statistics, nulls, strict=True)]
        sd = [float(np.std(draw[np.isfinite(draw)])) if np.isfinite(draw).any() else np.nan for draw in nulls]
        n_raters = int((ratings.groups == code).sum())
        reason = _reason(inside, across, n_inside, n_across)
        found.append(
            GroupAgreement(
                group=name,
                n_raters=n_raters,
                n_items_inside=int(n_inside),
                n_items_across=int(n_across),
                inside=inside,
                across=across,
                difference=statistics[0],
                ratio=statistics[1],
                p_difference=p[0],
                p_ratio=p[1],
                null_sd_difference=sd[0],
                null_sd_ratio=sd[1],
                reason=reason,
            )
        )
    return tuple(found)


def permutation_p(statistic: float, null: FloatArray) -> float:
    """Two-sided: twice the smaller tail, (1 + #) / (N + 1) each, at most 1; NaN where nothing can be compared.

    The null of a quotient is skewed, so distances from its centre would not be alike on both sides.

    >>> permutation_p(3.0, np.array([-1.0, 1.0, 0.0]))
    0.5
    """
    draws = null[np.isfinite(null)]
    if not np.isfinite(statistic) or not len(draws):
        return np.nan
    rounding = 1e-9 * abs(statistic)  # sums of floats in another order must not turn a tie into a difference
    above, below = (draws >= statistic - rounding).sum(), (draws <= statistic + rounding).sum()
    return float(min(1.0, 2 * (1 + min(above, below)) / (len(draws) + 1)))


def _count(items: ArrayLike, raters: ArrayLike, values: ArrayLike, groups: ArrayLike) -> _Ratings:
    columns = {"item": items, "rater": raters, "value": values, "group": groups}
    table = pd.DataFrame({name: label_column(column) for name, column in columns.items()}).dropna()
    if table.empty:
        raise RowError("no rating has a value and a rater of known group")
    several = table.groupby("rater")["group"].nunique()
    if (several > 1).any():
        raise RowError(f"rater {several.index[several > 1][0]} has more than one group")
    item, _ = pd.factorize(table["item"])
    rater, rater_ids = pd.factorize(table["rater"])
    value, levels = pd.factorize(table["value"], sort=True)
    shape = ((item.max() + 1) * len(levels), len(rater_ids))
    cells = sparse.csr_array((np.ones(len(table)), (item * len(levels) + value, rater)), shape=shape)
    of_rater = table.drop_duplicates("rater")["group"].astype(str)
    group, names = pd.factorize(of_rater, sort=True)
    return _Ratings(cells, np.asarray(levels), group.astype(np.intp), tuple(map(str, names)))


def _permuted(ratings: _Ratings, permutations: int, rng: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    """(raters, some) columns of shuffled labels, ``permutations`` in all."""
    at_once = max(1, CELLS_AT_ONCE // int(ratings.cells.shape[0]))
    for start in range(0, permutations, at_once):
        labels = np.tile(ratings.groups[:, None], (1, min(at_once, permutations - start)))
        yield rng.permuted(labels, axis=0)


def _statistics(ratings: _Ratings, labels: NDArray[np.intp], level: Level) -> FloatArray:
    """(groups, 4, columns of labels): α inside, XRR, and the number of items behind each."""
    shape = (labels.shape[1], ratings.n_items, len(ratings.levels))
    total = np.asarray(ratings.cells.sum(axis=1), dtype=float).reshape(shape[1:])
    found = np.empty((len(ratings.names), 4, labels.shape[1]))
    for code in range(len(ratings.names)):
        own = np.ascontiguousarray((ratings.cells @ (labels == code).astype(float)).T).reshape(shape)
        found[code, [0, 2]] = _alpha(own, ratings.levels, level)
        found[code, [1, 3]] = _xrr(own, total - own, ratings.levels, level)
    return found


def _alpha(counts: FloatArray, levels: NDArray[np.generic], level: Level) -> FloatArray:
    """(2, B): Krippendorff's α for each of B tables of counts (B, items, values), and the items it rests on."""
    size = counts.sum(axis=2, keepdims=True)
    paired = np.where(size >= 2, counts, 0.0)
    marginal = paired.sum(axis=1)
    weight = np.divide(1.0, size - 1, out=np.zeros_like(size), where=size >= 2)
    distance = _distances(levels, marginal, level)
    coincidences = np.swapaxes(paired * weight, 1, 2) @ paired
    total = marginal.sum(axis=1)
    observed = _divide((coincidences * distance).sum(axis=(1, 2)), total)
    expected = _divide(_bilinear(marginal, distance, marginal), total * (total - 1))
    return np.stack([1 - _divide(observed, expected), (size >= 2).sum(axis=(1, 2))])


def _xrr(own: FloatArray, others: FloatArray, levels: NDArray[np.generic], level: Level) -> FloatArray:
    """(2, B): XRR = 1 - d_o / d_e over cross-group pairs only (Wong, Paritosh & Aroyo 2021), and its items.

    Items that only one side rated are left out; an item with R and S ratings has the weight R + S.
    """
    r, s = own.sum(axis=2, keepdims=True), others.sum(axis=2, keepdims=True)
    both = (r > 0) & (s > 0)
    weight = np.divide(r + s, r * s, out=np.zeros_like(r), where=both)
    x, y = np.where(both, own, 0.0), np.where(both, others, 0.0)
    marginal_x, marginal_y = x.sum(axis=1), y.sum(axis=1)
    distance = _distances(levels, marginal_x + marginal_y, level)
    coincidences = np.swapaxes(x * weight, 1, 2) @ y
    observed = _divide((coincidences * distance).sum(axis=(1, 2)), marginal_x.sum(axis=1) + marginal_y.sum(axis=1))
    pairs = marginal_x.sum(axis=1) * marginal_y.sum(axis=1)
    expected = _divide(_bilinear(marginal_x, distance, marginal_y), pairs)
    return np.stack([1 - _divide(observed, expected), both.sum(axis=(1, 2))])


def _distances(levels: NDArray[np.generic], marginal: FloatArray, level: Level) -> FloatArray:
    """(B or 1, V, V); only ordinal distances depend on how often each value was given."""
    if level != "ordinal":
        return squared_distances(levels, marginal[0], level)[None]
    middle = np.cumsum(marginal, axis=1) - marginal / 2
    return np.asarray((middle[:, :, None] - middle[:, None, :]) ** 2)


def _bilinear(left: FloatArray, matrix: FloatArray, right: FloatArray) -> FloatArray:
    return np.asarray(((left[:, None, :] @ matrix)[:, 0, :] * right).sum(axis=1))


def _divide(top: ArrayLike, bottom: ArrayLike) -> FloatArray:
    """Quotient, NaN where the denominator is 0."""
    a, b = np.asarray(top, dtype=float), np.asarray(bottom, dtype=float)
    return np.asarray(np.divide(a, b, out=np.full(np.broadcast(a, b).shape, np.nan), where=b != 0))


def _reason(inside: float, across: float, n_inside: float, n_across: float) -> str:
    if not n_inside:
        return "no item has two ratings from this group"
    if not n_across:
        return "no item was rated by this group and by others"
    if np.isnan(inside) or np.isnan(across):
        return "all comparable ratings have the same value"
    return ""
