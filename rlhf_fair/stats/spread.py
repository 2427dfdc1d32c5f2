"""The largest gap between any two groups, max - min of the group means, without its built-in optimism.

Max - min is never negative: noise alone makes it positive, and the more groups the larger. An ordinary bootstrap
interval for it cannot hold 0. Here the interval comes from simultaneous intervals over all pairs, the p-value from
rearranging groups among clusters, and the de-biased value from choosing the extreme groups on one half of the clusters
and measuring them on the other.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rlhf_fair.errors import SettingsError
from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.group_sums import GroupMeans, GroupSums
from rlhf_fair.stats.rearrangement import Rearrangement, rearrangement_test
from rlhf_fair.stats.sample import Codes, Floats, Sample, sample
from rlhf_fair.stats.simultaneous import AllPairs, simultaneous

SPLITS = 200
"""Random halvings of the clusters that a de-biased spread averages over."""


@dataclass(frozen=True)
class BetweenVariance:
    """Variance of the group means around their own mean: ``sum_g p_g (mean_g - mean)^2``; 0 = parity; unit squared.

    ``noise`` is what sampling error alone adds to ``plug_in`` on average; ``debiased`` = plug_in - noise, so it may be
    negative. Its expectation is exact for given shares p where clusters of a group have equal size; with unequal
    sizes the jackknife variance is a little large, and ``debiased`` a little small.
    """

    plug_in: float
    noise: float
    debiased: float


@dataclass(frozen=True)
class Spread:
    """The gap between the extreme groups; 0 = parity; unit of the values.

    ``plug_in``: max - min of the group means, biased upwards. ``debiased``: mean 0 when no group differs, and never
    above the true spread on average, since half the data may choose the wrong groups. ``interval``: its bounds follow
    from the simultaneous intervals of all ``pairs``; its lower end is 0 unless some pair differs. ``p_value``: of the
    studentised rearrangement test, ``p_value_raw`` of the plain one, see `Rearrangement`; of the family of pairs where
    several ways of clustering leave nothing to rearrange. ``reason`` names groups that take no part.
    """

    plug_in: float
    debiased: float
    interval: Estimate
    p_value: float
    p_value_raw: float
    test: str
    n_rearrangements: int
    highest: Hashable
    lowest: Hashable
    between: BetweenVariance
    pairs: AllPairs
    reason: str = ""


def spread(
    values: ArrayLike,
    groups: Any,
    *,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    alpha: float = 0.05,
    rng: np.random.Generator,
    n_rearrangements: int = 999,
) -> Spread:
    """The spread of the group means; parameters as in `contrast_estimate`. Groups need two clusters to take part."""
    if n_rearrangements < 99:
        raise SettingsError(f"n_rearrangements is {n_rearrangements}; allowed: 99 or more")
    rows = sample(values, groups, clusters=clusters, weights=weights)
    n_groups = len(rows.labels)
    pairs = [(second, first) for first in range(n_groups) for second in range(first + 1, n_groups)]
    family = simultaneous(rows, pairs, alpha=alpha, rng=rng)
    enough = family.counts["n_clusters"].to_numpy() >= 2
    lonely = [str(label) for label, known in zip(rows.labels, enough, strict=True) if not known]
    reason = f"fewer than 2 clusters, not part of the spread: {', '.join(lonely)}" if lonely else ""
    if enough.sum() < 2:
        return _no_spread(rows, family, reason or "fewer than 2 groups")
    part = _only(rows, enough)
    means = GroupMeans.of(part.weights * part.values, part.weights, part.group, part.ways, len(part.labels))
    test = Rearrangement("pairs", _smallest(family), NAN, 0)
    debiased = NAN
    if len(rows.ways) == 1:
        test = rearrangement_test(means.single[0], n_rearrangements=n_rearrangements, rng=rng)
        debiased = cross_fitted_spread(means.single[0], rng=rng)
    highest, lowest = int(np.argmax(means.means)), int(np.argmin(means.means))
    plug_in = float(means.means[highest] - means.means[lowest])
    return Spread(
        plug_in=plug_in,
        debiased=debiased,
        interval=_interval(family, plug_in, test.p_value, part, means.n_clusters, reason),
        p_value=test.p_value,
        p_value_raw=test.p_value_raw,
        test=test.scheme,
        n_rearrangements=test.n,
        highest=part.labels[highest],
        lowest=part.labels[lowest],
        between=between_variance(means, means.single[0].totals),
        pairs=family,
        reason=reason,
    )


def debiased_squared_gap(gap: Estimate) -> float:
    """``estimate² - standard_error²``: its mean is the true gap squared; may be negative; NaN without an interval."""
    return gap.estimate**2 - gap.standard_error**2


def between_variance(means: GroupMeans, shares: Floats) -> BetweenVariance:
    """The groups' variance with weights ``shares`` (G,), plain and with the noise taken off.

    With Q = diag(p) - p p', the plug-in is ``m' Q m`` and its expectation exceeds the truth by ``trace(Q V)``.
    """
    p = shares / shares.sum()
    q = np.diag(p) - np.outer(p, p)
    covariance = sum(sign * sums.covariance for sign, sums in means.signed)
    plug_in, noise = float(means.means @ q @ means.means), float((q * covariance).sum())
    return BetweenVariance(plug_in, noise, plug_in - noise)


def cross_fitted_spread(sums: GroupSums, *, rng: np.random.Generator, n_splits: int = SPLITS) -> float:
    """Choose the highest and lowest group on half of the clusters, measure their gap on the other; mean over splits.

    The halves are independent, so the measured gap is not the largest of many but one gap, whichever was chosen: mean 0
    when no group differs. Clusters that lie in one group each are halved within groups. A split that leaves a group
    empty on one side is left out; NaN if all do.
    """
    block = sums.group if _nested(sums) else np.zeros_like(sums.group)
    units = sums.cluster
    unit, first = np.unique(units, return_index=True)
    block_of_unit = block[first]
    first_half = _halves(block_of_unit, n_splits, rng)[:, np.searchsorted(unit, units)]  # (S, K)
    to_group = np.zeros((len(units), sums.n_groups))
    to_group[np.arange(len(units)), sums.group] = 1
    means = []
    for half in (first_half, ~first_half):
        top, bottom = (half @ (cells[:, None] * to_group) for cells in (sums.numerator, sums.denominator))
        means.append(np.divide(top, bottom, out=np.full_like(top, NAN), where=bottom > 0))
    whole = np.isfinite(means[0]).all(axis=1) & np.isfinite(means[1]).all(axis=1)
    if not whole.any():
        return NAN
    one, other = means[0][whole], means[1][whole]
    return float(np.mean([_measured(one, other), _measured(other, one)]))


def _measured(chosen_on: Floats, measured_on: Floats) -> float:
    rows = np.arange(len(chosen_on))
    return float((measured_on[rows, chosen_on.argmax(1)] - measured_on[rows, chosen_on.argmin(1)]).mean())


def _halves(block: Codes, n_splits: int, rng: np.random.Generator) -> Any:
    """(S, C) True for a random half of each block; of an odd block, the larger half by a coin."""
    size = np.bincount(block)
    start = np.cumsum(size) - size
    order = np.argsort(block + rng.random((n_splits, len(block))), axis=1)
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.broadcast_to(np.arange(len(block)), order.shape), axis=1)
    cut = (size + rng.integers(2, size=(n_splits, len(size)))) // 2
    return place - start[block] < cut[:, block]


def _interval(family: AllPairs, plug_in: float, p_value: float, part: Sample, n_clusters: int, reason: str) -> Estimate:
    low, high = family.table["ci_low"].to_numpy(), family.table["ci_high"].to_numpy()
    known = np.isfinite(low) & np.isfinite(high)
    common: dict[str, Any] = {"estimate": plug_in, "n": len(part.values), "n_clusters": n_clusters}
    common["n_left_out"] = part.n_missing + part.n_unknown + part.n_other
    if known.sum() < len(part.labels) * (len(part.labels) - 1) / 2:
        said = "; ".join(filter(None, [reason, "a pair of groups has no interval"]))
        return Estimate(**common, reason=said)
    # |gap| of a pair lies between max(low, -high, 0) and max(-low, high)
    lower = max(0.0, float(low[known].max()), float(-high[known].min()))
    upper = max(float(high[known].max()), float(-low[known].min()))
    return Estimate(**common, ci_low=lower, ci_high=upper, p_value=p_value, reason=reason)


def _only(rows: Sample, wanted: Any) -> Sample:
    """The rows of some groups, coded anew; the others count as of other groups."""
    keep = wanted[rows.group]
    code = np.cumsum(wanted) - 1
    return replace(
        rows,
        values=rows.values[keep],
        group=code[rows.group[keep]],
        labels=tuple(label for label, kept in zip(rows.labels, wanted, strict=True) if kept),
        ways=tuple(np.unique(way[keep], return_inverse=True)[1].reshape(-1) for way in rows.ways),
        weights=rows.weights[keep],
        stratum=rows.stratum[keep],
        n_other=rows.n_other + int((~keep).sum()),
    )


def _smallest(family: AllPairs) -> float:
    p = family.table["p_adjusted"].dropna()
    return float(p.min()) if len(p) else NAN


def _nested(sums: GroupSums) -> bool:
    return len(np.unique(sums.cluster)) == len(sums.cluster)


def _no_spread(rows: Sample, family: AllPairs, reason: str) -> Spread:
    left_out = rows.n_missing + rows.n_unknown
    interval = Estimate.not_estimable(reason, n=len(rows.values), n_left_out=left_out)
    nothing = BetweenVariance(NAN, NAN, NAN)
    return Spread(NAN, NAN, interval, NAN, NAN, "none", 0, None, None, nothing, family, reason)
