"""Intervals for contrasts of rates: score limits per group, put together so that clusters and shared clusters count.

Near 0 and 1 a rate's standard error rises and falls with the rate itself, so a symmetric interval misses on one side,
most of all where a small group meets a large one. Here each group's rate gets Wilson's limits at its effective number
of rows, and the limits of the contrast follow from their distances to the rates and the correlation of the rates
(MOVER: Zou & Donner 2008; for two independent rates without clusters this is Newcombe's method 10).
"""

from __future__ import annotations

import math

import numpy as np
from scipy import optimize

from rlhf_fair.records import NAN
from rlhf_fair.stats.group_sums import GroupMeans
from rlhf_fair.stats.intervals import recovered_limits, score_limits
from rlhf_fair.stats.sample import Codes, Floats
from rlhf_fair.stats.student_t import t_p_value

POOLING = 20.0
"""How alike a cluster's rows are is a group's own estimate to the weight of its clusters, and pooled to this weight.

With 25 clusters and five events a group's own estimate says little. The value was chosen by simulation; the calibration
table, made with other seeds, shows what coverage it gives. With several crossed clusterings nothing is pooled.
"""

CAUTION = 0.5
"""A rate on its own has nothing to be pooled with; its clusters count as alike to the weight of half a cluster."""


class RateContrast:
    """``coefficients @ rates`` and its limits at any quantile.

    Parameters
    ----------
    means: the groups' rates. coefficients: (G,). rows: (G,) rows per group, or their effective number under weights.

    ``independent``: every row is its own cluster and counts alike, so nothing has to be estimated but the rates: the
    limits are Wilson's and Newcombe's own, and the quantile is the normal's.
    """

    def __init__(self, means: GroupMeans, coefficients: Floats, rows: Floats) -> None:
        part = coefficients != 0
        self.coefficients, self.rates = coefficients[part], means.means[part]
        covariance = means.covariance[np.ix_(part, part)]
        variance = np.diag(covariance)
        clusters, concentration = means.clusters_per_group[part], means.concentration[part]
        one_way = len(means.single) == 1
        self.independent = one_way and bool(np.allclose(rows[part], clusters))
        if self.independent:
            self.effective_rows = rows[part]
        else:
            self.effective_rows = _effective_rows(self.rates, variance, concentration, clusters, one_way)
        scale = np.sqrt(np.outer(variance, variance))
        correlation = np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 0)
        self.correlation = np.clip(correlation, -1, 1)
        np.fill_diagonal(self.correlation, 1)
        # Crossed clusterings: the contrast, too, varies no less than by any one of them.
        own = float(self.coefficients @ covariance @ self.coefficients)
        self.stretch = math.sqrt(max(means.variance(coefficients) / own, 1.0)) if own > 0 else 1.0

    @property
    def estimate(self) -> float:
        """The contrast."""
        return float(self.coefficients @ self.rates)

    def limits(self, quantile: float) -> tuple[float, float]:
        """Lower and upper limit."""
        ends = score_limits(self.rates, self.effective_rows, quantile)
        low, high = recovered_limits(self.coefficients, self.rates, *ends, self.correlation)
        estimate, a = self.estimate, self.coefficients
        least, most = float(a[a < 0].sum()), float(a[a > 0].sum())
        low, high = estimate - self.stretch * (estimate - low), estimate + self.stretch * (high - estimate)
        return max(low, least), min(high, most)

    def p_value(self, df: float, null: float | None = None) -> float:
        """Of the contrast being ``null``: the level at which the interval just reaches it.

        Without a null that is 0 for a gap, and there is no p-value for a rate. NaN is no null either.
        """
        if null is None:
            null = 0.0 if abs(self.coefficients.sum()) < 1e-9 else NAN
        if math.isnan(null):
            return NAN
        if self.estimate == null:
            return 1.0

        def excess(quantile: float) -> float:
            low, high = self.limits(quantile)
            return low - null if self.estimate > null else null - high

        largest = 1e4
        if excess(largest) > 0:  # no level reaches it
            return 0.0
        return t_p_value(optimize.brentq(excess, 0.0, largest), df)


def _effective_rows(rates: Floats, variance: Floats, concentration: Floats, clusters: Codes, one_way: bool) -> Floats:
    """Rows that would give the rates' variances; each group's clusters count as ``1 / likeness`` rows apiece.

    A likeness of 1 means that a cluster's rows are all alike. It does not depend on how many rows a cluster has, so
    copies of rows change nothing.
    """
    alike = rates * (1 - rates) * concentration
    inner = alike > 0
    if not inner.any():
        return np.asarray(1 / concentration)  # all rates 0 or 1: a cluster can be trusted for one row
    own = np.divide(variance, alike, out=np.ones_like(variance), where=inner)
    if len(own) == 1:
        return np.asarray(1 / ((clusters * own + CAUTION) / (clusters + CAUTION) * concentration))
    information = clusters * rates * (1 - rates)
    pooled = float(own @ information / information.sum())
    trust = np.where(inner, clusters / (clusters + (POOLING if one_way else 0.0)), 0)
    return np.asarray(1 / (np.maximum(trust * own + (1 - trust) * pooled, 1e-12) * concentration))
