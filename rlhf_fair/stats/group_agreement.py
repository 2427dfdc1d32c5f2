"""Does a group of raters agree with itself more than with everybody else: α inside, XRR across, and their quotient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlhf_fair.stats.agreement import Level, squared_distances
from rlhf_fair.stats.columns import Floats
from rlhf_fair.stats.power import minimum_detectable_effect
from rlhf_fair.stats.rating_counts import MOST_VALUES, RatingCounts, permutation_p

__all__ = [
    "MOST_VALUES",
    "GroupAgreement",
    "GroupPair",
    "agreement_of_groups",
    "group_agreement",
    "group_pairs",
    "permutation_p",
]


@dataclass(frozen=True)
class GroupAgreement:
    """One group against all other raters.

    ``inside``: Krippendorff's α among the group's raters; ``across``: cross-group reliability XRR. Both 1 = perfect,
    0 = chance. ``difference`` = inside - across, null value about 0. ``ratio`` = inside / across, the group association
    index GAI (Prabhakaran et al. 2024), null value about 1; it explodes as ``across`` nears 0, the difference does not.
    ``p_difference`` and ``p_ratio`` are two-sided permutation p-values, ``null_sd_*`` the SD of the statistic under
    the null: a group whose null SD is large could differ a lot without being noticed.
    """

    group: str
    n_raters: int
    n_items_inside: int
    n_items_across: int
    inside: float
    across: float
    difference: float
    ratio: float
    p_difference: float = np.nan
    p_ratio: float = np.nan
    null_sd_difference: float = np.nan
    null_sd_ratio: float = np.nan
    reason: str = ""

    @property
    def mde_difference(self) -> float:
        """The smallest true ``difference`` from 0 that this group would show with 80 % power at 5 %: 2.80 null SDs."""
        return minimum_detectable_effect(self.null_sd_difference, math.inf)

    @property
    def mde_ratio(self) -> float:
        """The smallest distance of ``ratio`` from 1 that this group would show with 80 % power at 5 %."""
        return minimum_detectable_effect(self.null_sd_ratio, math.inf)


@dataclass(frozen=True)
class GroupPair:
    """XRR of two groups; 1 = perfect, 0 = chance; symmetric. ``n_items``: rated by both. NaN comes with a reason."""

    first: str
    second: str
    n_items: int
    across: float
    reason: str = ""


def group_agreement(
    items: ArrayLike,
    raters: ArrayLike,
    values: ArrayLike,
    groups: ArrayLike,
    *,
    level: Level,
    permutations: int = 999,
    rng: np.random.Generator,
) -> tuple[GroupAgreement, ...]:
    """Agreement inside each group and with all other raters of known group, groups in order of name.

    Parameters
    ----------
    items, raters, values, groups
        (n,) one rating each. Rows with a missing value or group are left out; a rater has one group.
    permutations
        How often the labels are handed out anew; p = (1 + #) / (permutations + 1), so never 0.
    """
    ratings = RatingCounts.of(items, raters, values, groups)
    return agreement_of_groups(ratings, level=level, permutations=permutations, rng=rng)


def agreement_of_groups(
    ratings: RatingCounts, *, level: Level, permutations: int = 999, rng: np.random.Generator
) -> tuple[GroupAgreement, ...]:
    """`group_agreement` of ratings that are counted already."""
    observed = _statistics(ratings.tally(), ratings.levels, level)
    null = np.empty((permutations, *observed.shape))
    for draw, counts in enumerate(ratings.dealt(permutations, rng)):
        null[draw] = _statistics(counts, ratings.levels, level)
    found = []
    for code, (name, n_raters) in enumerate(zip(ratings.names, ratings.raters, strict=True)):
        inside, across, n_inside, n_across = (float(x) for x in observed[:, code])
        statistics = [inside - across, float(_divide(inside, across))]
        nulls = [null[:, 0, code] - null[:, 1, code], _divide(null[:, 0, code], null[:, 1, code])]
        p = [permutation_p(statistic, draws) for statistic, draws in zip(statistics, nulls, strict=True)]
        sd = [float(np.std(draws[np.isfinite(draws)])) if np.isfinite(draws).any() else np.nan for draws in nulls]
        found.append(
            GroupAgreement(
                group=name,
                n_raters=int(n_raters),
                n_items_inside=int(n_inside),
                n_items_across=int(n_across),
                inside=inside,
                across=across,
                difference=statistics[0],
                ratio=statistics[1],
                p_difference=p[0],
                p_ratio=p[1],
                null_sd_difference=sd[0],
                null_sd_ratio=sd[1],
                reason=_reason(inside, across, n_inside, n_across),
            )
        )
    return tuple(found)


def group_pairs(ratings: RatingCounts, *, level: Level) -> tuple[GroupPair, ...]:
    """XRR of every two groups, each pair once, in order of name."""
    counts = ratings.tally()
    found = []
    for x, y in combinations(range(len(ratings.names)), 2):
        across, n_items = (float(value[0]) for value in _xrr(counts[[x]], counts[[y]], ratings.levels, level))
        reason = ""
        if np.isnan(across):
            reason = "all comparable ratings have the same value" if n_items else "no item was rated by both groups"
        found.append(GroupPair(ratings.names[x], ratings.names[y], int(n_items), across, reason))
    return tuple(found)


def _statistics(counts: Floats, levels: NDArray[np.generic], level: Level) -> Floats:
    """(4, G): α inside, XRR with all others, and the number of items behind each; ``counts``: (G, V, I)."""
    inside, n_inside = _alpha(counts, levels, level)
    across, n_across = _xrr(counts, counts.sum(axis=0) - counts, levels, level)
    return np.stack([inside, across, n_inside, n_across])


def _alpha(counts: Floats, levels: NDArray[np.generic], level: Level) -> tuple[Floats, Floats]:
    """Krippendorff's α of each of G tables of counts (G, V, I), and the items it rests on."""
    size = counts.sum(axis=1)
    paired = size >= 2
    weight = np.divide(1.0, size - 1, out=np.zeros_like(size), where=paired)
    marginal = _marginal(counts, paired)
    distance = _distances(levels, marginal, level)
    coincidences = (counts * weight[:, None, :]) @ counts.swapaxes(1, 2)
    total = marginal.sum(axis=1)
    observed = _divide((coincidences * distance).sum(axis=(1, 2)), total)
    expected = _divide(_bilinear(marginal, distance, marginal), total * (total - 1))
    return 1 - _divide(observed, expected), paired.sum(axis=1).astype(float)


def _xrr(x: Floats, y: Floats, levels: NDArray[np.generic], level: Level) -> tuple[Floats, Floats]:
    """XRR = 1 - d_o / d_e over cross-group pairs only (Wong, Paritosh & Aroyo 2021), and its items; x, y: (G, V, I).

    Items that only one side rated are left out; an item with R and S ratings has the weight R + S.
    """
    r, s = x.sum(axis=1), y.sum(axis=1)
    both = (r > 0) & (s > 0)
    weight = np.divide(r + s, r * s, out=np.zeros_like(r), where=both)
    marginal_x, marginal_y = _marginal(x, both), _marginal(y, both)
    distance = _distances(levels, marginal_x + marginal_y, level)
    coincidences = (x * weight[:, None, :]) @ y.swapaxes(1, 2)
    total_x, total_y = marginal_x.sum(axis=1), marginal_y.sum(axis=1)
    observed = _divide((coincidences * distance).sum(axis=(1, 2)), total_x + total_y)
    expected = _divide(_bilinear(marginal_x, distance, marginal_y), total_x * total_y)
    return 1 - _divide(observed, expected), both.sum(axis=1).astype(float)


def _marginal(counts: Floats, used: NDArray[np.bool_]) -> Floats:
    """(G, V) how often each value was given on the items used."""
    return np.asarray((counts @ used[:, :, None].astype(float))[:, :, 0])


def _distances(levels: NDArray[np.generic], marginal: Floats, level: Level) -> Floats:
    """(G or 1, V, V); only ordinal distances depend on how often each value was given."""
    if level != "ordinal":
        return squared_distances(levels, marginal[0], level)[None]
    middle = np.cumsum(marginal, axis=1) - marginal / 2
    return np.asarray((middle[:, :, None] - middle[:, None, :]) ** 2)


def _bilinear(left: Floats, matrix: Floats, right: Floats) -> Floats:
    return np.asarray(((left[:, None, :] @ matrix)[:, 0, :] * right).sum(axis=1))


def _divide(top: ArrayLike, bottom: ArrayLike) -> Floats:
    """Quotient, NaN where the denominator is 0."""
    a, b = np.asarray(top, dtype=float), np.asarray(bottom, dtype=float)
    return np.asarray(np.divide(a, b, out=np.full(np.broadcast(a, b).shape, np.nan), where=b != 0))


def _reason(inside: float, across: float, n_inside: float, n_across: float) -> str:
    if not n_inside:
        return "no item has two ratings from this group"
    if not n_across:
        return "no item was rated by this group and by others"
    if np.isnan(inside) or np.isnan(across):
        return "all comparable ratings have the same value"
    return ""
