"""Limits of a gap of bounded scores where no change was seen at all, so that there is no spread to take one from.

A gap of scores from ``low`` to ``high`` is never further from 0 than R = high - low times the share q of clusters in
which anything differs between the groups. Where n independent clusters showed no difference, q is at most

    u = 1 - (alpha / 2) ** (1 / n),

the exact two-sided limit of Clopper & Pearson (1934) at 0 of n (about 3.7 / n for 95 %; the one-sided one is the rule
of three, Hanley & Lippman-Hand 1983). So the gap lies in ±R u: for a truth beyond either end, as little as was seen has
a probability of alpha / 2 at most. With two groups that holds however their clusters depend on each other, for a gap
beyond R u needs a share above u in one of them.

The limits take clusters for independent and alike in size. Of unequal ones the effective number (Kish 1965) counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rlhf_fair.errors import SettingsError
from rlhf_fair.records import Estimate
from rlhf_fair.stats.sample import sample

ROUNDING = 1e-12
"""A gap below this share of the scores' range is 0."""

Range = tuple[float, float]
"""The lowest and the highest score there can be; infinite where there is none."""


def no_event_limit(n: float, *, alpha: float = 0.05) -> float:
    """Upper limit of a probability of whose event ``n`` independent trials showed none; range (0, 1].

    Exact for whole ``n`` (Clopper & Pearson 1934, two-sided).

    >>> round(no_event_limit(10), 4)
    0.3085
    """
    if not n > 0 or not 0 < alpha < 1:
        raise SettingsError(f"n {n!r}, alpha {alpha!r}; allowed: n above 0, alpha between 0 and 1")
    return -math.expm1(math.log(alpha / 2) / n)


def effective_clusters(
    groups: Any, coefficients: Mapping[Any, float], *, values: ArrayLike, clusters: Sequence[ArrayLike] = ()
) -> float:
    """Kish's (1965) effective number of clusters, (sum m)² / sum m²; the smallest over groups and clusterings.

    Arguments as of `rlhf_fair.stats.contrasts.contrast_estimate`; rows without a value do not count. 0 for an empty
    group.
    """
    rows = sample(values, groups, labels=[g for g, a in coefficients.items() if a], clusters=clusters)
    sizes = [np.bincount(way[rows.group == g]).astype(float) for way in rows.ways for g in range(len(rows.labels))]
    return min(float(size.sum() ** 2 / max((size**2).sum(), 1.0)) for size in sizes)


def with_no_change_limits(
    e: Estimate,
    values: ArrayLike,
    groups: Any,
    coefficients: Mapping[Any, float],
    *,
    scores: Range,
    clusters: Sequence[ArrayLike] = (),
    alpha: float = 0.05,
) -> Estimate:
    """``e`` with limits ±R u where it is a gap of exactly 0 that has none; any other estimate as it is.

    ``e``: what `rlhf_fair.stats.contrasts.contrast_estimate` gives for the same arguments; its ``reason`` then says
    where the limits come from. Coefficients sum to 0; one alone stands for paired changes of scores of the range
    ``scores``. Scores without bounds, and fewer than two clusters, stay without an interval.
    """
    width = scores[1] - scores[0]
    seen_none = math.isnan(e.ci_low) and e.n_clusters > 1 and abs(e.estimate) <= ROUNDING * width
    if not (math.isfinite(width) and seen_none):
        return e
    n = effective_clusters(groups, coefficients, values=values, clusters=clusters)
    share = no_event_limit(n, alpha=alpha)
    sides = 1 if len(coefficients) == 1 else 2  # paired changes have both groups in each value
    limit = width * share * sum(abs(a) for a in coefficients.values()) / sides
    reason = (
        f"no change in any of {e.n:,} rows: the limits are the range of the scores, {width:.3g}, times the share of "
        f"changes above which {n:.3g} independent clusters would hardly show none, {share:.2g}"
    )
    return e.model_copy(update={"estimate": 0.0, "ci_low": -limit, "ci_high": limit, "p_value": 1.0, "reason": reason})
