"""The ratio of each category's rate to the highest rate, when the data also have to say which category is the highest.

The estimate is the impact ratio, R_g = p_g / max_h p_h; range [0, 1], 1 = nobody has a higher rate. The category with
the highest *observed* rate need not have the highest true one, and an interval that takes it for given is too narrow.
R_g is the smallest of the ratios p_g / p_h, so limits of those are limits of R_g (multiple comparisons with the best;
Hsu 1984):

- lower: the smallest of the lower limits, each at alpha/2. For R_g to lie below it, the lower limit of the one pair
  that attains the smallest ratio has to fail, so no correction is due;
- upper: the smallest of the upper limits, each at alpha/2 over the number of other categories (Bonferroni), since any
  of them may fail. At most 1.

So each interval covers its R_g with probability 1 - alpha at least (as far as those of the pairs hold what they
promise), whichever category is the best, the one observed as the highest included: its ratio is 1 as observed, and its
interval says how far below another it may truly be.

A family of claims may leave the highest observed out; Holm's correction over the others pays for it. Of t categories
with a ratio at or above the threshold, t - 1 at least stay, each rejected at a / (t - 1) or less over its pairs, which
are tested one-sided at half of that. So the chance of any is at most a·t / (2·(t - 1)), never above a for t > 1,
and a/2 for t = 1.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.columns import Codes, Floats
from rlhf_fair.stats.equivalence import threshold_p_value
from rlhf_fair.stats.exact_tests import fisher_p_values
from rlhf_fair.stats.intervals import wilson
from rlhf_fair.stats.risk_ratio import katz, risk_ratio

HIGHEST_ITSELF = "the highest rate observed: its interval says how far below another category's it may be"


@dataclass(frozen=True)
class RatioToBest:
    """``estimate``: the ratio with the interval above; its ``p_value`` is of "no other category has a higher rate".

    ``p_threshold``: of "the ratio is at least the threshold", one-sided, doubled. Both p-values are the smallest over
    the other categories times their number. ``highest``: the category observed as the highest.
    """

    estimate: Estimate
    p_threshold: float
    highest: Hashable | None


@dataclass(frozen=True)
class Comparison:
    """Which categories are compared, how rows belong together, and at what level.

    ``categories``: those that count, in order; others in the data are left out, of the highest too. ``clusters``: (n,)
    arrays as in `rlhf_fair.stats.risk_ratio.risk_ratio`.
    """

    categories: Sequence[Hashable]
    threshold: float = 0.8
    clusters: Sequence[ArrayLike] = ()
    alpha: float = 0.05


@dataclass(frozen=True)
class _Pair:
    """Limits of p_g / p_h: ``low`` at alpha, ``high`` at alpha over the number of others; and the two p-values."""

    low: float
    high: float
    p_value: float
    p_threshold: float
    estimate: Estimate


def ratios_to_best(outcomes: ArrayLike, codes: Codes, comparison: Comparison) -> dict[Hashable, RatioToBest]:
    """The ratio to the best of every category compared.

    Parameters
    ----------
    outcomes: (n,) 0 and 1, NaN where there is none. codes: (n,) positions in ``comparison.categories``; below 0: none.
    """
    x, names = np.asarray(outcomes, dtype=float), list(comparison.categories)
    used = np.isfinite(x) & (codes >= 0)
    n = np.bincount(codes[used], minlength=len(names))
    selected = np.bincount(codes[used], x[used], len(names)).astype(int)
    why = _not_comparable(selected, n)
    if why:
        nothing = [Estimate.not_estimable(why, n=int(size)) for size in n]
        return {name: RatioToBest(e, NAN, None) for name, e in zip(names, nothing, strict=True)}
    rates = selected / n
    order = np.lexsort((-n, -rates))  # of several with the highest rate, the largest
    pairs: dict[tuple[int, int], _Pair] = {}
    for one, other in combinations(range(len(names)), 2):
        below, above = (one, other) if rates[one] <= rates[other] else (other, one)
        pairs[below, above], pairs[above, below] = _both_ways(x, codes, below, above, comparison)
    found = {}
    for code, name in enumerate(names):
        against = int(order[1] if code == order[0] else order[0])
        others = {h: pairs[code, h] for h in range(len(names)) if h != code}
        found[name] = _combined(others, against, float(rates[code] / rates.max()), names[order[0]])
    return found


def _not_comparable(selected: Codes, n: Codes) -> str:
    if len(n) < 2:
        return "no other category to compare with"
    if not n.all():
        return "a category to be compared has no outcome"
    return "" if selected.any() else "no category has a rate above 0"


def _combined(pairs: dict[int, _Pair], against: int, ratio: float, highest: Hashable) -> RatioToBest:
    shown = pairs[against].estimate
    p_value, p_threshold = (
        min(1.0, len(pairs) * min(getattr(pair, name) for pair in pairs.values()))
        for name in ("p_value", "p_threshold")
    )
    estimate = Estimate(
        estimate=ratio,
        ci_low=min(ratio, *(pair.low for pair in pairs.values())),
        ci_high=max(ratio, min(1.0, *(pair.high for pair in pairs.values()))),
        p_value=p_value,
        mde=shown.mde,
        n=shown.n,
        n_clusters=shown.n_clusters,
        reason=HIGHEST_ITSELF if ratio == 1 else shown.reason,
    )
    return RatioToBest(estimate, p_threshold, highest)


def _both_ways(x: Floats, codes: Codes, below: int, above: int, comparison: Comparison) -> tuple[_Pair, _Pair]:
    """p_below / p_above, and its inverse. ``below`` has the lower observed rate, which has a log interval at 0 too."""
    used = np.isfinite(x) & ((codes == below) | (codes == above))
    values, group = x[used], codes[used]
    ways = [np.asarray(way)[used] for way in comparison.clusters]
    counts = [(int(values[group == code].sum()), int((group == code).sum())) for code in (below, above)]
    corrected = comparison.alpha / (len(comparison.categories) - 1)

    def limits(alpha: float) -> tuple[Estimate, float, float]:
        if ways:
            e = risk_ratio(values, group, group=below, reference=above, clusters=ways, alpha=alpha)
        else:
            e = katz(*counts[0], *counts[1], alpha=alpha)
        return e, *_limits(e, counts, alpha, ways, group == below)

    _, low, high = limits(comparison.alpha)
    strict, strict_low, strict_high = limits(corrected)
    same = counts[0][0] * counts[1][1] == counts[1][0] * counts[0][1]
    p_value = 1.0 if same else _difference_p_value(strict, counts, clustered=bool(ways))
    p_threshold = _p_threshold(strict, comparison.threshold, corrected)
    # the higher of the two shows no sign of being below the other
    return _Pair(low, strict_high, p_value, p_threshold, strict), _Pair(
        _inverse(high), _inverse(strict_low), 1.0, 1.0, strict
    )


def _limits(
    e: Estimate, counts: list[tuple[int, int]], alpha: float, ways: list[np.ndarray], is_group: np.ndarray
) -> tuple[float, float]:
    """The interval of a ratio of at most 1, and what stands in for it where the method has none.

    Where every row of both is a success, the limits are those recovered from Wilson's for the two rates (Donner & Zou
    2012), with clusters for rows: [l_g, 1 / l_h]. Where nobody is selected in either, or a group is one cluster, the
    ratio can be anything.
    """
    if math.isfinite(e.ci_low) and math.isfinite(e.ci_high):
        return e.ci_low, e.ci_high
    if all(0 < successes == n for successes, n in counts):
        sizes = [min([int(side.sum()), *(len(np.unique(way[side])) for way in ways)]) for side in (is_group, ~is_group)]
        lows = [wilson(size, size, alpha=alpha).ci_low for size in sizes]
        return lows[0], 1 / lows[1]
    return 0.0, math.inf


def _difference_p_value(e: Estimate, counts: list[tuple[int, int]], *, clustered: bool) -> float:
    """Fisher's, or with clusters, of which that knows nothing, the risk ratio's."""
    if clustered:
        return e.p_value if math.isfinite(e.p_value) else 1.0
    (a, n), (b, m) = counts
    return float(fisher_p_values(a, n, b, m))


def _p_threshold(e: Estimate, threshold: float, alpha: float) -> float:
    if not e.estimate < threshold:
        return 1.0
    p = threshold_p_value(e, threshold=threshold, better="one", alpha=alpha)
    return p if math.isfinite(p) else 1.0


def _inverse(ratio: float) -> float:
    return 0.0 if math.isinf(ratio) else 1 / ratio if ratio > 0 else math.inf
