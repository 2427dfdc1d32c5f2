"""The gaps of a generation audit: every scorer's between groups, and beside them those of refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd

from rlhf_fair.audit.findings import Measurement
from rlhf_fair.audit.generation import PROBE, REFUSAL, SCORE, GenerationPlan
from rlhf_fair.audit.own_prompts import paired_gap
from rlhf_fair.metrics.gaps import gap_to_reference, group_labels, group_names
from rlhf_fair.probes.missing import UNMEASURED, measured_rate
from rlhf_fair.probes.scorers import ScorerPlan, score_range
from rlhf_fair.records import INTERSECTION, Estimate, Role
from rlhf_fair.stats.equivalence import p_value_beyond
from rlhf_fair.stats.no_change import Range, with_no_change_limits
from rlhf_fair.stats.rate_differences import rates_contrast


@dataclass(frozen=True)
class Comparison:
    """A group of an attribute, or of the attributes' intersection, and the group it is compared with."""

    attribute: str
    group: str
    reference: str
    role: Role

    def chosen(self, records: pd.DataFrame) -> pd.DataFrame:
        """The rows of the group."""
        return records[group_labels(records, self.attribute) == self.group]


def comparisons(records: pd.DataFrame, plan: GenerationPlan) -> list[Comparison]:
    """Every group against its reference, for each attribute (claims) and for their intersections (exploratory)."""
    asked: list[tuple[str, str, Role]] = [(a.column, a.reference, "claim") for a in plan.attributes]
    if plan.intersections and len(plan.attributes) > 1:
        reference = " & ".join(attribute.reference for attribute in plan.attributes)
        asked.append((INTERSECTION.join(plan.columns), reference, "exploratory"))
    return [
        Comparison(attribute, group, reference, role)
        for attribute, reference, role in asked
        for group in group_names(group_labels(records, attribute))
        if group != reference
    ]


def measure(
    records: pd.DataFrame, plan: GenerationPlan, stage: str, *, ranges: Mapping[str, Range] | None = None
) -> list[Measurement]:
    """All `comparisons` by all scorers with clustered intervals, for a number of records that was fixed beforehand.

    The unit is the prompt: with several samples its score is the mean of those that were measured, and ``n`` counts
    prompts. A cluster holds whole prompts, so that answers to one prompt are never taken for independent. ``ranges``:
    column of scores -> the lowest and the highest there can be, default what the plan alone tells; where groups are
    answered alike throughout, limits follow from them: see `rlhf_fair.stats.no_change`.
    """
    known = {plan.column(scorer): score_range(scorer) for scorer in plan.scorers} | dict(ranges or {})
    return [
        _score_gap(records, values, c, scorer, Measuring(plan, stage, known[plan.column(scorer)]))
        for scorer in plan.scorers
        for values in [per_prompt(records, records[plan.column(scorer)], plan)]
        for c in comparisons(records, plan)
    ]


def refusal_gaps(records: pd.DataFrame, plan: GenerationPlan, stage: str) -> list[Measurement]:
    """The gap in the rate of answers that open like a refusal, among those that came, for all `comparisons`.

    Range [-1, 1]; 0 = parity. Exploratory, unless the plan's scores leave some out, where who is refused more often is
    a part of the claim, or its policy has limits for the metric ``refusal``.
    """
    given = refused(records)
    values = per_prompt(records, given, plan)
    claimed = REFUSAL in plan.policy.metrics or (plan.refusals == "left out" and bool(given.any()))
    return [
        Measurement(
            estimate=_gap(values, c, plan, scores=(0.0, 1.0), rates=True),
            stage=stage,
            probe=PROBE,
            metric=REFUSAL,
            attribute=c.attribute,
            group=c.group,
            reference=c.reference,
            role=c.role if claimed else "exploratory",
            unit="share of answers",
            parse_rate=float(c.chosen(records)["answered"].mean()),
            refusal_rate=refusal_rate(c.chosen(records)),
            measured_rate=_measured_rate(records, given.notna(), c),
        )
        for c in comparisons(records, plan)
    ]


def refused(records: pd.DataFrame) -> pd.Series:
    """1 for an answer that opens like a refusal, 0 for another, NaN where none came."""
    return records["refusal"].astype(float).where(records["answered"].astype(bool))


