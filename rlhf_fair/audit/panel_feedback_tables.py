"""What stands beside the findings of ``panel-feedback``: means, the account of rows, item types, agreement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.audit.findings import Measurement
from rlhf_fair.audit.panel_feedback_attributes import NO_GROUPS, account
from rlhf_fair.audit.panel_feedback_cells import UNMAPPED
from rlhf_fair.audit.panel_feedback_clustering import clustering_rows
from rlhf_fair.audit.panel_feedback_estimates import (
    DIFFERENCE_OF_GAPS,
    SAME_ITEMS,
    Sizes,
    cell,
    contrast,
    group_mean,
    groups_of,
    typed,
)
from rlhf_fair.audit.panel_feedback_plan import AttributePlan, FeedbackPlan
from rlhf_fair.audit.panel_feedback_table import Ratings
from rlhf_fair.records import Estimate
from rlhf_fair.stats.agreement import krippendorff_alpha
from rlhf_fair.stats.corrections import benjamini_hochberg
from rlhf_fair.stats.group_agreement import MOST_VALUES, GroupAgreement, group_agreement

FEW = "few raters"

Table = dict[str, Any]
Progress = Callable[[str, int, int], None]


def mean_table(
    records: pd.DataFrame, attributes: Sequence[AttributePlan], plan: FeedbackPlan, low: float, high: float
) -> Table:
    """Every group's mean with its interval; groups that were not compared are listed with their counts."""
    rows, sizes = [], Sizes(records, plan)
    for attribute in attributes:
        labels = records[attribute.name]
        for group in sorted(set(labels)):
            part = records[labels == group]
            lacking = sizes.lacking(labels, group)
            mean = lacking or group_mean(part, plan)
            told = group not in NO_GROUPS and lacking is None
            rows.append(
                {
                    "attribute": attribute.name,
                    "group": group + (" (reference)" if group == attribute.reference else ""),
                    "ratings": len(part),
                    "raters": part["rater"].nunique() if "rater" in part else None,
                    "items": part["item"].nunique(),
                    "mean": round(mean.estimate, 2) if told else None,
                    "from": round(mean.ci_low, 2) if told else None,
                    "to": round(mean.ci_high, 2) if told else None,
                    f"on {low:g} to {high:g}": round(low + mean.estimate * (high - low) / 100, 4) if told else None,
                    "note": "no group" if group in NO_GROUPS else "too few" if lacking else mean.reason,
                }
            )
    return _plain(pd.DataFrame(rows))


def account_table(records: pd.DataFrame, attributes: Sequence[AttributePlan], ratings: Ratings) -> Table:
    """See `account`."""
    return _plain(pd.DataFrame(account(records, [a.name for a in attributes], len(ratings.rejects))))


def same_items_table(measurements: Sequence[Measurement]) -> Table:
    """Each gap as rated beside the gap on the same items: do they tell one story?"""
    within = {(m.attribute, m.group): m.estimate for m in measurements if m.variant == SAME_ITEMS}
    rows = []
    for m in measurements:
        same = within.get((m.attribute, m.group))
        if m.variant or m.metric == DIFFERENCE_OF_GAPS or same is None or np.isnan(m.estimate.estimate):
            continue
        rows.append(
            {
                "attribute": m.attribute,
                "comparison": f"{m.group} against {m.reference}",
                **_interval(m.estimate),
                **_interval(same, "same items: "),
                "ratings": same.n,
            }
        )
    return _plain(pd.DataFrame(rows))


def clustering_table(measurements: Sequence[Measurement], records: pd.DataFrame, plan: FeedbackPlan) -> Table:
    """See `clustering_rows`: what would differ if every rating were independent?"""
    return _plain(pd.DataFrame(clustering_rows(records, measurements, plan)))


