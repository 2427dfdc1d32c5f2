"""Ratings of single texts in the audit ``reward``: whose ratings the model foretells, as claims and as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.audit.findings import Measurement
from rlhf_fair.audit.reward_audit_plan import RewardPlan
from rlhf_fair.audit.reward_audit_tables import Table, as_rows
from rlhf_fair.probes import reward_ratings as ratings
from rlhf_fair.probes.reward_feedback import groupings
from rlhf_fair.probes.reward_pairs import ACCURACY
from rlhf_fair.probes.reward_preferences import OTHERS
from rlhf_fair.probes.reward_rating_quality import GroupQuality, rating_quality
from rlhf_fair.records import Estimate, Role

QUESTION = "Whose ratings does the model foretell worst?"
VARIANT = "ratings of raters"
METRICS: Mapping[str, tuple[str, Role, str]] = {
    "accuracy": (ACCURACY, "claim", "share of pairs"),
    "pearson": ("rating_correlation_gap", "exploratory", "correlation"),
    "slope": ("rating_slope_gap", "exploratory", "SD of rating per SD of reward"),
    "level": ("rating_level_gap", "exploratory", "SD of rating"),
}
"""Name of a gap -> the metric's name, its role and its unit."""
SEED = 5
"""So that the draws of this part are not those of another with the same seed of the plan."""


def qualities_of(records: pd.DataFrame, plan: RewardPlan, *, intervals: bool = True) -> list[GroupQuality]:
    """The quality for every group, with the plan's seed; nothing where no rating is among the records."""
    rows = records[records["probe"] == ratings.PROBE].dropna(axis="columns", how="all")
    if rows.empty:
        return []
    if "reward" not in rows:
        rows = rows.assign(reward=float("nan"))
    rng = np.random.default_rng([plan.seed, SEED])
    return rating_quality(rows, least=plan.choices.least, alpha=plan.policy.alpha, rng=rng, intervals=intervals)


def rating_measurements(qualities: Sequence[GroupQuality], stage: str) -> list[Measurement]:
    """Each group less all others: pairwise accuracy as a claim, correlation, slope and level beside it."""
    found = []
    for one in qualities:
        for name, (metric, role, unit) in METRICS.items():
            found.append(
                Measurement(
                    estimate=one.gaps[name],
                    stage=stage,
                    probe=ratings.PROBE,
                    metric=metric,
                    attribute=one.grouping.name,
                    group=one.group,
                    reference=OTHERS,
                    role=role,
                    variant=VARIANT,
                    unit=unit,
                    measured_rate=one.measured,
                )
            )
    return found


def rating_table(qualities: Sequence[GroupQuality]) -> Table:
    """One row for each group, worst first within its attribute; groups that are too small last, with the reason."""
    rows = [_row(one) for one in qualities]
    rows.sort(key=lambda row: (row["attribute"], math.isnan(row["accuracy"]), row["accuracy"]))
    return as_rows(pd.DataFrame(rows))


def told_of_ratings(records: pd.DataFrame, qualities: Sequence[GroupQuality]) -> list[str]:
    """For the limits: the worst group of each attribute, and how many ratings are of no known group."""
    said = []
    for attribute in dict.fromkeys(one.grouping.name for one in qualities):
        mine = [q for q in qualities if q.grouping.name == attribute and math.isfinite(q.values["accuracy"].estimate)]
        if len(mine) > 1:
            worst = min(mine, key=lambda q: q.values["accuracy"].estimate)
            share = worst.values["accuracy"].estimate
            said.append(
                f"Ratings foretold worst by {attribute}: {worst.group}, with {share:.1%} of pairs in order; the lowest "
                "of several groups is low partly by chance."
            )
    rows = records[records["probe"] == ratings.PROBE]
    for grouping in groupings(rows, ratings.TOLD):
        if unknown := int(rows[grouping.column].isna().sum()):
            said.append(
                f"Ratings: {unknown:,} of {len(rows):,} have no known {grouping.name} and are in no group of it."
            )
    return said


def _row(one: GroupQuality) -> dict[str, Any]:
    accuracy, pearson, slope, level = (one.values[name] for name in METRICS)
    return {
        "attribute": one.grouping.name,
        "group": one.group,
        "ratings": one.n,
        "raters": one.raters,
        "texts": one.items,
        "pairs": one.pairs,
        **_three("accuracy", accuracy),
        **_three("Pearson_r", pearson),
        "ceiling_of_r": one.ceiling,
        **_three("Spearman_r", one.values["spearman"]),
        **_three("calibration_slope", slope),
        **_three("level", level),
        "not_measured": accuracy.reason if math.isnan(accuracy.estimate) else one.ceiling_reason,
    }


def _three(name: str, e: Estimate) -> dict[str, float]:
    return {name: e.estimate, f"{name}_low": e.ci_low, f"{name}_high": e.ci_high}
