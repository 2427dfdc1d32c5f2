"""The wild cluster bootstrap-t: for contrasts of group means that rest on few clusters.

The null value is imposed on the group means; then every cluster keeps its rows and its residuals, and only the sign
(or size) of all its residuals is drawn anew (Cameron, Gelbach & Miller 2008, "WCR"). Group sizes never change, so no
group vanishes. With fewer than 12 clusters signs alone give too few different samples, hence six-point weights (Webb
2023). The interval holds the null values that the test does not reject.

It fails where one side of the contrast rests on very few clusters of its own, however many the other side has
(MacKinnon & Webb 2018): it then rejects too seldom. Measured coverage stands beside the other methods' in `bootstrap`:
93-96 % from 10 clusters on, and 98 % with intervals twice as wide where one group has 2 clusters of 10.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from rlhf_fair.errors import SettingsError
from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.contrasts import one_way_contrast
from rlhf_fair.stats.group_sums import GroupSums
from rlhf_fair.stats.sample import Floats, sample

Family = Literal["auto", "rademacher", "webb"]

POINTS: dict[str, Floats] = {
    "rademacher": np.array([-1.0, 1.0]),
    "webb": np.sqrt([1.5, 1.0, 0.5]).repeat(2) * np.tile([-1.0, 1.0], 3),
}
"""Equally likely weights with mean 0 and variance 1; Webb's are ±sqrt(3/2), ±1, ±sqrt(1/2)."""

FEW = 12
"""Below this many clusters, 2^clusters signs are too few samples for a test at 5 % (Webb 2023)."""

CHUNK = 4_000_000


@dataclass(frozen=True)
class WildResampling:
    """``family``: "rademacher" signs, "webb" six points, or "auto": webb below 12 clusters.

    If all possible weights are no more than ``n_boot``, each is used once and nothing is left to chance.
    """

    n_boot: int = 1999
    family: Family = "auto"

    def __post_init__(self) -> None:
        if self.family not in get_args(Family):
            raise SettingsError(f"family is {self.family!r}; allowed: {', '.join(get_args(Family))}")
        if self.n_boot < 100:
            raise SettingsError(f"n_boot is {self.n_boot}; allowed: 100 or more")


@dataclass(frozen=True)
class WildDraws:
    """For every draw, estimate and variance under an imposed null, as polynomials in ``shift`` = estimate - null.

    ``theta* - null`` = ``constant + slope * shift``; its variance, as in `GroupSums`, = ``q0 + q1 * shift + q2 *
    shift**2``. All are (B,): null values are tried without drawing again. ``exact``: every possible draw, each once.
    """

    constant: Floats
    slope: Floats
    q0: Floats
    q1: Floats
    q2: Floats
    exact: bool

    def p_value(self, shift: float, standard_error: float) -> float:
        """Two-sided p of the null value at ``shift`` below the estimate: share of draws with |t*| >= |t|."""
        deviation = self.constant + self.slope * shift
        variance = np.maximum(self.q0 + self.q1 * shift + self.q2 * shift**2, 0)
        # |t*| >= |t| without a division, since a draw may have variance 0; equality up to rounding counts
        extreme = np.abs(deviation) * standard_error >= abs(shift) * np.sqrt(variance) * (1 - 1e-9)
        if self.exact:
            return float(extreme.mean())
        return float((1 + extreme.sum()) / (1 + len(extreme)))


def wild_bootstrap_estimate(
    values: ArrayLike,
    groups: Any,
    coefficients: Mapping[Any, float],
    *,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    alpha: float = 0.05,
    rng: np.random.Generator,
    resampling: WildResampling = WildResampling(),
) -> Estimate:
    """`contrast_estimate` with p-value and interval from the wild cluster bootstrap; null value 0.

    Clusters may lie within groups or across them. One way of clustering only: with two, signs would have to be drawn
    per cluster of the scarcer way and the other dependence would be lost, so that is refused.
    ``standard_error`` is the jackknife's, as in `GroupSums`.
    """
    plain = one_way_contrast(values, groups, coefficients, clusters=clusters, weights=weights, alpha=alpha)
    if not np.isfinite(plain.standard_error):
        return plain
    labels = list(coefficients)
    rows = sample(values, groups, labels=labels, clusters=clusters, weights=weights)
    sums = GroupSums.of(rows.weights * rows.values, rows.weights, rows.group, rows.ways[0], len(labels))
    a = np.array([coefficients[label] for label in labels], dtype=float)
    draws = wild_draws(sums, a, resampling, rng=rng)
    return _invert(plain, draws, alpha)


