"""How well a reward model predicts people on texts it never saw, and how well anything could."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from rlhf_fair.records import Estimate
from rlhf_fair.stats.contrasts import mean_estimate
from rlhf_fair.stats.correlation import correlation_estimate
from rlhf_fair.stats.intervals import t_interval


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


def correlation(x: ArrayLike, y: ArrayLike, keys: ArrayLike | None = None, *, alpha: float = 0.05) -> Estimate:
    """Pearson's r, range [-1, 1], 0 = no linear relation; see `rlhf_fair.stats.correlation.correlation_estimate`.

    Rows of equal ``keys`` (one text in two sources) count as one unit of the interval.
    """
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if len(a) < 4 or is_constant(a) or is_constant(b):
        return Estimate.not_estimable("fewer than 4 texts, or one side is constant", n=len(a), n_clusters=len(a))
    return correlation_estimate(a, b, clusters=() if keys is None else [keys], alpha=alpha)


def within_source_correlation(
    x: ArrayLike, y: ArrayLike, source: ArrayLike, keys: ArrayLike | None = None, *, alpha: float = 0.05
) -> Estimate:
    """The sources' own r, weighted by their rows; range [-1, 1], 0 = no linear relation.

    What differs between sources counts for nothing. The sources' standard errors add up as those of independent
    numbers; the t interval is on Fisher's scale.
    """
    a, b, names = np.asarray(x, dtype=float), np.asarray(y, dtype=float), np.asarray(source, dtype=str)
    units = np.arange(len(a)) if keys is None else np.asarray(keys)
    size = {"n": len(a), "n_clusters": len(np.unique(units))}
    estimate, variance, different = 0.0, 0.0, np.unique(names)
    for name in different:
        rows = names == name
        own = correlation(a[rows], b[rows], units[rows], alpha=alpha)
        if not math.isfinite(own.estimate):
            return Estimate.not_estimable(f"source {name!r}: {own.reason}", **size)
        share = float(rows.mean())
        estimate += share * own.estimate
        variance += share**2 * own.standard_error**2
    if not math.isfinite(variance):
        return Estimate(estimate=estimate, reason="a source is too small for an interval", **size)
    return on_fishers_scale(estimate, math.sqrt(variance), size["n_clusters"] - 2 * len(different), size, alpha=alpha)


def on_fishers_scale(r: float, error: float, df: int, size: dict[str, int], *, alpha: float = 0.05) -> Estimate:
    """A t interval for ``r`` with standard error ``error`` (on the scale of r), symmetric on the scale of artanh r."""
    if df < 1 or not error > 0 or abs(r) >= 1:
        return Estimate(estimate=r, reason="too few units, or no variation: no interval can be estimated", **size)
    found = t_interval(math.atanh(r), error / (1 - r * r), df, alpha=alpha)
    limits = {name: math.tanh(getattr(found, name)) for name in ("ci_low", "ci_high")}
    return Estimate(estimate=r, standard_error=error, **limits, **size)


def preference_accuracy(difference: ArrayLike, p_a: ArrayLike, keys: ArrayLike, *, alpha: float = 0.05) -> Estimate:
    """Share of decided pairs whose better side gets the higher reward; range [0, 1], .5 = chance; ties left out.

    A pair whose sides get the same reward, such as two texts that are equal up to the longest length, counts one half:
    a coin would decide it. The interval is clustered by prompt (``keys``).
    """
    share = np.asarray(p_a, dtype=float)
    right = pairs_right(difference, share)
    decided = np.isfinite(right)
    clusters = np.asarray(keys)[decided]
    n_clusters = len(np.unique(clusters))
    if n_clusters < 2:
        reason = "fewer than 2 prompts with a decided pair"
        return Estimate.not_estimable(reason, n=int(decided.sum()), n_clusters=n_clusters)
    return mean_estimate(right[decided], clusters=[clusters], rates=True, alpha=alpha)


def pairs_right(difference: ArrayLike, p_a: ArrayLike) -> NDArray[np.float64]:
    """1 where the better side gets more, 1/2 where both get the same, NaN where people are undecided."""
    gap, share = np.asarray(difference, dtype=float), np.asarray(p_a, dtype=float)
    right = np.where(gap == 0, 0.5, (gap > 0) == (share > 0.5))
    return np.where((share == 0.5) | ~np.isfinite(share), np.nan, right)


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
