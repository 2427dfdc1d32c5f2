"""The assignment of unknown rows to groups that pushes a gap as far up as it goes.

Whoever joins a group to raise its mean comes from the top of the unknown rows, and whoever joins to lower a mean from
the bottom. So only the *numbers* that join are searched, not the assignments: with k rows from the top in the group,
the reference's mean is first falling and then rising in the number that join it from the bottom, and its best number
in any allowed interval is the unconstrained best one, clipped. Rows that lack the outcome too count as the largest
value in the group and as the smallest in the reference; how many go to the group is searched as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rlhf_fair.stats.sample import Codes, Floats

GROUP, REFERENCE, UNKNOWN_GROUP, OTHER_GROUP = range(4)
"""Roles of rows; as the place of an unknown row: the group, the reference, or (`OTHER_GROUP`) neither."""

BLOCK = 2_000_000
"""Cells of the search held in memory at once."""


@dataclass(frozen=True)
class Counts:
    """Least and most unknown rows that join the group, the reference, and neither."""

    group: tuple[int, int]
    reference: tuple[int, int]
    neither: tuple[int, int]


@dataclass(frozen=True)
class Pool:
    """``values``: (n,), NaN where missing, and then between ``smallest`` and ``largest``; ``role``: (n,) codes."""

    values: Floats
    role: Codes
    smallest: float
    largest: float


@dataclass(frozen=True)
class Extreme:
    """The largest gap, (n,) what each row contributes to its sampling error, summing to 0, and (n,) where it was put.

    ``place``: codes as of roles; `OTHER_GROUP` for a row of unknown group that joins neither.
    """

    value: float
    influence: Floats
    place: Codes


@dataclass(frozen=True)
class _Known:
    """Rows of known group, missing values filled in; ``observed``: rising values of the unknown rows that have one."""

    group_sum: float
    group_n: int
    reference_sum: float
    reference_n: int
    observed: Floats
    n_missing: int


@dataclass(frozen=True)
class _Split:
    """How many unknown rows join each, and how many of the group's lack the outcome."""

    value: float
    missing_to_group: int
    to_group: int
    to_reference: int


def largest_gap(pool: Pool, counts: Counts, *, mean_only: bool = False) -> Extreme | None:
    """The largest mean of the group less mean of the reference, or with ``mean_only`` the largest mean of the group.

    None where no allowed assignment leaves a row in each.
    """
    known = _known(pool, mean_only)
    split = _search(known, counts, pool.smallest, pool.largest)
    if split is None:
        return None
    place = np.where(pool.role == UNKNOWN_GROUP, _places(pool, split), pool.role)
    return Extreme(split.value, _influence(pool, split, place, mean_only), place)


def _known(pool: Pool, mean_only: bool) -> _Known:
    group = _filled(pool.values[pool.role == GROUP], pool.largest)
    # For a mean alone the reference is one row of value 0 that nobody may join.
    reference = np.zeros(1) if mean_only else _filled(pool.values[pool.role == REFERENCE], pool.smallest)
    unknown = pool.values[pool.role == UNKNOWN_GROUP]
    return _Known(
        group_sum=float(group.sum()),
        group_n=len(group),
        reference_sum=float(reference.sum()),
        reference_n=len(reference),
        observed=np.sort(unknown[~np.isnan(unknown)]),
        n_missing=int(np.isnan(unknown).sum()),
    )


