"""An annotator model that resembles feedback at hand: what can be told from it is fitted, the rest said to be assumed.

Fitted are the shares of the values, the groups' means, and the variance components (by moments, on the latent probit
scale of total variance 1 within a group). All raters of one group are taken to differ by their leniency alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.annotators.simulation_behaviour import behaviour
from rlhf_fair.annotators.simulation_components import COMPONENTS, LatentComponents, Ratings, latent_components
from rlhf_fair.annotators.simulation_design import EVERYBODY, UNKNOWN
from rlhf_fair.annotators.simulation_model import AnnotatorModel
from rlhf_fair.annotators.simulation_moments import variance_components
from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.grouped_jackknife import grouped_jackknife, leave_groups_out
from rlhf_fair.tables import require_columns

MOST_VALUES = 50
"""More distinct values than this are taken as a scalar."""
WIDEST = 1e100
"""Largest value, and one over the least range, whose variance is still a number above 0."""
LEAST_RESIDUAL = 0.01
"""Share of the latent variance left to chance even where the components leave less."""
NO_SHIFT = "which response is called a means nothing, so a group cannot lean to it"

ASSUMED = (
    "carelessness: none; agreement alone cannot tell it from opinion",
    "spread of temperature and of the use of the scale between raters: none",
    "drift of temperature: none",
    "disclosure: complete; who kept silent is not seen",
)


@dataclass(frozen=True)
class Calibration:
    """Result of `calibrate`.

    Attributes
    ----------
    model
        The fitted model; components estimated below 0 are 0 there.
    components
        One row for each of item, group_item, rater and ``shift GROUP``: ``observed`` (variance in squared units of the
        rating; for a shift the difference of means), ``latent`` (share of the latent variance, or latent shift) with
        standard_error, ci_low, ci_high from a jackknife over raters and items, and reason where something is missing.
    loads
        raters, ratings, and mean, sd, least and greatest ratings of a rater.
    assumed
        What the feedback cannot tell, and what the model has instead.
    """

    model: AnnotatorModel
    components: pd.DataFrame
    loads: dict[str, float]
    assumed: tuple[str, ...]


def calibrate(
    feedback: pd.DataFrame,
    groups: pd.Series | None = None,
    *,
    assignments: pd.DataFrame | None = None,
    n_jackknife: int = 20,
    rng: np.random.Generator,
) -> Calibration:
    """Fit an `AnnotatorModel` to feedback of one kind.

    Parameters
    ----------
    feedback
        item_id, annotator_id, kind, and choice or value; order, position and seconds are used where they are there.
    groups
        By annotator_id; raters without one form the group ``(unknown)``.
    assignments
        What had been asked for; without it drop-out cannot be seen.
    n_jackknife
        Groups of raters, and of items, that are left out in turn for the standard errors.
    rng
        Deals raters and items to those groups.
    """
    rows = _ratings(feedback, groups)
    found = latent_components(rows)
    n = len(found.vector)
    leave_outs = leave_groups_out(
        lambda kept: (latent_components(rows.only(kept)).vector, np.full(n, float(kept.sum()))),
        [rows.item, rows.rater],
        n_groups=n_jackknife,
        rng=rng,
    )
    estimates = grouped_jackknife(found.vector, leave_outs, scale=np.ones(n), most_df=np.full(n, np.inf))
    habits, told = behaviour(feedback, rows, found, assignments)
    return Calibration(
        model=AnnotatorModel.model_validate(_sections(rows, found) | habits),
        components=_table(rows, estimates),
        loads=_loads(rows),
        assumed=(*ASSUMED, *told, *_not_told(found.vector)),
    )


def _sections(rows: Ratings, found: LatentComponents) -> dict[str, Any]:
    """The model's sections that follow from the components; negative ones are 0, and chance keeps a remainder."""
    parts = np.maximum(np.nan_to_num(found.vector[: len(COMPONENTS)]), 0.0)
    parts *= min(1.0, (1 - LEAST_RESIDUAL) / max(float(parts.sum()), LEAST_RESIDUAL))
    item, group_item, rater = np.sqrt(parts).tolist()
    spread = {"leniency_sd": 0.0, "first_shown_sd": rater} if rows.kind == "pair" else {"leniency_sd": rater}
    temperature = float(np.sqrt(1 - parts.sum()))
    shifts = zip(rows.group_names, found.shifts.tolist(), strict=True)
    return {
        "preferences": {"item_sd": item, "group_item_sd": group_item},
        "answers": {"kind": rows.kind, "link": "probit", **found.answers},
        "raters": {**spread, "temperature": temperature, "first_shown": found.first_shown},
        "groups": {name: {"shift": shift} for name, shift in shifts},
    }


