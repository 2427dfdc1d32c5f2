"""Simulated raters: what each of them brings to every task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rlhf_fair.annotators.simulation_design import BoolArray, Design, FloatArray, IntArray
from rlhf_fair.annotators.simulation_model import CARELESS_STYLES, AnnotatorModel, FeatureSettings

TASKS = 100.0
"""Drift and hazards are told per so many tasks."""
COPY = CARELESS_STYLES.index("copy")


@dataclass(frozen=True)
class Raters:
    """(R,) each, ``slopes`` (R, F). ``style``: index into `CARELESS_STYLES`, of the careless-prone only.

    ``source``: whose answers a copier takes, -1 where nobody's. ``pace``: factor of the seconds of an answer.
    """

    leniency: FloatArray
    leniency_drift: FloatArray
    temperature: FloatArray
    stretch: FloatArray
    first_shown: FloatArray
    slopes: FloatArray
    pace: FloatArray
    careless: BoolArray
    style: IntArray
    habit: FloatArray
    source: IntArray


def draw_raters(model: AnnotatorModel, design: Design, rng: np.random.Generator) -> Raters:
    """The traits of all raters, independent of each other given their group."""
    n, group, own = len(design.rater_ids), design.group, model.raters
    spread = of_group(model, design, "leniency_sd", own.leniency_sd)[group]
    median = of_group(model, design, "temperature", own.temperature)[group]
    share = of_group(model, design, "careless_share", model.careless.share)[group]
    leniency = spread * rng.standard_normal(n)
    leniency_drift = model.drift.leniency + model.drift.leniency_sd * rng.standard_normal(n)
    temperature = median * np.exp(own.temperature_sd * rng.standard_normal(n))
    stretch = np.exp(own.stretch_sd * rng.standard_normal(n))
    first_shown = own.first_shown + own.first_shown_sd * rng.standard_normal(n)
    slopes = [_slopes(f, design, rng) for f in model.preferences.features.values()]
    pace = np.exp(model.timing.between_sd * rng.standard_normal(n))
    careless = rng.random(n) < share
    weights = np.array(model.careless.weights)
    style = rng.choice(len(weights), size=n, p=weights / weights.sum())
    habit = rng.random(n)
    copies = careless & (style == COPY)
    return Raters(
        leniency=leniency,
        leniency_drift=leniency_drift,
        temperature=temperature,
        stretch=stretch,
        first_shown=first_shown,
        slopes=np.stack(slopes, axis=1) if slopes else np.zeros((n, 0)),
        pace=pace,
        careless=careless,
        style=style,
        habit=habit,
        source=_sources(design, copies, ~careless, rng),
    )


def of_group(model: AnnotatorModel, design: Design, name: str, default: float) -> FloatArray:
    """(G,) a group's own setting, or the default."""
    own = [getattr(model.groups[group], name) if group in model.groups else None for group in design.group_names]
    return np.array([default if value is None else value for value in own], dtype=float)


def shifts(model: AnnotatorModel, design: Design) -> FloatArray:
    """(G,) what a group adds to every view."""
    return of_group(model, design, "shift", 0.0)


def _slopes(feature: FeatureSettings, design: Design, rng: np.random.Generator) -> FloatArray:
    mean = np.array([feature.groups.get(name, feature.mean) for name in design.group_names])
    return np.asarray(mean[design.group] + feature.sd * rng.standard_normal(len(design.group)))


def _sources(design: Design, copies: BoolArray, honest: BoolArray, rng: np.random.Generator) -> IntArray:
    """Each copier's source: the rater who reads with most items in common, by lot among several; -1: nobody has any."""
    source = np.full(len(copies), -1, dtype=np.intp)
    if not copies.any():
        return source
    tie = rng.random(len(copies))
    by_item = np.argsort(design.item, kind="stable")
    start = np.searchsorted(design.item[by_item], np.arange(len(design.item_ids) + 1))
    rows = np.flatnonzero(copies[design.rater])
    rows = rows[np.argsort(design.rater[rows], kind="stable")]
    for part in np.split(rows, np.flatnonzero(np.diff(design.rater[rows])) + 1):
        shared = [design.rater[by_item[start[i] : start[i + 1]]] for i in design.item[part]]
        common = np.bincount(np.concatenate(shared), minlength=len(copies)) * honest
        if common.any():
            source[design.rater[part[0]]] = int(np.argmax(common + tie * (common > 0)))
    return source
