"""Intervals on which the others stand: Student's for an estimate with a standard error, score limits for rates.

A rate has a floor and a ceiling, and near them a symmetric interval leaves the range or collapses to nothing. Score
intervals do neither: 0 of 10 gives [0, .28], not [0, 0]. Here are those of plain counts; rates of rows that belong
together or have weights are `rlhf_fair.stats.contrasts.mean_estimate`'s.
"""

from __future__ import annotations

import math

import numpy as np

from rlhf_fair.errors import SettingsError
from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.columns import Floats
from rlhf_fair.stats.power import minimum_detectable_effect
from rlhf_fair.stats.student_t import t_p_value, t_quantile


def t_interval(
    estimate: float,
    standard_error: float,
    df: float,
    *,
    null: float = 0.0,
    alpha: float = 0.05,
    power: float = 0.8,
) -> Estimate:
    """``estimate ± t · standard_error``, and the t test of ``null`` (NaN: no test); infinite ``df`` is the normal.

    >>> e = t_interval(2.0, 1.0, math.inf)
    >>> round(e.ci_low, 2), round(e.ci_high, 2), round(e.p_value, 4)
    (0.04, 3.96, 0.0455)
    """
    half = t_quantile(1 - alpha / 2, df) * standard_error
    return Estimate(
        estimate=estimate,
        ci_low=estimate - half,
        ci_high=estimate + half,
        standard_error=standard_error,
        df=df,
        p_value=t_p_value((estimate - null) / standard_error, df),
        mde=minimum_detectable_effect(standard_error, df, alpha=alpha, power=power),
    )


def wilson(successes: int, n: int, *, null: float | None = None, alpha: float = 0.05) -> Estimate:
    """Score interval for a rate from ``n`` independent trials; range [0, 1] (Wilson 1927).

    ``p_value`` is the score test of the rate ``null``, whose inversion the interval is: p < ``alpha`` exactly where
    ``null`` lies outside. NaN without a null, since no rate is a natural one.

    >>> e = wilson(0, 10)
    >>> round(e.ci_low, 3), round(e.ci_high, 3)
    (0.0, 0.278)
    """
    check_counts(successes, n)
    if n == 0:
        return Estimate.not_estimable("no trials")
    quantile = t_quantile(1 - alpha / 2, math.inf)
    (low,), (high,) = score_limits(np.array([successes / n]), np.array([float(n)]), quantile)
    p_value = NAN if null is None else _score_p_value(successes / n, n, null)
    return Estimate(estimate=successes / n, ci_low=float(low), ci_high=float(high), p_value=p_value, n=n, n_clusters=n)


def newcombe(successes: int, n: int, reference_successes: int, reference_n: int, *, alpha: float = 0.05) -> Estimate:
    """Difference of two independent rates, ``group - reference``; range [-1, 1], null value 0.

    The hybrid score interval, put together from the two Wilson intervals (Newcombe 1998, method 10). It inverts no
    test, so there is no p-value; see `rlhf_fair.stats.exact_tests.fisher_exact`.

    >>> e = newcombe(56, 70, 48, 80)
    >>> round(e.estimate, 4), round(e.ci_low, 4), round(e.ci_high, 4)
    (0.2, 0.0524, 0.3339)
    """
    check_counts(successes, n)
    check_counts(reference_successes, reference_n)
    if not n or not reference_n:
        return Estimate.not_estimable("no trials in one of the groups", n=n + reference_n)
    rates, trials = np.array([successes / n, reference_successes / reference_n]), np.array([n, reference_n], float)
    difference = np.array([1.0, -1.0])
    limits = score_limits(rates, trials, t_quantile(1 - alpha / 2, math.inf))
    low, high = recovered_limits(difference, rates, *limits, np.eye(2))
    return Estimate(
        estimate=float(difference @ rates), ci_low=low, ci_high=high, n=n + reference_n, n_clusters=n + reference_n
    )


def score_limits(rates: Floats, effective_rows: Floats, quantile: float) -> tuple[Floats, Floats]:
    """Wilson's (1927) limits of each rate; ``effective_rows`` > 0, ``quantile`` of the normal or of Student's t."""
    q2 = quantile**2
    centre = (rates + q2 / (2 * effective_rows)) / (1 + q2 / effective_rows)
    half = quantile * np.sqrt(rates * (1 - rates) / effective_rows + q2 / (4 * effective_rows**2))
    half = half / (1 + q2 / effective_rows)
    # in floats the limit at a rate of exactly 0 or 1 can miss it by one rounding
    return np.clip(centre - half, 0, rates), np.clip(centre + half, rates, 1)


def recovered_limits(
    coefficients: Floats, estimates: Floats, low: Floats, high: Floats, correlation: Floats
) -> tuple[float, float]:
    """Limits of ``coefficients @ estimates`` from those of each estimate (MOVER: Zou & Donner 2008).

    The distances between estimates and limits play the part of standard errors; ``correlation`` (G, G) is that of the
    estimates. For two independent rates this is Newcombe's (1998) method 10.
    """
    down, up = estimates - low, high - estimates
    positive = coefficients > 0
    below = coefficients * np.where(positive, down, up)
    above = coefficients * np.where(positive, up, down)
    reach = [math.sqrt(max(float(side @ correlation @ side), 0.0)) for side in (below, above)]
    centre = float(coefficients @ estimates)
    return centre - reach[0], centre + reach[1]


def check_counts(successes: int, n: int) -> None:
    """Refuse counts that no sample can have."""
    if not 0 <= successes <= n:
        raise SettingsError(f"successes {successes!r} of n {n!r}; allowed: 0 <= successes <= n")


def _score_p_value(rate: float, n: int, null: float) -> float:
    if not 0 < null < 1:
        raise SettingsError(f"null {null:g}; allowed: a rate between 0 and 1")
    return t_p_value((rate - null) / math.sqrt(null * (1 - null) / n), math.inf)