def _loads(rows: Ratings) -> dict[str, float]:
    load = np.bincount(rows.rater)
    found = {"raters": len(load), "ratings": len(rows.item), "mean": load.mean(), "sd": load.std()}
    return {name: float(value) for name, value in (found | {"least": load.min(), "greatest": load.max()}).items()}


def _ratings(feedback: pd.DataFrame, groups: pd.Series | None) -> Ratings:
    require_columns(feedback, ["item_id", "annotator_id", "kind"], "feedback")
    kinds = sorted(feedback["kind"].unique())
    if len(kinds) != 1 or kinds[0] not in ("pair", "rating", "scalar"):
        raise SettingsError(f"feedback of kinds {kinds}; allowed: one of pair, rating, scalar")
    if feedback.duplicated(["item_id", "annotator_id"]).any():
        raise RowError("feedback: an annotator judged an item twice; a calibration needs one judgement each")
    column = "choice" if kinds[0] == "pair" else "value"
    require_columns(feedback, [column], "feedback")
    scores = feedback[column].map({"a": 1.0, "tie": 0.0, "b": -1.0}) if column == "choice" else feedback[column]
    numbers = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(numbers).all() or len(np.unique(numbers)) < 2:
        raise RowError(f"feedback: {column!r} must be known in every row and take two different values")
    size, spread = float(np.abs(numbers).max()), float(np.ptp(numbers / 2)) * 2
    if not (size <= WIDEST and spread >= 1 / WIDEST):  # their squares would overflow, or be 0
        raise RowError(
            f"feedback: {column!r} goes up to {size:g} with a range of {spread:g}; a calibration takes values up to "
            f"{WIDEST:g} with a range of at least {1 / WIDEST:g}: rescale them"
        )
    kind = "scalar" if kinds[0] == "rating" and len(np.unique(numbers)) > MOST_VALUES else str(kinds[0])
    item, _ = pd.factorize(feedback["item_id"])
    rater, rater_ids = pd.factorize(feedback["annotator_id"])
    label = pd.Series(EVERYBODY, index=rater_ids) if groups is None else groups.reindex(rater_ids)
    code, names = pd.factorize(label.astype("object").fillna(UNKNOWN).astype("str"), sort=True)
    ordered = "order" in feedback and feedback["order"].isin(["ab", "ba"]).all()
    a_first = feedback["order"].to_numpy() == "ab" if ordered else None
    return Ratings(kind, numbers, item, rater, code[rater], tuple(map(str, names)), a_first)


def _table(rows: Ratings, estimates: list[Estimate]) -> pd.DataFrame:
    raw = variance_components(rows.scores, rows.item, rows.rater, rows.group)
    means = np.bincount(rows.group, rows.scores) / np.bincount(rows.group) - rows.scores.mean()
    reasons = [e.reason for e in estimates]
    if rows.kind == "pair":  # a and b are arbitrary names
        raw, means = replace(raw, rater=NAN), means * NAN
        reasons[len(COMPONENTS) :] = [NO_SHIFT] * len(means)
    observed = [raw.item, raw.group_item, raw.rater, *means]
    return pd.DataFrame(
        {
            "component": [*COMPONENTS, *(f"shift {name}" for name in rows.group_names)],
            "observed": observed,
            "latent": [NAN if reason == NO_SHIFT else e.estimate for e, reason in zip(estimates, reasons, strict=True)],
            "standard_error": [e.standard_error for e in estimates],
            "ci_low": [e.ci_low for e in estimates],
            "ci_high": [e.ci_high for e in estimates],
            "reason": reasons,
        }
    )


def _not_told(vector: np.ndarray) -> list[str]:
    why = {
        "item": "no item has ratings by two raters: item_sd is 0",
        "group_item": "one group, or no item rated by two groups: group_item_sd is 0",
        "rater": "no rater judged two items (or pairs without order): spread between raters is 0",
    }
    return [why[name] for name, value in zip(COMPONENTS, vector, strict=False) if np.isnan(value)]
