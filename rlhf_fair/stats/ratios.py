"""The ratio of two contrasts measured on the same rows, with a paired, cluster-robust interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.contrasts import contrast_estimate


def contrast_ratio(
    numerator: ArrayLike,
    denominator: ArrayLike,
    groups: ArrayLike,
    coefficients: Mapping[Any, float],
    *,
    clusters: Sequence[ArrayLike] = (),
    alpha: float = 0.05,
) -> Estimate:
    """``R = c(numerator) / c(denominator)`` for the same contrast c of two variables; null value 1 (no change).

    The interval is the delta method's: with D = c(denominator), R has the standard error of the contrast of
    ``(numerator - R * denominator) / D`` (Cochran 1977, section 2.11). Trust it only where D is far from 0: if D's own
    interval reaches 0, the ratio is not estimable and the reason says so. ``n_left_out`` counts the rows that
    lack one of the two variables or a known group.
    """
    top, bottom = np.asarray(numerator, dtype=float), np.asarray(denominator, dtype=float)
    both = np.isfinite(top) & np.isfinite(bottom)
    top, bottom = np.where(both, top, NAN), np.where(both, bottom, NAN)  # paired; rows that lack one are counted
    below = contrast_estimate(bottom, groups, coefficients, clusters=clusters, alpha=alpha)
    if not np.isfinite(below.ci_low) or below.ci_low <= 0 <= below.ci_high:
        reason = "the denominator cannot be told from 0, so a ratio to it says nothing"
        size = {"n": below.n, "n_clusters": below.n_clusters, "n_left_out": below.n_left_out}
        return Estimate.not_estimable(reason, **size)
    above = contrast_estimate(top, groups, coefficients, clusters=clusters, alpha=alpha)
    ratio = above.estimate / below.estimate
    linear = (top - ratio * bottom) / below.estimate
    around = contrast_estimate(linear, groups, coefficients, clusters=clusters, rates=False, alpha=alpha)
    half = (around.ci_high - around.ci_low) / 2
    return Estimate(
        estimate=ratio,
        ci_low=ratio - half,
        ci_high=ratio + half,
        standard_error=around.standard_error,
        df=around.df,
        n=around.n,
        n_clusters=around.n_clusters,
        n_left_out=around.n_left_out,
        reason=around.reason,
    )