def item_type_table(records: pd.DataFrame, attributes: Sequence[AttributePlan], plan: FeedbackPlan) -> Table:
    """The gap on each type of item by itself."""
    rows, sizes = [], Sizes(records, plan)
    for attribute in (a for a in attributes if a.interaction):
        cells = typed(records, attribute)
        for group in groups_of(records[attribute.name], attribute.reference):
            for kind in sorted(set(records["item_type"].dropna()) - {UNMAPPED}):
                pair = cell(group, kind), cell(attribute.reference, kind)
                gap = sizes.lacking(cells, *pair) or contrast(records, cells, {pair[0]: 1.0, pair[1]: -1.0}, plan)
                rows.append(
                    {
                        "attribute": attribute.name,
                        "comparison": f"{group} against {attribute.reference}",
                        "item type": kind,
                        **_interval(gap),
                        "n": gap.n,
                        "note": gap.reason,
                    }
                )
    return _plain(pd.DataFrame(rows))


def overall_agreement(records: pd.DataFrame, plan: FeedbackPlan) -> Table:
    """Krippendorff's α over everybody, nominal and at the plan's level."""
    rows = []
    for level in dict.fromkeys(("nominal", plan.ratings.level)):
        found = krippendorff_alpha(records["item"], records["value"], level=level)
        rows.append(
            {
                "level": level,
                "alpha": round(found.alpha, 4),
                "items": found.n_units,
                "ratings": found.n_ratings,
                "alone on their item": found.n_alone,
                "note": found.reason,
            }
        )
    return _plain(pd.DataFrame(rows))


def agreement_table(
    records: pd.DataFrame, attributes: Sequence[AttributePlan], plan: FeedbackPlan, progress: Progress
) -> tuple[Table, tuple[str, ...]]:
    """Agreement inside each group against agreement with everybody else; and sentences on what could not be seen."""
    unmeasured = "Agreement inside groups was not measured: "
    if "rater" not in records:
        return _plain(pd.DataFrame()), (unmeasured + "the file names no raters.",)
    if records["value"].nunique() > MOST_VALUES:
        return _plain(pd.DataFrame()), (unmeasured + f"the ratings have more than {MOST_VALUES} distinct values.",)
    rows: list[dict[str, Any]] = []
    notes = [f"Agreement inside groups leaves out groups with fewer than {plan.min_raters} raters."]
    rng = np.random.default_rng(plan.agreement.seed)
    for done, attribute in enumerate(attributes):
        progress("agreement inside groups", done, len(attributes))
        part = records[~records[attribute.name].isin(NO_GROUPS)]
        found = group_agreement(
            part["item"],
            part["rater"],
            part["value"],
            part[attribute.name],
            level=plan.ratings.level,
            permutations=plan.agreement.permutations,
            rng=rng,
        )
        enough = [group for group in found if group.n_raters >= plan.min_raters]
        rows += [_agreement_row(attribute.name, group, plan) for group in enough]
    progress("agreement inside groups", len(attributes), len(attributes))
    table = pd.DataFrame(rows)
    if table.empty:
        return _plain(table), tuple(notes)
    table.insert(list(table.columns).index("p") + 1, "adjusted p", benjamini_hochberg(table["p"]))
    if (table["note"] == FEW).any():
        notes.append(
            f"Groups marked “{FEW}” have fewer than {plan.agreement.few_raters} raters: within twice the chance SD, "
            "their index of agreement (GAI) could not be told from 1."
        )
    return _plain(table), tuple(notes)


def _agreement_row(attribute: str, group: GroupAgreement, plan: FeedbackPlan) -> dict[str, Any]:
    note = group.reason
    if not note and group.n_raters < plan.agreement.few_raters:
        note = FEW
    numbers = {
        "inside": group.inside,
        "XRR": group.across,
        "difference": group.difference,
        "GAI": group.ratio,
        "p": group.p_difference,
        "chance SD": group.null_sd_ratio,
    }
    shown = {name: round(number, 4) for name, number in numbers.items()}
    return {"attribute": attribute, "group": group.group, "raters": group.n_raters, **shown, "note": note}


def _interval(estimate: Estimate, prefix: str = "") -> dict[str, float]:
    """Points of 100 to two decimals, which is finer than any interval here."""
    numbers = {"gap": estimate.estimate, "from": estimate.ci_low, "to": estimate.ci_high}
    return {prefix + name: round(number, 2) for name, number in numbers.items()}


def _plain(table: pd.DataFrame) -> Table:
    """Columns in order and rows of plain values; NaN becomes None."""
    cells = table.astype(object).where(table.notna(), None)
    return {"columns": list(table.columns), "rows": cells.to_numpy().tolist()}
