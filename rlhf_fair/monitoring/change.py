"""One claim from one audit to a later one: its change, and by how much it is further from what is better.

Where both audits keep records of the same items the change is a paired one, of `rlhf_fair.audit.compare`. Else the two
estimates are taken as independent: the standard error of each follows from its interval, half the width over the
quantile of Student's t with clusters - 1 degrees of freedom, and those of the change add up (Welch 1947; degrees of
freedom by Satterthwaite 1946). Of audits that share items that is too wide, never too narrow, as long as what they
share moves both the same way. Ratios are compared as logarithms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rlhf_fair.changes import Change
from rlhf_fair.records import NAN, Estimate, Finding, Verdict
from rlhf_fair.stats.absolute_change import absolute_change
from rlhf_fair.stats.student_t import t_p_value, t_quantile


@dataclass(frozen=True)
class Moved:
    """``change``: the later less the earlier, logarithms for ratios. ``worsening``: above 0, further from better."""

    change: Estimate
    worsening: Estimate
    paired: bool


def independent(earlier: Finding, later: Finding, alpha: float) -> Moved:
    """From the two findings alone; intervals cover 1 - ``alpha``, which is also what those of the findings cover."""
    a, b = (_scaled(finding, alpha) for finding in (earlier, later))
    for one, finding in ((a, earlier), (b, later)):
        if not math.isfinite(one.standard_error):
            why = one.reason or finding.reason or "there is no interval"
            missing = Estimate.not_estimable(why)
            return Moved(missing, missing, paired=False)
    difference, total = (_combined(a, b, sign, alpha) for sign in (-1.0, 1.0))
    return Moved(difference, _worsening(difference, total, later), paired=False)


def paired(change: Change) -> Moved:
    """From a comparison item by item."""
    moved = Estimate(
        estimate=change.change, ci_low=change.ci_low, ci_high=change.ci_high, p_value=change.p_value, n=change.n
    )
    worse = Estimate(
        estimate=change.worsening,
        ci_low=change.worsening_low,
        ci_high=change.worsening_high,
        p_value=change.p_value,
        n=change.n,
        n_clusters=change.n_clusters,
        reason=change.reason,
    )
    return Moved(moved, worse, paired=True)


def tolerance_of(claim: Finding) -> float:
    """The largest worsening that the plan's limits let pass: the margin of a gap, its log for a ratio.

    Of a level it is the distance from margin to threshold, less than which carries nothing from one side to the other.
    """
    if claim.better == "zero":
        return claim.margin
    if claim.better == "one":
        return -math.log(claim.margin) if claim.margin > 0 else NAN
    return abs(claim.margin - claim.threshold)


def is_steady(moved: Moved, later: Finding) -> bool:
    """Whether it is shown that the claim is not worse by its tolerance, or is a level that lies within its limits."""
    if later.better in ("high", "low") and later.verdict == Verdict.WITHIN:
        return True
    return moved.worsening.ci_high < tolerance_of(later)


def _scaled(finding: Finding, alpha: float) -> Estimate:
    """The estimate with its standard error, on a log scale for a ratio."""
    values = (finding.estimate, finding.ci_low, finding.ci_high)
    if finding.better == "one":
        if not finding.ci_low > 0:
            return Estimate.not_estimable("the interval of the ratio reaches 0")
        values = (math.log(values[0]), math.log(values[1]), math.log(values[2]))
    value, low, high = values
    if finding.n_clusters < 2 or not all(map(math.isfinite, values)):
        return Estimate.not_estimable(finding.reason or "there is no interval, or too few clusters stand behind it")
    df = finding.n_clusters - 1.0
    error = (high - low) / 2 / t_quantile(1 - alpha / 2, df)
    return Estimate(estimate=value, standard_error=error, df=df, n=finding.n, n_clusters=finding.n_clusters)


def _combined(a: Estimate, b: Estimate, sign: float, alpha: float) -> Estimate:
    """b + ``sign`` a of independent estimates."""
    value, parts = b.estimate + sign * a.estimate, (a.standard_error**2, b.standard_error**2)
    error = math.sqrt(sum(parts))
    n, clusters = a.n + b.n, min(a.n_clusters, b.n_clusters)
    if error == 0:
        return Estimate(
            estimate=value, ci_low=value, ci_high=value, p_value=float(value == 0), n=n, n_clusters=clusters
        )
    df = error**4 / (parts[0] ** 2 / a.df + parts[1] ** 2 / b.df)
    half = error * t_quantile(1 - alpha / 2, df)
    return Estimate(
        estimate=value,
        ci_low=value - half,
        ci_high=value + half,
        standard_error=error,
        df=df,
        p_value=t_p_value(value / error, df),
        n=n,
        n_clusters=clusters,
    )


def _worsening(difference: Estimate, total: Estimate, claim: Finding) -> Estimate:
    if claim.better in ("zero", "one"):
        return absolute_change(difference, total)
    if claim.better == "low":
        return difference
    turned = {"estimate": -difference.estimate, "ci_low": -difference.ci_high, "ci_high": -difference.ci_low}
    return difference.model_copy(update=turned)
