"""What feedback tells of how raters worked: time taken, drift along their tasks, drop-out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.annotators.simulation_components import LatentComponents, Ratings
from rlhf_fair.annotators.simulation_design import FloatArray, IntArray
from rlhf_fair.annotators.simulation_raters import TASKS
from rlhf_fair.tables import require_columns


def behaviour(
    feedback: pd.DataFrame, rows: Ratings, found: LatentComponents, assignments: pd.DataFrame | None
) -> tuple[dict[str, Any], list[str]]:
    """Sections of an annotator model, and what had to be assumed."""
    sections: dict[str, Any] = {}
    told = []
    if "seconds" in feedback and (feedback["seconds"].to_numpy(float) > 0).any():
        sections["timing"] = timing(feedback["seconds"].to_numpy(float), rows.rater)
    else:
        told.append("seconds: the defaults; none recorded")
    if "position" in feedback and rows.kind != "pair":
        slope = within_rater_slope(rows.scores, feedback["position"].to_numpy(float), rows.rater)
        sections["drift"] = {"leniency": float(np.nan_to_num(slope * TASKS / found.slope))}
    else:
        told.append("drift of leniency: none; no position, or pairs")
    if assignments is not None:
        sections["leaving"] = {"hazard": leaving_hazard(feedback, assignments)}
    else:
        told.append("drop-out: none; needs the assignments")
    return sections, told


def timing(seconds: FloatArray, rater: IntArray) -> dict[str, float]:
    """Median, and standard deviations of the logarithm between and within raters (one-way analysis of variance)."""
    used = np.isfinite(seconds) & (seconds > 0)
    log, who = np.log(seconds[used]), np.unique(rater[used], return_inverse=True)[1]
    n = np.bincount(who)
    mean = np.bincount(who, log) / n
    freedom = len(log) - len(n)
    within = float(((log - mean[who]) ** 2).sum() / freedom) if freedom else 0.0
    between = 0.0
    if len(n) > 1:
        per_rater = (len(log) - (n**2).sum() / len(log)) / (len(n) - 1)
        between = max(float((n * (mean - log.mean()) ** 2).sum() / (len(n) - 1) - within) / per_rater, 0.0)
    median = float(np.exp(np.median(log)))
    return {"median_seconds": median, "between_sd": float(np.sqrt(between)), "within_sd": float(np.sqrt(within))}


def within_rater_slope(scores: FloatArray, position: FloatArray, rater: IntArray) -> float:
    """Change of the score for one task more, within raters (least squares); 0 = no drift, NaN without two positions.

    Items are taken to come in an order that has nothing to do with their scores.
    """
    n = np.maximum(np.bincount(rater), 1)
    x = position - (np.bincount(rater, position) / n)[rater]
    y = scores - (np.bincount(rater, scores) / n)[rater]
    spread = float(x @ x)
    return float(x @ y) / spread if spread > 0 else float("nan")


def leaving_hazard(feedback: pd.DataFrame, assignments: pd.DataFrame) -> float:
    """Chance to leave before a task, the same for all tasks (maximum likelihood); range [0, 1), 0: everybody finished.

    Whoever answered fewer tasks than assigned has left: leavers / (answers + leavers).
    """
    require_columns(assignments, ["item_id", "annotator_id"], "assignments")
    assigned = assignments["annotator_id"].value_counts()
    answered = feedback["annotator_id"].value_counts().reindex(assigned.index, fill_value=0)
    leavers = int((answered < assigned).sum())
    return leavers / max(int(answered.sum()) + leavers, 1)
