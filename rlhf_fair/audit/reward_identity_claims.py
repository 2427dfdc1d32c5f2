"""The claim of the audit ``reward-identity``: the part of a gap that lies beyond two references at once."""

from __future__ import annotations

import math

import numpy as np

from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.equivalence import threshold_p_value
from rlhf_fair.stats.student_t import t_quantile


def beyond_both(a: Estimate, b: Estimate, *, alpha: float = 0.05) -> Estimate:
    """The median of 0, a and b: the nearer of two gaps of one sign, 0 where they have different signs; null value 0.

    Its bounds are the medians of the bounds, as the median rises in both. The one towards 0 misses only if both gaps'
    bounds do: a gap is shown only if both are, the intersection-union test (Berger 1982), whose p-value is the larger
    of the two. The one away from 0 misses if either does, so it is made of bounds at 1 - ``alpha``/2, that each side
    may miss with probability alpha/2 (Bonferroni). ``alpha`` is that of the two estimates' intervals.
    """
    for one in (a, b):
        if not np.isfinite([one.estimate, one.ci_low]).all():
            return Estimate.not_estimable(one.reason or "a reference is missing", n=one.n, n_clusters=one.n_clusters)
    same_sign = a.estimate * b.estimate > 0
    (a_low, a_high), (b_low, b_high) = _outer_limits(a, alpha), _outer_limits(b, alpha)
    low, high = float(np.median([0.0, a_low, b_low])), float(np.median([0.0, a_high, b_high]))
    return Estimate(
        estimate=float(np.median([0.0, a.estimate, b.estimate])),
        ci_low=low if low < 0 else float(np.median([0.0, a.ci_low, b.ci_low])),
        ci_high=high if high > 0 else float(np.median([0.0, a.ci_high, b.ci_high])),
        p_value=max(a.p_value, b.p_value) if same_sign else 1.0,
        mde=max(a.mde, b.mde),
        n=a.n,
        n_clusters=min(a.n_clusters, b.n_clusters),
    )


def _outer_limits(e: Estimate, alpha: float) -> tuple[float, float]:
    """Limits at 1 - alpha/2, from those at 1 - alpha."""
    df = e.df if np.isfinite(e.df) else math.inf
    stretch = t_quantile(1 - alpha / 4, df) / t_quantile(1 - alpha / 2, df)
    return e.estimate - stretch * (e.estimate - e.ci_low), e.estimate + stretch * (e.ci_high - e.estimate)


def beyond_both_p_value(a: Estimate, b: Estimate, *, threshold: float, alpha: float = 0.05) -> float:
    """Of the two gaps not both lying beyond ``threshold`` on the same side: the larger of their `threshold_p_value`.

    1 where they point different ways, NaN where one is missing.
    """
    if math.isnan(a.estimate) or math.isnan(b.estimate):
        return NAN
    each = [threshold_p_value(e, threshold=threshold, alpha=alpha) for e in (a, b)]
    return float(np.max(each)) if a.estimate * b.estimate > 0 else 1.0
