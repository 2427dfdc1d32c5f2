"""Do two groups differ on the same items: the gap with a fixed effect for every item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.contrasts import ROUNDING, linear_estimate
from rlhf_fair.stats.group_sums import GroupMeans
from rlhf_fair.stats.intervals import t_interval
from rlhf_fair.stats.sample import Codes, Floats, Sample, sample, signed_intersections


def within_estimate(
    values: ArrayLike,
    groups: ArrayLike,
    group: Any,
    reference: Any,
    *,
    items: ArrayLike,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
) -> Estimate:
    """Mean of ``group`` minus mean of ``reference`` within items; null value 0, unit of ``values``.

    The coefficient of group membership in a regression with one intercept per item: the mean of the items' own gaps,
    each weighted with w1·w0/(w1 + w0), the two groups' weights on it. Items that only one group rated are left out.

    The standard error is the jackknife's: the regression is fitted again without each cluster, item intercepts and
    all. Residuals would not do, since with few ratings per item its intercept swallows most of them. Crossed
    clusterings add up by inclusion-exclusion (Cameron, Gelbach & Miller 2011) to no less than any one of them. The
    degrees of freedom are those of a gap of two means, each row weighted with how far its membership lies from its
    item's share of the group (Frisch & Waugh 1933).

    Parameters: ``items`` (n,) labels; the others as in `contrast_estimate`. ``n_left_out`` counts the rows without a
    finite value, a known group or a known item, and those on items that only one of the two groups rated.
    """
    rows = sample(values, groups, labels=[group, reference], clusters=clusters, weights=weights, control_features=items)
    ratings = _shared_ratings(rows)
    n = len(ratings.values)
    counts: dict[str, Any] = {"n": n, "n_left_out": rows.n_missing + rows.n_unknown + len(rows.values) - n}
    if not n:
        return Estimate.not_estimable(f"no item was rated by both {group} and {reference}", **counts)
    as_means = ratings.gap_of_two_means(alpha)
    if not np.isfinite(as_means.ci_low):
        return as_means.model_copy(update=counts)
    variance = ratings.jackknife_variance()
    if not variance > (ROUNDING * float(np.abs(ratings.values).max())) ** 2:
        reason = "without one of the clusters no item is shared: no interval can be estimated"
        if np.isfinite(variance):
            reason = "leaving out a cluster changes nothing: an interval cannot be estimated"
        return Estimate(estimate=as_means.estimate, n_clusters=as_means.n_clusters, reason=reason, **counts)
    e = t_interval(as_means.estimate, float(np.sqrt(variance)), as_means.df, alpha=alpha, power=power)
    return e.model_copy(update=counts | {"n_clusters": as_means.n_clusters, "reason": as_means.reason})


@dataclass(frozen=True)
class _Ratings:
    """The rows of items that both groups rated; all arrays are (n,). ``member``: 0 the group, 1 the reference."""

    values: Floats
    weights: Floats
    item: Codes
    member: Codes
    ways: tuple[Codes, ...]

    @cached_property
    def items(self) -> ItemSums:
        """Sums per item."""
        return ItemSums.of(self.item, self.member, self.weights, self.values, int(self.item.max()) + 1)

    def gap_of_two_means(self, alpha: float) -> Estimate:
        """The gap as a contrast of two means; its degrees of freedom hold, its standard error is too small."""
        share = self.items.share[self.item]
        residual = self.values + self.items.gap * share
        leverage = self.weights * np.where(self.member == 0, 1 - share, share)
        means = GroupMeans.of(leverage * residual, leverage, self.member, self.ways, 2)
        gap = np.array([1.0, -1.0])
        return linear_estimate(means, gap, scale=float(np.abs(residual).max()), n=len(residual), alpha=alpha)

    def jackknife_variance(self) -> float:
        """Of the gap, over all clusterings; NaN if without one of the clusters no item is shared."""
        signed = [(sign, self._without_each(way)) for sign, way in signed_intersections(self.ways)]
        single = [variance for _, variance in signed[: len(self.ways)]]
        return max(sum(sign * variance for sign, variance in signed), *single)

    def _without_each(self, way: Codes) -> float:
        """The jackknife variance over the clusters ``way`` (n,).

        A cluster counts (C - 1) / C, C being the clusters of its group; of the larger group, if it has rows of both.
        """
        n_items, n_clusters = len(self.items.precision), int(way.max()) + 1
        cells, cell = np.unique(way * n_items + self.item, return_inverse=True)
        cluster, item = cells // n_items, cells % n_items
        taken = ItemSums.of(cell.reshape(-1), self.member, self.weights, self.values, len(cells))
        rest = self.items.without(taken, item)

        def refitted(whole: Floats, left: Floats) -> Floats:
            return np.asarray(whole.sum() + np.bincount(cluster, left - whole[item], n_clusters))

        precision = refitted(self.items.precision, rest.precision)
        if precision.min() <= ROUNDING * self.items.precision.sum():
            return NAN
        change = refitted(self.items.weighted_gap, rest.weighted_gap) / precision - self.items.gap
        touches = np.bincount(way * 2 + self.member, minlength=2 * n_clusters).reshape(n_clusters, 2) > 0
        in_group = touches.sum(axis=0)
        return float(((touches * (in_group - 1) / in_group).max(axis=1) * change**2).sum())


def _shared_ratings(rows: Sample) -> _Ratings:
    """Rows on items that both groups rated, their values counted from the item's mean: sums then lose no digits."""
    items = ItemSums.of(rows.stratum, rows.group, rows.weights, rows.values, len(rows.strata))
    used = np.asarray((items.weight > 0).all(axis=0))[rows.stratum]
    item = rows.stratum[used]
    return _Ratings(
        values=rows.values[used] - (items.total.sum(axis=0) / _or_one(items.weight.sum(axis=0)))[item],
        weights=rows.weights[used],
        item=_compact(item),
        member=rows.group[used],
        ways=tuple(_compact(way[used]) for way in rows.ways),
    )