def wild_draws(
    sums: GroupSums, coefficients: Floats, resampling: WildResampling, *, rng: np.random.Generator
) -> WildDraws:
    """Draw the clusters' weights and work out what they do to estimate and variance, for every null value at once.

    The restricted means are the weighted least squares solution under ``coefficients @ means = null``: each group's
    mean moves by ``coefficient / total`` times a common factor.
    """
    a, g, c = coefficients, sums.group, sums.cluster
    move = (a / sums.totals) / (a**2 / sums.totals).sum()
    per_cell = a[g] * sums.correction / sums.totals[g]
    pull = np.zeros((sums.n_groups, sums.n_clusters))  # what a moved group mean does to each cluster's deviation
    pull[g, c] = per_cell * sums.denominator
    residual = sums.numerator - sums.means[g] * sums.denominator
    shifted = move[g] * sums.denominator  # added to the residuals for each unit of (estimate - null)
    chunks, exact = _weights(sums.n_clusters, resampling, rng)
    parts = []
    for v in chunks:
        estimates, deviations = [], []
        for cells in (residual, shifted):
            table = np.zeros((sums.n_clusters, sums.n_groups))
            table[c, g] = cells / sums.totals[g]
            moved = v @ table  # (b, G): the drawn group means less the restricted ones
            own = np.bincount(c, cells * per_cell, sums.n_clusters)
            estimates.append(moved @ a)
            deviations.append(v * own - moved @ pull)
        at_zero, by_shift = deviations
        squares = ((at_zero**2).sum(1), 2 * (at_zero * by_shift).sum(1), (by_shift**2).sum(1))
        parts.append((*estimates, *squares))
    constant, slope, q0, q1, q2 = (np.concatenate(part) for part in zip(*parts, strict=True))
    return WildDraws(constant, slope, q0, q1, q2, exact)


def _weights(n_clusters: int, resampling: WildResampling, rng: np.random.Generator) -> tuple[Iterable[Floats], bool]:
    """Chunks (b, C) of weights, and whether they are all that exist."""
    family, n_boot = resampling.family, resampling.n_boot
    points = POINTS[("webb" if n_clusters < FEW else "rademacher") if family == "auto" else family]
    if n_clusters * np.log(len(points)) <= np.log(n_boot):
        grid = np.indices((len(points),) * n_clusters).reshape(n_clusters, -1).T
        return [points[grid]], True
    size = max(1, CHUNK // n_clusters)
    return (rng.choice(points, (min(size, n_boot - start), n_clusters)) for start in range(0, n_boot, size)), False


def _invert(plain: Estimate, draws: WildDraws, alpha: float) -> Estimate:
    """The interval of null values with p > alpha, its ends found by bisection on each side of the estimate."""
    se = plain.standard_error
    update: dict[str, Any] = {"df": NAN, "p_value": draws.p_value(plain.estimate, se)}
    ends = [_end(draws, side, se, alpha) for side in (1.0, -1.0)]
    if not np.isfinite(ends).all():
        smallest = draws.p_value(1e6 * se, se)
        reason = f"too few clusters: no null value has a wild bootstrap p below {smallest:.2g}, so no interval ends"
        return plain.model_copy(update=update | {"ci_low": NAN, "ci_high": NAN, "reason": reason})
    return plain.model_copy(update=update | {"ci_low": plain.estimate - ends[0], "ci_high": plain.estimate - ends[1]})


def _end(draws: WildDraws, side: float, se: float, alpha: float) -> float:
    """The shift, with sign ``side``, at which the test begins to reject; infinite if it never does."""
    inside, outside = 0.0, 2 * se
    while draws.p_value(side * outside, se) > alpha:
        inside, outside = outside, 2 * outside
        if outside > 1e6 * se:
            return side * np.inf
    while outside - inside > 1e-7 * se:
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if draws.p_value(side * middle, se) > alpha else (inside, middle)
    return side * outside
