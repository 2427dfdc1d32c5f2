"""Estimates become findings: corrected p-values within each role, then a verdict each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlhf_fair.audit.plan import Policy
from rlhf_fair.records import NAN, Better, Estimate, Finding, Role
from rlhf_fair.stats.corrections import benjamini_hochberg, holm
from rlhf_fair.stats.equivalence import verdict


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
    """Adjust p-values (Holm over claims and over controls, Benjamini-Hochberg over exploratory slices) and judge."""
    adjusted = np.full(len(measurements), np.nan)
    for role in ("claim", "control", "exploratory"):
        rows = [index for index, m in enumerate(measurements) if m.role == role]
        correct = benjamini_hochberg if role == "exploratory" else holm
        adjusted[rows] = correct([measurements[index].estimate.p_value for index in rows])
    return tuple(_finding(m, float(p), policy) for m, p in zip(measurements, adjusted, strict=True))


def _finding(m: Measurement, p_adjusted: float, policy: Policy) -> Finding:
    e = m.estimate
    decision, reason = verdict(
        e, threshold=policy.threshold, margin=policy.margin, p_adjusted=p_adjusted, alpha=policy.alpha
    )
    parts = (m.stage, m.probe, m.metric, m.variant, m.attribute, m.group, m.reference)
    return Finding(
        id="/".join(part.replace("/", "_").replace(" ", "-") for part in parts if part),
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
        p_value=e.p_value,
        p_adjusted=p_adjusted,
        threshold=policy.threshold,
        margin=policy.margin,
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
