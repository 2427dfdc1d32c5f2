"""Contrasts of group means with cluster-robust intervals.

A contrast is ``sum_g a_g * mean_g``: a gap when the coefficients sum to zero, a mean when there is one group. Rows are
not independent: they share a name, a template, a rater. The variance therefore sums influence values within clusters
before squaring (Liang & Zeger 1986), and for several crossed clusterings adds and subtracts the clusterings by
inclusion-exclusion (Cameron, Gelbach & Miller 2011).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats as distributions

from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.power import minimum_detectable_effect

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]

ROUNDING = 1e-12
"""A standard error below this share of the largest value is rounding, not variation."""


@dataclass(frozen=True)
class _Variance:
    value: float
    df: float
    n_clusters: int


def mean_estimate(
    values: ArrayLike,
    *,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
) -> Estimate:
    """The (weighted) mean of ``values`` with a cluster-robust t interval.

    Parameters and result as in `contrast_estimate`, with a single group.
    """
    groups = np.zeros(len(np.asarray(values)), dtype=np.intp)
    return contrast_estimate(values, groups, {0: 1.0}, clusters=clusters, weights=weights, alpha=alpha, power=power)


def contrast_estimate(
    values: ArrayLike,
    groups: ArrayLike,
    coefficients: Mapping[Any, float],
    *,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
) -> Estimate:
    """Estimate ``sum_g coefficients[g] * mean(values in g)``; null value 0 for a gap.

    Parameters
    ----------
    values: (n,) numbers; NaN rows are left out (a failure is missing, never a score).
    groups: (n,) labels; rows whose label has no coefficient are left out.
    clusters: arrays of shape (n,), one for each way in which rows belong together; empty means independent rows.
    weights: (n,) positive design weights, default 1.
    alpha: the interval covers 1 - ``alpha``. power: for the minimum detectable effect.

    Returns
    -------
    Estimate with a t interval. The degrees of freedom are Welch-Satterthwaite over groups where every cluster lies in
    one group (names within genders), else the smallest number of clusters less one (templates shared by groups).
    """
    x, group_labels = np.asarray(values, dtype=float), np.asarray(groups)
    keep = np.isfinite(x) & np.isin(group_labels, np.array(list(coefficients)))
    x, group_labels = x[keep], group_labels[keep]
    w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=float)[keep]
    ways = [_codes(np.asarray(way)[keep]) for way in clusters] or [np.arange(len(x))]

    labels = list(coefficients)
    group_codes = np.zeros(len(x), dtype=np.intp)
    for code, label in enumerate(labels):
        group_codes[group_labels == label] = code
    counts = np.bincount(group_codes, minlength=len(labels))
    if not counts.all():
        empty = ", ".join(str(label) for label, count in zip(labels, counts, strict=True) if not count)
        return Estimate.not_estimable(f"no measured rows in group {empty}", n=len(x))

    totals = np.bincount(group_codes, w, len(labels))
    means = np.bincount(group_codes, w * x, len(labels)) / totals
    a = np.array([coefficients[label] for label in labels])
    estimate = float(a @ means)
    influence = a[group_codes] * w * (x - means[group_codes]) / totals[group_codes]
    smallest = min(_clusters_per_group(way, group_codes, len(labels)).min() for way in ways)
    if smallest < 2:
        reason = f"a group has {smallest} cluster: no interval can be estimated from it"
        return Estimate(estimate=estimate, n=len(x), n_clusters=int(smallest), reason=reason)

    variance = _multiway(influence, group_codes, len(labels), ways)
    if variance.value <= (ROUNDING * np.abs(x).max() * np.abs(a).sum()) ** 2:
        reason = "no variation between clusters: an interval cannot be estimated"
        return Estimate(estimate=estimate, n=len(x), n_clusters=variance.n_clusters, reason=reason)
    return _with_interval(estimate, variance, len(x), alpha, power)


def _with_interval(estimate: float, variance: _Variance, n: int, alpha: float, power: float) -> Estimate:
    se = float(np.sqrt(variance.value))
    half = float(distributions.t.ppf(1 - alpha / 2, variance.df)) * se
    return Estimate(
        estimate=estimate,
        ci_low=estimate - half,
        ci_high=estimate + half,
        standard_error=se,
        df=variance.df,
        p_value=float(2 * distributions.t.sf(abs(estimate) / se, variance.df)),
        mde=minimum_detectable_effect(se, variance.df, alpha=alpha, power=power),
        n=n,
        n_clusters=variance.n_clusters,
    )


def _multiway(influence: Floats, groups: Codes, n_groups: int, ways: list[Codes]) -> _Variance:
    single = [_oneway(influence, groups, n_groups, way) for way in ways]
    total = 0.0
    for size in range(1, len(ways) + 1):
        for chosen in combinations(ways, size):
            sign = 1.0 if size % 2 else -1.0
            total += sign * _oneway(influence, groups, n_groups, _cross(chosen)).value
    # Inclusion-exclusion can come out too small by chance; the widest single clustering is always a lower bound.
    total = max([total, *(part.value for part in single)])
    return _Variance(total, min(part.df for part in single), min(part.n_clusters for part in single))


def _oneway(influence: Floats, groups: Codes, n_groups: int, way: Codes) -> _Variance:
    per_group = _clusters_per_group(way, groups, n_groups)
    scaled = influence * np.sqrt(per_group / np.maximum(per_group - 1, 1))[groups]
    n_clusters = int(way.max()) + 1
    value = float(np.square(np.bincount(way, scaled, n_clusters)).sum())
    cells = np.unique(way * n_groups + groups)
    if len(cells) > n_clusters:  # some cluster spans several groups
        return _Variance(value, float(per_group.min() - 1), n_clusters)
    by_cell = np.square(np.bincount(way, scaled, n_clusters))
    group_of_cluster = np.zeros(n_clusters, dtype=np.intp)
    group_of_cluster[way] = groups
    parts = np.bincount(group_of_cluster, by_cell, n_groups)
    spread = float((np.square(parts) / np.maximum(per_group - 1, 1)).sum())
    return _Variance(value, value**2 / spread if spread > 0 else NAN, n_clusters)


def _clusters_per_group(way: Codes, groups: Codes, n_groups: int) -> NDArray[np.intp]:
    pairs = np.unique(way * n_groups + groups)
    return np.bincount(pairs % n_groups, minlength=n_groups)


def _codes(labels: NDArray[Any]) -> Codes:
    return np.unique(labels, return_inverse=True)[1].reshape(-1).astype(np.intp)


def _cross(ways: tuple[Codes, ...]) -> Codes:
    code = ways[0]
    for way in ways[1:]:
        code = _codes(code * (int(way.max()) + 1) + way)
    return code
