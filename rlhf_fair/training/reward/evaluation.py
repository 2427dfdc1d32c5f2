"""How well a reward model predicts people on texts it never saw, and how well anything could."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from rlhf_fair.records import Estimate

REPLICATES = 2000


def split_by_key(keys: ArrayLike, *, validation: float, test: float, seed: int) -> NDArray[np.str_]:
    """``train``, ``validation`` or ``test`` for each row; rows of equal key share a side."""
    distinct, where = np.unique(np.asarray(keys, dtype=str), return_inverse=True)
    rank = np.random.default_rng(seed).permutation(len(distinct))
    n_test, n_validation = round(test * len(distinct)), round(validation * len(distinct))
    side = np.where(rank < n_test, "test", np.where(rank < n_test + n_validation, "validation", "train"))
    return np.asarray(side[where], dtype=np.str_)


def is_constant(x: ArrayLike) -> bool:
    """Whether values differ by no more than rounding: weighted means of equal ratings need not be equal to the bit."""
    values = np.asarray(x, dtype=float)
    return bool(np.ptp(values) <= 1e-9 * np.abs(values).max())


def correlation(x: ArrayLike, y: ArrayLike, *, rng: np.random.Generator, alpha: float = 0.05) -> Estimate:
    """Pearson's r with a percentile interval from resampling rows; range [-1, 1], 0 = no linear relation."""
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if len(a) < 4 or is_constant(a) or is_constant(b):
        return Estimate.not_estimable("fewer than 4 texts, or one side is constant", n=len(a), n_clusters=len(a))
    a, b = (a - a.mean()) / a.std(), (b - b.mean()) / b.std()  # keeps the sums of squares below free of cancellation
    draws = rng.multinomial(len(a), np.full(len(a), 1 / len(a)), size=REPLICATES)
    low, high = np.nanquantile(_weighted_r(a, b, draws), [alpha / 2, 1 - alpha / 2])
    return Estimate(estimate=float(np.corrcoef(a, b)[0, 1]), ci_low=low, ci_high=high, n=len(a), n_clusters=len(a))


def within_source_correlation(
    x: ArrayLike, y: ArrayLike, source: ArrayLike, *, rng: np.random.Generator, alpha: float = 0.05
) -> Estimate:
    """Pearson's r after x and y are standardised within each source; range [-1, 1], 0 = no linear relation.

    This is the mean of the sources' own r, weighted by their rows: what differs between sources counts for nothing.
    The percentile interval resamples rows within each source.
    """
    a, b, names = np.asarray(x, dtype=float), np.asarray(y, dtype=float), np.asarray(source, dtype=str)
    estimate, replicates = 0.0, np.zeros(REPLICATES)
    for name in np.unique(names):
        rows = names == name
        u, v, n = a[rows], b[rows], int(rows.sum())
        if n < 4 or is_constant(u) or is_constant(v):
            reason = f"source {name!r}: fewer than 4 texts, or one side is constant"
            return Estimate.not_estimable(reason, n=len(a), n_clusters=len(a))
        u, v = (u - u.mean()) / u.std(), (v - v.mean()) / v.std()
        estimate += n / len(a) * float(np.mean(u * v))
        replicates += n / len(a) * _weighted_r(u, v, rng.multinomial(n, np.full(n, 1 / n), size=REPLICATES))
    low, high = np.nanquantile(replicates, [alpha / 2, 1 - alpha / 2])
    return Estimate(estimate=estimate, ci_low=low, ci_high=high, n=len(a), n_clusters=len(a))


def preference_accuracy(
    difference: ArrayLike, p_a: ArrayLike, keys: ArrayLike, *, rng: np.random.Generator, alpha: float = 0.05
) -> Estimate:
    """Share of decided pairs whose better side gets the higher reward; range [0, 1], .5 = chance; ties left out.

    A pair whose sides get the same reward, such as two texts that are equal up to the longest length, counts one half:
    a coin would decide it. The interval resamples prompts (``keys``).
    """
    gap, share = np.asarray(difference, dtype=float), np.asarray(p_a, dtype=float)
    decided = share != 0.5
    right = np.where(gap == 0, 0.5, (gap > 0) == (share > 0.5))[decided]
    clusters = np.unique(np.asarray(keys)[decided], return_inverse=True)[1]
    n_clusters = int(clusters.max()) + 1 if len(clusters) else 0
    if n_clusters < 2:
        return Estimate.not_estimable("fewer than 2 prompts with a decided pair", n=len(right), n_clusters=n_clusters)
    draws = rng.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), size=REPLICATES)
    hits, sizes = np.bincount(clusters, right), np.bincount(clusters)
    low, high = np.quantile((draws @ hits) / (draws @ sizes), [alpha / 2, 1 - alpha / 2])
    return Estimate(estimate=float(right.mean()), ci_low=low, ci_high=high, n=len(right), n_clusters=n_clusters)


def noise_ceiling(ratings: pd.DataFrame, *, rng: np.random.Generator, repeats: int = 50) -> float:
    """The highest correlation with the mean rating that a perfect predictor of the true mean could reach.

    Raters of each item are split at random into halves whose (weighted) means correlate r; the mean of all raters then
    has reliability 2r / (1 + r) (Spearman 1910, Brown 1910), and the ceiling is its square root. NaN where fewer than
    two items have two raters. ``ratings`` needs item_id, value, weight.
    """
    items = np.unique(ratings["item_id"].to_numpy(dtype=str), return_inverse=True)[1]
    value, weight = ratings["value"].to_numpy(float), ratings["weight"].to_numpy(float)
    reliabilities = []
    for _ in range(repeats):
        half = _halves(items, rng)
        means = np.full((2, items.max() + 1), np.nan)
        for side in (0, 1):
            w = np.where(half == side, weight, 0.0)
            total = np.bincount(items, w)
            means[side] = np.divide(np.bincount(items, w * value), total, out=means[side], where=total > 0)
        both = np.isfinite(means).all(axis=0)
        if both.sum() < 2 or means[:, both].std(axis=1).min() == 0:
            return float("nan")
        r = np.corrcoef(means[:, both])[0, 1]
        reliabilities.append(2 * r / (1 + r))
    return float(np.sqrt(max(np.mean(reliabilities), 0.0)))


def _halves(items: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
    """0 or 1 for each row: every item's rows are split as evenly as they can be, at random."""
    order = np.lexsort((rng.random(len(items)), items))
    starts = np.searchsorted(items[order], items[order])
    half = np.empty(len(items), dtype=np.intp)
    half[order] = (np.arange(len(items)) - starts) % 2
    return half


def _weighted_r(a: NDArray[np.float64], b: NDArray[np.float64], w: NDArray[np.int64]) -> NDArray[np.float64]:
    """Pearson's r under each row of counts ``w`` (replicates, n)."""
    n = w.sum(axis=1)
    mean_a, mean_b = (w @ a) / n, (w @ b) / n
    covariance = (w @ (a * b)) / n - mean_a * mean_b
    variance = ((w @ (a * a)) / n - mean_a**2) * ((w @ (b * b)) / n - mean_b**2)
    r = np.full(len(w), np.nan)  # stays NaN where a replicate drew a constant
    np.divide(covariance, np.sqrt(np.maximum(variance, 0)), out=r, where=variance > 1e-12)
    return r
