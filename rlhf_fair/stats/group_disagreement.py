"""Where raters disagree: how much of it lies inside groups, and how much between them beyond that noise.

All disagreement is the mean squared distance of two ratings of an item, as in Krippendorff's α, divided by that of two
ratings drawn from anywhere: 0 = none, 1 = as much as by chance. Two raters of one group differ, too, so groups whose
*observed* means differ need not disagree. What counts is

    between(g, h) = D(g, h) - (D(g, g) + D(h, h)) / 2

where D is the mean squared distance of two different raters. It is the energy distance of the two groups (Székely &
Rizzo 2013): its expected value is 0 where both judge alike, and the squared difference of their means at level
interval; as an unbiased estimate it may be negative. With shares p of the groups on an item

    all disagreement = sum_g p_g D(g, g)  +  sum_{g<h} 2 p_g p_h between(g, h)

which for numbers is (twice) the law of total variance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from rlhf_fair.records import NAN
from rlhf_fair.stats.agreement import Level, squared_distances
from rlhf_fair.stats.columns import Floats
from rlhf_fair.stats.power import minimum_detectable_effect
from rlhf_fair.stats.rating_counts import RatingCounts, upper_permutation_p

FEWEST = 2
"""Raters of a group on an item without whom there is no disagreement inside the group."""

NOT_COMPARED = "no item has two raters of each of two groups"


@dataclass(frozen=True)
class ItemDisagreement:
    """By item, in units of chance disagreement; NaN where fewer than two groups have enough raters on the item.

    ``raters``: (I,) raters of the groups compared; ``groups``: (I,) how many groups. ``within``, ``between``: (I,),
    their sum is all disagreement. ``inside``: (G, I) disagreement of two raters of a group, NaN below two raters.
    """

    raters: Floats
    groups: Floats
    within: Floats
    between: Floats
    inside: Floats


@dataclass(frozen=True)
class Shares:
    """Disagreement over many items, each with the weight of its raters, and its null from dealing groups by lot.

    ``share`` = between / (within + between): 0 = groups do not matter, 1 = each group is of one mind and they differ;
    unbiased parts, so it may be below 0. ``p_value``: one-sided, of a share as large. ``null_sd`` of the share.
    """

    n_items: int
    within: float
    between: float
    share: float
    p_value: float = NAN
    null_sd: float = NAN
    reason: str = ""

    @property
    def mde(self) -> float:
        """The smallest true share these raters would show with 80 % power, at 5 % one-sided."""
        return minimum_detectable_effect(self.null_sd, math.inf, alpha=0.1)


@dataclass(frozen=True)
class FurthestPair:
    """The two groups furthest apart on an item: codes, and their distance beyond noise in units of chance."""

    first: int
    second: int
    distance: float


def chance_distances(ratings: RatingCounts, level: Level) -> Floats:
    """(V, V) squared distances of values over their mean for two ratings drawn from anywhere, without replacement.

    All NaN where all ratings have the same value.
    """
    marginal = ratings.tally().sum(axis=(0, 2))
    distance = squared_distances(ratings.levels, marginal, level)
    total = marginal.sum()
    expected = marginal @ distance @ marginal / (total * (total - 1)) if total > 1 else 0.0
    return distance / expected if expected > 0 else np.full_like(distance, NAN)


def item_disagreement(counts: Floats, distance: Floats, compared: NDArray[np.bool_] | None = None) -> ItemDisagreement:
    """Disagreement on each item between the groups compared there.

    ``counts``: (G, V, I); ``distance``: (V, V) of `chance_distances`; ``compared``: (G, I), True counts, by default
    all; a group with fewer than two raters on an item is never compared there.
    """
    size = counts.sum(axis=1)
    to_group = distance @ counts
    pairs = (counts * to_group).sum(axis=1)  # both orders of every pair; a rating is at no distance from itself
    inside = np.divide(pairs, size * (size - 1), out=np.full_like(size, NAN), where=size >= FEWEST)
    used = size >= FEWEST if compared is None else compared & (size >= FEWEST)
    together = (counts * used[:, None, :]).sum(axis=0)
    n = together.sum(axis=0)
    n_groups = used.sum(axis=0)
    safe = np.where(n_groups >= 2, n, NAN)
    within = np.where(used, size * inside, 0.0).sum(axis=0) / safe
    across = (together * (distance @ together)).sum(axis=0) - np.where(used, pairs, 0.0).sum(axis=0)
    among = np.where(used, size**2 * inside, 0.0).sum(axis=0)
    raters = np.where(n_groups >= 2, n, 0.0)
    return ItemDisagreement(raters, n_groups.astype(float), within, (across + among) / safe**2 - within, inside)


def disagreement_share(
    ratings: RatingCounts, distance: Floats, *, permutations: int, rng: np.random.Generator
) -> Shares:
    """How much of all disagreement is between groups, over all items of ``ratings``; ``distance``: (V, V)."""
    within, between, n_items = _pooled(ratings.tally(), distance)
    share = _share(within, between)
    null = np.array([_share(*_pooled(counts, distance)[:2]) for counts in ratings.dealt(permutations, rng)])
    null = null[np.isfinite(null)]
    return Shares(
        n_items=n_items,
        within=within,
        between=between,
        share=share,
        p_value=upper_permutation_p(share, null),
        null_sd=float(null.std()) if len(null) else NAN,
        reason="" if math.isfinite(share) else "nobody disagrees" if n_items else NOT_COMPARED,
    )


def furthest_pairs(counts: Floats, distance: Floats, compared: NDArray[np.bool_]) -> list[FurthestPair | None]:
    """For each item the two groups furthest apart among those ``compared`` there, (G, I); None without two."""
    size = counts.sum(axis=1)
    inside = item_disagreement(counts, distance).inside
    couples = list(combinations(range(len(counts)), 2))
    if not couples:
        return [None] * counts.shape[2]
    apart = np.full((len(couples), counts.shape[2]), -np.inf)
    for place, (g, h) in enumerate(couples):
        on = compared[g] & compared[h] & (size[g] >= FEWEST) & (size[h] >= FEWEST)
        across = (counts[g] * (distance @ counts[h])).sum(axis=0)[on] / (size[g] * size[h])[on]
        apart[place, on] = across - (inside[g] + inside[h])[on] / 2
    best = apart.argmax(axis=0)
    reached = apart[best, np.arange(len(best))]
    return [
        FurthestPair(couples[k][0], couples[k][1], float(d)) if d > -np.inf else None
        for k, d in zip(best, reached, strict=True)
    ]


def _pooled(counts: Floats, distance: Floats) -> tuple[float, float, int]:
    """Within and between, means over items weighted by raters, and the items compared."""
    found = item_disagreement(counts, distance)
    known = found.raters > 0
    if not known.any():
        return NAN, NAN, 0
    weight = found.raters[known] / found.raters[known].sum()
    return float(weight @ found.within[known]), float(weight @ found.between[known]), int(known.sum())


def _share(within: float, between: float) -> float:
    total = within + between
    return between / total if abs(total) > 1e-12 else NAN
