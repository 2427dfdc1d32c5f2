"""Partial identification: what a mean or a gap can be when groups are unknown or outcomes missing.

Leaving such rows out assumes that they are like the others. Bounds assume nothing: they are the smallest and the
largest value over all ways of filling in what is not known (Manski 1990), and they are sharp, that is, some filling-in
attains each end. A row of unknown group may belong to any group of the data; a missing outcome may be anything in a
given range. The interval around the bounds covers the true value, not the whole set (Imbens & Manski 2004).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats as distributions
from scipy.optimize import brentq

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.columns import check_lengths
from rlhf_fair.stats.contrasts import contrast_estimate, mean_estimate
from rlhf_fair.stats.sample import UNKNOWN, Codes, Floats, encode
from rlhf_fair.stats.sorted_assignment import (
    GROUP,
    OTHER_GROUP,
    REFERENCE,
    UNKNOWN_GROUP,
    Counts,
    Extreme,
    Pool,
    largest_gap,
)


@dataclass(frozen=True)
class Bounds:
    """``[low, high]``: all values the data allow; ``[ci_low, ci_high]`` covers the true one with 1 - alpha.

    ``n`` rows in all that bear on it, ``n_unknown`` of them without a group, ``n_missing`` without an outcome (a row
    may be both). NaN with a ``reason`` where there is no bound or no interval.
    """

    low: float
    high: float
    ci_low: float = NAN
    ci_high: float = NAN
    standard_error_low: float = NAN
    standard_error_high: float = NAN
    n: int = 0
    n_unknown: int = 0
    n_missing: int = 0
    n_clusters: int = 0
    reason: str = ""


@dataclass(frozen=True)
class BoundsOptions:
    """What is known of the unknown.

    ``value_range``: smallest and largest possible outcome; needed where outcomes are missing. ``unknown_shares``: group
    -> least and largest share of the rows of unknown group that belong to it, range [0, 1] each; default 0 to 1. A
    group named here need not occur in the data, so ``{"elsewhere": (0, 1)}`` admits groups that nobody reported.
    ``clusters``: as in `contrast_estimate`.
    """

    value_range: tuple[float, float] | None = None
    unknown_shares: Mapping[Hashable, tuple[float, float]] = field(default_factory=dict)
    clusters: Sequence[ArrayLike] = ()
    alpha: float = 0.05

    def __post_init__(self) -> None:
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            raise SettingsError(f"value_range = {self.value_range}; allowed: a smaller and a larger number")
        for group, (least, most) in self.unknown_shares.items():
            if not 0 <= least <= most <= 1:
                raise SettingsError(
                    f"unknown_shares of {group!r} = ({least:g}, {most:g}); allowed: 0 <= least <= most <= 1"
                )


def mean_bounds(values: ArrayLike, groups: Any, *, group: Hashable, options: BoundsOptions | None = None) -> Bounds:
    """Bounds of the mean of one group.

    Parameters
    ----------
    values: (n,) outcomes, NaN where missing. groups: (n,) labels or a table of them; None and NaN are unknown.
    """
    return _bounds(values, groups, group, None, options or BoundsOptions())


def gap_bounds(
    values: ArrayLike,
    groups: Any,
    *,
    group: Hashable,
    reference: Hashable,
    options: BoundsOptions | None = None,
) -> Bounds:
    """Bounds of mean(``group``) - mean(``reference``); null value 0.

    ``values``: (n,) outcomes, NaN where missing. ``groups``: (n,) labels or a table of them; None and NaN are unknown.
    `SettingsError` where outcomes are missing and ``options`` does not say what they can be.
    One row cannot be in both groups, so these are narrower than the difference of the two means' bounds. Time and
    memory are linear in the rows of unknown group, times the rows that lack group *and* outcome.
    """
    if group == reference:
        raise SettingsError(f"group and reference are both {group!r}; allowed: two different groups")
    return _bounds(values, groups, group, reference, options or BoundsOptions())


def imbens_manski(
    low: float, high: float, se_low: float, se_high: float, *, df: float = math.inf, alpha: float = 0.05
) -> tuple[float, float]:
    """The interval for a value that lies somewhere in [low, high], both ends estimated (Imbens & Manski 2004).

    ``low - C·se_low`` to ``high + C·se_high``, where C solves ``F(C + (high - low)/max(se)) - F(-C) = 1 - alpha``: the
    two-sided quantile for a point, the one-sided one for a wide set, since the truth can be near one end only. F is
    normal in the paper; here Student's with ``df``, which matters with few clusters.

    >>> [round(end, 2) for end in imbens_manski(0, 0, 1, 1)], [round(end, 2) for end in imbens_manski(0, 9, 1, 1)]
    ([-1.96, 1.96], [-1.64, 10.64])
    """
    law = distributions.t(df)
    width = (high - low) / max(se_low, se_high)
    two_sided = float(law.ppf(1 - alpha / 2))
    one_sided = float(law.ppf(1 - alpha))

    def excess(c: float) -> float:
        return float(law.cdf(c + width) - law.cdf(-c)) - (1 - alpha)

    c = two_sided if excess(two_sided) <= 0 else float(brentq(excess, one_sided - 1e-9, two_sided))
    return low - c * se_low, high + c * se_high


def _bounds(
    values: ArrayLike, groups: Any, group: Hashable, reference: Hashable | None, options: BoundsOptions
) -> Bounds:
    x = np.asarray(values, dtype=float)
    codes, labels = encode(groups)
    check_lengths({"groups": codes}, len(x), "values")
    role = _roles(codes, labels, group, reference)
    counts = _counts(int((role == UNKNOWN_GROUP).sum()), labels, (group, reference), options)
    part = role != OTHER_GROUP
    x, role = x[part], role[part]
    smallest, largest = _value_range(x, options)
    missing = np.isnan(x)
    size: dict[str, Any] = {
        "n": len(x),
        "n_unknown": int((role == UNKNOWN_GROUP).sum()),
        "n_missing": int(missing.sum()),
    }
    upper = largest_gap(Pool(x, role, smallest, largest), counts, mean_only=reference is None)
    lower = largest_gap(Pool(-x, role, -largest, -smallest), counts, mean_only=reference is None)
    if upper is None or lower is None:
        return Bounds(NAN, NAN, reason="a group has no rows and no row of unknown group can be in it", **size)
    ways = [np.asarray(way)[part] for way in options.clusters]
    return _with_interval(lower, upper, ways, size, options.alpha)


def _with_interval(
    lower: Extreme, upper: Extreme, ways: Sequence[ArrayLike], size: dict[str, Any], alpha: float
) -> Bounds:
    low, high = -lower.value, upper.value
    below, above = _error(lower, ways), _error(upper, ways)
    size = size | {"n_clusters": below.n_clusters}
    errors = (below.standard_error, above.standard_error)
    if not (errors[0] > 0 and errors[1] > 0):
        return Bounds(low, high, reason=below.reason or above.reason, **size)
    df = _fewest(below.df, above.df)
    if math.isnan(df):  # no variance within a group to take them from: as few as clusters allow
        df = max(below.n_clusters - 1.0, 1.0)
    ci_low, ci_high = imbens_manski(low, high, *errors, df=df, alpha=alpha)
    return Bounds(low, high, ci_low, ci_high, errors[0], errors[1], **size)


def _error(extreme: Extreme, ways: Sequence[ArrayLike]) -> Estimate:
    """The standard error of a bound and its degrees of freedom, from the rows' influences.

    Taken twice: over all rows, whose number in a group is chance too; and as a contrast of the groups as they were
    filled, with a variance and a share of the degrees of freedom for each, since three rows against three hundred are
    no sample of 303. The larger error and the fewer degrees of freedom stand.
    """
    # Means of n times the influences, whose true value is 0; rows in neither group have none but a constant.
    every = mean_estimate(len(extreme.influence) * extreme.influence, clusters=ways, rates=False)
    rows = np.bincount(extreme.place, minlength=OTHER_GROUP + 1)
    groups = {place: 1.0 for place in (GROUP, REFERENCE) if rows[place]}
    by_group = contrast_estimate(
        rows[extreme.place] * extreme.influence, extreme.place, groups, clusters=ways, rates=False
    )
    if not by_group.standard_error > 0:
        return by_group.model_copy(update={"n_clusters": every.n_clusters})
    if not every.standard_error > 0:
        return every
    return every.model_copy(
        update={
            "standard_error": max(every.standard_error, by_group.standard_error),
            "df": _fewest(every.df, by_group.df),
        }
    )


def _fewest(*df: float) -> float:
    """The fewest degrees of freedom of those that are known; NaN where none is."""
    return min((one for one in df if not math.isnan(one)), default=NAN)


def _roles(codes: Codes, labels: tuple[Hashable, ...], group: Hashable, reference: Hashable | None) -> Codes:
    role = np.full(len(codes), OTHER_GROUP, dtype=np.intp)
    role[codes == UNKNOWN] = UNKNOWN_GROUP
    for label, code in ((group, GROUP), (reference, REFERENCE)):
        if label in labels:
            role[codes == labels.index(label)] = code
    return role


def _counts(
    n_unknown: int, labels: tuple[Hashable, ...], compared: tuple[Hashable, Hashable | None], options: BoundsOptions
) -> Counts:
    """Shares as numbers of rows, rounded outwards, so that shares which add up to 1 can always be met."""
    shares = dict.fromkeys([*labels, *(label for label in compared if label is not None)], (0.0, 1.0))
    shares |= options.unknown_shares
    limits = {
        label: (math.floor(least * n_unknown + 1e-9), math.ceil(most * n_unknown - 1e-9))
        for label, (least, most) in shares.items()
    }
    least, most = (sum(share[end] for share in shares.values()) for end in (0, 1))
    if n_unknown and not least - 1e-9 <= 1 <= most + 1e-9:
        raise SettingsError(f"unknown_shares add up to {least:g} at least and {most:g} at most; allowed: 1 in between")
    others = [limit for label, limit in limits.items() if label not in compared]
    group, reference = compared
    return Counts(
        group=limits[group],
        reference=(0, 0) if reference is None else limits[reference],
        neither=(sum(limit[0] for limit in others), min(sum(limit[1] for limit in others), n_unknown)),
    )


def _value_range(x: Floats, options: BoundsOptions) -> tuple[float, float]:
    if options.value_range is None:
        if np.isnan(x).any():
            raise SettingsError("outcomes are missing: value_range must say what they can be")
        return 0.0, 0.0
    smallest, largest = options.value_range
    outside = np.flatnonzero((x < smallest) | (x > largest))
    if len(outside):
        raise RowError(f"value {x[outside[0]]:g} lies outside value_range ({smallest:g}, {largest:g})")
    return smallest, largest
