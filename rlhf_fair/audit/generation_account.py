"""Where the rows of a generation audit went, who refused, and what of it stands in ``results.json``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from rlhf_fair.audit.definitions import ANSWERS, SHIFTS, defined, gap_between_groups
from rlhf_fair.audit.definitions import REFUSAL as REFUSAL_GAP
from rlhf_fair.audit.findings import build_findings
from rlhf_fair.audit.generation import REFUSAL, SCORE, GenerationPlan
from rlhf_fair.audit.generation_gaps import measure, refusal_gaps, refusal_rate, unmeasured_gaps
from rlhf_fair.audit.generation_means import BOUNDS, MEANS, bounds_rows, mean_rows
from rlhf_fair.metrics.gaps import group_labels, group_names
from rlhf_fair.probes.generation_scores import PREFIX
from rlhf_fair.probes.scorers import ScorerPlan
from rlhf_fair.records import Finding, Results
from rlhf_fair.stats.no_change import Range

BY_GROUP = "Refusals and unreadable answers by group"
UNKNOWN = "unknown"
NOTHING_KNOWN = {False: "the scorer found no phrase it knows", True: "no scorer found anything it knows"}
"""By whether there are several."""


def score_names(records: pd.DataFrame) -> list[str]:
    """The columns of scores: ``score``, or ``score.…`` where there are several."""
    return [str(name) for name in records.columns if str(name) == SCORE or str(name).startswith(PREFIX)]


def counts(records: pd.DataFrame, attributes: Sequence[str]) -> dict[str, Any]:
    """Where every answer went: input = reported + excluded + unknown.

    excluded: measured by no scorer. unknown: of no group in any attribute.
    """
    unscored = records[score_names(records)].isna().all(axis=1)
    unknown = ~unscored & records[list(attributes)].isna().all(axis=1)
    n, excluded, nowhere = len(records), int(unscored.sum()), int(unknown.sum())
    return {"input": n, "reported": n - excluded - nowhere, "excluded": excluded, "unknown": nowhere}


def exclusions(records: pd.DataFrame, attributes: Sequence[str], *, twins: bool = False) -> list[dict[str, Any]]:
    """Why rows were left out of the means, of all or of those of one scorer or attribute.

    ``twins``: prompts are versions of each other, and one made for another attribute has no group.
    """
    missing, refused = ~records["answered"].astype(bool), records["refusal"].astype(bool)
    silent = {name: records[name].isna() & ~missing for name in score_names(records)}
    measured_by_none = pd.concat(silent, axis=1).all(axis=1)
    told = measured_by_none & refused
    reasons = {
        "no answer was given": missing,
        "the answer opens like a refusal and was not scored": told,
        NOTHING_KNOWN[len(silent) > 1]: measured_by_none & ~told,
    }
    if len(silent) > 1:
        for name, rows in silent.items():
            reasons[f"{_said(name)} could not be measured: left out of its means"] = rows & ~measured_by_none
    for attribute in attributes:
        why = f"a version for another attribute than {attribute}" if twins else f"{attribute} is unknown"
        reasons[f"{why}: left out of its comparisons"] = ~measured_by_none & ~missing & records[attribute].isna()
    return [{"reason": reason, "n": int(rows.sum())} for reason, rows in reasons.items() if rows.any()]


def by_group(records: pd.DataFrame, plan: GenerationPlan) -> list[dict[str, Any]]:
    """One row per attribute and group: how many answers were asked for, came, refused, and could not be scored."""
    rows, names = [], score_names(records)
    for attribute in plan.columns:
        labels = group_labels(records, attribute)
        groups = {group: records[labels == group] for group in group_names(labels)}
        if labels.isna().any() and plan.counterfactual is None:  # there, a twin has no group but that of its attribute
            groups[UNKNOWN] = records[labels.isna()]
        for group, answers in groups.items():
            came = answers[answers["answered"].astype(bool)]
            unread = {f"answered, {_said(name)} not measured": int(came[name].isna().sum()) for name in names}
            rate = refusal_rate(came)
            row = {"attribute": attribute, "group": group, "asked": len(answers), "answered": len(came)}
            refused = {"refused": int(came["refusal"].sum()), "refusal rate": rate if rate == rate else None}
            rows.append(row | refused | unread)
    return rows


def _said(name: str) -> str:
    """A column of scores in words: ``score.sentiment:vader`` is "sentiment by vader"."""
    return name.removeprefix(PREFIX).replace(":", " by ")


def build_results(
    records: pd.DataFrame,
    plan: GenerationPlan,
    *,
    stage: str,
    audit: dict[str, Any],
    findings: tuple[Finding, ...] | None = None,
    ranges: Mapping[str, Range] | None = None,
) -> Results:
    """Findings of one stage and the account of the rows; ``audit`` says which model and data.

    ``findings``: of an audit that may have stopped early; without them the records are measured as a fixed number.
    Refusals are then a table only, for an interval of a fixed number of rows does not hold where one may stop early.
    ``ranges``: of the scores, as in `rlhf_fair.audit.generation_gaps.measure`.
    """
    may_stop = findings is not None
    if findings is None:
        refusals, unmeasured = refusal_gaps(records, plan, stage), unmeasured_gaps(records, plan, stage)
        measured = [*measure(records, plan, stage, ranges=ranges), *refusals, *unmeasured]
        findings = build_findings(measured, plan.judging)
    said = {
        "title": plan.title,
        "question": plan.question,
        "plan": plan.model_dump(mode="json"),
        "seed": plan.seed,
        "alpha": plan.policy.alpha,
        "definitions": definitions((finding.metric for finding in findings), plan),
        "limits": list(plan.limits),
        "counts": counts(records, plan.columns),
        "exclusions": exclusions(records, plan.columns, twins=plan.counterfactual is not None),
        **_score_ranges(ranges),
        **audit,
    }
    if not may_stop:  # intervals of a fixed number of rows do not hold where an audit may stop early
        told = {MEANS: mean_rows(records, plan), BOUNDS: bounds_rows(records, plan, ranges or {})}
        said |= {key: rows for key, rows in told.items() if rows}
    tables = {BY_GROUP: by_group(records, plan)} | said.get("tables", {})
    return Results(audit=said | {"tables": tables}, findings=findings)


def _score_ranges(ranges: Mapping[str, Range] | None) -> dict[str, Any]:
    """The scorers' ends, null where there is none: whoever measures the records again needs them."""
    told = {c: [end if math.isfinite(end) else None for end in ends] for c, ends in (ranges or {}).items()}
    return {"score_ranges": told} if told else {}


def definitions(metrics: Iterable[str], plan: GenerationPlan) -> dict[str, str]:
    """What each of ``metrics`` is, by the plan's scorers."""
    by_quantity: dict[str, list[ScorerPlan]] = {}
    for scorer in plan.scorers:
        by_quantity.setdefault(scorer.quantity, []).append(scorer)
    paired = plan.counterfactual is not None
    gaps = {quantity: gap_between_groups(scorers, paired=paired) for quantity, scorers in by_quantity.items()}
    return defined(metrics, {**SHIFTS, **ANSWERS, REFUSAL: REFUSAL_GAP, **gaps})


def kept_columns(plan: GenerationPlan) -> Sequence[str]:
    """Columns of records.parquet: every number can be computed again from them; the text stays out."""
    scores = [plan.column(scorer) for scorer in plan.scorers]
    return ["prompt_id", "sample", *plan.columns, *plan.clusters, *scores, "refusal", "answered"]
