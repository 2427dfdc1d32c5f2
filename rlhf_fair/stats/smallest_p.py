"""How small the smallest p-value of a family of contrasts gets when no group differs (Westfall & Young 1993).

Estimates are drawn from a normal distribution with the estimated covariance, their standard errors from what that model
makes of them; `rlhf_fair.stats.simultaneous` says how this was chosen and how well it holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.special import stdtr

from rlhf_fair.stats.covariance import square_root
from rlhf_fair.stats.group_sums import GroupMeans
from rlhf_fair.stats.sample import Floats

DRAWS = 4999
"""A critical level of 5 % is then off by 0.3 %."""

CHUNK = 500

MANY = 100
"""Above this many degrees of freedom standard errors count as known when dependence is simulated."""


def smallest_p_values(means: GroupMeans, contrasts: Floats, rng: np.random.Generator) -> Floats:
    """(DRAWS,) the smallest two-sided p-value of ``contrasts`` (P, G) of ``means`` when no group differs."""
    covariance = sum(sign * sums.covariance for sign, sums in means.signed)
    root = square_root(np.asarray(covariance))
    single = means.single[0]
    nested = len(means.single) == 1 and len(single.cluster) == len(np.unique(single.cluster))
    if nested:
        df = np.array([single.degrees_of_freedom(unit) for unit in np.eye(single.n_groups)])
        known = np.isfinite(df) & (contrasts != 0).any(axis=0)
        variance = np.diag(covariance)[known]
        parts = _separate_variances(variance, df[known], contrasts[:, known] ** 2, rng)
    else:
        df_of_pairs = [means.degrees_of_freedom(a) for a in contrasts]
        parts = _shared_variances(contrasts @ root, min(df_of_pairs), rng)
    spread = contrasts @ root
    found = []
    for errors, degrees in parts:
        t = np.abs(rng.normal(size=(len(errors), root.shape[1])) @ spread.T) / errors
        found.append(2 * stdtr(degrees, -t).min(axis=1))
    return np.concatenate(found)


def critical_level(smallest: Floats, alpha: float) -> float:
    """The level of each contrast at which the family, of these ``smallest`` p-values (any order), has ``alpha``."""
    ordered = np.sort(smallest)
    return min(alpha, float(ordered[max(int(alpha * (len(ordered) + 1)) - 1, 0)]))


def _chunks() -> Iterator[int]:
    for start in range(0, DRAWS, CHUNK):
        yield min(CHUNK, DRAWS - start)


def _separate_variances(
    variance: Floats, df: Floats, squares: Floats, rng: np.random.Generator
) -> Iterator[tuple[Floats, Any]]:
    """Standard errors (b, P) of pairs whose groups share no cluster, and the degrees of freedom each would be given."""
    for b in _chunks():
        drawn = variance * rng.chisquare(df, (b, len(df))) / df
        total = drawn @ squares.T
        yield np.sqrt(total), total**2 / (drawn**2 @ (squares**2 / df).T)


def _shared_variances(spread: Floats, df: float, rng: np.random.Generator) -> Iterator[tuple[Floats, Any]]:
    """Standard errors (b, P) of pairs whose groups share clusters: the fewest degrees of freedom of a pair for all."""
    whole = max(1, int(df))
    if whole > MANY:
        for b in _chunks():
            yield np.broadcast_to(np.sqrt((spread**2).sum(axis=1)), (b, len(spread))), np.inf
        return
    for b in _chunks():
        x = rng.normal(size=(b, whole, spread.shape[1]))
        wishart = np.matmul(x.transpose(0, 2, 1), x) / whole
        yield np.sqrt(((spread @ wishart) * spread).sum(axis=2)), float(whole)
