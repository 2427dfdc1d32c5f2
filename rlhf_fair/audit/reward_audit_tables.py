"""The tables of the audit ``reward``: each answers the question that is its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.audit.findings import Measurement
from rlhf_fair.audit.reward_audit_measurements import PARTIALLED
from rlhf_fair.audit.reward_audit_plan import RewardPlan
from rlhf_fair.probes import reward_pairs as pairs
from rlhf_fair.probes import reward_preferences as preferences
from rlhf_fair.probes import reward_selection as selection
from rlhf_fair.probes import reward_terms as terms

Table = dict[str, Any]
RELIABILITY = "observed against predicted choices"
"""A table's name: rows of attribute, group, raters (of the group), low and high (of the bin), predicted (its mean),
observed, ci_low, ci_high and n, of the probability that a rater chooses the first of two answers."""


def reward_tables(
    records: pd.DataFrame, plan: RewardPlan, measurements: Sequence[Measurement], rng: np.random.Generator
) -> tuple[dict[str, Table], list[str]]:
    """Question -> table, those without rows left out; and sentences for the limits.

    ``measurements``: of the same records, so that what takes long is not computed twice.
    """
    of = {probe: rows.dropna(axis="columns", how="all") for probe, rows in records.groupby("probe", sort=False)}
    made: dict[str, Table] = {}
    told: list[str] = []
    scored = {probe for probe, rows in of.items() if "reward" in rows}
    if pairs.PROBE in scored:
        made["How often does a preference flip, beside the null controls?"] = flip_table(of[pairs.PROBE], plan)
        made["Does the gap remain with length and refusal partialled out?"] = partialled_table(
            of[pairs.PROBE], measurements
        )
        made["Does the gap differ between domains?"] = domain_table(of[pairs.PROBE])
    if preferences.PROBE in scored:
        table = preferences.quality_table(
            of[preferences.PROBE], least=plan.choices.least, alpha=plan.policy.alpha, rng=rng
        )
        made["Whose preferences does the model know worst?"] = table
        told += _worst(table)
    if terms.PROBE in scored:
        made["Which identity terms are read worst?"] = term_table(measurements)
    if selection.PROBE in scored and plan.best_of_n is not None:
        selected = selection.selection(of[selection.PROBE], plan.best_of_n.sizes)
        made["How does the gap in what is selected grow with n?"] = selection.growth_table(
            selected, alpha=plan.policy.alpha, rng=rng
        )
    return {name: table for name, table in made.items() if table.get("rows")}, told


def reliability_table(records: pd.DataFrame, plan: RewardPlan) -> Table:
    """Observed against predicted shares of choices, bin by bin, of every group that is large enough; `RELIABILITY`."""
    of = records[records["probe"] == preferences.PROBE].dropna(axis="columns", how="all")
    if of.empty or "reward" not in of:
        return {}
    rows = preferences.reliability(of, least=plan.choices.least, alpha=plan.policy.alpha)
    return as_rows(pd.DataFrame(rows)) if rows else {}


def flip_table(records: pd.DataFrame, plan: RewardPlan) -> Table:
    """Flip rates of every attribute and control."""
    rows = []
    for m in pairs.flip_rates(records, alpha=plan.policy.alpha):
        e = m.estimate
        rows.append(
            {
                "attribute": m.attribute,
                "said_in": m.variant,
                "flip_rate": e.estimate,
                "low": e.ci_low,
                "high": e.ci_high,
                "pairs": e.n,
                "role": "null control" if m.attribute in pairs.NULLS else "identity",
            }
        )
    return as_rows(pd.DataFrame(rows))


def partialled_table(records: pd.DataFrame, measurements: Sequence[Measurement]) -> Table:
    """Each group's gap as it is and at equal length and refusal."""
    identity = records[~records["attribute"].isin(pairs.NULLS)]
    gaps = [m for m in measurements if m.probe == pairs.PROBE and m.metric == pairs.GAP]
    raw = [m for m in gaps if m.role == "claim"]
    left = {(m.attribute, m.group, m.variant.partition(",")[0]): m for m in gaps if PARTIALLED in m.variant}
    lengths = identity.groupby(["attribute", "kind", "group"])["length_difference"].mean()
    rows = []
    for m in raw:
        e, partialled = m.estimate, left[m.attribute, m.group, m.variant].estimate
        rows.append(
            {
                "attribute": m.attribute,
                "group": m.group,
                "reference": m.reference,
                "said_in": m.variant,
                "gap": e.estimate,
                "low": e.ci_low,
                "high": e.ci_high,
                "mean_length_difference_in_characters": lengths[m.attribute, m.variant, m.group],
                "gap_partialled": partialled.estimate,
                "partialled_low": partialled.ci_low,
                "partialled_high": partialled.ci_high,
            }
        )
    return as_rows(pd.DataFrame(rows))


def domain_table(records: pd.DataFrame) -> Table:
    """Mean gaps by attribute and domain; what a group's overall gap is made of, without intervals."""
    identity = records[~records["attribute"].isin(pairs.NULLS)]
    wide = identity.pivot_table(
        index=["attribute", "kind", "group"], columns="domain", values="gap", aggfunc="mean", sort=False
    )
    return as_rows(wide.reset_index().rename_axis(columns=None))


def term_table(measurements: Sequence[Measurement]) -> Table:
    """The fifteen terms whose harmless sentences look most harmful."""
    gaps: dict[str, dict[str, Any]] = {}
    for m in (m for m in measurements if m.metric == terms.METRIC):
        row = gaps.setdefault(m.group, {"term": m.group})
        row[f"{m.variant}_gap"] = m.estimate.estimate
    table = pd.DataFrame(list(gaps.values()))
    return as_rows(table.sort_values("BPSN AUC_gap", kind="stable").head(15))


def as_rows(table: pd.DataFrame) -> Table:
    """Columns in order and rows of plain values; NaN becomes None."""
    cells = table.astype(object).where(table.notna(), None)
    return {"columns": [str(name) for name in table.columns], "rows": cells.to_numpy().tolist()}


def _worst(table: Table) -> list[str]:
    """One sentence on the worst-served group of each attribute."""
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    said = []
    for attribute in dict.fromkeys(row["attribute"] for row in rows):
        mine = [row for row in rows if row["attribute"] == attribute and row["accuracy"] is not None]
        if len(mine) > 1:
            worst = min(mine, key=lambda row: row["accuracy"])
            said.append(
                f"Worst served by {attribute}: {worst['group']}, with {worst['accuracy']:.1%} of choices right; the "
                "lowest of several groups is low partly by chance."
            )
    return said
