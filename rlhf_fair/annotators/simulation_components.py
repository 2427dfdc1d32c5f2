"""Latent shares of item, group and rater in ratings of one kind, and the groups' latent means."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rlhf_fair.annotators.simulation_design import BoolArray, FloatArray, IntArray
from rlhf_fair.annotators.simulation_latent import Latent, fit_latent
from rlhf_fair.annotators.simulation_moments import crossed_covariances, pooled

COMPONENTS = ("item", "group_item", "rater")


@dataclass(frozen=True)
class Ratings:
    """n judgements: scores (pairs: 1 a, 0 tie, -1 b), codes of item, rater and group, and whether a was shown first
    (None: not known)."""

    kind: str
    scores: FloatArray
    item: IntArray
    rater: IntArray
    group: IntArray
    group_names: tuple[str, ...]
    a_first: BoolArray | None

    def only(self, kept: BoolArray) -> Ratings:
        """The rows where ``kept`` is True, codes unchanged."""
        return replace(
            self,
            scores=self.scores[kept],
            item=self.item[kept],
            rater=self.rater[kept],
            group=self.group[kept],
            a_first=None if self.a_first is None else self.a_first[kept],
        )


@dataclass(frozen=True)
class LatentComponents:
    """``vector``: item, group_item, rater (shares of the latent variance, NaN where nothing tells), then each group's
    shift. ``slope``: what a latent step moves the mean score. ``answers``: settings of the form of an answer."""

    vector: FloatArray
    slope: float
    first_shown: float
    answers: dict[str, Any]

    @property
    def shifts(self) -> FloatArray:
        """(G,) with 0 where a group has no mean."""
        return np.nan_to_num(self.vector[len(COMPONENTS) :])


def latent_components(rows: Ratings) -> LatentComponents:
    """Moments of the scores, taken to the latent scale."""
    if rows.kind == "scalar":
        return _of_scalars(rows)
    if rows.kind == "pair":
        return _of_pairs(rows)
    n_groups = len(rows.group_names)
    values, latent = _latent(rows.scores, rows.group, n_groups)
    c = crossed_covariances(rows.scores, rows.item, rows.rater, rows.group, n_groups)
    same = np.eye(n_groups, dtype=bool)
    within = _correlation(latent, c.same_item, c.item_pairs, same)
    across = _correlation(latent, c.same_item, c.item_pairs, ~same)
    rater = _correlation(latent, c.same_rater, c.rater_pairs, same)
    answers = {"thresholds": latent.thresholds.tolist(), "values": values.tolist()}
    means = np.where(np.bincount(rows.group, minlength=n_groups) > 0, latent.means, np.nan)
    return LatentComponents(_vector(within, across, rater, means), latent.slope, 0.0, answers)


def _of_scalars(rows: Ratings) -> LatentComponents:
    """Latent variables are the scores themselves, in units of the standard deviation within a group."""
    n_groups = len(rows.group_names)
    c = crossed_covariances(rows.scores, rows.item, rows.rater, rows.group, n_groups)
    size = np.bincount(rows.group, minlength=n_groups).astype(float)
    same = np.eye(n_groups, dtype=bool)
    variance = pooled(np.diag(c.variance), np.diag(size), same)
    within, across = (pooled(c.same_item, c.item_pairs, part) / variance for part in (same, ~same))
    rater = pooled(c.same_rater, c.rater_pairs, same) / variance
    unit, location = float(np.sqrt(variance)), float(rows.scores.mean())
    sums = np.bincount(rows.group, rows.scores, n_groups)
    means = np.divide(sums, size, out=np.full(n_groups, np.nan), where=size > 0)
    vector = _vector(within, across, rater, (means - location) / unit)
    return LatentComponents(vector, unit, 0.0, {"location": location, "unit": unit})


def _of_pairs(rows: Ratings) -> LatentComponents:
    """What is alike on an item shows in leads of a over b; what is a rater's own in leads of the first over the second.

    Being shown first moves all leads of one order together, so orders are labels of their own.
    """
    n_groups = len(rows.group_names)
    if rows.a_first is None:
        a_first, label, family = np.ones(len(rows.scores), dtype=bool), rows.group, np.arange(n_groups)
    else:
        a_first, label = rows.a_first, rows.group * 2 + rows.a_first
        family = np.repeat(np.arange(n_groups), 2)
    toward_first = rows.scores * np.where(a_first, 1.0, -1.0)
    together = np.zeros(len(rows.scores), dtype=np.intp)
    values, of_first = _latent(toward_first, together, 1)
    first_shown = 0.0 if rows.a_first is None else -float(np.mean(of_first.thresholds[[0, -1]]))
    means = np.zeros(len(family)) if rows.a_first is None else np.tile([-first_shown, first_shown], n_groups)
    # The names a and b are arbitrary: thresholds lie symmetrically once the place on the screen is allowed for.
    half = float(of_first.thresholds[-1] - of_first.thresholds[0]) / 2
    thresholds = np.array([-half, half]) if len(values) == 3 else np.zeros(1)
    leads = Latent(thresholds, means, np.diff(values))
    c = crossed_covariances(rows.scores, rows.item, rows.rater, label, len(family))
    same = family[:, None] == family[None, :]
    within = _correlation(leads, c.same_item, c.item_pairs, same)
    across = _correlation(leads, c.same_item, c.item_pairs, ~same)
    rater = np.nan
    if rows.a_first is not None:
        own = crossed_covariances(toward_first, rows.item, rows.rater, together, 1)
        rater = of_first.correlation(float(own.same_rater[0, 0]), own.rater_pairs)
    vector = _vector(within, across, rater, np.zeros(n_groups))
    return LatentComponents(vector, leads.slope, first_shown, {"tie": half if len(values) == 3 else 0.0})


def _latent(scores: FloatArray, label: IntArray, n_labels: int) -> tuple[FloatArray, Latent]:
    values, code = np.unique(scores, return_inverse=True)
    counts = np.bincount(label * len(values) + code.reshape(-1), minlength=n_labels * len(values))
    table = counts.reshape(n_labels, len(values)).astype(float)
    sizes = table.sum(axis=1)
    shares = table / np.maximum(sizes, 1)[:, None]
    used = sizes > 0
    found = fit_latent(shares[used], sizes[used], values)
    means = np.zeros(n_labels)
    means[used] = found.means
    return values, replace(found, means=means)


def _correlation(latent: Latent, covariance: FloatArray, pairs: FloatArray, part: BoolArray) -> float:
    weights = np.where(part & np.isfinite(covariance), pairs, 0.0)
    return latent.correlation(pooled(covariance, pairs, part), weights)


def _vector(within: float, across: float, rater: float, shifts: FloatArray) -> FloatArray:
    return np.array([within if np.isnan(across) else across, within - across, rater, *shifts])
