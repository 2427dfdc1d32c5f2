"""Confidence sequences: intervals that may be looked at after every observation, and stopped on.

A bettor who cannot lose on average under a candidate mean m bets against it; where the capital has grown by a factor
``2 / alpha``, m is implausible. By Ville's inequality the true mean is ever ruled out with probability at most alpha,
at all times together and so at any stopping time (Waudby-Smith & Ramdas 2024, "Estimating means of bounded random
variables by betting": hedged capital, predictable plug-in bets). What is assumed: the observations come one
after the other with the same mean given all earlier ones, and never leave [low, high]. Independent draws of units in
random order do that, whatever their distribution; units that share something (names asked about the same scenarios)
do it given what they share, and the interval then says nothing about other values of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.records import NAN, Estimate

Floats = NDArray[np.float64]

TRUNCATION = 0.75
"""The largest share of the capital that one observation can cost; any fixed value in (0, 1) is valid."""

BISECTIONS = 40
"""Halvings of the range: bounds are exact to 1e-12 of it, rounded outwards."""


class Interval(NamedTuple):
    """Closed interval of plausible means; ``low > high`` where every mean has been ruled out."""

    low: float
    high: float


def predictable_bets(y: Floats, *, alpha: float, targets: Sequence[int] = ()) -> Floats:
    """Sizes of every bet, from the observations before it alone; one row per way of betting.

    y: (..., t) in [0, 1], in order. Returns (1 + len(targets), ..., t). With ``v`` the variance so far, shrunk towards
    1/4 by one imagined observation, and ``L = log(2 rows / alpha)``: first the paper's
    ``sqrt(2 L / (v i log(i + 1)))``, which serves all times; then for each of ``targets``, a number of observations at
    which a decision is likely, ``sqrt(2 L / (v target))``, which serves that time best.
    """
    i = np.arange(1, y.shape[-1] + 1)
    mean = (0.5 + np.cumsum(y, axis=-1)) / (i + 1)
    variance = (0.25 + np.cumsum(np.square(y - mean), axis=-1)) / (i + 1)
    before = np.concatenate([np.full((*y.shape[:-1], 1), 0.25), variance[..., :-1]], axis=-1)
    schedules = np.stack([i * np.log(i + 1), *(np.full(len(i), float(target)) for target in targets)])
    schedules = schedules.reshape(len(schedules), *[1] * (y.ndim - 1), len(i))
    return np.asarray(np.sqrt(2 * math.log(2 * len(schedules) / alpha) / (before * schedules)))


def log_wealth(y: Floats, bets: Floats, mean: float) -> Floats:
    """(..., t) logarithm of the capital, from 1, of a bettor who says that the true mean is above ``mean``.

    The capital is shared out equally over the rows of ``bets``: (rows, ..., t), each growing by the factors
    ``1 + min(bet_i, c / mean) * (y_i - mean)``. It is a supermartingale where the truth is at most ``mean``, and falls
    in ``mean`` for any data. The other side's bettor is the same one on ``1 - y`` and ``1 - mean``.
    """
    largest = TRUNCATION / mean if mean > 0 else math.inf
    rows = np.cumsum(np.log1p(np.minimum(bets, largest) * (y - mean)), axis=-1)
    return np.asarray(np.logaddexp.reduce(rows, axis=0) - math.log(len(rows)))


def betting_interval(y: Floats, *, alpha: float, running: bool, targets: Sequence[int] = ()) -> Interval:
    """Means in [0, 1] that neither bettor has ruled out after the observations y: (t,), in order.

    ``running``: ruled out at any time so far (the intersection of all intervals up to now), else now. Both hold at all
    times together; the running one is never wider and never grows.
    """
    if not len(y):
        return Interval(0.0, 1.0)
    bets, needed = predictable_bets(y, alpha=alpha, targets=targets), math.log(2 / alpha)
    return Interval(_ruled_out_below(y, bets, needed, running), 1 - _ruled_out_below(1 - y, bets, needed, running))


def _ruled_out_below(y: Floats, bets: Floats, needed: float, running: bool) -> float:
    """The largest mean that the bettor above it has ruled out; capital falls in the mean, so bisection finds it."""

    def ruled_out(mean: float) -> bool:
        path = log_wealth(y, bets, mean)
        return bool((path.max() if running else path[-1]) >= needed)

    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if ruled_out(middle) else (low, middle)
    return low


class ConfidenceSequence:
    """The mean of observations in [``low``, ``high``] (unit of the observations), updated as they arrive.

    One update costs time proportional to the number of observations so far: hand them over in batches where there are
    very many. The bets, and so the result, depend on the order of the observations, not on the batches. ``targets``:
    see `predictable_bets`; to be chosen before the first observation.
    """

    def __init__(self, low: float, high: float, *, alpha: float = 0.05, targets: Sequence[int] = ()) -> None:
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise SettingsError(f"bounds [{low}, {high}]: a confidence sequence needs two finite bounds, low < high")
        if not 0 < alpha < 1:
            raise SettingsError(f"alpha = {alpha}: must lie in (0, 1)")
        if any(target < 1 for target in targets):
            raise SettingsError(f"targets = {tuple(targets)}: numbers of observations, all at least 1")
        self.low, self.high, self.alpha, self.targets = float(low), float(high), alpha, tuple(targets)
        self._y = np.zeros(0)

    @property
    def n(self) -> int:
        """Observations so far."""
        return len(self._y)

    @property
    def mean(self) -> float:
        """Mean of the observations so far; NaN before the first."""
        return self._unscaled(float(self._y.mean())) if self.n else NAN

    @property
    def interval(self) -> Interval:
        """What the capital of this moment rules in."""
        return self._interval(running=False)

    @property
    def running_intersection(self) -> Interval:
        """What no moment so far has ruled out; empty (low > high) with probability at most alpha."""
        return self._interval(running=True)

    def add(self, observations: ArrayLike) -> None:
        """Take in one observation or several, in order; NaN is missing and left out."""
        x = np.atleast_1d(np.asarray(observations, dtype=float))
        x = x[~np.isnan(x)]
        slack = 1e-9 * (self.high - self.low)  # a mean of numbers at the bound can lie a rounding beyond it
        outside = x[(x < self.low - slack) | (x > self.high + slack)]
        if outside.size:
            raise RowError(f"observation {outside[0]:g} lies outside the bounds [{self.low:g}, {self.high:g}]")
        self._y = np.concatenate([self._y, np.clip((x - self.low) / (self.high - self.low), 0.0, 1.0)])

    def update(self, observations: ArrayLike) -> Interval:
        """`add`, then the interval of this moment."""
        self.add(observations)
        return self.interval

    def e_value(self, null: float) -> float:
        """Evidence against "the mean is ``null``": 1 = none, expectation at most 1 under the null at any stopping time.

        Half the capital on each side (Ramdas et al. 2023); range [0, inf).
        """
        return float(np.exp(self._hedged(null)[-1])) if self.n else 1.0

    def p_value(self, null: float) -> float:
        """Anytime p-value of "the mean is ``null``": one over the largest e-value so far.

        It is at most alpha wherever the running intersection excludes ``null``.
        """
        return float(np.exp(-max(self._hedged(null).max(), 0.0))) if self.n else 1.0

    def equivalence_e_value(self, margin: float) -> float:
        """Evidence against "the mean is at least ``margin`` away from 0": the weaker of the two one-sided e-values."""
        above, below = self._within(margin)
        return float(np.exp(min(above[-1], below[-1]))) if self.n else 1.0

    def equivalence_p_value(self, margin: float) -> float:
        """Anytime p-value of "the mean is at least ``margin`` away from 0": the larger of the two one-sided p-values.

        It is at most alpha / 2 where the running intersection lies inside the margin.
        """
        above, below = self._within(margin)
        return float(np.exp(-max(min(above.max(), below.max()), 0.0))) if self.n else 1.0

    def estimate(self, *, null: float = 0.0, n: int | None = None) -> Estimate:
        """The mean with the running intersection and the anytime p-value of ``null``; ``n``: rows behind it.

        Standard error, df and minimum detectable effect have no meaning here and stay NaN.
        """
        rows = self.n if n is None else n
        if not self.n:
            return Estimate.not_estimable("no measured units", n=rows)
        base = Estimate(estimate=self.mean, n=rows, n_clusters=self.n)
        if self.n < 2:
            return base.model_copy(update={"reason": "one unit: no interval can be estimated from it"})
        low, high = self.running_intersection
        if low > high:
            reason = "every value has been ruled out: units that differ over time, or an error of probability alpha"
            return base.model_copy(update={"reason": reason})
        return base.model_copy(update={"ci_low": low, "ci_high": high, "p_value": self.p_value(null)})

    def _interval(self, *, running: bool) -> Interval:
        low, high = betting_interval(self._y, alpha=self.alpha, running=running, targets=self.targets)
        return Interval(self._unscaled(low), self._unscaled(high))

    def _hedged(self, null: float) -> Floats:
        if not self.low <= null <= self.high:
            raise SettingsError(f"null value {null:g} lies outside the bounds [{self.low:g}, {self.high:g}]")
        return np.logaddexp(self._wealth_above(null), self._wealth_below(null)) - math.log(2)

    def _within(self, margin: float) -> tuple[Floats, Floats]:
        """Log capital against "at most -margin" and against "at least margin"."""
        if not margin > 0:
            raise SettingsError(f"margin = {margin}: must be positive")
        return self._wealth_above(max(-margin, self.low)), self._wealth_below(min(margin, self.high))

    def _wealth_above(self, mean: float) -> Floats:
        return log_wealth(self._y, self._bets(), self._scaled(mean))

    def _wealth_below(self, mean: float) -> Floats:
        return log_wealth(1 - self._y, self._bets(), 1 - self._scaled(mean))

    def _bets(self) -> Floats:
        return predictable_bets(self._y, alpha=self.alpha, targets=self.targets)

    def _scaled(self, x: float) -> float:
        return (x - self.low) / (self.high - self.low)

    def _unscaled(self, y: float) -> float:
        return self.low + y * (self.high - self.low)


def units_for_equivalence(
    margin: float, bound: float, *, alpha: float, targets: Sequence[int] = (), most: int = 100_000
) -> float:
    """How many contrasts in [-``bound``, ``bound``] it takes to show |gap| < ``margin`` if every one of them is 0.

    A design with fewer units will hardly ever come to `within_threshold`, however small the gap; inf beyond ``most``.
    """
    y, m = np.full(most, 0.5), 0.5 + min(margin, bound) / (2 * bound)
    bets = predictable_bets(y, alpha=alpha, targets=targets)
    reached = log_wealth(1 - y, bets, 1 - m) >= math.log(2 / alpha)
    return float(np.argmax(reached)) + 1 if reached.any() else math.inf
