"""From covariances of ratings to correlations of what lies behind them: the polychoric way, by moments.

A rating with values v_0 < ... < v_K says how many thresholds θ lie below a latent normal variable of variance 1. The
covariance of two ratings follows from the correlation ρ of their latent variables alone,

    c(ρ) = Σ_ab (v_a - v_(a-1)) (v_b - v_(b-1)) ∫_0^ρ φ₂(θ_a - μ, θ_b - μ'; t) dt,

since the derivative of the bivariate normal distribution function by its correlation is its density (Plackett 1954). So
an observed covariance gives a latent correlation (Olsson 1979 for two items; here one equation for many pairs).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from rlhf_fair.annotators.simulation_design import FloatArray

MOST_CORRELATION = 0.995
FARTHEST = 12.0
"""No latent mean lies further away, not even of a group that gave the highest value alone."""
ROUNDS = 200
TOLERANCE = 1e-9
NODES, NODE_WEIGHTS = np.polynomial.legendre.leggauss(24)


@dataclass(frozen=True)
class Latent:
    """``thresholds``: (K,) increasing; ``means``: (L,) of each label, their mean by ratings 0; ``steps``: (K,) > 0."""

    thresholds: FloatArray
    means: FloatArray
    steps: FloatArray

    @property
    def slope(self) -> float:
        """How much the mean rating rises with the latent mean, at the labels' average."""
        return float((self.steps * _density(self.thresholds)).sum())

    def covariance(self, rho: float, weights: FloatArray) -> float:
        """c(ρ) averaged over pairs of labels with ``weights`` (L, L)."""
        one, other = np.nonzero(weights)
        first = self.thresholds[None, :] - self.means[one][:, None]
        second = self.thresholds[None, :] - self.means[other][:, None]
        t = rho * (NODES + 1) / 2
        x, y = first[:, :, None, None], second[:, None, :, None]
        rest = 1 - t**2
        density = np.exp(-(x**2 - 2 * t * x * y + y**2) / (2 * rest)) / (2 * np.pi * np.sqrt(rest))
        cells = (density @ NODE_WEIGHTS) * rho / 2
        of_pair = np.einsum("pab,a,b->p", cells, self.steps, self.steps)
        return float(np.average(of_pair, weights=weights[one, other]))

    def correlation(self, covariance: float, weights: FloatArray) -> float:
        """The ρ with that mean covariance, within ±0.995; NaN where no pair has weight."""
        if not np.isfinite(covariance) or not (weights > 0).any():
            return float("nan")
        low, high = (self.covariance(end, weights) for end in (-MOST_CORRELATION, MOST_CORRELATION))
        if not low < covariance < high:
            return MOST_CORRELATION if covariance >= high else -MOST_CORRELATION
        ends = (-MOST_CORRELATION, MOST_CORRELATION)
        return float(brentq(lambda rho: self.covariance(rho, weights) - covariance, *ends, xtol=1e-7))


def fit_latent(shares: FloatArray, sizes: FloatArray, values: FloatArray) -> Latent:
    """Common thresholds and each label's latent mean.

    ``shares``: (L, K + 1) how often each label's raters gave each value, rows add up to 1; ``sizes``: (L,) their
    ratings. The thresholds give the shares of all ratings, the means every label's mean rating.
    """
    steps = np.diff(values)
    weight = sizes / sizes.sum()
    below = np.cumsum(weight @ shares)[:-1]
    wanted = shares @ values - values[0]
    means, thresholds = np.zeros(len(shares)), ndtri(below)
    for _ in range(ROUNDS):
        apart = thresholds[None, :] - means[:, None]
        thresholds, moved = _newton(thresholds, weight @ ndtr(apart) - below, weight @ _density(apart))
        apart = thresholds[None, :] - means[:, None]
        means, pulled = _newton(means, ndtr(-apart) @ steps - wanted, _density(apart) @ steps)
        means = means - weight @ means
        if max(moved, pulled) < TOLERANCE:
            break
    return Latent(thresholds, means, steps)


def _newton(x: FloatArray, excess: FloatArray, slope: FloatArray) -> tuple[FloatArray, float]:
    """One step of each element to where its ``excess`` is 0, at most 1 long and within ±12; and the longest step."""
    step = np.clip(excess / np.maximum(slope, 1e-300), -1, 1)
    moved = np.clip(x - step, -FARTHEST, FARTHEST)
    return moved, float(np.abs(moved - x).max())


def _density(x: FloatArray) -> FloatArray:
    return np.asarray(np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi))
