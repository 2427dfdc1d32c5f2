"""Judgements as sides, and what most of a group's raters on an item prefer.

A side is 1 (for a, or above the cut), -1, or 0 where somebody or some rule prefers neither. Every item counts once in
each group: its rows are the group's raters on it, with weights that add up to 1.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.annotators.aggregation import CHOICE_VALUES, judgement_weights
from rlhf_fair.errors import SettingsError
from rlhf_fair.tables import require_columns

FloatArray = NDArray[np.float64]

UNKNOWN = "(unknown)"

ROUNDING = 1e-12
"""Of the cut: a mean this close to it is at it."""


def judgement_sides(feedback: pd.DataFrame, groups: pd.Series, cut: float) -> tuple[pd.DataFrame, float]:
    """item_id, annotator_id, group and side of each judgement; the cut used (1/2 for pairs)."""
    require_columns(feedback, ["item_id", "annotator_id", "kind"], "feedback")
    if feedback["kind"].nunique() != 1:
        raise SettingsError(f"feedback of kinds {sorted(feedback['kind'].unique())}; allowed: one kind at a time")
    if feedback["kind"].iloc[0] == "pair":
        values, cut = feedback["choice"].map(CHOICE_VALUES).astype(float), 0.5
    else:
        values = feedback["value"].astype(float)
        cut = float(values.min() / 2 + values.max() / 2) if np.isnan(cut) else cut
    judgement_weights(feedback, groups=groups)  # raises where an annotator is not covered
    group = feedback["annotator_id"].map(groups).astype("object").fillna(UNKNOWN).astype("str")
    rows = feedback[["item_id", "annotator_id"]].assign(group=group, side=_side(values, cut))
    return rows.reset_index(drop=True), cut


def rule_sides(table: pd.DataFrame, cut: float) -> pd.Series:
    """By item: 1, -1, 0 for a value at the cut, NaN where the rule has none."""
    column = "p_a" if "p_a" in table else "value"
    require_columns(table, ["item_id", column], "rule's table")
    return pd.Series(_side(table[column], cut), index=table["item_id"].to_numpy())


def group_majorities(rows: pd.DataFrame, minimum_raters: int) -> pd.DataFrame:
    """The rows of groups with a majority on the item: ``majority`` (±1) and ``weight``, 1 in all for a group there."""
    cells = rows.groupby(["item_id", "group"], sort=False)["side"]
    majority, raters = np.sign(cells.transform("sum")), cells.transform("size")
    used = (majority != 0) & (raters >= minimum_raters)
    return pd.DataFrame(rows.assign(majority=majority, weight=1.0 / raters).loc[used])


def _side(values: pd.Series, cut: float) -> FloatArray:
    """(n,) sign of the distance to the cut; what rounding may have made of a value at the cut is 0."""
    numbers = values.to_numpy(float)
    at_cut = np.isclose(numbers, cut, rtol=ROUNDING, atol=0.0)
    return np.asarray(np.where(at_cut, 0.0, np.where(np.isnan(numbers), np.nan, (numbers > cut) * 2.0 - 1.0)))


def decided_against(rows: pd.DataFrame, side: pd.Series, view: str) -> FloatArray:
    """(n,) 1 where the rule decides against the row's view, 0 where not (undecided included), NaN without a value."""
    decided = rows["item_id"].map(side).to_numpy(float)
    return np.where(np.isnan(decided), np.nan, (decided * rows[view].to_numpy(float) < 0).astype(float))
