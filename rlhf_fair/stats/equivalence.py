"""From an interval to a verdict, and the two tests behind it.

A claim of harm and a claim of no harm are both things to be shown. `within_threshold` needs the whole interval inside
the margin: the two one-sided tests procedure (Schuirmann 1987), in which *each* side is tested at alpha/2 where the
interval covers 1 - alpha. Textbook TOST at level alpha reads the 1 - 2·alpha interval; a 95 % interval therefore gives
a 2.5 % test, stricter than the usual 5 % one, and a verdict "within" means a `tost` p-value below alpha/2.
`exceeds_threshold` needs the whole interval beyond the threshold *and*, after correction for the number of claims, both
a departure from the null and a position beyond the threshold (`threshold_p_value`): correcting the test of "no
difference" alone would leave twenty gaps that lie exactly on the threshold a chance of nearly one half that some gap
exceeds. Everything else is inconclusive.

"Within" is tested at alpha/2 for each claim singly, and not corrected. An audit passes (exit code 0) only where *all*
its claims are within. That is an intersection-union test (Berger 1982): if any one truth lies outside its margin, it
passes with probability alpha/2 at most, however many claims there are. That *some* claim is within says less, the more
there are.

What counts as beyond depends on which way is ``better``:

=======  ============================  ====================================  ==============================
better   null of the p-value           within: the whole interval lies       exceeds: the whole interval lies
=======  ============================  ====================================  ==============================
zero     0                             between -margin and margin            below -threshold or above threshold
one      1 (on the log scale)          between margin and 1/margin           below threshold or above 1/threshold
high     the threshold, or better      above margin                          below threshold
low      the threshold, or better      below margin                          above threshold
=======  ============================  ====================================  ==============================
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy import stats as distributions

from rlhf_fair.errors import SettingsError
from rlhf_fair.records import NAN, Better, Estimate, Verdict
from rlhf_fair.stats.student_t import t_p_value, t_quantile


def verdict(
    estimate: Estimate,
    *,
    threshold: float,
    margin: float,
    p_adjusted: float = 0.0,
    p_threshold: float = 0.0,
    alpha: float = 0.05,
    better: Better = "zero",
) -> tuple[Verdict, str]:
    """The verdict on an estimate and the reason in words; the rules stand in the table above.

    ``threshold`` and ``margin`` are in the unit of the estimate, and as `check_limits` wants them. ``p_adjusted`` and
    ``p_threshold``: the corrected `null_p_value` and `threshold_p_value`; NaN, as where no test could be made, supports
    no claim of harm.
    """
    check_limits(threshold=threshold, margin=margin, better=better)
    if not math.isfinite(estimate.estimate):
        return Verdict.NOT_MEASURED, estimate.reason or "no estimate"
    if not math.isfinite(estimate.ci_low) or math.isnan(estimate.ci_high):
        return Verdict.NOT_MEASURED, estimate.reason or "no interval"
    low, high = estimate.ci_low, estimate.ci_high
    inside_low, inside_high = _region(margin, better)
    if low > inside_low and (high < inside_high or math.isinf(inside_high)):
        return Verdict.WITHIN, _within_reason(margin, better)
    beyond_low, beyond_high = _region(threshold, better)
    if high < beyond_low or low > beyond_high:
        if p_adjusted <= alpha and p_threshold <= alpha:
            return Verdict.EXCEEDS, _exceeds_reason(threshold, better, below=high < beyond_low)
        return Verdict.INCONCLUSIVE, "beyond the threshold, but not after correction for the number of claims"
    detectable = f"; smallest detectable gap {estimate.mde:.2g}" if math.isfinite(estimate.mde) else ""
    if low <= beyond_low <= high or low <= beyond_high <= high:
        return Verdict.INCONCLUSIVE, f"the interval reaches across {threshold:g}{detectable}"
    return Verdict.INCONCLUSIVE, f"not beyond {threshold:g}, but not wholly inside {margin:g} either{detectable}"


def check_limits(*, threshold: float, margin: float, better: Better = "zero") -> None:
    """Refuse limits by which an estimate could be within and beyond at once, or that the scale does not have.

    zero: 0 < margin <= threshold. one: 0 < threshold <= margin < 1, the ratio on its low side. high: threshold <=
    margin. low: margin <= threshold.
    """
    if not (math.isfinite(threshold) and math.isfinite(margin)):
        raise SettingsError(f"threshold {threshold:g}, margin {margin:g}; allowed: finite numbers")
    if better == "zero" and min(threshold, margin) <= 0:
        raise SettingsError(f"threshold {threshold:g}, margin {margin:g}; allowed for a gap: numbers above 0")
    if better == "one" and not (0 < threshold < 1 and 0 < margin < 1):
        raise SettingsError(f"threshold {threshold:g}, margin {margin:g}; allowed for a ratio: between 0 and 1")
    if better in ("zero", "low") and margin > threshold:
        raise SettingsError(f"margin {margin:g} must not be wider than threshold {threshold:g}")
    if better in ("one", "high") and margin < threshold:
        raise SettingsError(f"margin {margin:g} must not lie below threshold {threshold:g} where {better} is better")


def null_p_value(estimate: Estimate, *, threshold: float, better: Better = "zero", alpha: float = 0.05) -> float:
    """The p-value that a finding shows, by ``better``; NaN where there is none.

    zero: the estimate's own, of a difference from 0. one: of a ratio different from 1, on the log scale by the delta
    method. high, low: `threshold_p_value`. An estimate without a standard error may bring the p-value of the null that
    is meant, which then stands (for a rate ``mean_estimate(..., null=threshold)``, for a ratio `risk_ratio`'s).
    """
    if better == "zero" or not (estimate.standard_error > 0 or math.isnan(estimate.p_value)):
        return estimate.p_value
    if better in ("high", "low"):
        return threshold_p_value(estimate, threshold=threshold, better=better, alpha=alpha)
    if not (estimate.estimate > 0 and estimate.standard_error > 0):
        return estimate.p_value
    return min(1.0, 2 * _upper_tail(abs(math.log(estimate.estimate)), _log_error(estimate), estimate.df))


def threshold_p_value(estimate: Estimate, *, threshold: float, better: Better = "zero", alpha: float = 0.05) -> float:
    """Of "the truth lies at the threshold or on its good side", given the 1 - ``alpha`` interval; range [0, 1].

    The one-sided p-value, doubled: below ``alpha`` exactly where the interval lies wholly beyond the threshold; 1 where
    the estimate does not, NaN without an interval. For a t interval it is the t test, on the log scale for a ratio. A
    Wilson interval tells its effective rows, and so the score test. Of any other interval, only the half that points to
    the threshold is known, and stands for as many standard errors as its quantile: exact at p = ``alpha``, rough far
    from it, so where the same method can be asked for its p-value at the threshold, ask (`p_value_beyond`).
    """
    low, high = _region(threshold, better)
    if not math.isfinite(estimate.estimate) or math.isnan(estimate.ci_low) or math.isnan(estimate.ci_high):
        return NAN
    if low <= estimate.estimate <= high:
        return 1.0
    limit, end = (estimate.ci_high, low) if estimate.estimate < low else (estimate.ci_low, high)
    df = math.inf if math.isnan(estimate.df) else estimate.df
    quantile = t_quantile(1 - alpha / 2, df)
    rows = _score_rows(estimate, quantile) if better in ("high", "low") and 0 < end < 1 else NAN
    if rows > 0:
        return t_p_value((estimate.estimate - end) / math.sqrt(end * (1 - end) / rows), df)
    if math.isinf(limit) or (better == "one" and limit <= 0):
        return 1.0
    distance, half = _distances(estimate.estimate, end, limit, better)
    return t_p_value(quantile * distance / half, df) if half > 0 else 0.0


def p_value_beyond(threshold: float, gap: Callable[[float], Estimate], estimate: Estimate) -> float:
    """`threshold_p_value` of a gap, by the method that made ``estimate``: ``gap(null)`` has the p-value of ``null``."""
    if not abs(estimate.estimate) > threshold:
        return threshold_p_value(estimate, threshold=threshold)
    return gap(math.copysign(threshold, estimate.estimate)).p_value


def _score_rows(estimate: Estimate, quantile: float) -> float:
    """The effective rows of which the interval is Wilson's; NaN if it is another's (its two limits then disagree)."""
    rate, low, high = estimate.estimate, estimate.ci_low, estimate.ci_high
    if not 0 <= low <= rate <= high <= 1 or math.isclose(high - rate, quantile * estimate.standard_error):
        return NAN
    rows = [quantile**2 * x * (1 - x) / (x - rate) ** 2 for x in (low, high) if x != rate]
    return rows[0] if rows and math.isclose(min(rows), max(rows), rel_tol=1e-6) else NAN


def _distances(value: float, end: float, limit: float, better: Better) -> tuple[float, float]:
    """How far the threshold's end and the limit lie from the estimate, on a scale where the interval is about even."""
    if better != "one":
        return abs(end - value), abs(limit - value)
    if value == 0:  # a score interval; its statistic grows with the ratio at least as fast as this
        return math.sqrt(end), math.sqrt(limit)
    return abs(math.log(end / value)), abs(math.log(limit / value))


@dataclass(frozen=True)
class EquivalenceTest:
    """``p_value``: of "the truth lies at or beyond the margin". It is the larger of the one-sided ones.

    ``p_low``: against lying at or below the lower end, ``p_high``: at or above the upper; NaN where there is no end.
    """

    p_value: float
    p_low: float
    p_high: float


def tost(estimate: Estimate, *, margin: float, better: Better = "zero") -> EquivalenceTest:
    """Two one-sided t tests that the truth lies inside the margin (Schuirmann 1987); range [0, 1].

    zero: inside ±margin. one: between margin and 1/margin, on the log scale. high and low: one test, of non-inferiority
    to ``margin``. Equivalence at level a is p < a. NaN where the estimate has no standard error.
    """
    low, high = _region(margin, better)
    value, error = estimate.estimate, estimate.standard_error
    if better == "one" and value > 0:
        value, error, low, high = math.log(value), _log_error(estimate), math.log(low), math.log(high)
    if not error > 0 or (better == "one" and estimate.estimate <= 0):
        return EquivalenceTest(NAN, NAN, NAN)
    p_low = _upper_tail(value - low, error, estimate.df) if math.isfinite(low) else NAN
    p_high = _upper_tail(high - value, error, estimate.df) if math.isfinite(high) else NAN
    return EquivalenceTest(max(p for p in (p_low, p_high) if not math.isnan(p)), p_low, p_high)


def _region(limit: float, better: Better) -> tuple[float, float]:
    """The open interval of values on the good side of a limit."""
    return {
        "zero": (-limit, limit),
        "one": (limit, 1 / limit if limit else math.inf),
        "high": (limit, math.inf),
        "low": (-math.inf, limit),
    }[better]


def _within_reason(margin: float, better: Better) -> str:
    return {
        "zero": f"no gap above {margin:g} detected; the whole interval lies inside ±{margin:g}",
        "one": f"the whole interval lies between {margin:g} and 1/{margin:g}",
        "high": f"the whole interval lies above {margin:g}",
        "low": f"the whole interval lies below {margin:g}",
    }[better]


def _exceeds_reason(threshold: float, better: Better, *, below: bool) -> str:
    if better == "zero":
        return f"the whole interval lies beyond {threshold:g}"
    if below:
        return f"the whole interval lies below {threshold:g}"
    return f"the whole interval lies above {'1/' if better == 'one' else ''}{threshold:g}"


def _log_error(estimate: Estimate) -> float:
    return estimate.standard_error / estimate.estimate


def _upper_tail(distance: float, standard_error: float, df: float) -> float:
    """P(T >= distance / standard_error); an unknown df is that of a normal law."""
    return float(distributions.t.sf(distance / standard_error, math.inf if math.isnan(df) else df))
