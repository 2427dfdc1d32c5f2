"""Intervals for a rate whose trials come in clusters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats as distributions

from rlhf_fair.metrics.rows import Rows, measured_rows
from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.contrasts import mean_estimate
from rlhf_fair.stats.intervals import wilson


def clustered_rate(
    hits: ArrayLike,
    *,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    alpha: float = 0.05,
) -> Estimate:
    """The share of ``hits`` (n,), each in [0, 1] (a half is a tie); range [0, 1].

    Independent unweighted 0/1 trials get Wilson's interval. All others get the same formula at the effective number
    of trials rate * (1 - rate) / variance, the variance being cluster-robust, and with the t quantile (Franco, Little,
    Louis & Slud 2019). At a rate of 0 or 1 no variance can be seen: every cluster then counts as one trial, which is
    the most cautious reading.
    """
    rows = measured_rows({"hits": hits}, clusters=clusters, weights=weights)
    x = rows["hits"]
    if rows.n == 0:
        return Estimate.not_estimable("no trials")
    if not rows.clusters and rows.weights is None and np.isin(x, (0.0, 1.0)).all():
        return wilson(int(x.sum()), rows.n, alpha=alpha)
    e = mean_estimate(x, clusters=rows.clusters, weights=rows.weights, alpha=alpha)
    if rows.n_clusters < 2:
        return e
    n_effective, df = effective_trials(e, rows)
    quantile = float(distributions.t.ppf(1 - alpha / 2, df))
    low, high = score_interval(e.estimate, n_effective, quantile)
    return Estimate(
        estimate=e.estimate,
        ci_low=low,
        ci_high=high,
        standard_error=e.standard_error,
        df=df,
        p_value=NAN,
        n_left_out=int((~rows.kept).sum()),
        n=rows.n,
        n_clusters=rows.n_clusters,
    )


def effective_trials(e: Estimate, rows: Rows) -> tuple[float, float]:
    """The number of independent trials that would give this standard error, at most n, and degrees of freedom."""
    rate = min(max(e.estimate, 0.0), 1.0)
    if not e.standard_error > 0 or rate in (0.0, 1.0):
        return float(rows.n_clusters), float(rows.n_clusters - 1)
    return min(rate * (1 - rate) / e.standard_error**2, float(rows.n)), e.df


def score_interval(rate: float, n: float, quantile: float) -> tuple[float, float]:
    """Wilson's interval for any positive number of trials; lies in [0, 1].

    >>> low, high = score_interval(0.0, 10, 1.959964)
    >>> round(low, 3), round(high, 3)
    (0.0, 0.278)
    """
    lift = quantile**2 / n
    centre = (rate + lift / 2) / (1 + lift)
    half = quantile / (1 + lift) * float(np.sqrt(rate * (1 - rate) / n + lift / (4 * n)))
    return max(centre - half, 0.0), min(centre + half, 1.0)
