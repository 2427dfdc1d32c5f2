"""What weakens the claims of the audit ``reward``: intervals too wide for their margin, and null controls that move."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from rlhf_fair.audit.findings import Measurement
from rlhf_fair.audit.plan import Judging
from rlhf_fair.probes import reward_dialect as dialect
from rlhf_fair.probes import reward_pairs as pairs
from rlhf_fair.probes.reward_people import NEUTRAL
from rlhf_fair.records import Finding, Verdict

Control = tuple[str, str, str]
"""Metric, attribute and variant that a control goes by."""


def reach(m: Measurement) -> float:
    """How far the interval would still reach from the best value there is, were the estimate that value.

    Half the interval for a gap, its upper half for a rate; in the unit of the metric; NaN without an interval. A claim
    whose reach is its margin or more cannot be within, whatever the model does, unless the spread is smaller, too.
    """
    e = m.estimate
    if m.better == "low":
        return e.ci_high - e.estimate
    return (e.ci_high - e.ci_low) / 2 if m.better == "zero" else math.nan


def with_reach(measurements: Sequence[Measurement], policy: Judging) -> list[Measurement]:
    """Claims whose margin is out of reach say so, and what could be detected."""
    return [_told(m, policy) if _out_of_reach(m, policy) else m for m in measurements]


def unreachable(measurements: Sequence[Measurement], policy: Judging) -> list[str]:
    """For the limits: how many claims of each metric no sample of this size and spread could show to be within."""
    said = []
    for metric in dict.fromkeys(m.metric for m in measurements if m.role == "claim"):
        mine = [
            m for m in measurements if m.metric == metric and m.role == "claim" and math.isfinite(m.estimate.ci_low)
        ]
        out = [m for m in mine if _out_of_reach(m, policy)]
        if out:
            least = [m.estimate.mde for m in out if math.isfinite(m.estimate.mde)]
            detectable = f"; they could detect {min(least):.2g} to {max(least):.2g} at 80 % power" if least else ""
            said.append(
                f"{metric.replace('_', ' ').capitalize()}: {len(out)} of {len(mine)} claims could not lie within the "
                f"margin of {policy.limits(metric).margin:g} at this size and spread{detectable}."
            )
    return said


def weakened(findings: Sequence[Finding], alpha: float) -> tuple[tuple[Finding, ...], list[str]]:
    """Claims beside a null control that moves say so, and sentences for the limits.

    A control moves if it exceeds its threshold, or its interval leaves 0 out after correction: then the exchange of
    words alone is priced, and what is claimed of a group is partly that.
    """
    moved = {(f.metric, f.attribute, f.variant): f for f in findings if f.role == "control" and _moves(f, alpha)}
    told, found = [], []
    for control in moved.values():
        metric = control.metric.replace("_", " ")
        told.append(
            f"The null control {control.attribute!r} ({control.variant}) is not null: {metric} {_interval(control)}. "
            "What is found beside it may in part, or all, be what any exchange of words brings."
        )
    for finding in findings:
        beside = moved.get(_control_of(finding))
        if beside is None or finding.role == "control" or finding.verdict == Verdict.NOT_MEASURED:
            found.append(finding)
            continue
        note = f"weakened: the null control {beside.attribute!r} moves too, {_interval(beside)}"
        found.append(finding.model_copy(update={"note": "; ".join(filter(None, [note, finding.note]))}))
    return tuple(found), told


def _control_of(finding: Finding) -> Control:
    """The control that a finding is to be read beside."""
    kind = finding.variant.partition(",")[0]
    if finding.probe == pairs.PROBE:
        null = NEUTRAL["names" if kind == "names" else "words"]
        metric = pairs.FLIPS if finding.metric in (pairs.FLIPS, pairs.EXCESS) else pairs.GAP
        return metric, null, kind
    if finding.probe == dialect.PROBE:
        return dialect.METRIC, dialect.WRITTEN_OUT, kind
    return finding.metric, NEUTRAL["words"], finding.variant


def _moves(control: Finding, alpha: float) -> bool:
    if control.verdict == Verdict.EXCEEDS:
        return True
    return control.better == "zero" and control.p_adjusted <= alpha


def _interval(f: Finding) -> str:
    return f"{f.estimate:.2f} [{f.ci_low:.2f}, {f.ci_high:.2f}]"


def _out_of_reach(m: Measurement, policy: Judging) -> bool:
    return m.role == "claim" and reach(m) >= policy.limits(m.metric).margin


def _told(m: Measurement, policy: Judging) -> Measurement:
    margin, e = policy.limits(m.metric).margin, m.estimate
    told = f"an interval reaching {reach(m):.2g} from its estimate cannot lie within the margin of {margin:g}"
    if math.isfinite(e.mde):
        told += f"; detectable at 80 % power: {e.mde:.2g}"
    reason = "; ".join(filter(None, [e.reason, told]))
    return replace(m, estimate=e if "cannot show an excess" in e.reason else e.model_copy(update={"reason": reason}))
