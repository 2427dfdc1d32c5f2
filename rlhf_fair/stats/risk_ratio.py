"""The ratio of two rates, with an interval on the log scale.

A ratio is not symmetric about 1, its logarithm nearly is; intervals are therefore made for the logarithm and taken
back. ``standard_error`` of the estimates is that of the ratio itself, R · se(log R), as the delta method relates them.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from rlhf_fair.records import Estimate
from rlhf_fair.stats.columns import check_among, kish_effective_rows
from rlhf_fair.stats.contrasts import contrast_estimate
from rlhf_fair.stats.group_sums import GroupMeans
from rlhf_fair.stats.intervals import check_counts, t_interval
from rlhf_fair.stats.rate_contrasts import RateContrast
from rlhf_fair.stats.sample import Sample, sample
from rlhf_fair.stats.student_t import t_p_value, t_quantile

GAP = {0: 1.0, 1: -1.0}
"""Coefficients of the group's and the reference's codes."""


def risk_ratio(
    values: ArrayLike,
    groups: Any,
    *,
    group: Hashable,
    reference: Hashable,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    alpha: float = 0.05,
) -> Estimate:
    """The rate of ``group`` over that of ``reference``; range [0, inf), null value 1.

    Independent unweighted rows get `katz`. With clusters or weights, log R has the standard error of the gap in
    ``value / rate of its group - 1`` (delta method), cluster-robust as in `contrast_estimate`, with its t interval.
    Where a rate is 0 or 1, the score interval of `katz` at the effective numbers of rows (see `RateContrast`).

    Parameters
    ----------
    values: (n,) of 0 and 1; NaN rows are left out. groups, clusters, weights: as in `contrast_estimate`.

    Returns
    -------
    Estimate; ``p_value`` is of the ratio 1, ``mde`` the distance below 1 of the nearest ratio that this design would
    detect with 80 % power.
    """
    rows = sample(values, groups, labels=[group, reference], clusters=clusters, weights=weights)
    check_among("values", rows.values, (0, 1))
    if not len(clusters) and weights is None:
        successes = np.bincount(rows.group, rows.values, 2).astype(int).tolist()
        counts = rows.rows_per_group.tolist()
        e = katz(successes[0], counts[0], successes[1], counts[1], alpha=alpha)
    else:
        e = _linearised(rows, alpha)
    return e.model_copy(update={"n_left_out": rows.n_missing + rows.n_unknown})


def katz(successes: int, n: int, reference_successes: int, reference_n: int, *, alpha: float = 0.05) -> Estimate:
    """Ratio of two independent rates with the log interval of Katz, Baptista, Azen & Pike (1978); null value 1.

    Var(log R) = 1/a - 1/n + 1/c - 1/m. That has no value with no success in the group, and takes a rate of 1 for known
    beyond doubt, ten of ten as well as a thousand of a thousand. The interval is then the score interval (Koopman
    1984), and ``reason`` says so.

    >>> e = katz(10, 40, 20, 40)
    >>> e.estimate, round(e.ci_low, 3), round(e.ci_high, 3)
    (0.5, 0.269, 0.929)
    """
    check_counts(successes, n)
    check_counts(reference_successes, reference_n)
    size = {"n": n + reference_n, "n_clusters": n + reference_n}
    if not n or not reference_n:
        return Estimate.not_estimable("no measured rows in one of the groups", **size)
    if not reference_successes:
        return Estimate.not_estimable("the reference's rate is 0: nothing can be a ratio of it", **size)
    ratio = (successes / n) / (reference_successes / reference_n)
    certain = successes == n, reference_successes == reference_n
    if all(certain):
        return Estimate(estimate=ratio, reason="every row is a success: an interval cannot be estimated", **size)
    if not successes or any(certain):
        return _score(successes, n, reference_successes, reference_n, math.inf, alpha).model_copy(update=size)
    error = math.sqrt(1 / successes - 1 / n + 1 / reference_successes - 1 / reference_n)
    return _with_log_interval(ratio, error, math.inf, alpha).model_copy(update=size)


def _with_log_interval(ratio: float, log_error: float, df: float, alpha: float) -> Estimate:
    log_ratio = t_interval(math.log(ratio), log_error, df, alpha=alpha)
    return log_ratio.model_copy(
        update={
            "estimate": ratio,
            "ci_low": math.exp(log_ratio.ci_low),
            "ci_high": math.exp(log_ratio.ci_high),
            "standard_error": ratio * log_error,
            "mde": 1 - math.exp(-log_ratio.mde),
        }
    )


def _linearised(rows: Sample, alpha: float) -> Estimate:
    size = {"n": len(rows.values)}
    if not rows.rows_per_group.all():
        return Estimate.not_estimable("no measured rows in one of the groups", **size)
    rates = np.bincount(rows.group, rows.weights * rows.values, 2) / np.bincount(rows.group, rows.weights, 2)
    if not rates[1]:
        return Estimate.not_estimable("the reference's rate is 0: nothing can be a ratio of it", **size)
    if not rates[0] or rates.min() < rates.max() == 1:
        return _clustered_score(rows, alpha)
    ratio = float(rates[0] / rates[1])
    relative = rows.values / rates[rows.group] - 1  # log R moves by the difference of their means
    log_ratio = contrast_estimate(
        relative, rows.group, GAP, clusters=rows.ways, weights=rows.weights, rates=False, alpha=alpha
    )
    size["n_clusters"] = log_ratio.n_clusters
    if not log_ratio.standard_error > 0:
        return Estimate(estimate=ratio, reason=log_ratio.reason, **size)
    return _with_log_interval(ratio, log_ratio.standard_error, log_ratio.df, alpha).model_copy(update=size)


def _clustered_score(rows: Sample, alpha: float) -> Estimate:
    gap = contrast_estimate(
        rows.values, rows.group, GAP, clusters=rows.ways, weights=rows.weights, rates=True, alpha=alpha
    )
    means = GroupMeans.of(rows.weights * rows.values, rows.weights, rows.group, rows.ways, 2)
    size = {"n": gap.n, "n_clusters": gap.n_clusters}
    if not math.isfinite(gap.ci_low):
        return Estimate(estimate=float(means.means[0] / means.means[1]), reason=gap.reason, **size)
    kish = kish_effective_rows(rows.weights, rows.group, 2)
    n, m = RateContrast(means, np.array([1.0, -1.0]), kish).effective_rows
    return _score(means.means[0] * n, n, means.means[1] * m, m, gap.df, alpha).model_copy(update=size)


def _score(x: float, n: float, c: float, m: float, df: float, alpha: float) -> Estimate:
    """Of ``x`` in ``n`` rows over ``c`` in ``m``: the ratios whose statistic is at most the quantile squared."""
    critical = t_quantile(1 - alpha / 2, df) ** 2
    ratio = (x / n) / (c / m)

    def excess(of: float) -> float:
        return _koopman(of, x, n, c, m) - critical

    def limit(factor: float) -> float:
        inside = ratio or 1e-12
        beyond = inside * factor if ratio else 1.0
        while excess(beyond) <= 0:
            beyond *= factor
        return float(brentq(excess, min(inside, beyond), max(inside, beyond)))

    what = "no success in the group" if not x else "a rate of 1"
    return Estimate(
        estimate=ratio,
        ci_low=limit(0.5) if x else 0.0,
        ci_high=limit(2.0),
        p_value=t_p_value(math.sqrt(_koopman(1.0, x, n, c, m)), df),
        reason=f"{what}: score interval in place of the log interval",
    )


def _koopman(ratio: float, x: float, n: float, c: float, m: float) -> float:
    """Pearson's statistic of ``x`` of ``n`` and ``c`` of ``m`` under rates in this ratio, fitted by most likelihood."""
    # The reference's fitted rate q is the smaller root of  R(n + m) q^2 - (R(n + c) + x + m) q + x + c = 0.
    linear = ratio * (n + c) + x + m
    q = 2 * (x + c) / (linear + math.sqrt(max(linear**2 - 4 * ratio * (n + m) * (x + c), 0.0)))
    return _pearson(x, n, ratio * q) + _pearson(c, m, q)


def _pearson(successes: float, n: float, rate: float) -> float:
    variance = n * rate * (1 - rate)
    return (successes - n * rate) ** 2 / variance if variance > 0 else 0.0
