"""From numbers with and without groups of clusters to changes with intervals, corrected p-values and a status each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rlhf_fair.audit.compare_numbers import Numbers
from rlhf_fair.audit.compare_status import Paired, by_margin, status_of, tolerance_of
from rlhf_fair.audit.findings import Measurement, build_findings, finding_id
from rlhf_fair.audit.plan import Judging, Limits
from rlhf_fair.changes import Change, Side
from rlhf_fair.records import NAN, Estimate, Finding, Role
from rlhf_fair.stats.columns import Floats
from rlhf_fair.stats.corrections import benjamini_hochberg, holm
from rlhf_fair.stats.grouped_jackknife import LeaveOuts, grouped_jackknife

Verdicts = dict[str, Finding]


@dataclass(frozen=True)
class Candidate:
    """One number before p-values are corrected; ``change`` is B less A in its own unit."""

    a: Measurement
    b: Measurement
    change: Estimate
    paired: Paired
    limits: Limits | None
    alpha: float

    @property
    def p_beyond(self) -> float:
        """Of "worse by the tolerance at most"."""
        return self.paired.p_beyond(tolerance_of(self.limits), self.alpha)


def changes_of(numbers: Numbers, leave_outs: Sequence[LeaveOuts], policy: Judging) -> tuple[Change, ...]:
    """All changes in the order of A's numbers; those without limits in the policy have no verdicts.

    As in `build_findings`, p-values are corrected by Holm over claims and over controls, by Benjamini and Hochberg
    over all others, and so are those of "worse by more than the margin".
    """
    candidates = _candidates(numbers, leave_outs, policy)
    roles = [c.a.role for c in candidates]
    p_adjusted = _adjusted([c.paired.worsening.p_value for c in candidates], roles)
    p_beyond = _adjusted([c.p_beyond for c in candidates], roles)
    verdicts = (_judged(numbers.a, policy), _judged(numbers.b, policy))
    return tuple(_change(c, p, beyond, verdicts) for c, p, beyond in zip(candidates, p_adjusted, p_beyond, strict=True))


def _candidates(numbers: Numbers, leave_outs: Sequence[LeaveOuts], policy: Judging) -> list[Candidate]:
    a, b = (np.array([m.estimate.estimate for m in side]) for side in (numbers.a, numbers.b))
    ratio = np.array([m.better == "one" for m in numbers.a])
    size = np.maximum(np.abs(a), np.abs(b))
    most_df = np.array([min(_df(m.estimate), _df(n.estimate)) for m, n in zip(numbers.a, numbers.b, strict=True)])

    def estimates(combine_sign: float, logarithms: bool) -> list[Estimate]:
        def combined(first: Floats, second: Floats) -> Floats:
            if logarithms:
                first, second = _log_of(first, ratio), _log_of(second, ratio)
            return second + combine_sign * first

        v = len(a)
        parts = [
            replace(one, values=combined(one.values[:, :v], one.values[:, v:]), lost=one.lost[:, :v])
            for one in leave_outs
        ]
        return grouped_jackknife(combined(a, b), parts, scale=size, most_df=most_df, alpha=policy.alpha)

    found = zip(numbers.a, numbers.b, estimates(-1, False), estimates(-1, True), estimates(1, True), strict=True)
    return [
        Candidate(m, n, change, Paired(difference, total, m.better), _limits(m, policy), policy.alpha)
        for m, n, change, difference, total in found
    ]


def _change(c: Candidate, p_adjusted: float, p_beyond: float, verdicts: tuple[Verdicts, Verdicts]) -> Change:
    m, e, worse = c.a, c.change, c.paired.worsening
    tolerance = tolerance_of(c.limits)
    id = finding_id(m)
    a, b = _side(c.a, verdicts[0].get(id)), _side(c.b, verdicts[1].get(id))
    status, reason = status_of(c.paired, (a.verdict, b.verdict), tolerance, p_adjusted, c.alpha)
    return Change(
        id=id,
        metric=m.metric,
        variant=m.variant,
        attribute=m.attribute,
        group=m.group,
        reference=m.reference,
        role=m.role,
        better=m.better,
        unit=m.unit,
        threshold=c.limits.threshold if c.limits else NAN,
        margin=c.limits.margin if c.limits else NAN,
        a=a,
        b=b,
        change=e.estimate,
        ci_low=e.ci_low,
        ci_high=e.ci_high,
        standard_error=e.standard_error,
        df=e.df,
        worsening=worse.estimate,
        worsening_low=worse.ci_low,
        worsening_high=worse.ci_high,
        tolerance=tolerance,
        p_value=worse.p_value,
        p_adjusted=p_adjusted,
        worse_by_margin=by_margin(c.paired, tolerance, b.verdict, p_beyond, c.alpha),
        n=min(c.a.estimate.n, c.b.estimate.n),
        n_clusters=min(c.a.estimate.n_clusters, c.b.estimate.n_clusters),
        status=status,
        reason="; ".join(filter(None, [reason, e.reason if math.isfinite(e.ci_low) else ""])),
    )


def _judged(side: Sequence[Measurement], policy: Judging) -> Verdicts:
    """The findings of the compared items, for the metrics that the policy has limits for."""
    limited = [m for m in side if _limits(m, policy)]
    return {finding.id: finding for finding in build_findings(limited, policy)}


def _limits(m: Measurement, policy: Judging) -> Limits | None:
    """The metric's own, or those at the top of a policy that has some for all metrics."""
    return policy.limits(m.metric) if policy.judges(m.metric) else None


def _side(m: Measurement, finding: Finding | None) -> Side:
    e = m.estimate
    verdict, reason = (finding.verdict, finding.reason) if finding else (None, e.reason)
    return Side(estimate=e.estimate, ci_low=e.ci_low, ci_high=e.ci_high, verdict=verdict, reason=reason)


def _adjusted(p_values: Sequence[float], roles: Sequence[Role]) -> list[float]:
    adjusted = np.full(len(p_values), np.nan)
    for role in ("claim", "control", "exploratory"):
        rows = [index for index, one in enumerate(roles) if one == role]
        correct = benjamini_hochberg if role == "exploratory" else holm
        adjusted[rows] = correct([p_values[index] for index in rows])
    return adjusted.tolist()


def _df(e: Estimate) -> float:
    """An estimate's own degrees of freedom know of groups with few clusters; infinite where they do not limit."""
    return e.df if e.df > 0 else math.inf


def _log_of(values: Floats, where: np.ndarray) -> Floats:
    """Logarithms in the columns ``where``; NaN of what has none."""
    positive = np.where(where & (values > 0), values, 1.0)
    return np.where(where, np.where(values > 0, np.log(positive), np.nan), values)
