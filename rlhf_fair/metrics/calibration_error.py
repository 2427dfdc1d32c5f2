"""Expected calibration error by group, and how much of it noise alone would produce.

The binned error sums |mean prediction - mean outcome| over bins, weighted by the rows in them; range [0, 1],
0 = calibrated. As measured it is above 0 for a perfectly calibrated model too, and the more so the smaller the group
(Bröcker 2012; Roelofs et al. 2022): a plain comparison of groups therefore finds the smallest group worst calibrated.
So each group gets its noise floor and a corrected value, and groups are compared by the squared error, of which an
unbiased estimate exists: the squared bin error less the variance of its noise (Bröcker 2012; Kumar, Liang & Ma 2019).

Any binned error is at most the error of the unbinned probabilities: errors of opposite sign within a bin cancel.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np

from rlhf_fair.metrics.by_group import GroupRows
from rlhf_fair.metrics.calibration import Binning, bin_codes
from rlhf_fair.metrics.distance import Distance, Noise, joint_covariance, noisy_distance
from rlhf_fair.metrics.rows import Rows
from rlhf_fair.records import Estimate
from rlhf_fair.stats.group_sums import GroupMeans
from rlhf_fair.stats.intervals import t_interval
from rlhf_fair.stats.sample import Codes, Floats


@dataclass(frozen=True)
class CalibrationErrors:
    """By group. ``ece``: the binned error. ``squared``: mean squared bin error, unbiased, so it may be below 0.

    ``squared_gaps``: group less reference; 0 = equally calibrated. ``n_left_out``: rows in bins with a single cluster,
    which do not show their noise.
    """

    ece: Mapping[Hashable, Distance]
    squared: Mapping[Hashable, Estimate]
    squared_gaps: Mapping[Hashable, Estimate]
    n_left_out: Mapping[Hashable, int]
    n_unknown: int
    n_missing: int


@dataclass(frozen=True)
class _BinErrors:
    """``errors`` (B,): mean prediction less mean outcome; ``shares`` (B,): of the rows' weight, summing to 1 (or to 1
    and -1 over the two sides of a gap); ``chance`` (B,): the errors' variance were the predictions the truth."""

    errors: Floats
    shares: Floats
    covariance: Floats
    chance: Floats
    n: int
    n_clusters: int
    n_left_out: int


def calibration_errors(
    table: GroupRows, *, binning: Binning | None = None, alpha: float = 0.05, rng: np.random.Generator
) -> CalibrationErrors:
    """Calibration errors of the groups in ``table`` (see `calibration.forecasts`) on bins common to all.

    The noise floor takes every outcome for a draw with the predicted probability, times the design effect that the
    clusters show. For outcomes that are shares, and so vary less, the variance within bins is used instead.
    """
    edges = (binning or Binning()).edges(table.rows["predictions"])
    bins, n_bins = bin_codes(table.rows["predictions"], edges), len(edges) - 1
    own = {}
    for place, label in enumerate(table.labels):
        mine = table.codes == place
        own[label] = _bin_errors(table.rows.take(mine), bins[mine], n_bins, np.ones(n_bins))
    gaps = {}
    for label in table.others:
        code, base = table.labels.index(label), table.labels.index(table.reference)
        both = np.isin(table.codes, (code, base))
        cell = bins[both] + n_bins * (table.codes[both] == base)
        side = np.repeat([1.0, -1.0], n_bins)
        gaps[label] = _squared(_bin_errors(table.rows.take(both), cell, 2 * n_bins, side), alpha)
    return CalibrationErrors(
        ece={label: _ece(errors, alpha, rng) for label, errors in own.items()},
        squared={label: _squared(errors, alpha) for label, errors in own.items()},
        squared_gaps=gaps,
        n_left_out={label: errors.n_left_out for label, errors in own.items()},
        n_unknown=int((table.codes < 0).sum()),
        n_missing=table.n_missing,
    )


def unbiased_square(errors: Floats, shares: Floats, covariance: Floats) -> tuple[float, float]:
    """``sum(shares * truth²)`` from noisy ``errors`` around the truth, and its variance; all without bias.

    E[error²] is truth² plus the noise variance, which is taken off. The variance of a quadratic form of normal errors
    is 4 t'WSWt + 2 tr(WSWS) with W = diag(shares) and S the covariance (Searle 1971); putting the errors for the truth
    t adds 4 tr(WSWS) to the first term on average. It is never taken to be below its value at t = 0.
    """
    scaled = shares[:, None] * covariance
    trace = float((scaled * scaled.T).sum())
    first = 4 * float((shares * errors) @ covariance @ (shares * errors))
    return float(shares @ (errors**2 - np.diag(covariance))), max(first - 2 * trace, 2 * trace)


def _bin_errors(rows: Rows, cell: Codes, n_cells: int, side: Floats) -> _BinErrors:
    """``side`` (n_cells,): 1 for cells of the group, -1 for those of the reference."""
    p, y, w = rows["predictions"], rows["outcomes"], rows.unit_weights
    means = GroupMeans.of(w * (p - y), w, cell, rows.ways, n_cells)
    usable = means.clusters_per_group >= 2
    weight = np.bincount(cell, w, n_cells)
    total = np.where(side > 0, weight[usable & (side > 0)].sum(), weight[usable & (side < 0)].sum())
    covariance = joint_covariance(means)[np.ix_(usable, usable)]
    chance = np.diag(covariance)
    shares = (side * weight / np.where(total > 0, total, 1))[usable]
    if np.isin(y, (0.0, 1.0)).all():
        chance = (np.bincount(cell, w**2 * p * (1 - p), n_cells)[usable]) / weight[usable] ** 2
        if rows.clusters:
            expected = np.abs(shares) @ chance
            chance = chance * float(np.abs(shares) @ np.diag(covariance) / expected if expected > 0 else 1.0)
    return _BinErrors(
        errors=means.means[usable],
        shares=shares,
        covariance=covariance,
        chance=chance,
        n=rows.n,
        n_clusters=rows.n_clusters if rows.n else 0,
        n_left_out=int((~usable)[cell].sum()),
    )


def _missing(b: _BinErrors) -> str:
    """Why nothing can be said, or nothing."""
    sides = 1 if (b.shares > 0).all() else 2
    if not len(b.errors) or not (b.shares > 0).any():
        return "no bin holds two clusters"
    return "" if sides == 1 or (b.shares < 0).any() else "no bin of the reference holds two clusters"


def _ece(b: _BinErrors, alpha: float, rng: np.random.Generator) -> Distance:
    reason = _missing(b)
    if reason:
        return Distance.not_estimable(reason, n=b.n, n_clusters=b.n_clusters)
    noise = Noise.with_null_variance(b.covariance, b.chance, df=b.n_clusters - 1, n=b.n, n_clusters=b.n_clusters)
    return noisy_distance(b.errors, b.shares, noise, alpha=alpha, rng=rng)


def _squared(b: _BinErrors, alpha: float) -> Estimate:
    reason = _missing(b)
    if reason:
        return Estimate.not_estimable(reason, n=b.n, n_clusters=b.n_clusters)
    value, variance = unbiased_square(b.errors, b.shares, b.covariance)
    df = b.n_clusters - 1
    if not variance > 0:
        return Estimate(estimate=value, n=b.n, n_clusters=b.n_clusters, reason="no variation within bins")
    e = t_interval(value, float(np.sqrt(variance)), df, alpha=alpha)
    return e.model_copy(update={"n": b.n, "n_clusters": b.n_clusters})
