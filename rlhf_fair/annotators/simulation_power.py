"""Power by simulation: how often a panel, with its own assignment and its own faults, would show a gap that is there.

Two worlds are simulated: one in which every group's mean rating lies ``gap`` above the reference's, and one in which
all are equal. In each collection the contrasts are estimated as the audit of feedback does, clustered by rater and
item, Holm-adjusted. The share of significant ones is the power in the one world and the rate of false alarms in the
other. A formula for whole clusters (`rlhf_fair.stats.power.power_for_gap`) stands beside it; it knows neither items
that a group sees in its own way, nor drop-out, carelessness and silence about the attribute.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats as distributions
from scipy.optimize import brentq
from scipy.special import expit, ndtr

from rlhf_fair.annotators.simulation_design import Design, FloatArray
from rlhf_fair.annotators.simulation_feedback import draw
from rlhf_fair.annotators.simulation_model import AnnotatorModel, GroupSettings
from rlhf_fair.annotators.simulation_moments import variance_components
from rlhf_fair.annotators.simulation_raters import of_group
from rlhf_fair.errors import SettingsError
from rlhf_fair.records import NAN
from rlhf_fair.stats.contrasts import contrast_estimate
from rlhf_fair.stats.corrections import holm
from rlhf_fair.stats.intervals import wilson
from rlhf_fair.stats.power import ClusterDesign, power_for_gap

FARTHEST_SHIFT = 20.0
"""Latent steps that a group may be moved to reach a gap."""
POINTS = 4096

Heard = Callable[[str, int, int], None]


@dataclass(frozen=True)
class PowerSettings:
    """``gap``: in the unit of the answers, above 0 or below; ``reference``: the group the others are compared with."""

    gap: float
    reference: str
    repeats: int = 200
    alpha: float = 0.05

    def __post_init__(self) -> None:
        if not self.gap or not math.isfinite(self.gap):
            raise SettingsError(f"gap = {self.gap:g}; allowed: any finite number but 0")
        if self.repeats < 1 or not 0 < self.alpha < 1:
            raise SettingsError(f"repeats = {self.repeats}, alpha = {self.alpha:g}; allowed: 1 or more, in (0, 1)")


def simulated_power(
    model: AnnotatorModel,
    design: Design,
    settings: PowerSettings,
    *,
    rng: np.random.Generator,
    heard: Heard | None = None,
) -> pd.DataFrame:
    """One row for each group but the reference.

    Returns
    -------
    DataFrame
        group, raters, reference_raters; ``power``: share of collections in which the gap that is there is significant;
        ``false_alarms``: the same where there is none, at most ``alpha`` if the test is valid; each with a score
        interval (_ci_low, _ci_high) for the number of repeats; ``median_estimate`` where the gap is there;
        ``not_estimable``: collections without a p-value, which count as not significant; ``formula``: the power that
        the formula for whole clusters gives with the ``sd`` and ``icc`` found in the simulations.
    """
    if settings.reference not in design.group_names or len(design.group_names) < 2:
        names = ", ".join(design.group_names)
        raise SettingsError(f"reference {settings.reference!r}: allowed is one of at least two groups; has {names}")
    hear = heard or (lambda what, done, total: None)
    others = [name for name in design.group_names if name != settings.reference]
    worlds = {"gap": settings.gap, "no gap": 0.0}
    found: dict[str, list[list[tuple[float, float]]]] = {world: [] for world in worlds}
    spread = []
    for number, (world, gap) in enumerate(worlds.items()):
        moved = model.with_shifts(shifts_for_gap(model, design, settings.reference, gap))
        for repeat in range(settings.repeats):
            scores, label, kept = _collection(moved, design, rng)
            found[world].append(_contrasts(scores, label, kept, design, settings, others))
            if world == "no gap" and repeat < 20:
                spread.append(_spread(scores, kept, design))
            hear("simulated collections", number * settings.repeats + repeat + 1, 2 * settings.repeats)
    sd, icc = np.nanmean(np.array(spread), axis=0)
    rows = [_row(name, k, found, design, settings, (float(sd), float(icc))) for k, name in enumerate(others)]
    return pd.DataFrame(rows)


def shifts_for_gap(model: AnnotatorModel, design: Design, reference: str, gap: float) -> dict[str, float]:
    """The ``shift`` of every group whose attentive raters' mean answer lies ``gap`` above the reference's; features
    and drift, which groups share unless the model says otherwise, are left out of the account."""
    base = mean_answer(model, model.groups.get(reference, GroupSettings()))
    found = {}
    for name in design.group_names:
        if name == reference:
            continue
        own = model.groups.get(name, GroupSettings())

        def beyond(shift: float, own: GroupSettings = own) -> float:
            return mean_answer(model, own.model_copy(update={"shift": shift})) - base - gap

        ends = beyond(-FARTHEST_SHIFT), beyond(FARTHEST_SHIFT)
        if not ends[0] < 0 < ends[1]:
            low, high = (end + gap for end in ends)
            raise SettingsError(f"gap = {gap:g}; allowed for {name!r} on this scale: between {low:.3g} and {high:.3g}")
        found[name] = float(brentq(beyond, -FARTHEST_SHIFT, FARTHEST_SHIFT, xtol=1e-8))
    return found


def mean_answer(model: AnnotatorModel, group: GroupSettings) -> float:
    """Expected answer of a group's attentive raters before any drift, over items and raters; pairs: a 1, tie 1/2, b 0.

    The mean over a fixed set of evenly spread points (Halton), so equal models give equal numbers.
    """
    z = distributions.norm.ppf(distributions.qmc.Halton(3, scramble=False).random(POINTS + 1)[1:])
    own, answers = model.raters, model.answers
    leniency = own.leniency_sd if group.leniency_sd is None else group.leniency_sd
    between = own.first_shown_sd if answers.kind == "pair" else leniency
    sd = math.hypot(model.preferences.item_sd, model.preferences.group_item_sd, between)
    felt = group.shift + sd * z[:, 0]
    temperature = (group.temperature or own.temperature) * np.exp(own.temperature_sd * z[:, 1])
    above = expit if answers.link == "logit" else ndtr
    if answers.kind == "scalar":
        return answers.location + answers.unit * float(felt.mean())
    if answers.kind == "pair":
        places = [felt + own.first_shown, felt - own.first_shown]
        sides = [above((place + tie) / temperature) for place in places for tie in (answers.tie, -answers.tie)]
        return float(np.mean(sides))
    thresholds, stretch = np.array(answers.thresholds), np.exp(own.stretch_sd * z[:, 2])
    middle = float(np.median(thresholds))
    cuts = middle + stretch[:, None] * (thresholds - middle)
    shares = above((felt[:, None] - cuts) / temperature[:, None]).mean(axis=0)
    return float(answers.scale[0] + shares @ np.diff(answers.scale))


def _collection(
    model: AnnotatorModel, design: Design, rng: np.random.Generator
) -> tuple[FloatArray, np.ndarray, np.ndarray]:
    """Scores and groups of all rows, and which rows there are: answered, by somebody who tells their group."""
    drawn = draw(model, design, rng)
    answers = model.answers
    if answers.kind == "pair":
        scores = (np.sign(drawn.answer) + 1) / 2
    elif answers.kind == "rating":
        scores = np.array(answers.scale)[drawn.answer.astype(np.intp)]
    else:
        scores = drawn.answer
    s = model.disclosure
    silent = of_group(model, design, "prefer_not_to_say", s.prefer_not_to_say)
    silent = np.minimum(silent + of_group(model, design, "missing", s.missing), 1.0)[design.group]
    tells = rng.random(len(design.group)) >= silent
    return scores, design.group[design.rater], drawn.answered & tells[design.rater]


def _contrasts(
    scores: FloatArray,
    label: np.ndarray,
    kept: np.ndarray,
    design: Design,
    settings: PowerSettings,
    others: list[str],
) -> list[tuple[float, float]]:
    """Estimate and Holm-adjusted p of every group against the reference."""
    values, code = scores[kept], label[kept]
    low, high = values.min(initial=math.inf), values.max(initial=-math.inf)
    two_valued = len(np.unique(values)) == 2
    scale = high - low if two_valued else 1.0
    values = (values - low) / scale if two_valued else values
    ways = [design.rater[kept], design.item[kept]]
    reference = design.group_names.index(settings.reference)
    found = []
    for name in others:
        own = design.group_names.index(name)
        part = (code == own) | (code == reference)
        e = contrast_estimate(
            values[part],
            code[part],
            {own: 1.0, reference: -1.0},
            clusters=[way[part] for way in ways],
            alpha=settings.alpha,
        )
        found.append((e.estimate * scale, e.p_value))
    p = np.array([value for _, value in found])
    known = np.isfinite(p)
    p[known] = holm(p[known])
    return [(estimate, float(adjusted)) for (estimate, _), adjusted in zip(found, p, strict=True)]


def _spread(scores: FloatArray, kept: np.ndarray, design: Design) -> tuple[float, float]:
    """Standard deviation of one rating, and share of its variance between raters of a group."""
    who = design.rater[kept]
    parts = variance_components(scores[kept], design.item[kept], who, design.group[who])
    total = np.nansum([parts.item, parts.group_item, parts.rater, parts.residual])
    return math.sqrt(max(float(total), 0.0)), min(max(parts.rater_icc, 0.0), 1.0)


def _row(
    name: str,
    place: int,
    found: dict[str, list[list[tuple[float, float]]]],
    design: Design,
    settings: PowerSettings,
    spread: tuple[float, float],
) -> dict[str, object]:
    sizes = {label: int((design.group == code).sum()) for code, label in enumerate(design.group_names)}
    row: dict[str, object] = {"group": name, "raters": sizes[name], "reference_raters": sizes[settings.reference]}
    missing = 0
    for column, world in (("power", "gap"), ("false_alarms", "no gap")):
        p = np.array([collection[place][1] for collection in found[world]])
        e = wilson(int((p < settings.alpha).sum()), len(p))
        row |= {column: e.estimate, f"{column}_ci_low": e.ci_low, f"{column}_ci_high": e.ci_high}
        missing += int(np.isnan(p).sum())
    estimates = np.array([collection[place][0] for collection in found["gap"]])
    row["median_estimate"] = float(np.nanmedian(estimates)) if np.isfinite(estimates).any() else NAN
    row |= {"not_estimable": missing, "sd": spread[0], "icc": spread[1]}
    return row | {"formula": _formula(sizes[name], sizes[settings.reference], design, settings, spread)}


def _formula(
    raters: int, reference_raters: int, design: Design, settings: PowerSettings, spread: tuple[float, float]
) -> float:
    sd, icc = spread
    if not (sd > 0 and np.isfinite(icc) and raters and reference_raters):
        return NAN
    load = design.load
    clusters = ClusterDesign(sd, icc, float(load.mean()), float(load.std() / load.mean()), reference_raters / raters)
    contrasts = len(design.group_names) - 1
    return power_for_gap(settings.gap, clusters, raters, alpha=settings.alpha / contrasts)