def unmeasured_gaps(records: pd.DataFrame, plan: GenerationPlan, stage: str) -> list[Measurement]:
    """The gap in the share of answers that a scorer has no number for, for all `comparisons`, where there are some.

    Range [-1, 1]; 0 = parity. Exploratory.
    """
    return [
        replace(
            measurement(records, c, _gap(values, c, plan, scores=(0.0, 1.0), rates=True), scorer, stage, column=column),
            metric=UNMEASURED,
            role="exploratory",
            variant=f"{scorer.quantity} by {scorer.name}",
            unit="share of answers",
            measured_rate=1.0,
        )
        for scorer in plan.scorers
        for column in [plan.column(scorer)]
        if records[column].isna().any()
        for values in [per_prompt(records, records[column].isna().astype(float), plan)]
        for c in comparisons(records, plan)
    ]


def per_prompt(records: pd.DataFrame, values: pd.Series, plan: GenerationPlan) -> pd.DataFrame:
    """The records with ``values`` as ``score``; with several samples one row per prompt, their mean (NaN: none)."""
    rows = records.assign(**{SCORE: values})
    if plan.n_samples == 1:
        return rows  # an audit that may stop early can draw a prompt twice: these are draws, not samples
    means = rows.groupby("prompt_id", sort=False)[SCORE].mean()
    one = rows.drop_duplicates("prompt_id")
    return one.assign(**{SCORE: one["prompt_id"].map(means)})


def measurement(
    records: pd.DataFrame,
    compared: Comparison,
    estimate: Estimate,
    scorer: ScorerPlan,
    stage: str,
    *,
    column: str = SCORE,
) -> Measurement:
    """``estimate`` with what it is an estimate of, and the group's rates of parsed and refused answers."""
    rows = compared.chosen(records)
    return Measurement(
        estimate=estimate,
        stage=stage,
        probe=PROBE,
        metric=scorer.quantity,
        attribute=compared.attribute,
        group=compared.group,
        reference=compared.reference,
        role=compared.role,
        unit=scorer.unit,
        parse_rate=float(rows[column].notna().mean()),
        refusal_rate=refusal_rate(rows),
        measured_rate=_measured_rate(records, records[column].notna(), compared),
    )


def refusal_rate(records: pd.DataFrame) -> float:
    """Share of the answers that came which open like a refusal; NaN without answers."""
    return float(records.loc[records["answered"].astype(bool), "refusal"].mean())


def _measured_rate(records: pd.DataFrame, entered: pd.Series, c: Comparison) -> float:
    return measured_rate(entered, group_labels(records, c.attribute), {c.group: 1.0, c.reference: -1.0})


@dataclass(frozen=True)
class Measuring:
    """By which plan, at which stage, and between which lowest and highest scores."""

    plan: GenerationPlan
    stage: str
    scores: Range


def _score_gap(
    records: pd.DataFrame, values: pd.DataFrame, c: Comparison, scorer: ScorerPlan, way: Measuring
) -> Measurement:
    plan = way.plan
    gap = partial(_gap, values, c, plan, scores=way.scores)
    estimate = gap()
    beyond = p_value_beyond(plan.policy.limits(scorer.quantity).threshold, lambda null: gap(null=null), estimate)
    measured = measurement(records, c, estimate, scorer, way.stage, column=plan.column(scorer))
    rate = measured.measured_rate
    if plan.counterfactual is not None and (pairs := estimate.n + estimate.n_left_out):
        rate = min(rate, estimate.n / pairs)  # a pair needs both of its versions
    return replace(measured, variant=plan.variant(scorer), p_threshold=beyond, measured_rate=rate)


def _gap(
    values: pd.DataFrame,
    c: Comparison,
    plan: GenerationPlan,
    *,
    scores: Range,
    rates: bool = False,
    null: float = 0.0,
) -> Estimate:
    """Within original prompts where the plan pairs them, else between the groups' means."""
    groups, alpha = (c.attribute, c.group, c.reference), plan.policy.alpha
    if plan.counterfactual is not None:
        return paired_gap(values, *groups, clusters=plan.clusters, alpha=alpha, scores=scores, rates=rates, null=null)
    labels, ways = group_labels(values, c.attribute), [values[column] for column in plan.clusters]
    data: tuple[Any, ...] = (values[SCORE], labels, {c.group: 1.0, c.reference: -1.0})
    if rates:
        return rates_contrast(*data, clusters=ways, null=null, alpha=alpha)
    e = gap_to_reference(values, *groups, clusters=plan.clusters, alpha=alpha, null=null)
    return with_no_change_limits(e, *data, scores=scores, clusters=ways, alpha=alpha)
