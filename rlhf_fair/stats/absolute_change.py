"""Did a gap grow or shrink? The change of its size, |b| - |a|, from the change b - a and the sum b + a.

The absolute value has a kink at 0. Where it is not known on which side of 0 a gap lies, an interval for |b| - |a| that
takes the sign as given claims too much: from -0.05 ± 0.10 to 0.00 ± 0.10 with a sure change of 0.05, the gap may just
as well have shrunk as grown. But |b| > |a| exactly where b - a and b + a have the same sign, and

    |b| - |a| = sign((b - a)(b + a)) min(|b - a|, |b + a|),

so two smooth numbers with intervals of their own say all there is to say. A claim needs both (Berger 1982).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rlhf_fair.records import NAN, Better, Estimate
from rlhf_fair.stats.contrasts import contrast_estimate
from rlhf_fair.stats.equivalence import threshold_p_value


def absolute_change(difference: Estimate, total: Estimate) -> Estimate:
    """|b| - |a| from estimates of b - a and b + a; null value 0, above 0 the gap grew.

    The interval holds all values that the two intervals allow. Where the gap's side is beyond doubt it is the interval
    of the difference, turned; elsewhere it is wider. It leaves out 0 exactly where both do. The p-value is the larger.
    """
    value = size_change(difference.estimate, total.estimate)
    ends = [size_change(*corner) for corner in product(_limits(difference), _limits(total))]
    known = all(map(math.isfinite, ends))
    p_values = (difference.p_value, total.p_value)
    return Estimate(
        estimate=value,
        ci_low=min(ends) if known else NAN,
        ci_high=max(ends) if known else NAN,
        p_value=max(p_values) if all(map(math.isfinite, p_values)) else NAN,
        n=difference.n,
        n_clusters=difference.n_clusters,
        n_left_out=difference.n_left_out,
        reason="; ".join(filter(None, dict.fromkeys([difference.reason, "" if known else total.reason]))),
    )


def difference_and_total(
    before: ArrayLike,
    after: ArrayLike,
    groups: Any,
    coefficients: Mapping[Any, float],
    *,
    clusters: Sequence[ArrayLike],
    alpha: float,
) -> tuple[Estimate, Estimate]:
    """b - a and b + a for the gap a of the values ``before`` and b of those ``after``, (n,) scores of the same rows.

    ``groups``, ``coefficients`` and ``clusters`` as in `rlhf_fair.stats.contrasts.contrast_estimate`.
    """
    a, b = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    options: dict[str, Any] = {"clusters": clusters, "rates": False, "alpha": alpha}
    difference, total = (contrast_estimate(x, groups, coefficients, **options) for x in (b - a, b + a))
    return difference, total


def size_change(difference: float, total: float) -> float:
    """|b| - |a| from b - a and b + a.

    >>> size_change(1 - 3, 1 + 3), size_change(-5 - 3, -5 + 3)  # from 3 to 1, and from 3 to -5
    (-2, 2)
    """
    size = min(abs(difference), abs(total))
    return size if difference * total > 0 else -size if difference * total < 0 else 0.0 * size


def growth_p_value(difference: Estimate, total: Estimate, *, margin: float, alpha: float) -> float:
    """Of "|b| - |a| is ``margin`` at most", one-sided and doubled as in `threshold_p_value`; NaN without intervals."""
    sides: list[tuple[int, Better]] = [(1, "low"), (-1, "high")]
    ways = [
        [threshold_p_value(e, threshold=side * margin, better=better, alpha=alpha) for e in (difference, total)]
        for side, better in sides
    ]
    found = [max(way) for way in ways if all(map(math.isfinite, way))]
    return min(found) if found else NAN


def _limits(e: Estimate) -> tuple[float, float]:
    return e.ci_low, e.ci_high
