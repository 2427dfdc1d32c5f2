"""What impact ratios can be when some people's category is unknown.

Leaving those people out assumes that they are like the others of whichever category they belong to. Bounds assume
nothing but that each of them belongs to one of the categories of the data (Manski 1990).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rlhf_fair.stats.columns import Floats


@dataclass(frozen=True)
class ImpactRatioBounds:
    """(categories,) each: the smallest and the largest impact ratio over all ways to deal the unknown; range [0, 1].

    Equal where nobody is unknown; NaN where no category can have a rate above 0.
    """

    low: Floats
    high: Floats


def impact_ratio_bounds(
    selected: ArrayLike, n: ArrayLike, *, unknown_selected: int, unknown_not_selected: int
) -> ImpactRatioBounds:
    """Bounds of every category's rate over the highest.

    ``selected``, ``n``: (categories,) counts of those whose category is known, n > 0.

    The lowest ratio of g gives all unknown who were not selected to g and all who were to one other category. The
    highest gives the selected to g and spreads the others so that the highest of the other rates is as small as can be:
    max over j of S_j / (N_j + unknown), S_j and N_j being sums over the j highest (people taken as divisible, which
    may widen the bound by a part of one person). The lower bound is sharp.

    >>> found = impact_ratio_bounds([50, 34], [92, 76], unknown_selected=0, unknown_not_selected=0)
    >>> found.low.round(2).tolist(), found.high.round(2).tolist()
    ([1.0, 0.82], [1.0, 0.82])
    """
    s, m = np.asarray(selected, dtype=float), np.asarray(n, dtype=float)
    low, high = np.full(len(s), np.nan), np.full(len(s), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        for g in range(len(s)):
            others = np.arange(len(s)) != g
            if not others.any():
                continue
            most = float(((s[others] + unknown_selected) / (m[others] + unknown_selected)).max())
            low[g] = _ratio(s[g] / (m[g] + unknown_not_selected), most)
            highest = _lowest_maximum(s[others], m[others], unknown_not_selected)
            high[g] = _ratio((s[g] + unknown_selected) / (m[g] + unknown_selected), highest)
    return ImpactRatioBounds(low, high)


def _ratio(rate: float, highest_other: float) -> float:
    """``rate`` over the highest of all rates, its own among them."""
    highest = max(rate, highest_other)
    return rate / highest if highest > 0 else float("nan")


def _lowest_maximum(selected: Floats, n: Floats, unknown: int) -> float:
    order = np.argsort(-selected / n)
    return float((np.cumsum(selected[order]) / (np.cumsum(n[order]) + unknown)).max())