def _search(known: _Known, counts: Counts, smallest: float, largest: float) -> _Split | None:
    best = None
    size = len(known.observed) + known.n_missing + 1
    rows = max(1, BLOCK // size)
    for start in range(0, known.n_missing + 1, rows):
        to_group = np.arange(start, min(start + rows, known.n_missing + 1))
        found = _search_block(known, counts, smallest, largest, to_group[:, None])
        if found is not None and (best is None or found.value > best.value):
            best = found
    return best


def _search_block(
    known: _Known, counts: Counts, smallest: float, largest: float, missing_to_group: Codes
) -> _Split | None:
    """All numbers k that may join the group (columns), for some numbers of missing outcomes among them (rows)."""
    m, n_unknown = len(known.observed), len(known.observed) + known.n_missing
    k = np.arange(n_unknown + 1)
    top, bottom = (np.r_[0.0, np.cumsum(ordered)] for ordered in (known.observed[::-1], known.observed))
    from_top = k - missing_to_group
    spare = known.n_missing - missing_to_group
    missing_to_reference = np.minimum(spare, k)
    from_bottom = k - missing_to_reference
    with np.errstate(invalid="ignore", divide="ignore"):
        group = (known.group_sum + missing_to_group * largest + top[np.clip(from_top, 0, m)]) / (known.group_n + k)
        reference = known.reference_sum + missing_to_reference * smallest + bottom[np.clip(from_bottom, 0, m)]
        reference = reference / (known.reference_n + k)
    reference = np.where((from_bottom > m) | (known.reference_n + k == 0), np.inf, reference)
    least = np.maximum(counts.reference[0], n_unknown - k - counts.neither[1])
    least = np.maximum(least, 1 if known.reference_n == 0 else 0)
    most = np.minimum(counts.reference[1], n_unknown - k - counts.neither[0])
    joined = np.clip(np.argmin(reference, axis=1)[:, None], least, np.maximum(most, least))
    allowed = (from_top >= 0) & (from_top <= m) & (k >= counts.group[0]) & (k <= counts.group[1])
    allowed &= (least <= most) & (known.group_n + k > 0)
    joined = np.minimum(joined, n_unknown)
    with np.errstate(invalid="ignore"):  # infinite less infinite, where nothing is allowed
        gap = np.where(allowed, group - np.take_along_axis(reference, joined, axis=1), -np.inf)
    row, column = np.unravel_index(int(np.argmax(gap)), gap.shape)
    if not np.isfinite(gap[row, column]):
        return None
    return _Split(float(gap[row, column]), int(missing_to_group[row, 0]), int(column), int(joined[row, column]))


def _influence(pool: Pool, split: _Split, place: Codes, mean_only: bool) -> Floats:
    """By the envelope theorem, a row counts as where it was put, less the price of a place where places are limited.

    The price is what the row at the margin would gain by a place. It is 0 where any number may join, since then the
    last one to join gains nothing; summed over rows, prices paid and places there are cancel.
    """
    x = np.where(place == GROUP, _filled(pool.values, pool.largest), _filled(pool.values, pool.smallest))
    n = [max(int((place == code).sum()), 1) for code in (GROUP, REFERENCE)]
    mean = [float(x[place == code].sum()) / size for code, size in zip((GROUP, REFERENCE), n, strict=True)]

    def gain(values: Floats | float, code: int) -> Floats:
        sign = 1.0 if code == GROUP else -1.0
        return np.asarray(sign * (values - mean[code]) / n[code])

    influence = np.where(place == GROUP, gain(x, GROUP), np.where(place == REFERENCE, gain(x, REFERENCE), 0.0))
    unknown = pool.role == UNKNOWN_GROUP
    observed = np.sort(x[unknown & ~np.isnan(pool.values)])
    if not len(observed):
        return influence
    from_top = split.to_group - split.missing_to_group
    spare = int((unknown & np.isnan(pool.values)).sum()) - split.missing_to_group
    from_bottom = max(split.to_reference - spare, 0)
    price = [0.0, 0.0]
    if (unknown & (place == OTHER_GROUP)).any():
        price[GROUP] = float(gain(_margin(observed, len(observed) - from_top), GROUP))
        price[REFERENCE] = 0.0 if mean_only else float(gain(_margin(observed, from_bottom), REFERENCE))
    elif split.to_group and split.to_reference:
        cut = _margin(observed, from_bottom)
        price[GROUP] = float(gain(cut, GROUP) - gain(cut, REFERENCE))
    paid = np.where(place == GROUP, price[GROUP], np.where(place == REFERENCE, price[REFERENCE], 0.0))
    return np.where(unknown, influence - paid + paid[unknown].mean(), influence)


def _places(pool: Pool, split: _Split) -> Codes:
    """(n,) where each unknown row goes; rows of known group get a meaningless code."""
    place = np.full(len(pool.values), OTHER_GROUP, dtype=np.intp)
    unknown = np.flatnonzero(pool.role == UNKNOWN_GROUP)
    missing = unknown[np.isnan(pool.values[unknown])]
    observed = unknown[~np.isnan(pool.values[unknown])]
    observed = observed[np.argsort(pool.values[observed], kind="stable")]
    missing_to_reference = min(len(missing) - split.missing_to_group, split.to_reference)
    place[missing[: split.missing_to_group]] = GROUP
    place[missing[split.missing_to_group :][:missing_to_reference]] = REFERENCE
    place[observed[: split.to_reference - missing_to_reference]] = REFERENCE
    place[observed[len(observed) - (split.to_group - split.missing_to_group) :]] = GROUP
    return place


def _margin(rising: Floats, position: int) -> float:
    """Halfway between the values on either side of a cut before ``position``."""
    return float(rising[max(position - 1, 0) : position + 1].mean())


def _filled(values: Floats, value: float) -> Floats:
    return np.where(np.isnan(values), value, values)
