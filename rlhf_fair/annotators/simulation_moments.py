"""Which part of the variation of ratings is the item's, the rater's, the group's: covariances of crossed ratings.

Two ratings of one item by two raters, or two by one rater of two items, are alike to the degree that they have
something in common. Half the mean squared difference of ratings that share nothing estimates the whole variance, that
of ratings that share the item the variance without the item's part; what they differ by is the item's. No mean has to
be estimated, any pattern of missing cells is allowed, and every estimate is unbiased for its component (the
U-statistics of Gao and Owen 2017, here with every pair counted once; for complete tables they are the estimates of the
analysis of variance).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rlhf_fair.annotators.simulation_design import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class CrossedCovariances:
    """(L, L) each, for two ratings with labels k and l; NaN where there is no such pair of ratings.

    ``variance``: (L,) of one rating. ``same_item``: covariance of ratings of one item by two raters. ``same_rater``: of
    two items by one rater. ``item_pairs``, ``rater_pairs``: how many pairs there are.
    """

    variance: FloatArray
    same_item: FloatArray
    same_rater: FloatArray
    item_pairs: FloatArray
    rater_pairs: FloatArray


def crossed_covariances(
    scores: FloatArray, item: IntArray, rater: IntArray, label: IntArray, n_labels: int
) -> CrossedCovariances:
    """Covariances of crossed ratings; nobody may have rated an item twice.

    ``scores``, ``item``, ``rater``, ``label``: (n,); labels are groups of raters, or any property of a rating whose
    means may differ.
    """
    y = scores - scores.mean()  # differences do not see it, rounding does
    everything, pairs = _squared_differences(y, np.zeros(len(y), dtype=np.intp), label, n_labels)
    of_item, item_pairs = _squared_differences(y, item, label, n_labels)
    of_rater, rater_pairs = _squared_differences(y, rater, label, n_labels)
    apart = _half_mean(everything - of_item - of_rater, pairs - item_pairs - rater_pairs)
    return CrossedCovariances(
        variance=np.diag(apart).copy(),
        same_item=apart - _half_mean(of_item, item_pairs),
        same_rater=apart - _half_mean(of_rater, rater_pairs),
        item_pairs=item_pairs,
        rater_pairs=rater_pairs,
    )


@dataclass(frozen=True)
class VarianceComponents:
    """Of one rating, in squared units of the score; each >= 0 up to error, NaN where nothing tells.

    ``item``: what raters of all groups see alike; ``group_item``: what a group sees in an item beyond that; ``rater``:
    between raters of one group; ``residual``: the rest. With one group alone ``group_item`` is NaN, ``item`` holds it.
    """

    item: float
    group_item: float
    rater: float
    residual: float

    @property
    def rater_icc(self) -> float:
        """Share of the variance that lies between raters of one group; range [0, 1] up to error."""
        parts = np.array([self.item, self.group_item, self.rater, self.residual])
        return float(self.rater / np.nansum(parts))


def variance_components(scores: FloatArray, item: IntArray, rater: IntArray, group: IntArray) -> VarianceComponents:
    """Components of ratings by raters in groups, items crossed with raters.

    >>> y, place = np.array([1.0, 2.0, 3.0, 5.0]), np.array([0, 0, 1, 1])
    >>> variance_components(y, place, np.array([0, 1, 0, 1]), np.zeros(4, dtype=int)).residual
    0.25
    """
    n_groups = int(group.max()) + 1
    found = crossed_covariances(scores, item, rater, group, n_groups)
    same = np.eye(n_groups, dtype=bool)
    within = pooled(found.same_item, found.item_pairs, same)
    across = pooled(found.same_item, found.item_pairs, ~same)
    between_raters = pooled(found.same_rater, found.rater_pairs, same)
    sizes = np.bincount(group, minlength=n_groups).astype(float)
    known = np.isfinite(found.variance) & (sizes > 0)
    total = float(np.average(found.variance[known], weights=sizes[known])) if known.any() else float("nan")
    return VarianceComponents(
        item=within if np.isnan(across) else across,
        group_item=within - across,
        rater=between_raters,
        residual=total - within - between_raters,
    )


def pooled(values: FloatArray, weights: FloatArray, part: BoolArray) -> float:
    """Mean of ``values`` where ``part`` is True, weighted; NaN where nothing has weight."""
    weight = np.where(part & np.isfinite(values), weights, 0.0)
    return float((np.nan_to_num(values) * weight).sum() / weight.sum()) if weight.sum() > 0 else float("nan")


def _squared_differences(
    y: FloatArray, unit: IntArray, label: IntArray, n_labels: int
) -> tuple[FloatArray, FloatArray]:
    """(L, L) sums of (y - y')² over ordered pairs in one unit, first of label k, second of label l; and the pairs."""
    _, unit = np.unique(unit, return_inverse=True)
    cell, shape = unit.reshape(-1) * n_labels + label, (int(unit.max()) + 1, n_labels)
    n, s, q = (np.bincount(cell, w, shape[0] * n_labels).reshape(shape) for w in (np.ones(len(y)), y, y**2))
    squares = np.asarray(q.T @ n + n.T @ q - 2 * s.T @ s, dtype=float)
    return squares, np.asarray(n.T @ n - np.diag(n.sum(axis=0)), dtype=float)


def _half_mean(total: FloatArray, pairs: FloatArray) -> FloatArray:
    return np.asarray(np.divide(total, 2 * pairs, out=np.full(total.shape, np.nan), where=pairs > 0))
