"""Feedback from simulated annotators, and the truth behind it in tables of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.annotators.simulation_careless import careless_answers, careless_tasks, copied_rows, leaving_position
from rlhf_fair.annotators.simulation_design import BoolArray, Design, FloatArray
from rlhf_fair.annotators.simulation_model import CARELESS_STYLES, AnnotatorModel, AnswerSettings
from rlhf_fair.annotators.simulation_raters import TASKS, Raters, draw_raters, of_group, shifts

PREFER_NOT_TO_SAY = "prefer_not_to_say"
FEEDBACK_COLUMNS = ("item_id", "annotator_id", "kind", "choice", "strength", "value", "seconds")


@dataclass(frozen=True)
class Draw:
    """One simulated collection, as arrays over the design's rows (n,).

    ``utility``: u[g, i] and what the rater makes of the features. ``answer``: steps from 0 (rating), signed strength, 0
    a tie (pair), the number itself (scalar); ``answered`` False: the rater had left. ``shared``: (I, G) u[g, i],
    features left out.
    """

    answer: FloatArray
    seconds: FloatArray
    answered: BoolArray
    careless: BoolArray
    copied: BoolArray
    utility: FloatArray
    shared: FloatArray
    raters: Raters


@dataclass(frozen=True)
class Simulation:
    """Result of `simulate_feedback`.

    Attributes
    ----------
    feedback
        item_id, annotator_id, kind, choice (and strength) or value, seconds, position (from 1), slot and order where
        assigned, and ``simulated``, True in every row: nobody is to take these for people's answers.
    unanswered
        The assignments left open by drop-outs.
    annotators
        The annotators as they would be known: attributes withheld or missing as the model has it.
    truth
        One row for each assignment: item_id, annotator_id, position, group, utility, careless, copied, answered, and
        the rater's leniency, temperature and careless style ("" where always attentive).
    utilities
        item_id, group, utility: u[g, i] without features.
    """

    feedback: pd.DataFrame
    unanswered: pd.DataFrame
    annotators: pd.DataFrame
    truth: pd.DataFrame
    utilities: pd.DataFrame

    @property
    def left(self) -> list[str]:
        """Ids of the raters who dropped out, in order of appearance."""
        return [str(name) for name in self.unanswered["annotator_id"].unique()]


def simulate_feedback(
    model: AnnotatorModel,
    assignments: pd.DataFrame,
    annotators: pd.DataFrame,
    *,
    by: Sequence[str] = (),
    items: pd.DataFrame | None = None,
    rng: np.random.Generator,
) -> Simulation:
    """Let the raters of a panel do their tasks.

    Parameters
    ----------
    assignments
        item_id, annotator_id, and slot and order where known; a rater's tasks come in the order of the rows.
    annotators
        annotator_id and ``by``, the columns whose crossed levels are the model's groups.
    items
        item_id and ``feature.NAME`` for every feature of the model.
    """
    design = Design.of(assignments, annotators, model, by=by, items=items)
    drawn = draw(model, design, rng)
    kept = [name for name in ("slot", "order") if name in assignments]
    rows = pd.DataFrame({"item_id": assignments["item_id"].to_numpy(), "annotator_id": assignments["annotator_id"]})
    rows = rows.assign(**answer_columns(model.answers, drawn.answer), seconds=np.round(drawn.seconds, 1))
    rows = rows.assign(position=design.position + 1, **{name: assignments[name].to_numpy() for name in kept})
    feedback = rows[drawn.answered].assign(simulated=True).reset_index(drop=True)
    utilities = pd.DataFrame(
        {
            "item_id": np.repeat(design.item_ids, len(design.group_names)),
            "group": np.tile(np.array(design.group_names, dtype=object), len(design.item_ids)),
            "utility": drawn.shared.reshape(-1),
        }
    )
    return Simulation(
        feedback=feedback,
        unanswered=assignments[~drawn.answered].reset_index(drop=True),
        annotators=disclosed(model, annotators, design, by, rng),
        truth=_truth(rows, design, drawn),
        utilities=utilities,
    )


def draw(model: AnnotatorModel, design: Design, rng: np.random.Generator) -> Draw:
    """One collection on a design that is known already; see `simulate_feedback`."""
    raters = draw_raters(model, design, rng)
    n_items, n_groups = len(design.item_ids), len(design.group_names)
    own = model.preferences
    shared = own.item_sd * rng.standard_normal(n_items)[:, None] + shifts(model, design)
    if own.group_item_sd:
        shared = shared + own.group_item_sd * rng.standard_normal((n_items, n_groups))
    utility = shared[design.item, design.group[design.rater]]
    for column in range(len(design.feature_names)):
        utility = utility + raters.slopes[design.rater, column] * design.features[design.item, column]
    left = leaving_position(model, design, rng)
    answered = design.position < left[design.rater]
    careless = careless_tasks(model.careless, design, raters, rng) & answered
    read = _read(model, design, raters, utility, rng)
    answer = np.where(careless, careless_answers(model, design, raters, read, rng), read) if careless.any() else read
    seconds = _seconds(model, design, raters, careless, rng)
    source = copied_rows(design, raters, careless, answered)
    copied = source >= 0
    answer, seconds = np.where(copied, answer[source], answer), np.where(copied, seconds[source], seconds)
    return Draw(answer, seconds, answered, careless, copied, utility, shared, raters)


def _read(
    model: AnnotatorModel, design: Design, raters: Raters, utility: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """(n,) the answers of raters who read."""
    who, done = design.rater, design.position / TASKS
    n = len(who)
    error = rng.logistic(size=n) if model.answers.link == "logit" else rng.standard_normal(n)
    felt = utility + raters.temperature[who] * np.exp(model.drift.log_temperature * done) * error
    if model.answers.kind == "pair":
        felt = felt + raters.first_shown[who] * np.where(design.a_first, 1.0, -1.0)
        cuts = (model.answers.tie, *model.answers.strengths)
        strength = np.sum([np.abs(felt) > cut for cut in cuts], axis=0)
        return np.asarray(np.sign(felt) * strength)
    felt = felt + raters.leniency[who] + raters.leniency_drift[who] * done
    if model.answers.kind == "scalar":
        return np.asarray(model.answers.location + model.answers.unit * felt)
    thresholds = np.array(model.answers.thresholds)
    middle = float(np.median(thresholds))
    step, own = np.zeros(n), raters.stretch[who]
    for threshold in thresholds:
        step += felt > middle + own * (threshold - middle)
    return step


def _seconds(
    model: AnnotatorModel, design: Design, raters: Raters, careless: BoolArray, rng: np.random.Generator
) -> FloatArray:
    s, who = model.timing, design.rater
    median = np.where(careless, s.careless_median_seconds, s.median_seconds)
    practice = np.exp(model.drift.log_seconds * design.position / TASKS)
    return np.asarray(median * raters.pace[who] * practice * np.exp(s.within_sd * rng.standard_normal(len(who))))


def answer_columns(s: AnswerSettings, answer: FloatArray) -> dict[str, Any]:
    """The columns of the feedback contract that hold an answer."""
    if s.kind == "pair":
        choice = pd.array(np.array(["b", "tie", "a"])[np.sign(answer).astype(np.intp) + 1], dtype="str")
        strength = {"strength": np.abs(answer).astype(np.int64)} if s.strengths else {}
        return {"kind": "pair", "choice": choice, **strength}
    value = np.array(s.scale)[answer.astype(np.intp)] if s.kind == "rating" else answer
    return {"kind": s.kind, "value": value}


def disclosed(
    model: AnnotatorModel, annotators: pd.DataFrame, design: Design, by: Sequence[str], rng: np.random.Generator
) -> pd.DataFrame:
    """The annotators with some of ``by`` withheld (``prefer_not_to_say``) or empty, each attribute on its own."""
    known, s = annotators.copy(), model.disclosure
    place = pd.Index(design.rater_ids).get_indexer(pd.Index(annotators["annotator_id"]))
    group = np.where(place >= 0, design.group[place], 0)
    refused = np.where(place >= 0, of_group(model, design, PREFER_NOT_TO_SAY, s.prefer_not_to_say)[group], 0.0)
    missing = np.where(place >= 0, of_group(model, design, "missing", s.missing)[group], 0.0)
    for column in by:
        u = rng.random(len(known))
        cells = known[column].astype("object")
        cells = cells.mask((u < refused) & cells.notna(), PREFER_NOT_TO_SAY)
        known[column] = cells.mask((u >= refused) & (u < refused + missing), None)
    return known


def _truth(rows: pd.DataFrame, design: Design, drawn: Draw) -> pd.DataFrame:
    who, raters = design.rater, drawn.raters
    style = np.where(raters.careless, np.array(CARELESS_STYLES, dtype=object)[raters.style], "")
    return rows[["item_id", "annotator_id", "position"]].assign(
        group=pd.array(np.array(design.group_names, dtype=object)[design.group[who]], dtype="str"),
        utility=drawn.utility,
        careless=drawn.careless,
        copied=drawn.copied,
        answered=drawn.answered,
        leniency=raters.leniency[who],
        temperature=raters.temperature[who],
        careless_style=pd.array(style[who], dtype="str"),
    )
