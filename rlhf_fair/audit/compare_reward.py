"""Two audits ``reward``, item by item: gaps, flips, accuracies, shortfalls, selection, and whose judgements are known.

Each model's gaps are in SDs of its own reward within a prompt, as each audit told them. So a gap can grow because the
group is paid less, or because answers are told apart less. What takes long is not compared: the AUC of single identity
terms, and gaps with length partialled out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from rlhf_fair.audit.compare_kind import Kind
from rlhf_fair.audit.findings import Measurement
from rlhf_fair.audit.reward_audit_measurements import STAGE, measure_quickly
from rlhf_fair.audit.reward_audit_plan import RewardPlan
from rlhf_fair.audit.reward_audit_ratings import qualities_of, rating_measurements
from rlhf_fair.audit.reward_audit_scores import Unit
from rlhf_fair.probes import (
    reward_dialect,
    reward_pairs,
    reward_preferences,
    reward_ratings,
    reward_selection,
    reward_terms,
)

CLUSTERS: Mapping[str, tuple[str, str]] = {
    reward_pairs.PROBE: ("prompt_id", "term"),
    reward_dialect.PROBE: ("verb", "verb"),
    reward_terms.PROBE: ("opening", "word"),
    reward_selection.PROBE: ("prompt_id", "prompt_id"),
    reward_preferences.PROBE: ("annotator_id", "feedback_item"),
    reward_ratings.PROBE: ("annotator_id", "feedback_item"),
}
"""Probe -> the columns by which its rows belong together, as in its intervals."""
WAYS = ("cluster", "second_cluster")
NO_UNIT = "no gap was told: see the audit's limits"


class RewardKind(Kind):
    """Rows of all parts of the audit. A row is measured if each of its texts has a score."""

    key = ("probe", "item_id")
    clusters = WAYS
    apart = "probe"

    def __init__(self, plan: RewardPlan) -> None:
        self.plan, self.policy = plan, plan.policy

    def prepared(self, records: pd.DataFrame) -> pd.DataFrame:
        found = records.assign(**dict.fromkeys(WAYS, ""))
        for probe, columns in CLUSTERS.items():
            rows = found["probe"] == probe
            for way, column in zip(WAYS, columns, strict=True):
                if rows.any():
                    found.loc[rows, way] = found.loc[rows, column].astype(str)
        return found

    def problems(self, records: pd.DataFrame) -> pd.Series:
        lost = records["reward"].isna() | (records["base_text_id"].notna() & records["base_reward"].isna())
        return pd.Series("", index=records.index, dtype="str").mask(lost, "a text has no score")

    def measure(self, records: pd.DataFrame) -> list[Measurement]:
        rated = qualities_of(records, self.plan, intervals=True)
        return measure_quickly(records, self.plan, unit_of(records)) + rating_measurements(rated, STAGE)

    def measure_again(self, records: pd.DataFrame) -> list[Measurement]:
        rated = qualities_of(records, self.plan, intervals=False)
        return measure_quickly(records, self.plan, unit_of(records)) + rating_measurements(rated, STAGE)


def unit_of(records: pd.DataFrame) -> Unit:
    """The unit that an audit's gaps are in, from its records: what rewards differ by, over the gap."""
    moved = records[records["gap"].notna() & (records["gap"] != 0)]
    if moved.empty:
        return Unit(float("nan"), NO_UNIT, "" if records["gap"].notna().any() else NO_UNIT)
    return Unit(float(np.median((moved["reward"] - moved["base_reward"]) / moved["gap"])), "as in the audit")
