"""Contrasts of group means with cluster-robust intervals: the interval that audits use unless they say otherwise.

A contrast is ``sum_g a_g * mean_g``: a gap when the coefficients sum to zero, a mean when there is one group. Rows are
not independent: they share a name, a template, a rater. `GroupSums` holds the variance and its degrees of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlhf_fair.errors import SettingsError
from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.columns import check_shares, kish_effective_rows
from rlhf_fair.stats.group_sums import GroupMeans
from rlhf_fair.stats.intervals import t_interval
from rlhf_fair.stats.power import minimum_detectable_effect
from rlhf_fair.stats.rate_contrasts import RateContrast
from rlhf_fair.stats.sample import Floats, Sample, sample
from rlhf_fair.stats.student_t import t_quantile

RATE_VALUES = (0.0, 0.5, 1.0)
"""Values of trials: failure, tie, success. A mean of such values is a rate."""

ROUNDING = 1e-12
"""A standard error below this share of the largest value is rounding, not variation."""

FEW_CLUSTERS = 5
"""With fewer clusters in a group intervals can be too narrow: 2 against 100 cover .88 where .95 is meant."""


def mean_estimate(
    values: ArrayLike,
    *,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    rates: bool | None = None,
    null: float | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
) -> Estimate:
    """The (weighted) mean of ``values`` with a cluster-robust t interval.

    Parameters and result as in `contrast_estimate`, with a single group.
    """
    groups = np.zeros(len(np.asarray(values)), dtype=np.intp)
    options: dict[str, Any] = {"rates": rates, "null": null, "alpha": alpha, "power": power}
    return contrast_estimate(values, groups, {0: 1.0}, clusters=clusters, weights=weights, **options)


def contrast_estimate(
    values: ArrayLike,
    groups: Any,
    coefficients: Mapping[Any, float],
    *,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    control_features: Any = None,
    rates: bool | None = None,
    null: float | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
) -> Estimate:
    """Estimate ``sum_g coefficients[g] * mean(values in g)``; null value 0 for a gap.

    Parameters
    ----------
    values: (n,) numbers; rows that are not finite are left out (a failure is missing, never a score).
    groups: (n,) labels, or a table whose rows' combinations are the labels; rows whose label is unknown or has no
        coefficient are left out.
    clusters: arrays of shape (n,), one for each way in which rows belong together; empty means independent rows.
    weights: (n,) positive design weights, default 1.
    control_features: (n,) labels or a table: the contrast is taken within each stratum and averaged with the strata's
        shares of the weight, taken as given, over the strata in which every group has two clusters (direct
        standardisation; ``reason`` tells of others).
    rates: the values are trials (0, 1, a tie's 0.5) and the means rates in [0, 1]; default: if no other value occurs.
        Say False for differences and other values that may happen to be 0 and 1 alone.
    null: the value that ``p_value`` is of; default 0, for a rate none (no p-value, which is also what NaN says).
    alpha: the interval covers 1 - ``alpha``. power: for the minimum detectable effect.

    Raises
    ------
    RowError: columns of different lengths, or weights that are not positive. SettingsError: ``rates`` outside [0, 1].

    Returns
    -------
    Estimate with a jackknife standard error and Satterthwaite degrees of freedom. The interval is the t interval; for
    rates that of `rate_contrasts`, unless the groups share the clusters of a single clustering or there are strata.
    ``n_left_out`` counts the rows without a finite value or without a known group.

    Domain: with 25 clusters or more in the smallest group, 95 % intervals covered 93.9 to 96.4 % in all 120 simulated
    designs (``tests/benchmarks/calibration``). With 10 they cover 93 to 99 %, most for rare events; a lone rate of 2 %
    is covered by 92 to 97 %. These designs' rare events come one by one or by whole clusters; where both kinds mix and
    groups share their clusters, a gap of rates is covered by 77 % only: `rlhf_fair.stats.rate_differences` is for that.
    """
    rows = sample(
        values,
        groups,
        labels=list(coefficients),
        clusters=clusters,
        weights=weights,
        control_features=control_features,
    )
    a = np.array([coefficients[label] for label in rows.labels], dtype=float)
    return _contrast(rows, a, rates=rates, null=null, alpha=alpha, power=power)


def _contrast(
    rows: Sample, a: Floats, *, rates: bool | None, null: float | None, alpha: float, power: float
) -> Estimate:
    """`contrast_estimate` of rows that are lined up; ``a``: (G,) the coefficient of each of their labels."""
    left_out = rows.n_missing + rows.n_unknown
    n = len(rows.values)
    counts = rows.rows_per_group
    if not counts.all():
        empty = ", ".join(str(label) for label, count in zip(rows.labels, counts, strict=True) if not count)
        return Estimate.not_estimable(f"no measured rows in group {empty}", n=n, n_left_out=left_out)
    cell_coefficients, used = _standardised(rows, a)
    cell = rows.cell
    if not used.any():
        return Estimate.not_estimable("no stratum holds all groups", n=n, n_left_out=left_out)
    outside = f"{int((~used).sum())} rows in strata that lack a group are left out" if not used.all() else ""
    note = "; ".join(filter(None, [outside, rows.remark]))
    means = GroupMeans.of(
        (rows.weights * rows.values)[used],
        rows.weights[used],
        cell[used],
        [np.unique(way[used], return_inverse=True)[1].reshape(-1) for way in rows.ways],
        len(cell_coefficients),
    )
    x = rows.values[used]
    if rates:
        check_shares("values", x)
    # Score limits of many small strata do not add up to a score limit of their mean.
    as_rates = len(rows.strata) == 1 and (np.isin(x, RATE_VALUES).all() if rates is None else rates)
    return linear_estimate(
        means,
        cell_coefficients,
        scale=float(np.abs(x).max()),
        rate_rows=kish_effective_rows(rows.weights[used], cell[used], len(cell_coefficients)) if as_rates else None,
        n=int(used.sum()),
        left_out=left_out,
        note=note,
        n_groups=len(rows.labels),
        null=null,
        alpha=alpha,
        power=power,
    )


def one_way_contrast(
    values: ArrayLike,
    groups: Any,
    coefficients: Mapping[Any, float],
    *,
    clusters: Sequence[ArrayLike],
    weights: ArrayLike | None,
    alpha: float,
) -> Estimate:
    """`contrast_estimate` with t limits, as a bootstrap starts from it: at most one way of clustering."""
    if len(clusters) > 1:
        raise SettingsError(f"clusters has {len(clusters)} ways; allowed: 0 or 1 (contrast_estimate takes more)")
    return contrast_estimate(values, groups, coefficients, clusters=clusters, weights=weights, rates=False, alpha=alpha)


def linear_estimate(
    means: GroupMeans,
    coefficients: Floats,
    *,
    scale: float,
    rate_rows: Floats | None = None,
    n: int,
    left_out: int = 0,
    note: str = "",
    n_groups: int | None = None,
    null: float | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
) -> Estimate:
    """``coefficients @ means`` with its interval; ``scale``: the largest absolute value, to tell rounding from spread.

    ``rate_rows``: (G,) effective rows per group if the means are rates, which get score limits; None for t limits.
    Groups with coefficient 0 play no part. ``n_groups``: without strata all of them; else they are strata × n_groups.
    """
    part = coefficients != 0
    estimate = float(coefficients[part] @ means.means[part])
    smallest = int(means.clusters_per_group[part].min())
    common: dict[str, Any] = {"estimate": estimate, "n": n, "n_left_out": left_out}
    if smallest < 2:
        reason = f"a group has {smallest} cluster: no interval can be estimated from it"
        return Estimate(**common, n_clusters=smallest, reason=reason)
    common["n_clusters"] = means.n_clusters
    variance = means.variance(coefficients)
    flat = variance <= (ROUNDING * scale * np.abs(coefficients).sum()) ** 2
    # Differences of rates within clusters are about symmetric: t limits serve them better (see the calibration table).
    note = "; ".join(filter(None, [note, _few_clusters(means, part, n_groups or len(part))]))
    rates = rate_rows is not None and (np.isin(means.means[part], (0, 1)).all() if flat else not means.paired(part))
    if rate_rows is not None and rates:
        e = _rate_estimate(means, coefficients, rate_rows, 0.0 if flat else variance, null, alpha, power)
        return e.model_copy(update=common | {"reason": note})
    if flat:
        return Estimate(**common, reason="no variation between clusters: an interval cannot be estimated")
    se, df = float(np.sqrt(variance)), means.degrees_of_freedom(coefficients)
    e = t_interval(estimate, se, df, null=null or 0.0, alpha=alpha, power=power)
    return e.model_copy(update=common | {"reason": note})


def _rate_estimate(
    means: GroupMeans,
    coefficients: Floats,
    rows: Floats,
    variance: float,
    null: float | None,
    alpha: float,
    power: float,
) -> Estimate:
    contrast = RateContrast(means, coefficients, rows)
    df = means.degrees_of_freedom(coefficients) if variance > 0 else float(means.clusters_per_group.min() - 1)
    df = math.inf if contrast.independent else df
    quantile = t_quantile(1 - alpha / 2, df)
    low, high = contrast.limits(quantile)
    return Estimate(
        estimate=contrast.estimate,
        ci_low=low,
        ci_high=high,
        standard_error=float(np.sqrt(variance)) if variance > 0 else NAN,
        df=df,
        p_value=contrast.p_value(df, null),
        mde=minimum_detectable_effect((high - low) / (2 * quantile), df, alpha=alpha, power=power),
    )


def _few_clusters(means: GroupMeans, part: NDArray[np.bool_], n_groups: int) -> str:
    """A warning where the smallest group of a contrast has few clusters, which the count of all clusters hides."""
    smallest = math.inf
    for sums in means.single:
        used = part[sums.group]
        distinct = np.unique(sums.cluster[used] * n_groups + sums.group[used] % n_groups) % n_groups
        smallest = min(smallest, np.unique(distinct, return_counts=True)[1].min())
    return f"a group has only {smallest} clusters: the interval may be too narrow" if smallest < FEW_CLUSTERS else ""


def _standardised(rows: Sample, a: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """The coefficient of each stratum × group, and which rows lie in a stratum where all groups can be compared."""
    whole = np.asarray(rows.comparable.all(axis=1))
    share = np.where(whole, rows.weight_per_cell.sum(axis=1), 0)
    return ((share / max(share.sum(), 1e-300))[:, None] * a).reshape(-1), np.asarray(whole[rows.stratum])
