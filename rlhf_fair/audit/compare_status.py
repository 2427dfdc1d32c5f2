"""From a paired change to what became of a number: new, fixed, worse, better, unchanged or undecided.

=========  ============================================================================================================
new        it exceeds its threshold in B and did not in A (it was within, inconclusive or not measured)
fixed      it exceeded in A and is within in B
worse      further from what is better in B: the interval of ``worsening`` lies above 0, also after correction
better     nearer to it: the interval lies below 0, also after correction
unchanged  the interval of the change B less A lies wholly inside the tolerance (two one-sided tests, Schuirmann 1987)
undecided  everything else
=========  ============================================================================================================

The first that applies holds. A verdict can change because an interval grew or shrank, so "new" does not say that the
change itself is shown: "exceeds" and "inconclusive" need not differ significantly (Gelman & Stern 2006). The reason
says which it is.

The tolerance is the margin for a gap or a ratio: a change that leaves a gap of 0 within is none to act on. For a level
it is the distance between margin and threshold, less than which carries nothing from one side to the other; 0 where
the plan has them at one value. A level that is within in B is never worse by more than its margin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from rlhf_fair.audit.plan import Limits
from rlhf_fair.changes import ChangeStatus
from rlhf_fair.records import NAN, Better, Estimate, Verdict
from rlhf_fair.stats.absolute_change import absolute_change, growth_p_value
from rlhf_fair.stats.equivalence import threshold_p_value

ByMargin = Literal["yes", "no", "open"]
FLAT = "the same in A and B, whichever clusters are left out"


@dataclass(frozen=True)
class Paired:
    """B less A and A plus B by the same leave-outs, on the scale of `scaled`; ``total`` serves gaps and ratios only."""

    difference: Estimate
    total: Estimate
    better: Better

    @property
    def worsening(self) -> Estimate:
        """How much further from what is better B is; null value 0."""
        if self.better in ("zero", "one"):
            return absolute_change(self.difference, self.total)
        return self.difference if self.better == "low" else _negative(self.difference)

    def p_beyond(self, tolerance: float, alpha: float) -> float:
        """Of "B is worse by ``tolerance`` at most", one-sided and doubled; NaN where there is no interval."""
        if not math.isfinite(tolerance):
            return NAN
        if self.better in ("zero", "one"):
            return growth_p_value(self.difference, self.total, margin=tolerance, alpha=alpha)
        return threshold_p_value(self.worsening, threshold=tolerance, better="low", alpha=alpha)


def tolerance_of(limits: Limits | None) -> float:
    """The largest worsening that the limits let pass, on the scale of `Paired`; NaN without limits."""
    if limits is None:
        return NAN
    if limits.better == "zero":
        return limits.margin
    if limits.better == "one":
        return -math.log(limits.margin)
    return abs(limits.margin - limits.threshold)


def by_margin(paired: Paired, tolerance: float, verdict_b: Verdict | None, p_beyond: float, alpha: float) -> ByMargin:
    """Whether B is shown to be worse by more than the tolerance. ``p_beyond``: corrected for the number of claims."""
    worse = paired.worsening
    if paired.better in ("high", "low") and verdict_b == Verdict.WITHIN:
        return "no"
    if _is_flat(paired.difference) or not math.isfinite(tolerance):
        return "no" if worse.estimate == 0 else "open"
    if math.isfinite(worse.ci_low):
        return "no" if worse.ci_high < tolerance else "yes" if p_beyond <= alpha else "open"
    if not worse.p_value <= alpha:
        return "open"
    return "no" if worse.estimate < tolerance else "yes"


def status_of(
    paired: Paired, verdicts: tuple[Verdict | None, Verdict | None], tolerance: float, p_adjusted: float, alpha: float
) -> tuple[ChangeStatus, str]:
    """The status and the reason in words; the rules stand in the table above."""
    a, b = verdicts
    difference, worse = paired.difference, paired.worsening
    if not math.isfinite(difference.estimate):
        return ChangeStatus.NOT_MEASURED, difference.reason
    moved, why = _moved(worse, p_adjusted, alpha)
    if b == Verdict.EXCEEDS and a != Verdict.EXCEEDS:
        own = "" if moved == ChangeStatus.WORSE else "; the change itself is not shown"
        return ChangeStatus.NEW, f"exceeds its threshold in B, and did not in A{own}"
    if a == Verdict.EXCEEDS and b == Verdict.WITHIN:
        own = "" if moved == ChangeStatus.BETTER else "; the change itself is not shown"
        return ChangeStatus.FIXED, f"exceeded its threshold in A, and is within in B{own}"
    if moved is not None:
        return moved, why
    if _is_flat(difference):
        return ChangeStatus.UNCHANGED, FLAT
    low, high = difference.ci_low, difference.ci_high
    if math.isfinite(low) and -tolerance < low and high < tolerance:
        return ChangeStatus.UNCHANGED, f"the whole interval of the change lies inside ±{tolerance:.3g}"
    return ChangeStatus.UNDECIDED, why or _open(paired, tolerance, alpha)


def _moved(worse: Estimate, p_adjusted: float, alpha: float) -> tuple[ChangeStatus | None, str]:
    if not worse.p_value <= alpha:
        return None, ""
    if not p_adjusted <= alpha:
        return None, "the interval leaves out 0, but not after correction for the number of comparisons"
    way, word = (ChangeStatus.WORSE, "worse") if worse.estimate > 0 else (ChangeStatus.BETTER, "better")
    if not math.isfinite(worse.ci_low):
        return way, worse.reason
    return way, f"the whole interval lies on the {word} side of 0"


def _open(paired: Paired, tolerance: float, alpha: float) -> str:
    if not math.isfinite(paired.difference.ci_low):
        return paired.difference.reason
    if paired.difference.p_value <= alpha and paired.better in ("zero", "one"):
        return "it changed, but whether it is nearer to parity is open"
    inside = f"does not lie inside ±{tolerance:.3g}" if math.isfinite(tolerance) else "there is no margin to hold it to"
    return f"the interval of the change reaches across 0, and {inside}"


def _is_flat(difference: Estimate) -> bool:
    """No change, and none whichever clusters are left out."""
    return difference.estimate == 0 and math.isnan(difference.ci_low) and math.isnan(difference.p_value)


def _negative(e: Estimate) -> Estimate:
    turned = {"estimate": -e.estimate, "ci_low": -e.ci_high, "ci_high": -e.ci_low}
    return e.model_copy(update=turned)
