"""When simulated raters do not read, what they answer then, and when they leave for good."""

from __future__ import annotations

import numpy as np

from rlhf_fair.annotators.simulation_design import BoolArray, Design, FloatArray, IntArray
from rlhf_fair.annotators.simulation_model import CARELESS_STYLES, AnnotatorModel, CarelessSettings
from rlhf_fair.annotators.simulation_raters import COPY, TASKS, Raters, of_group

FIRST_SHOWN, STRAIGHT_LINE, RANDOM = (CARELESS_STYLES.index(s) for s in ("first_shown", "straight_line", "random"))


def careless_tasks(s: CarelessSettings, design: Design, raters: Raters, rng: np.random.Generator) -> BoolArray:
    """(n,) True where a rater does not read: a two-state Markov chain along the tasks of each careless-prone rater.

    It ends with probability 1 / ``stretch`` and starts so often that ``time`` of the tasks are careless, from the first
    task on.
    """
    prone = raters.careless[design.rater]
    if s.time == 1:
        return prone
    leave = 1 / s.stretch
    enter = leave * s.time / (1 - s.time)
    # One uniform a task moves both states at once: below ``enter`` all end up careless, above 1 - ``leave`` all read,
    # in between each stays what it was. So a task's state is that of the last move, and no loop over tasks is needed.
    u = rng.random(len(design.rater))
    first = design.position == 0
    enters, leaves = u < np.where(first, s.time, enter), u >= np.where(first, s.time, 1 - leave)
    order = np.argsort(design.rater, kind="stable")
    moved = np.where((enters | leaves)[order], np.arange(len(order)), 0)
    state = np.empty(len(order), dtype=np.bool_)
    state[order] = enters[order][np.maximum.accumulate(moved)]
    return np.asarray(state & prone)


def careless_answers(
    model: AnnotatorModel, design: Design, raters: Raters, read: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """(n,) what each rater would answer without reading; ``read``: what they would answer if they did.

    Pairs: 1 for response a, -1 for b. Ratings: steps from 0. A copier without a source answers at random.
    """
    style, habit = raters.style[design.rater], raters.habit[design.rater]
    at_random = rng.random(len(style))
    if model.answers.kind == "pair":
        side = np.where(design.a_first, 1.0, -1.0)
        straight = np.where(habit < 0.5, side, -side)
        return np.select([style == FIRST_SHOWN, style == STRAIGHT_LINE], [side, straight], np.sign(at_random - 0.5))
    if model.answers.kind == "scalar":
        low, high = np.quantile(read, [0.01, 0.99])
        first, spread = 0.0, high - low
        return np.select(
            [style == FIRST_SHOWN, style == STRAIGHT_LINE], [first, low + spread * habit], low + spread * at_random
        )
    steps = len(model.answers.scale)
    return np.select(
        [style == FIRST_SHOWN, style == STRAIGHT_LINE], [0.0, np.floor(habit * steps)], np.floor(at_random * steps)
    )


def copied_rows(design: Design, raters: Raters, careless: BoolArray, answered: BoolArray) -> IntArray:
    """(n,) the row whose answer a careless copier takes: that of their source on the same item; -1 elsewhere."""
    found = np.full(len(design.item), -1, dtype=np.intp)
    rows = np.flatnonzero(careless & (raters.style[design.rater] == COPY) & (raters.source[design.rater] >= 0))
    if not len(rows):
        return found
    there = np.flatnonzero(answered & np.isin(design.rater, raters.source[design.rater[rows]]))
    if not len(there):
        return found
    n_items = len(design.item_ids)
    key = design.rater[there] * n_items + design.item[there]
    there, key = there[np.argsort(key, kind="stable")], np.sort(key)
    wanted = raters.source[design.rater[rows]] * n_items + design.item[rows]
    place = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
    same = key[place] == wanted
    found[rows[same]] = there[place[same]]
    return found


def leaving_position(model: AnnotatorModel, design: Design, rng: np.random.Generator) -> IntArray:
    """(R,) the position of the first task that a rater does not do any more; their load where they stay."""
    s, left = model.leaving, design.load.copy()
    base = of_group(model, design, "hazard", s.hazard)[design.group]
    if not base.any():
        return left
    growth = s.per_100_done * design.position / TASKS + s.per_100_assigned * design.load[design.rater] / TASKS
    with np.errstate(over="ignore", invalid="ignore"):
        hazard = base[design.rater] * np.exp(growth)
    goes = rng.random(len(design.rater)) < hazard
    np.minimum.at(left, design.rater[goes], design.position[goes])
    return left
