"""Whose preferences a reward model gets right: accuracy and calibration of P(chosen) by the group of the rater.

Feedback is a table of choices: item_id, annotator_id, prompt, response_a, response_b, choice (a, b or tie), attributes
of the rater in ``attr.*`` columns, and ``subject``, whom the prompt is about, where that is known. The probability that
a is chosen is 1 / (1 + exp(-(reward of a - reward of b))) (Bradley & Terry 1952), so it is calibrated only for a reward
on that scale; a calibration slope tells how far it is off, and accuracy does not depend on it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from rlhf_fair.errors import RowError
from rlhf_fair.metrics.calibration import Binning, forecasts, logistic_calibration, reliability_table
from rlhf_fair.metrics.calibration_error import calibration_errors
from rlhf_fair.metrics.preference import preference_brier, preferred
from rlhf_fair.models.refusal import is_refusal
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.missing import measured_rate
from rlhf_fair.probes.reward_confounds import partialled_contrasts
from rlhf_fair.probes.reward_feedback import (
    SUBJECT,
    FeedbackFile,
    Grouping,
    groupings,
    read_feedback_file,
    too_few,
)
from rlhf_fair.probes.reward_pairs import ACCURACY, lay_out
from rlhf_fair.records import Estimate
from rlhf_fair.stats.contrasts import contrast_estimate, mean_estimate
from rlhf_fair.tables import Column, Contract, Quarantined

PROBE = "feedback_pairs"
OTHERS = "all other groups"
TOLD = "subject of the prompt"
BINS = 5
RIGHT, BRIER = "right", "brier"

CONTRACT = Contract(
    "feedback",
    {name: Column() for name in ("item_id", "annotator_id", "prompt", "response_a", "response_b")}
    | {"choice": Column(allowed=("a", "b", "tie")), SUBJECT: Column(required=False, nullable=True)},
    key=("item_id", "annotator_id"),
)


def read_feedback(path: Path, layout: str) -> Quarantined:
    """The choices of a file; see `choice_items`."""
    return choice_items(read_feedback_file(path), layout)


def choice_items(feedback: FeedbackFile, layout: str) -> Quarantined:
    """Choices as items with ``text`` (a) and ``base_text`` (b) as the reward model reads them, and the rejected rows.

    Raises
    ------
    ColumnError, RowError
        A column is missing, or no row can be used.
    """
    read = feedback.accepted("pair", CONTRACT)
    table = read.table
    if table.empty:
        faults = [*read.rejects["message"], "no row is a pair"]
        raise RowError(f"{feedback.path}: no usable choice; the first fault: {faults[0]}")
    for side, column in (("text", "response_a"), ("base_text", "response_b")):
        table[side] = [lay_out(layout, p, r) for p, r in zip(table["prompt"], table[column], strict=True)]
    table["refused"], table["base_refused"] = (
        is_refusal(table[side].tolist()) for side in ("response_a", "response_b")
    )
    table["prompt_id"], table["feedback_item"] = table["item_id"], table["item_id"]
    table["item_id"] = "feedback/" + table["item_id"] + "/" + table["annotator_id"]
    table = table.drop(columns=["prompt", "response_a", "response_b"])
    return Quarantined(table.assign(probe=PROBE), read.rejects)


def judged(records: pd.DataFrame) -> pd.DataFrame:
    """``records`` with ``p_a``, ``outcome`` (1: a, 0: b, 1/2: tie), ``right`` (ties half) and ``brier``."""
    margin = np.asarray(records["reward"] - records["base_reward"], dtype=np.float64)
    outcome = np.asarray(records["choice"].map({"a": 1.0, "b": 0.0, "tie": 0.5}), dtype=np.float64)
    right = outcome * preferred(margin) + (1 - outcome) * (1 - preferred(margin))
    brier = preference_brier(margin, outcome)
    return records.assign(p_a=expit(margin), outcome=outcome, **{RIGHT: right, BRIER: brier})


def accuracy_gaps(records: pd.DataFrame, *, least: int, alpha: float, power: float) -> list[Measured]:
    """Accuracy of each group less that of all others with a known group; 0 = served as well as the others.

    ``least``: groups with fewer raters (for subjects: items) are not estimable. Clustered by rater and by item.
    """
    table = judged(records)
    found = []
    for grouping, group, mine in _groups(table):
        known = table[table[grouping.column].notna()]
        side = np.where(known[grouping.column] == group, group, OTHERS)
        e = _enough(mine, grouping, least) or contrast_estimate(
            known[RIGHT],
            side,
            {group: 1.0, OTHERS: -1.0},
            clusters=[known["annotator_id"], known["feedback_item"]],
            alpha=alpha,
            power=power,
        )
        rate = measured_rate(known[RIGHT].notna(), side, {group: 1.0, OTHERS: -1.0})
        about = (grouping.name, group, OTHERS, "choices of raters")
        found.append(Measured(ACCURACY, e, *about, unit="share of choices", measured_rate=rate))
    return found


def accuracy_gaps_at_equal_length(records: pd.DataFrame, *, least: int, alpha: float, power: float) -> list[Measured]:
    """The same gaps with the length and refusal of the chosen answer, less those of the other, partialled out."""
    table = judged(records)
    toward_chosen = 2 * table["outcome"] - 1
    found = []
    for grouping, group, mine in _groups(table):
        known = table[grouping.column].notna()
        rows = table[known]
        side = np.where(rows[grouping.column] == group, group, OTHERS)
        covariates = {name: rows[f"{name}_difference"] * toward_chosen[known] for name in ("length", "refusal")}
        clusters = [rows["annotator_id"], rows["feedback_item"]]
        e = _enough(mine, grouping, least)
        if e is None:
            contrast: dict[str, dict[Hashable, float]] = {"gap": {group: 1.0, OTHERS: -1.0}}
            e = partialled_contrasts(
                rows[RIGHT], side, covariates, contrast, clusters=clusters, alpha=alpha, power=power
            )["gap"]
        about = (grouping.name, group, OTHERS, "choices of raters")
        found.append(Measured(ACCURACY, e, *about, unit="share of choices"))
    return found


def quality_table(records: pd.DataFrame, *, least: int, alpha: float, rng: np.random.Generator) -> dict[str, Any]:
    """For each group accuracy, Brier score, calibration error freed of its bias, slope and intercept, worst first."""
    table = judged(records)
    rows = []
    for grouping in groupings(table, TOLD):
        known = table[table[grouping.column].notna() & table["p_a"].notna()]
        if known.empty:
            continue
        clusters = [known["annotator_id"], known["feedback_item"]]
        labels = known[grouping.column].to_numpy(object)
        lined = forecasts(known["p_a"], known["outcome"], labels, clusters=clusters)
        errors, fit = calibration_errors(lined, alpha=alpha, rng=rng), logistic_calibration(lined, alpha=alpha)
        for group in dict.fromkeys(labels):
            mine = known[known[grouping.column] == group]
            if _enough(mine, grouping, least):
                continue
            own = [mine["annotator_id"], mine["feedback_item"]]
            accuracy = mean_estimate(mine[RIGHT], clusters=own, alpha=alpha)
            brier = mean_estimate(mine[BRIER], clusters=own, rates=False, alpha=alpha)
            rows.append(
                {
                    "attribute": grouping.name,
                    "group": str(group),
                    "n": len(mine),
                    "raters": mine["annotator_id"].nunique(),
                }
                | _three("accuracy", accuracy)
                | {"Brier_score": brier.estimate, "calibration_error": errors.ece[group].corrected.estimate}
                | {"noise_of_that_error": errors.ece[group].noise_floor}
                | _three("calibration_slope", fit.slope.estimates[group])
                | {"calibration_intercept": fit.intercept.estimates[group].estimate}
            )
    rows.sort(key=lambda row: (row["attribute"], row["accuracy"]))
    columns = list(rows[0]) if rows else []
    return {"columns": columns, "rows": [[_plain(row[name]) for name in columns] for row in rows]}


def reliability(records: pd.DataFrame, *, least: int, alpha: float) -> list[dict[str, Any]]:
    """The observed share of a against the mean predicted one, by group and fifth of all predictions; a tie is half."""
    table = judged(records)
    rows = []
    for grouping in groupings(table, TOLD):
        known = table[table[grouping.column].notna() & table["p_a"].notna()]
        if known.empty:
            continue
        labels = known[grouping.column].to_numpy(object)
        clusters = [known["annotator_id"], known["feedback_item"]]
        lined = forecasts(known["p_a"], known["outcome"], labels, clusters=clusters)
        for one in reliability_table(lined, binning=Binning(BINS), alpha=alpha):
            mine = known[labels == one.group]
            if _enough(mine, grouping, least):
                continue
            e = one.observed
            numbers = {"low": one.low, "high": one.high, "predicted": one.mean_prediction, "observed": e.estimate}
            numbers |= {"ci_low": e.ci_low, "ci_high": e.ci_high, "n": e.n}
            about = {"attribute": grouping.name, "group": str(one.group), "raters": mine["annotator_id"].nunique()}
            rows.append(about | {name: _plain(value) for name, value in numbers.items()})
    return rows


def _groups(table: pd.DataFrame) -> Iterator[tuple[Grouping, str, pd.DataFrame]]:
    for grouping in groupings(table, TOLD):
        for group, rows in table.groupby(grouping.column, sort=True):
            yield grouping, str(group), rows


def _enough(rows: pd.DataFrame, grouping: Grouping, least: int) -> Estimate | None:
    """None, or why a group is too small."""
    reason = too_few(rows, grouping, least)
    return Estimate.not_estimable(reason, n=len(rows)) if reason else None


def _three(name: str, e: Estimate) -> dict[str, float]:
    return {name: e.estimate, f"{name}_low": e.ci_low, f"{name}_high": e.ci_high}


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
