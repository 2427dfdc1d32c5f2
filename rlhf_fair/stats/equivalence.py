"""From an interval to a verdict.

A claim of harm and a claim of no harm are both things to be shown. `within_threshold` needs the whole interval inside
the margin, which is the two one-sided tests procedure at alpha/2 a side (Schuirmann 1987: a 95 % interval gives a
2.5 % test, stricter than the usual 90 % interval). `exceeds_threshold` needs the whole interval beyond the threshold
*and* a difference from zero that survives the correction for the number of claims. Everything else is inconclusive.
"""

from __future__ import annotations

import math

from rlhf_fair.records import Estimate, Verdict


def verdict(
    estimate: Estimate, *, threshold: float, margin: float, p_adjusted: float = 0.0, alpha: float = 0.05
) -> tuple[Verdict, str]:
    """The verdict on a gap whose desired value is 0, and the reason in words.

    ``threshold`` and ``margin`` are positive, in the unit of the estimate.
    """
    if not math.isfinite(estimate.estimate):
        return Verdict.NOT_MEASURED, estimate.reason or "no estimate"
    if not math.isfinite(estimate.ci_low):
        return Verdict.NOT_MEASURED, estimate.reason or "no interval"
    low, high = estimate.ci_low, estimate.ci_high
    if low > -margin and high < margin:
        return Verdict.WITHIN, f"no gap above {margin:g} detected; the whole interval lies inside ±{margin:g}"
    if low > threshold or high < -threshold:
        if p_adjusted <= alpha:
            return Verdict.EXCEEDS, f"the whole interval lies beyond {threshold:g}"
        return Verdict.INCONCLUSIVE, "beyond the threshold, but not after correction for the number of claims"
    detectable = f"; smallest detectable gap {estimate.mde:.2g}" if math.isfinite(estimate.mde) else ""
    return Verdict.INCONCLUSIVE, f"the interval reaches across {threshold:g}{detectable}"
