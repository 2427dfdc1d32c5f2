"""Gaps between rater groups: as rated, on the same items, and from one type of item to another.

Ratings by one person are alike, and so are ratings of one item: every interval is clustered by both, crossed. Forty
raters with seven hundred ratings each are forty witnesses, not twenty-eight thousand.

Limit: with few items, where groups also differ more on some than on others, intervals are somewhat too narrow; 12 items
crossed with 60 raters cover .92 where .95 is meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.audit.findings import Measurement
from rlhf_fair.audit.panel_feedback_attributes import NO_GROUPS, cross, cross_name
from rlhf_fair.audit.panel_feedback_cells import UNMAPPED
from rlhf_fair.audit.panel_feedback_plan import PANEL_FEEDBACK, AttributePlan, FeedbackPlan, ItemTypePlan
from rlhf_fair.records import Estimate, Role
from rlhf_fair.stats.contrasts import contrast_estimate, mean_estimate
from rlhf_fair.stats.within import within_estimate

STAGE = "feedback"
GAP, DIFFERENCE_OF_GAPS = "mean_rating_gap", "difference_of_gaps"
SAME_ITEMS, INTERSECTIONS = "same_items", "intersection"
POINTS = 100.0
"""Scores run from 0 to 100."""


class Sizes:
    """How many raters (or, where there are none, ratings) stand behind a group, and whether they are enough."""

    def __init__(self, records: pd.DataFrame, plan: FeedbackPlan) -> None:
        self.records, self.plan = records, plan
        self.unit = "rater" if "rater" in records else "item"

    def count(self, labels: pd.Series, group: str) -> int:
        """Distinct raters (items) with a rating in the group."""
        return int(self.records.loc[labels == group, self.unit].nunique())

    def lacking(self, labels: pd.Series, *groups: str) -> Estimate | None:
        """The estimate that is none, where one of ``groups`` is too small to speak of."""
        for group in groups:
            n = self.count(labels, group)
            if n < self.plan.min_raters:
                reason = f"{group}: {n} {self.unit}{'' if n == 1 else 's'}, the plan asks for {self.plan.min_raters}"
                return Estimate.not_estimable(reason, n=int((labels == group).sum()), n_clusters=n)
        return None


def clusters(records: pd.DataFrame) -> list[pd.Series]:
    """The ways in which ratings belong together: one rater, one item."""
    return [records[name] for name in ("rater", "item") if name in records]


def groups_of(labels: pd.Series, reference: str) -> list[str]:
    """Groups to compare with the reference, in order of name."""
    return sorted(set(labels) - {*NO_GROUPS, UNMAPPED, reference})


def measure(records: pd.DataFrame, attributes: Sequence[AttributePlan], plan: FeedbackPlan) -> list[Measurement]:
    """Every estimate of the audit that becomes a finding."""
    found = []
    for attribute in attributes:
        labels = records[attribute.name]
        found += _gaps(records, labels, attribute.name, attribute.reference, attribute.role, plan)
    for attribute in attributes:
        found += _gaps_on_same_items(records, attribute, plan)
    for names in plan.intersections:
        labels = cross(records, names)
        reference = " & ".join(plan.attribute(name).reference for name in names)
        found += _gaps(records, labels, cross_name(names), reference, "exploratory", plan, INTERSECTIONS)
    if plan.item_type is not None:
        for attribute in attributes:
            if attribute.interaction:
                found += _differences_of_gaps(records, attribute, plan.item_type, plan)
    return found


def _gaps(
    records: pd.DataFrame,
    labels: pd.Series,
    attribute: str,
    reference: str,
    role: Role,
    plan: FeedbackPlan,
    variant: str = "",
) -> list[Measurement]:
    sizes = Sizes(records, plan)
    return [
        _measurement(
            sizes.lacking(labels, group, reference) or contrast(records, labels, {group: 1.0, reference: -1.0}, plan),
            plan,
            attribute=attribute,
            group=group,
            reference=reference,
            role=role,
            variant=variant,
        )
        for group in groups_of(labels, reference)
    ]


def _gaps_on_same_items(records: pd.DataFrame, attribute: AttributePlan, plan: FeedbackPlan) -> list[Measurement]:
    labels, sizes, policy = records[attribute.name], Sizes(records, plan), plan.policy
    return [
        _measurement(
            sizes.lacking(labels, group, attribute.reference)
            or within_estimate(
                records["score"],
                labels,
                group,
                attribute.reference,
                items=records["item"],
                clusters=clusters(records),
                weights=records["weight"],
                alpha=policy.alpha,
                power=policy.power,
            ),
            plan,
            attribute=attribute.name,
            group=group,
            reference=attribute.reference,
            role="exploratory",
            variant=SAME_ITEMS,
        )
        for group in groups_of(labels, attribute.reference)
    ]


def _differences_of_gaps(
    records: pd.DataFrame, attribute: AttributePlan, item_type: ItemTypePlan, plan: FeedbackPlan
) -> list[Measurement]:
    """(group - reference) on one type of item, minus the same on the reference type."""
    found, sizes = [], Sizes(records, plan)
    cells = typed(records, attribute)
    reference, base = attribute.reference, item_type.reference
    for group in groups_of(records[attribute.name], reference):
        for kind in sorted(set(records["item_type"].dropna()) - {base, UNMAPPED}):
            corners = [cell(g, t) for g in (group, reference) for t in (kind, base)]
            coefficients = dict(zip(corners, (1.0, -1.0, -1.0, 1.0), strict=True))
            estimate = sizes.lacking(cells, *corners) or contrast(records, cells, coefficients, plan)
            found.append(
                _measurement(
                    estimate,
                    plan,
                    attribute=cross_name([attribute.name, item_type.name]),
                    group=cell(group, kind),
                    reference=cell(reference, base),
                    role="exploratory",
                    metric=DIFFERENCE_OF_GAPS,
                )
            )
    return found


def typed(records: pd.DataFrame, attribute: AttributePlan) -> pd.Series:
    """Labels ``woman on vulgar posts``: rater group and type of the item; empty where either is missing."""
    label = records[attribute.name]
    known = ~label.isin([*NO_GROUPS, UNMAPPED]) & records["item_type"].notna()
    return (label + " on " + records["item_type"].fillna("").astype(str)).where(known, "")


def cell(group: str, kind: str) -> str:
    """``woman on vulgar posts``."""
    return f"{group} on {kind}"


def contrast(records: pd.DataFrame, labels: pd.Series, coefficients: dict[str, float], plan: FeedbackPlan) -> Estimate:
    """A contrast of mean scores, clustered by rater and item."""
    rows = labels.isin(list(coefficients))
    part, policy = records[rows], plan.policy
    values, rates = _rates_or_scores(part, plan)
    e = contrast_estimate(
        values,
        labels[rows].to_numpy(object),
        coefficients,
        clusters=[way.to_numpy() for way in clusters(part)],
        weights=part["weight"].to_numpy(float),
        rates=rates,
        alpha=policy.alpha,
        power=policy.power,
    )
    return _in_points(e) if rates else e


def group_mean(records: pd.DataFrame, plan: FeedbackPlan) -> Estimate:
    """The mean score of ``records``, clustered by rater and item."""
    ways = [way.to_numpy() for way in clusters(records)]
    weights = records["weight"].to_numpy(float)
    values, rates = _rates_or_scores(records, plan)
    e = mean_estimate(values, clusters=ways, weights=weights, rates=rates, alpha=plan.policy.alpha)
    return _in_points(e) if rates else e


def _rates_or_scores(records: pd.DataFrame, plan: FeedbackPlan) -> tuple[NDArray[np.float64], bool]:
    """(n,) 0 and 1 and True where the plan's scale has two values, else the scores, from 0 to 100, and False."""
    scores = records["score"].to_numpy(float)
    if not plan.ratings.two_valued:
        return scores, False
    return np.round(scores / POINTS), True  # the upper end of the scale can miss 100 by a rounding


def _in_points(rate: Estimate) -> Estimate:
    """An estimate of rates from 0 to 1 in points from 0 to 100."""
    lengths = ("estimate", "ci_low", "ci_high", "standard_error", "mde")
    return rate.model_copy(update={name: POINTS * getattr(rate, name) for name in lengths})


def _measurement(estimate: Estimate, plan: FeedbackPlan, *, metric: str = GAP, **what: Any) -> Measurement:
    unit = f"points of {plan.ratings.name}"
    return Measurement(estimate=estimate, stage=STAGE, probe=PANEL_FEEDBACK, metric=metric, unit=unit, **what)
