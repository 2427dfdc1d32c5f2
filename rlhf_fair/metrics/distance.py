"""Distances between what was seen and what was expected, which noise alone makes positive.

A distance here is ``sum_b width_b * |difference_b|``: total variation, the area between two distribution functions
(Wasserstein-1), calibration error. Under exact equality it is positive all the same, so each comes as

* ``plug_in``: the distance as measured; biased upwards;
* ``noise_floor``: its expected value if nothing but noise were there;
* ``corrected``: an estimate whose expectation under equality is 0 and which tends to the truth as the difference
  grows beyond its noise. It may be negative, as an unbiased estimate of 0 must. In between it errs downwards, by at
  most 0.48 standard errors per coordinate, where the plug-in errs upwards by up to 0.80.

The interval rests on the triangle inequality: a distance differs from its estimate by at most the distance between
estimated and true differences, whose distribution needs no assumption on how large they are. It holds at equality,
where bootstrap percentiles of a distance fail, at the price of being too wide elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy import stats as distributions

from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.covariance import proper_covariance, square_root
from rlhf_fair.stats.group_sums import GroupMeans, GroupSums
from rlhf_fair.stats.sample import Floats


@dataclass(frozen=True)
class Distance:
    """``plug_in`` and ``noise_floor`` as plain numbers; ``corrected`` with the interval of the true distance.

    The p-value of ``corrected`` tests the hypothesis that all differences are 0.
    """

    plug_in: float
    noise_floor: float
    corrected: Estimate

    @classmethod
    def not_estimable(cls, reason: str, *, plug_in: float = NAN, n: int = 0, n_clusters: int = 0) -> Distance:
        """No distance, or one whose noise is unknown, and why."""
        return cls(plug_in, NAN, Estimate.not_estimable(reason, n=n, n_clusters=n_clusters))


@dataclass(frozen=True)
class Noise:
    """``covariance`` (B, B) of the differences; ``null_covariance`` the same if they were all 0; ``df`` behind both."""

    covariance: Floats
    null_covariance: Floats
    df: float
    n: int
    n_clusters: int

    @classmethod
    def with_null_variance(
        cls, covariance: Floats, null_variance: Floats, *, df: float, n: int, n_clusters: int
    ) -> Noise:
        """Noise whose size under equality is known from theory: ``null_variance`` (B,), with the seen correlations.

        No coordinate is taken to be less noisy than that: a rare event that did not occur shows no variation at all.
        """
        seen = np.diag(covariance)
        scale = np.sqrt(np.divide(null_variance, seen, out=np.zeros_like(seen), where=seen > 0))
        lift = np.diag(np.maximum(null_variance - seen, 0.0))
        null = covariance * np.outer(scale, scale) + np.diag(np.where(seen > 0, 0.0, null_variance))
        return cls(covariance + lift, null, df, n, n_clusters)


def noisy_distance(
    differences: Floats,
    widths: Floats,
    noise: Noise,
    *,
    alpha: float = 0.05,
    draws: int = 4000,
    rng: np.random.Generator,
) -> Distance:
    """Plug-in, noise floor, corrected value, interval and p-value of ``sum(widths * |differences|)``; both (B,)."""
    se = np.sqrt(np.diag(noise.null_covariance))
    plug_in = float(widths @ np.abs(differences))
    radius = np.quantile(_distances(widths, noise.covariance, noise.df, draws, rng), 1 - alpha)
    under_null = _distances(widths, noise.null_covariance, noise.df, draws, rng)
    rounding = 1e-12 * max(plug_in, 1e-12)
    e = Estimate(
        estimate=float(widths @ absolute_without_noise(differences, se)),
        ci_low=max(plug_in - float(radius), 0.0),
        ci_high=plug_in + float(radius),
        df=noise.df,
        p_value=(1 + int((under_null >= plug_in - rounding).sum())) / (draws + 1),
        n=noise.n,
        n_clusters=noise.n_clusters,
    )
    return Distance(plug_in, float(widths @ se) * float(np.sqrt(2 / np.pi)), e)


def absolute_without_noise(difference: Floats, standard_error: Floats) -> Floats:
    """An estimate of |truth| from a normal ``difference`` around it, with expectation 0 where the truth is 0.

    Split the data in two, take the sign from one half and the difference from the other: an independent sign makes the
    product's mean 0 under equality. This is that estimate averaged over all splits, in closed form; with
    t = difference / standard error and the normal density φ and distribution Φ it is |d| (2Φ(|t|) - 1) - 2 se φ(t).

    >>> absolute_without_noise(np.array([0.0, 10.0]), np.array([1.0, 1.0])).round(3).tolist()
    [-0.798, 10.0]
    """
    size = np.abs(difference)
    t = np.divide(size, standard_error, out=np.full_like(size, np.inf), where=standard_error > 0)
    normal = distributions.norm
    return np.asarray(size * (2 * normal.cdf(t) - 1) - 2 * standard_error * normal.pdf(t))


def joint_covariance(means: GroupMeans) -> Floats:
    """(G, G) cluster-robust covariance of all group means at once; several clusterings by inclusion-exclusion.

    On purpose not `GroupMeans.covariance`: intervals of means use the jackknife's, which errs on the large side. Here
    the noise is taken off, where too much is as wrong as too little, so the correction for few clusters is CR2 (Bell &
    McCaffrey 2002), without bias for independent rows.
    A single clustering gives a proper covariance, several may miss it by chance: see `proper_covariance`.
    """
    total = np.sum([sign * _one_way_covariance(sums) for sign, sums in means.signed], axis=0)
    return np.asarray(total) if len(means.signed) == 1 else proper_covariance(total)


def _one_way_covariance(sums: GroupSums) -> Floats:
    deviation = (sums.numerator - sums.means[sums.group] * sums.denominator) / sums.totals[sums.group]
    rest = np.maximum(1 - sums.leverage, 1e-12)  # a cell that is its whole group has deviation 0
    cells = (deviation / np.sqrt(rest), (sums.cluster, sums.group))
    table = sparse.csr_array(cells, shape=(sums.n_clusters, sums.n_groups))
    return np.asarray((table.T @ table).toarray())


def _distances(widths: Floats, covariance: Floats, df: float, draws: int, rng: np.random.Generator) -> Floats:
    root = square_root(covariance)
    noise = rng.standard_normal((draws, root.shape[1])) @ root.T
    # A multivariate t: the covariance is itself estimated from few clusters.
    stretch = np.sqrt(df / rng.chisquare(df, draws)) if np.isfinite(df) else np.ones(draws)
    return np.asarray(stretch * (np.abs(noise) @ widths))
