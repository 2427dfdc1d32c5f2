"""The distance between the score distributions of originals and counterfactuals.

Strict demographic parity asks the whole distribution of scores to be the same for every group; the distance is
Wasserstein-1, the area between the two distribution functions (Jiang et al. 2020; Huang et al. 2020). Range [0, inf),
unit of the score; 0 = the same distribution. It does not see changes that cancel between items: two groups may swap
scores and leave it at 0, which `rlhf_fair.metrics.counterfactual.individual_change` sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import wasserstein_distance

from rlhf_fair.metrics.distance import Distance, Noise, noisy_distance
from rlhf_fair.metrics.rows import Rows, measured_rows
from rlhf_fair.stats.covariance import proper_covariance
from rlhf_fair.stats.sample import Codes, Floats, signed_intersections
from rlhf_fair.stats.sign_flips import sign_flip_p_value

GRID = 128
"""Points at which the distribution functions' difference is followed to learn its noise."""


def wasserstein_change(
    original: ArrayLike,
    counterfactual: ArrayLike,
    *,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    alpha: float = 0.05,
    draws: int = 1999,
    rng: np.random.Generator,
) -> Distance:
    """Wasserstein-1 distance between the paired ``original`` and ``counterfactual`` scores (n,).

    ``plug_in`` is the distance of the two samples, which is above 0 for equal distributions too; see `Distance` for
    its noise floor, the corrected value and the interval, all clustered and paired. The p-value swaps original and
    counterfactual within whole clusters: exact if the two are exchangeable there. With several clusterings, whose
    swaps would contradict each other, and with weights, it is that of normal noise.
    """
    rows = measured_rows({"a": original, "b": counterfactual}, clusters=clusters, weights=weights)
    if rows.n == 0:
        return Distance.not_estimable("no measured pairs")
    w = rows.unit_weights
    plug_in = float(wasserstein_distance(rows["a"], rows["b"], w, w))
    if rows.n_clusters < 2:
        return Distance.not_estimable(
            "one cluster: the noise cannot be estimated", plug_in=plug_in, n=rows.n, n_clusters=rows.n_clusters
        )
    grid = _grid(np.concatenate([rows["a"], rows["b"]]))
    if len(grid) < 2:
        return Distance.not_estimable("all scores are equal", plug_in=plug_in, n=rows.n, n_clusters=rows.n_clusters)
    widths = np.diff(grid)
    steps = _mean_difference(rows, grid)
    differences = steps.sum(axis=0)
    covariance = _covariance(steps - w[:, None] / w.sum() * differences, rows)
    noise = Noise(covariance, covariance, df=rows.n_clusters - 1, n=rows.n, n_clusters=rows.n_clusters)
    result = noisy_distance(differences, widths, noise, alpha=alpha, rng=rng)
    update: dict[str, float] = {"n_left_out": int((~rows.kept).sum())}
    if rows.weights is None and len(rows.clusters) <= 1:
        sums = _cluster_sums(steps, rows.ways[0])
        update["p_value"] = sign_flip_p_value(sums, widths=widths, draws=draws, rng=rng)
    return replace(result, plug_in=plug_in, corrected=result.corrected.model_copy(update=update))


def _grid(scores: Floats) -> Floats:
    """At most `GRID` + 1 scores, evenly spread over ranks: exact where there are no more distinct ones."""
    distinct = np.unique(scores)
    if len(distinct) <= GRID + 1:
        return distinct
    return np.unique(np.quantile(scores, np.linspace(0, 1, GRID + 1), method="nearest"))


def _mean_difference(rows: Rows, grid: Floats) -> Floats:
    """(n, B) each pair's share in the difference of distribution functions, averaged over every grid interval.

    Over [low, high) the function 1(score <= x) is 1 on the part right of the score: averages, so that the sum over
    intervals of width times |difference| errs only where the difference changes sign within an interval.
    """
    low, width = grid[:-1], np.diff(grid)
    share = rows.unit_weights / rows.unit_weights.sum()

    def filled(scores: Floats) -> Floats:
        return np.asarray(np.clip((low + width - scores[:, None]) / width, 0.0, 1.0))

    return np.asarray(share[:, None] * (filled(rows["a"]) - filled(rows["b"])))


def _covariance(influence: Floats, rows: Rows) -> Floats:
    """(B, B) of the sum over rows of ``influence`` (n, B), clusters summed first, with the factor C / (C - 1).

    Every row bears on all B points here; `distance.joint_covariance` is for groups of rows with one mean each.
    """

    def one_way(way: Codes) -> Floats:
        sums = _cluster_sums(influence, way)
        return np.asarray(sums.T @ sums * (len(sums) / (len(sums) - 1)))

    if len(rows.ways) == 1:
        return one_way(rows.ways[0])
    return proper_covariance(np.sum([sign * one_way(way) for sign, way in signed_intersections(rows.ways)], axis=0))


def _cluster_sums(values: Floats, way: Codes) -> Floats:
    """(C, B) the sums of the rows (n, B) of each cluster."""
    sums = np.zeros((int(way.max()) + 1, values.shape[1]))
    np.add.at(sums, way, values)
    return sums
