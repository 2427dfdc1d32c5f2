"""How sure is an α: an interval over items *and* raters.

The bootstrap of Hayes & Krippendorff 2007 draws pairs of ratings as if each were a witness of its own. Ratings come in
two ways of clusters: another sample would hold other items and other raters. So the variance is that of leaving out
items, plus that of leaving out raters, less that of leaving out single ratings, which both count (the pigeonhole sum of
Owen 2007); it is never taken to be less than that of either way alone, which by chance the sum may be. Drawing raters
with replacement would not do: a rater drawn twice agrees with his copy, and α would rise.

α = 1 - D_o/D_e, so log(1 - α) is a log ratio of two sums; it is closer to normal than α, and limits made there never
pass 1. Coverage of nominal 95 % intervals in %, over 1,000 simulated panels of each design (+-1.4 at 95), ratings =
item + rater's mood + noise, with SDs 1, mood and 1, hence a known α; "items only" leaves items out and holds raters
fixed:

=====  ======  ================  ====  =====  ==========  ==========
items  raters  ratings per item  mood  α      both ways   items only
=====  ======  ================  ====  =====  ==========  ==========
30     10      5                 0.5   0.444  95.0        90.2
30     10      5                 0.0   0.500  95.9        91.2
30     30      6                 0.5   0.444  91.7        89.9
100    10      5                 0.5   0.444  96.8        90.3
100    30      6                 0.5   0.444  94.9        93.1
100    100     8                 1.0   0.333  91.9        89.8
300    30      5                 1.0   0.333  94.8        81.9
300    100     5                 0.5   0.444  95.7        94.5
=====  ======  ================  ====  =====  ==========  ==========

Where it misses, α was mostly larger than the upper limit: with few items α itself is a little too small on average.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from rlhf_fair.records import Estimate
from rlhf_fair.stats.agreement import Comparable, Level, coincidence_matrix, comparable, squared_distances
from rlhf_fair.stats.columns import Codes, Floats, label_column
from rlhf_fair.stats.student_t import t_quantile

BLOCK = 2_000_000
"""Numbers held at a time: units x values."""


def alpha_interval(
    units: ArrayLike, raters: ArrayLike, values: ArrayLike, *, level: Level, alpha: float = 0.05
) -> Estimate:
    """Krippendorff's α with limits for other items and other raters; ``alpha`` is the level of the interval.

    Parameters
    ----------
    units, raters, values
        (n,) one rating each, one rating per unit and rater; missing values are left out.

    Returns
    -------
    Estimate
        ``n`` comparable ratings; ``n_clusters`` the smaller of the numbers of units and raters, and t with one degree
        of freedom less. No limits, and the reason why, where there is one unit or nobody ever disagrees.
    """
    ratings = comparable(units, values)
    if not len(ratings.unit):
        return Estimate.not_estimable("no unit has two ratings", n_left_out=ratings.n_alone)
    _, rater = np.unique(label_column(raters)[ratings.row].astype(str), return_inverse=True)
    n_units, n_raters = int(ratings.unit.max()) + 1, int(rater.max()) + 1
    size = {"n": len(rater), "n_clusters": min(n_units, n_raters), "n_left_out": ratings.n_alone}
    sums = _Disagreement.of(ratings, level)
    if not sums.expected:
        return Estimate.not_estimable("all comparable ratings have the same value", **size)
    ratio = sums.observed / sums.expected
    if n_units < 2 or not sums.observed:
        reason = "one unit alone has no interval" if n_units < 2 else "without any disagreement there is no interval"
        return Estimate(estimate=1 - ratio, reason=reason, **size)
    of_unit, of_rating = sums.influences(ratings)
    of_rater = np.bincount(rater, of_rating)
    parts = [(of_unit**2).sum(), (of_rater**2).sum(), (of_rating**2).sum()]
    parts = [part * n / (n - 1) for part, n in zip(parts, (n_units, n_raters, len(rater)), strict=True)]
    spread = math.sqrt(max(parts[0] + parts[1] - parts[2], parts[0], parts[1]))
    df = min(n_units, n_raters) - 1
    reach = math.exp(t_quantile(1 - alpha / 2, df) * spread)
    return Estimate(
        estimate=1 - ratio,
        ci_low=1 - ratio * reach,
        ci_high=1 - ratio / reach,
        standard_error=ratio * spread,
        df=df,
        **size,
    )


class _Disagreement:
    """The sums that α is made of, and what each unit and each rating adds to log(D_o/D_e)."""

    def __init__(self, counts: sparse.csr_array, distance: Floats, slope: Floats, sums: tuple[float, float]) -> None:
        """``counts``: (units, V). ``slope``: (V,) change of log(D_o/D_e) with each value's count, all else equal."""
        self.counts, self.distance, self.slope = counts, distance, slope
        self.observed, self.expected = sums

    @classmethod
    def of(cls, ratings: Comparable, level: Level) -> _Disagreement:
        counts = ratings.counts
        marginal = np.asarray(counts.sum(axis=0), dtype=float)
        total = float(marginal.sum())
        distance = squared_distances(ratings.levels, marginal, level)
        coincidences = coincidence_matrix(counts)
        pairs = sparse.coo_array(coincidences)
        within = float(pairs.data @ distance[pairs.row, pairs.col])
        between = float(marginal @ distance @ marginal)
        if not within or not between:
            slope = np.zeros(len(marginal))
        else:
            slope = 1 / (total - 1) - 2 * (distance @ marginal) / between
            if level == "ordinal":
                slope += _rank_slope(coincidences, marginal, within, between)
        return cls(counts, distance, slope, (within / total, between / (total * (total - 1))))

    def influences(self, ratings: Comparable) -> tuple[Floats, Floats]:
        """(units,) and (n,): the change of log(D_o/D_e) when one is left out, with the sign turned, to first order."""
        size = np.bincount(ratings.unit)
        to_others = self._distance_to_others(ratings)
        pairs = np.bincount(ratings.unit, to_others)  # both orders of every pair
        own = pairs / (size - 1)
        sum_of_own = own.sum()
        linear = np.asarray(self.counts @ self.slope)
        of_unit = own / sum_of_own + linear
        n = size[ratings.unit]
        without = (pairs[ratings.unit] - 2 * to_others) / np.maximum(n - 2, 1)
        lost = np.where(n > 2, own[ratings.unit] - without, own[ratings.unit])
        # the other of two ratings is comparable no longer, so the whole unit goes
        moved = np.where(n > 2, self.slope[ratings.value], linear[ratings.unit])
        return of_unit, lost / sum_of_own + moved

    def _distance_to_others(self, ratings: Comparable) -> Floats:
        """(n,) summed squared distance of each rating to the others of its unit."""
        order = np.argsort(ratings.unit, kind="stable")
        unit, value = ratings.unit[order], ratings.value[order]
        found = np.empty(len(unit))
        step = max(1, BLOCK // self.counts.shape[1])
        for start in range(0, self.counts.shape[0], step):
            rows = _between(unit, start, start + step)
            block = np.asarray(self.counts[start : start + step] @ self.distance)
            found[rows] = block[unit[rows] - start, value[rows]]
        back = np.empty_like(found)
        back[order] = found
        return back


def _between(codes: Codes, low: int, high: int) -> slice:
    """Where the sorted ``codes`` lie in [low, high)."""
    first, last = np.searchsorted(codes, [low, high])
    return slice(int(first), int(last))


def _rank_slope(coincidences: sparse.csr_array, marginal: Floats, within: float, between: float) -> Floats:
    """(V,) what counts change through the mid-ranks: every value given moves all values above it by one rank."""
    rank = np.cumsum(marginal) - marginal / 2
    of_rank = 4 * (np.asarray(coincidences.sum(axis=1)) * rank - coincidences @ rank) / within
    of_rank -= 4 * marginal * (marginal.sum() * rank - marginal @ rank) / between
    above = np.cumsum(of_rank[::-1])[::-1]
    return np.asarray(above - of_rank / 2)
