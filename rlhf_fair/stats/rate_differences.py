"""Differences of two rates within the same clusters, with limits for what these clusters may hide.

Accuracy with and without the help of a stereotype, on the same templates; answers for and against a stereotype, on the
same items, whose difference is the mean of values -1, 0 and 1. Where hardly anything happens, the spread that was seen
says little: one wrong answer in 25 templates comes with a standard error of next to nothing, none with none at all, and
neither tells whether another template would have gone wrong as a whole.

So there are two pairs of limits. The first rests on the spread that was seen: score limits of each rate at its
effective rows, put together by the rates' correlation (MOVER: Zou & Donner 2008). The second rests on what was not
seen: where C clusters hold no event, a rate can be u = q² / (C + q²), Wilson's (1927) limit at 0 of C, if clusters go
wrong as a whole; the difference then is u less the other rate's lower limit. Each end is the one further from 0: what
was not seen can make a difference larger than it looks, but does not take back a direction that the spread has shown.
One formula serves no event, few and many: an error never takes away what its absence left open, and where both rates
are well above u the second limits lie inside the first.

As u is 0.20 for 17 clusters, 0.15 for 25 and 0.07 for 50, no data that are nearly free of events certify less.

In ``tests/benchmarks/rare_differences.py`` (17, 25 and 50 templates of 30 questions, rates of 0.5 to 15 %, 2,000 runs a
cell) 95 % limits covered 96.0 to 100 % in 47 of 48 cells: 96.8 to 99.3 % where answers err one by one, 97.5 to 100 %
where whole templates do, 96.0 to 100 % where half of a template does, 97.8 to 100 % where both kinds come together; but
91.3 % in the cell of 50 templates in which both kinds make up 5 % each, all one way, for single errors then say nothing
of whole templates. The t interval of the spread alone covered 15.7 to 98.5 %. Crossed clusterings were not simulated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rlhf_fair.errors import SettingsError
from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.columns import kish_effective_rows, numbers
from rlhf_fair.stats.contrasts import contrast_estimate
from rlhf_fair.stats.group_sums import GroupMeans
from rlhf_fair.stats.intervals import score_limits
from rlhf_fair.stats.power import minimum_detectable_effect
from rlhf_fair.stats.rate_contrasts import RateContrast
from rlhf_fair.stats.sample import Floats, sample
from rlhf_fair.stats.student_t import t_quantile

DIFFERENCE = np.array([1.0, -1.0])


def rate_difference(
    values: ArrayLike,
    groups: Any,
    group: Any,
    reference: Any,
    *,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    null: float = 0.0,
    alpha: float = 0.05,
    power: float = 0.8,
) -> Estimate:
    """Rate of ``group`` less rate of ``reference``; range [-1, 1]; null value 0.

    Parameters
    ----------
    values: (n,) trials from 0 to 1 (a tie's 0.5); rows that are not finite are left out. groups: (n,) labels; rows of
        other labels are left out. clusters, weights, alpha, power: as in
        `rlhf_fair.stats.contrasts.contrast_estimate`; clusters may hold rows of both groups. null: what the p-value is
        of.
    """
    rows = sample(values, groups, labels=[group, reference], clusters=clusters, weights=weights)
    left_out = rows.n_missing + rows.n_unknown
    n = len(rows.values)
    if not rows.rows_per_group.all():
        counts = zip(rows.labels, rows.rows_per_group, strict=True)
        empty = ", ".join(str(label) for label, count in counts if not count)
        return Estimate.not_estimable(f"no measured rows in group {empty}", n=n, n_left_out=left_out)
    if (rows.values < 0).any() or (rows.values > 1).any():
        raise SettingsError("values of a rate lie outside 0 to 1")
    w, ways = rows.weights, [np.unique(way, return_inverse=True)[1].reshape(-1) for way in rows.ways]
    means = GroupMeans.of(w * rows.values, w, rows.group, ways, 2)
    effective = kish_effective_rows(w, rows.group, 2)
    e = _difference(means, effective, null, alpha, power)
    reason = "; ".join(filter(None, [e.reason, rows.remark]))
    return e.model_copy(update={"n": n, "n_left_out": left_out, "reason": reason})


def rates_contrast(
    values: ArrayLike,
    groups: Any,
    coefficients: Mapping[Any, float],
    *,
    clusters: Sequence[ArrayLike] = (),
    null: float = 0.0,
    alpha: float = 0.05,
) -> Estimate:
    """``sum_g coefficients[g] * rate of g``: of one group against another `rate_difference`, else `contrast_estimate`.

    Parameters as there.
    """
    if sorted(coefficients.values()) == [-1.0, 1.0]:
        reference, group = sorted(coefficients, key=lambda name: coefficients[name])
        return rate_difference(values, groups, group, reference, clusters=clusters, null=null, alpha=alpha)
    return contrast_estimate(values, groups, coefficients, clusters=clusters, rates=True, null=null, alpha=alpha)


def signed_mean(
    values: ArrayLike,
    *,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    null: float = 0.0,
    alpha: float = 0.05,
    power: float = 0.8,
) -> Estimate:
    """The mean of values from -1 to 1, mostly -1, 0 and 1: the rate of positive ones less that of negative ones.

    Range [-1, 1]; null value 0. Parameters as in `rate_difference`.

    >>> e = signed_mean([0] * 18)  # 0 of 18: 3.84 / (18 + 3.84)
    >>> e.estimate, round(e.ci_low, 3), round(e.ci_high, 3)
    (0.0, -0.176, 0.176)
    """
    x = numbers("values", values)
    if np.nanmax(np.abs(x), initial=0.0) > 1:
        raise SettingsError(f"values reach {np.nanmax(np.abs(x)):g}; allowed: -1 to 1")
    ways = [np.asarray(way) for way in clusters] or [np.arange(len(x))]
    e = rate_difference(
        np.r_[np.maximum(x, 0), np.maximum(-x, 0)],
        np.repeat([1, 0], len(x)),
        1,
        0,
        clusters=[np.concatenate([way, way]) for way in ways],
        weights=None if weights is None else np.tile(np.asarray(weights, dtype=float), 2),
        null=null,
        alpha=alpha,
        power=power,
    )
    if not np.isfinite(x).any():
        return Estimate.not_estimable("no measured rows", n_left_out=len(x))
    return e.model_copy(update={"n": e.n // 2, "n_left_out": e.n_left_out // 2})


class RateDifference(RateContrast):
    """A difference of two rates whose limits leave room for what its clusters may hide."""

    def __init__(self, means: GroupMeans, rows: Floats) -> None:
        super().__init__(means, DIFFERENCE, rows)
        self.clusters = 1 / means.concentration
        # clusters that go wrong as a whole do so on either side, though there may be too few to be seen on both
        alike = float((self.clusters / self.effective_rows).max())
        # and clusters that happen to agree to the digit do not make a rate surer than independent rows would
        self.effective_rows = np.minimum(self.clusters / alike, rows)

    def limits(self, quantile: float) -> tuple[float, float]:
        """Lower and upper limit."""
        low, high = super().limits(quantile)
        least, most = score_limits(self.rates, self.effective_rows, quantile)
        unseen = score_limits(np.zeros(2), self.clusters, quantile)[1]
        # rates near 0 may rise to what is unseen, rates near 1 fall by it
        if high >= 0:
            high = max(high, unseen[0] - least[1], most[0] - (1 - unseen[1]))
        if low <= 0:
            low = min(low, least[0] - unseen[1], (1 - unseen[0]) - most[1])
        return max(low, -1.0), min(high, 1.0)


def _difference(means: GroupMeans, rows: Floats, null: float, alpha: float, power: float) -> Estimate:
    contrast = RateDifference(means, rows)
    smallest = int(means.clusters_per_group.min())
    if smallest < 2:
        reason = f"a group has {smallest} cluster: no interval can be estimated from it"
        return Estimate(estimate=contrast.estimate, n_clusters=smallest, reason=reason)
    seen = means.degrees_of_freedom(DIFFERENCE)
    df = math.inf if contrast.independent else min(seen if seen > 0 else math.inf, smallest - 1.0)
    quantile = t_quantile(1 - alpha / 2, df)
    low, high = contrast.limits(quantile)
    error = math.sqrt(means.variance(DIFFERENCE))
    return Estimate(
        estimate=contrast.estimate,
        ci_low=low,
        ci_high=high,
        standard_error=error if error > 0 else NAN,
        df=df,
        p_value=contrast.p_value(df, null),
        mde=minimum_detectable_effect((high - low) / (2 * quantile), df, alpha=alpha, power=power),
        n_clusters=means.n_clusters,
    )
