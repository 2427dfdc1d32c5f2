"""Intervals for rates."""

from __future__ import annotations

from rlhf_fair.records import NAN, Estimate


def wilson(successes: int, n: int, *, alpha: float = 0.05) -> Estimate:
    """Score interval for a rate from ``n`` independent trials; range [0, 1] (Wilson 1927).

    >>> e = wilson(0, 10)
    >>> round(e.ci_low, 3), round(e.ci_high, 3)
    (0.0, 0.278)
    """
    from statsmodels.stats.proportion import proportion_confint

    if n == 0:
        return Estimate.not_estimable("no trials")
    low, high = proportion_confint(successes, n, alpha=alpha, method="wilson")
    return Estimate(
        estimate=successes / n, ci_low=float(low), ci_high=float(high), n=n, n_clusters=n, p_value=NAN, reason=""
    )
