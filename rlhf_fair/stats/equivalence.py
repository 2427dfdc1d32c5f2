"""From an interval to a verdict, and the two tests behind it.

A claim of harm and a claim of no harm are both things to be shown. `within_threshold` needs the whole interval inside
the margin: the two one-sided tests procedure (Schuirmann 1987), in which *each* side is tested at alpha/2 where the
interval covers 1 - alpha. Textbook TOST at level alpha reads the 1 - 2·alpha interval; a 95 % interval therefore gives
a 2.5 % test, stricter than the usual 5 % one, and a verdict "within" means a `tost` p-value below alpha/2.
`exceeds_threshold` needs the whole interval beyond the threshold *and* a departure from the null that survives the
correction for the number of claims. Everything else is inconclusive.

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
from dataclasses import dataclass

from scipy import stats as distributions

from rlhf_fair.errors import SettingsError
from rlhf_fair.records import NAN, Better, Estimate, Verdict


def verdict(
    estimate: Estimate,
    *,
    threshold: float,
    margin: float,
    p_adjusted: float = 0.0,
    alpha: float = 0.05,
    better: Better = "zero",
) -> tuple[Verdict, str]:
    """The verdict on an estimate and the reason in words; the rules stand in the table above.

    ``threshold`` and ``margin`` are in the unit of the estimate, and as `check_limits` wants them. ``p_adjusted``: the
    corrected `null_p_value`; NaN, as where no test could be made, supports no claim of harm.
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
        if p_adjusted <= alpha:
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


def null_p_value(estimate: Estimate, *, threshold: float, better: Better = "zero") -> float:
    """The p-value that belongs to ``better``; NaN where there is none.

    zero: the estimate's own, of a difference from 0. one: of a ratio different from 1, on the log scale by the delta
    method. high, low: of a value on the wrong side of ``threshold``. That test is one-sided and its p-value doubled
    (at most 1), so that p < alpha exactly where the 1 - alpha interval lies wholly on the wrong side. An estimate
    without a standard error (a score interval, an exact test) must bring the p-value of the null that is meant.
    """
    if better == "zero" or not estimate.standard_error > 0:
        return estimate.p_value
    if better == "one":
        if not estimate.estimate > 0:
            return estimate.p_value
        return min(1.0, 2 * _upper_tail(abs(math.log(estimate.estimate)), _log_error(estimate), estimate.df))
    short = threshold - estimate.estimate if better == "high" else estimate.estimate - threshold
    return min(1.0, 2 * _upper_tail(short, estimate.standard_error, estimate.df))


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
