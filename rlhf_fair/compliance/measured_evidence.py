"""Evidence in an audit's findings: what was measured, for whom, and how surely."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from rlhf_fair.compliance.evidence import Case, Found, State, measured, share

MITIGATION = re.compile(r"fair_ppo(_round_\d+)?")
"""Stages trained under a fairness penalty, which pipelines, rounds and `train ppo` name so, and no others."""


def claims_with_threshold(case: Case) -> Found:
    """Claims declared in the plan, each with a threshold and a margin."""
    hits = sum(math.isfinite(f.threshold) and math.isfinite(f.margin) for f in case.claims)
    return share(hits, len(case.claims), "claims with threshold and margin", "all")


def per_group_measurement(case: Case) -> Found:
    """Findings that compare groups."""
    return share(sum(map(measured, case.compared)), len(case.compared), "comparisons of groups measured", "all")


def intersections(case: Case) -> Found:
    """Findings on attributes taken together, as in gender × ethnicity."""
    crossed = [f for f in case.compared if "×" in f.attribute]
    return share(sum(map(measured, crossed)), len(crossed), "comparisons across attributes measured", "all")


def intervals(case: Case) -> Found:
    """An interval for every measured comparison."""
    known = [f for f in case.compared if measured(f)]
    hits = sum(math.isfinite(f.ci_low) and not math.isnan(f.ci_high) for f in known)
    return share(hits, len(known), "measured comparisons with an interval", "all")


def detectable_effect(case: Case) -> Found:
    """The smallest effect that each claim could have shown."""
    hits = sum(math.isfinite(f.mde) for f in case.claims)
    return share(hits, len(case.claims), "claims with a smallest detectable effect", "all")


def controls(case: Case) -> Found:
    """Comparisons that should show nothing."""
    found = [f for f in case.results.findings if f.role == "control"]
    return share(sum(map(measured, found)), len(found), "controls measured", "controls")


def impact_ratios(case: Case) -> Found:
    """Ratios of selection or scoring rates, for single attributes and for attributes together."""
    ratios = [f for f in case.compared if f.metric.startswith("impact_ratio") and measured(f)]
    crossed = [f for f in ratios if "×" in f.attribute]
    if not ratios:
        return Found(State.ABSENT, "no impact ratios measured")
    if not crossed or len(crossed) == len(ratios):
        return Found(State.PARTIAL, f"{len(ratios)} impact ratios, not both single and crossed categories", "all")
    return Found(State.PRESENT, f"{len(ratios)} impact ratios, {len(crossed)} of crossed categories", "all")


def benchmark(case: Case) -> Found:
    """Published test items: findings of a probe that names its items in the audit's data."""
    data = case.results.audit.get("data")
    if not (isinstance(data, Mapping) and data.get("items") and case.compared):
        return Found(State.ABSENT, "no benchmark among the audit's data")
    hits = sum(map(measured, case.compared))
    return share(hits, len(case.compared), "comparisons on test items measured", "all")


def training_feedback_panel(case: Case) -> Found:
    """Who gave the feedback a model learns from, and whether groups of raters differ."""
    rated = [f for f in case.compared if f.stage == "feedback"]
    if any(map(measured, rated)):
        return share(sum(map(measured, rated)), len(rated), "comparisons of groups of raters measured", "all")
    if any(row.panel for row in case.results.ledger):
        return Found(State.PARTIAL, "gaps by panel of raters, whose own ratings are not compared", "ledger")
    return Found(State.ABSENT, "no feedback or training data examined")


def mitigation_before_after(case: Case) -> Found:
    """Gaps before and after a stage that is itself a measure against them, with the interval of the change.

    Stages declare that by their name, see `MITIGATION`. What other training changed, and what a measure cost in reward
    or utility, is no evidence of one.
    """
    rows = [row for row in case.results.ledger if row.change_from and MITIGATION.fullmatch(row.stage)]
    hits = sum(math.isfinite(row.change) and math.isfinite(row.change_ci_low) for row in rows)
    return share(hits, len(rows), "changes of a gap by a mitigation with an interval", "mitigation")
