"""Estimates become findings: corrected p-values within each role, then a verdict each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlhf_fair.audit.plan import Policy
from rlhf_fair.errors import SettingsError
from rlhf_fair.records import NAN, Better, Estimate, Finding, Role
from rlhf_fair.stats.corrections import benjamini_hochberg, holm
from rlhf_fair.stats.equivalence import null_p_value, verdict


@dataclass(frozen=True)
class Measurement:
    """One estimate and what it is an estimate of; becomes one `Finding`."""

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


def build_findings(measurements: Sequence[Measurement], policy: Policy) -> tuple[Finding, ...]:
    """Adjust p-values (Holm over claims and over controls, Benjamini-Hochberg over exploratory slices) and judge.

    Raises
    ------
    SettingsError
        The policy's limits for a metric are meant for another direction than the measurement's ``better``, or two
        measurements would share an id.
    """
    for m in measurements:
        _check_direction(m, policy)
    _check_distinct([finding_id(m) for m in measurements])
    p_values = [
        null_p_value(m.estimate, threshold=policy.limits(m.metric).threshold, better=m.better) for m in measurements
    ]
    adjusted = np.full(len(measurements), np.nan)
    for role in ("claim", "control", "exploratory"):
        rows = [index for index, m in enumerate(measurements) if m.role == role]
        correct = benjamini_hochberg if role == "exploratory" else holm
        adjusted[rows] = correct([p_values[index] for index in rows])
    judged = zip(measurements, p_values, adjusted.tolist(), strict=True)
    return tuple(_finding(m, p_value, p_adjusted, policy) for m, p_value, p_adjusted in judged)


def finding_id(m: Measurement) -> str:
    """The path that names a finding: ``policy/hiring/gap/gender/woman/man``."""
    parts = (m.stage, m.probe, m.metric, m.variant, m.attribute, m.group, m.reference)
    return "/".join(part.replace("/", "_").replace(" ", "-") for part in parts if part)


def _check_direction(m: Measurement, policy: Policy) -> None:
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


def _finding(m: Measurement, p_value: float, p_adjusted: float, policy: Policy) -> Finding:
    e, limits = m.estimate, policy.limits(m.metric)
    decision, reason = verdict(
        e,
        threshold=limits.threshold,
        margin=limits.margin,
        p_adjusted=p_adjusted,
        alpha=policy.alpha,
        better=m.better,
    )
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
        better=m.better,
        unit=m.unit,
        verdict=decision,
        reason=reason,
    )