@dataclass(frozen=True)
class ItemSums:
    """Sums over the rows of K items (or cells), on which the gap within items depends alone.

    ``weight``, ``total``: (2, K) sums of weight and of weight × value; row 0 is the group, row 1 the reference.
    """

    weight: Floats
    total: Floats

    @classmethod
    def of(cls, cell: Codes, group: Codes, weights: Floats, values: Floats, n_cells: int) -> ItemSums:
        """Add up rows; the arrays are (n,)."""
        code, n = group * n_cells + cell, 2 * n_cells
        sums = [np.bincount(code, amount, n).astype(float) for amount in (weights, weights * values)]
        return cls(sums[0].reshape(2, n_cells), sums[1].reshape(2, n_cells))

    def without(self, cells: ItemSums, item: Codes) -> ItemSums:
        """(K,) cells' items after the cells' rows were taken out; ``item``: (K,) which item each cell belongs to."""
        weight = self.weight[:, item] - cells.weight
        left = weight > ROUNDING * self.weight[:, item]
        return ItemSums(np.where(left, weight, 0), np.where(left, self.total[:, item] - cells.total, 0))

    @property
    def share(self) -> Floats:
        """(K,) the group's share of the weight."""
        return np.asarray(self.weight[0] / self.weight.sum(axis=0))

    @property
    def precision(self) -> Floats:
        """(K,) w1·w0/(w1 + w0): what an item counts; 0 where a group has no rows."""
        return np.asarray(self.weight.prod(axis=0) / _or_one(self.weight.sum(axis=0)))

    @property
    def weighted_gap(self) -> Floats:
        """(K,) precision × (mean of the group - mean of the reference)."""
        (w1, w0), (s1, s0) = self.weight, self.total
        return np.asarray((w0 * s1 - w1 * s0) / _or_one(w1 + w0))

    @property
    def gap(self) -> float:
        """The gap within items."""
        return float(self.weighted_gap.sum() / self.precision.sum())


def _compact(codes: Codes) -> Codes:
    return np.unique(codes, return_inverse=True)[1].reshape(-1)


def _or_one(weight: Floats) -> Floats:
    return np.where(weight > 0, weight, 1.0)
