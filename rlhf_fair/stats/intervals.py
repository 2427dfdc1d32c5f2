"""Score intervals for rates and for the difference of two rates.

A rate has a floor and a ceiling, and near them a symmetric interval leaves the range or collapses to nothing. Score
intervals do neither: 0 of 10 gives [0, .28], not [0, 0].
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats as distributions

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.contrasts import mean_estimate


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
    low, high = _wilson_limits(successes / n, n, alpha)
    p_value = NAN if null is None else _score_p_value(successes / n, n, null)
    return Estimate(estimate=successes / n, ci_low=low, ci_high=high, p_value=p_value, n=n, n_clusters=n)


def clustered_wilson(
    values: ArrayLike,
    *,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    alpha: float = 0.05,
) -> Estimate:
    """Score interval for a rate whose rows belong together; range [0, 1] (Korn & Graubard 1998, for Wilson's interval).

    The sample counts as ``p(1 - p) / se²`` independent rows, se being the cluster-robust standard error, but never as
    more than there are (a design effect below 1 is mostly chance); that number is then cut by
    ``(z / t)²`` for the standard error being estimated with few degrees of freedom. Where all rows agree there is no
    standard error: then every cluster counts as one row, which is all that clusters can be trusted for. Independent
    unweighted rows of 0 and 1 get plain `wilson`.

    Parameters
    ----------
    values: (n,) of 0 and 1, or between them where a row is undecided (a tie is a half); NaN rows are left out. Others
        as in `contrast_estimate`.

    Returns
    -------
    Estimate; ``standard_error`` and ``df`` are those of the cluster-robust mean.
    """
    x = np.asarray(values, dtype=float)
    _check_shares(x)
    known = np.isfinite(x)
    if not len(clusters) and weights is None and np.isin(x[known], (0.0, 1.0)).all():
        plain = wilson(int(x[known].sum()), int(known.sum()), alpha=alpha)
        return plain.model_copy(update={"n_left_out": int((~known).sum())})
    e = mean_estimate(x, clusters=clusters, weights=weights, alpha=alpha)
    if not math.isfinite(e.estimate) or e.n_clusters < 2:
        return e
    effective = effective_rows(e, None if weights is None else np.asarray(weights, dtype=float)[known], alpha=alpha)
    if not math.isfinite(effective):
        return e
    low, high = _wilson_limits(e.estimate, effective, alpha)
    return e.model_copy(update={"ci_low": low, "ci_high": high, "p_value": NAN, "mde": NAN, "reason": ""})


def newcombe(successes: int, n: int, reference_successes: int, reference_n: int, *, alpha: float = 0.05) -> Estimate:
    """Difference of two independent rates, ``group - reference``; range [-1, 1], null value 0.

    The hybrid score interval, put together from the two Wilson intervals (Newcombe 1998, method 10). It inverts no
    test, so there is no p-value; see `rlhf_fair.stats.exact_tests.fisher_exact`.

    >>> e = newcombe(56, 70, 48, 80)
    >>> round(e.estimate, 4), round(e.ci_low, 4), round(e.ci_high, 4)
    (0.2, 0.0524, 0.3339)
    """
    group, reference = (
        wilson(count, trials, alpha=alpha) for count, trials in ((successes, n), (reference_successes, reference_n))
    )
    if group.reason or reference.reason:
        return Estimate.not_estimable("no trials in one of the groups", n=n + reference_n)
    difference = group.estimate - reference.estimate
    return Estimate(
        estimate=difference,
        ci_low=difference - math.hypot(group.estimate - group.ci_low, reference.ci_high - reference.estimate),
        ci_high=difference + math.hypot(group.ci_high - group.estimate, reference.estimate - reference.ci_low),
        n=n + reference_n,
        n_clusters=n + reference_n,
    )


def effective_rows(rate: Estimate, weights: ArrayLike | None = None, *, alpha: float = 0.05) -> float:
    """How many independent rows say as much as the clustered ones behind ``rate``, as `clustered_wilson` counts them.

    ``weights``: those of the rows used; NaN where ``rate`` lies inside (0, 1) and has no standard error.
    """
    rows = rate.n if weights is None else kish_effective_n(weights)
    if rate.estimate in (0.0, 1.0):
        return float(min(rate.n_clusters, rows))
    if not rate.standard_error > 0:
        return NAN
    z, t = distributions.norm.ppf(1 - alpha / 2), distributions.t.ppf(1 - alpha / 2, rate.df)
    return float(min(rate.estimate * (1 - rate.estimate) / rate.standard_error**2, rows) * (z / t) ** 2)


def kish_effective_n(weights: ArrayLike) -> float:
    """``(Σw)² / Σw²``: the equal-weight rows that say as much as these; range [1, n] (Kish 1965).

    >>> round(kish_effective_n([1, 1, 1, 1, 3, 3]), 4)
    4.5455
    """
    w = np.asarray(weights, dtype=float)
    return float(w.sum() ** 2 / np.square(w).sum())


def check_counts(successes: int, n: int) -> None:
    """Refuse counts that no sample can have."""
    if not 0 <= successes <= n:
        raise SettingsError(f"successes {successes!r} of n {n!r}; allowed: 0 <= successes <= n")


def _check_shares(x: np.ndarray) -> None:
    wrong = np.flatnonzero((x < 0) | (x > 1))
    if len(wrong):
        raise RowError(f"values row {wrong[0] + 1}: {x[wrong[0]]:g}; allowed: 0 to 1 and missing")


def _wilson_limits(rate: float, n: float, alpha: float) -> tuple[float, float]:
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(rate * n, n, alpha=alpha, method="wilson")
    # In floats the limit at a rate of exactly 0 or 1 can miss it by one rounding.
    return min(max(float(low), 0.0), rate), max(min(float(high), 1.0), rate)


def _score_p_value(rate: float, n: int, null: float) -> float:
    if not 0 < null < 1:
        raise SettingsError(f"null {null:g}; allowed: a rate between 0 and 1")
    return float(2 * distributions.norm.sf(abs(rate - null) / math.sqrt(null * (1 - null) / n)))
