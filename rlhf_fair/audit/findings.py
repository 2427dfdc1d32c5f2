"""Estimates become findings: corrected p-values within each role, then a verdict each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlhf_fair.audit.plan import Judging
from rlhf_fair.errors import SettingsError
from rlhf_fair.records import NAN, Better, Estimate, Finding, Role, Verdict
from rlhf_fair.stats.corrections import benjamini_hochberg, holm
from rlhf_fair.stats.equivalence import null_p_value, threshold_p_value, verdict


@dataclass(frozen=True)
class Measurement:
    """One estimate and what it is an estimate of; becomes one `Finding`.

    ``p_threshold``: of "the truth lies at the threshold or on its good side", one-sided and doubled, where the method
    behind the estimate has one; NaN reads it off the interval, see `rlhf_fair.stats.equivalence.threshold_p_value`.
    ``measured_rate``: as in `rlhf_fair.probes.measured.Measured`.
    """

    estimate: Estimate
    stage: str
    probe: str
    metric: str
    attribute: str
    group: str
    reference: str
    role: Role = "claim"
    variant: str = ""
    unit: str = ""
    better: Better = "zero"
    parse_rate: float = NAN
    refusal_rate: float = NAN
    measured_rate: float = NAN
    p_threshold: float = NAN


def build_findings(measurements: Sequence[Measurement], policy: Judging) -> tuple[Finding, ...]:
    """Adjust p-values (Holm over claims and over controls, Benjamini-Hochberg over exploratory slices) and judge.

    Two families are adjusted: the p-values that findings show, and those of the thresholds, on which "exceeds" hangs
    too. So the chance that any claim exceeds whose truth does not is alpha at most. For better = high and low the two
    are one. An estimate from fewer of the rows than the policy's ``min_measured`` is never within, and one from fewer
    rows than its ``minimum_n`` is neither within nor beyond.

    Raises
    ------
    SettingsError
        The policy's limits for a metric are meant for another direction than the measurement's ``better``, or two
        measurements would share an id.
    """
    for m in measurements:
        _check_direction(m, policy)
    _check_distinct([finding_id(m) for m in measurements])
    p_values = [_p_value(m, policy) for m in measurements]
    adjusted = _adjusted(measurements, p_values)
    thresholds = _adjusted(measurements, [_p_threshold(m, policy) for m in measurements])
    judged = zip(measurements, p_values, adjusted, thresholds, strict=True)
    return tuple(_finding(m, p, p_adjusted, p_threshold, policy) for m, p, p_adjusted, p_threshold in judged)


def _p_value(m: Measurement, policy: Judging) -> float:
    if m.better in ("high", "low") and not math.isnan(m.p_threshold):
        return m.p_threshold
    return null_p_value(m.estimate, threshold=policy.limits(m.metric).threshold, better=m.better, alpha=policy.alpha)


def _p_threshold(m: Measurement, policy: Judging) -> float:
    if m.better in ("high", "low"):
        return _p_value(m, policy)
    if not math.isnan(m.p_threshold):
        return m.p_threshold
    limits = policy.limits(m.metric)
    return threshold_p_value(m.estimate, threshold=limits.threshold, better=m.better, alpha=policy.alpha)


def _adjusted(measurements: Sequence[Measurement], p_values: Sequence[float]) -> list[float]:
    adjusted = np.full(len(measurements), np.nan)
    for role in ("claim", "control", "exploratory"):
        rows = [index for index, m in enumerate(measurements) if m.role == role]
        correct = benjamini_hochberg if role == "exploratory" else holm
        adjusted[rows] = correct([p_values[index] for index in rows])
    return adjusted.tolist()


def finding_id(m: Measurement) -> str:
    """The path that names a finding: ``policy/hiring/gap/gender/woman/man``."""
    parts = (m.stage, m.probe, m.metric, m.variant, m.attribute, m.group, m.reference)
    return "/".join(part.replace("/", "_").replace(" ", "-") for part in parts if part)


def _check_direction(m: Measurement, policy: Judging) -> None:
    limits = policy.limits(m.metric)
    if m.better != limits.better:
        raise SettingsError(
            f"the policy's limits for metric {m.metric!r} are for better = {limits.better!r}, but it is measured with "
            f"better = {m.better!r}; allowed: limits of its own under [policy.metrics.{m.metric}]"
        )


def _check_distinct(ids: Sequence[str]) -> None:
    for name, count in Counter(ids).items():
        if count > 1:
            raise SettingsError(f"{count} measurements share the finding id {name!r}; ids must be distinct")


def _finding(m: Measurement, p_value: float, p_adjusted: float, p_threshold: float, policy: Judging) -> Finding:
    e, limits = m.estimate, policy.limits(m.metric)
    decision, reason = verdict(
        e,
        threshold=limits.threshold,
        margin=limits.margin,
        p_adjusted=p_adjusted,
        p_threshold=p_threshold,
        alpha=policy.alpha,
        better=m.better,
    )
    note = e.reason
    if decision != Verdict.WITHIN:
        note = "; ".join(filter(None, (note, _unheard(m, policy))))
    decision, reason = settled(decision, reason, m, policy)
    return Finding(
        id=finding_id(m),
        stage=m.stage,
        probe=m.probe,
        metric=m.metric,
        variant=m.variant,
        attribute=m.attribute,
        group=m.group,
        reference=m.reference,
        role=m.role,
        estimate=e.estimate,
        ci_low=e.ci_low,
        ci_high=e.ci_high,
        p_value=p_value,
        p_adjusted=p_adjusted,
        threshold=limits.threshold,
        margin=limits.margin,
        mde=e.mde,
        n=e.n,
        n_clusters=e.n_clusters,
        parse_rate=m.parse_rate,
        refusal_rate=m.refusal_rate,
        measured_rate=m.measured_rate,
        better=m.better,
        unit=m.unit,
        verdict=decision,
        reason=reason,
        note="" if decision == Verdict.NOT_MEASURED else note,
    )


def settled(decision: Verdict, reason: str, m: Measurement, policy: Judging) -> tuple[Verdict, str]:
    """What of a verdict stands under the policy's ``min_measured`` and ``minimum_n``, and why."""
    if decision == Verdict.WITHIN and (unheard := _unheard(m, policy)):
        return Verdict.INCONCLUSIVE, unheard
    if m.estimate.n < policy.minimum_n and decision in (Verdict.WITHIN, Verdict.EXCEEDS):
        return Verdict.INCONCLUSIVE, f"from {m.estimate.n} rows, where the policy asks for {policy.minimum_n}"
    return decision, reason


def _unheard(m: Measurement, policy: Judging) -> str:
    """What to say of an estimate that too few of the compared rows entered; "" where enough did."""
    if not m.measured_rate < policy.min_measured:
        return ""
    share = math.floor(m.measured_rate * 1000) / 10  # never rounded up to the least that is enough
    whom = f"about {m.group or 'all'}" + (f", or of those about {m.reference}," if m.reference else "")
    return f"only {share:g} % of the answers {whom} could be measured: what the others say is unknown"
