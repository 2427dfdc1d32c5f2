"""How large a single weight may grow: what is cut off goes to the others, and the margins are met again if they can be.

A cap trades bias for variance. A fixed multiple of the mean is the default of `weights.Weighting`, because it is known
before the data and the same for every panel; `least_error_cap` looks for the cap at which a bound of the error is
least. The usual search for it (Potter 1990) needs the outcome, and weights are made once for many outcomes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rlhf_fair.annotators.weights_raking import MET, Cells, FloatArray, largest_miss, rake_cells
from rlhf_fair.stats.columns import kish_effective_n

Booleans = NDArray[np.bool_]

ROUNDS = 50
SWEEPS = 200
CANDIDATES = 16


def rake_under_cap(base: FloatArray, cells: Sequence[Cells], cap: float) -> FloatArray:
    """(n,) weights with mean 1 over ``base > 0``, none above ``cap``.

    Trimming and raking alternate until both settle, or until margins that cannot be met under the cap get no nearer;
    the nearest weights are kept. A cell whose members would all have to exceed the cap aims at what they may weigh.
    """
    alive = base > 0
    weights = np.zeros(len(base))
    if not alive.any():
        return weights
    raked = rake_cells(base, cells).weights
    weights[alive] = raked[alive] / raked[alive].mean()
    if weights.max(initial=0.0) <= cap * (1 + 1e-9):
        return weights
    reachable = [_reachable(one, alive, cap) for one in cells]
    nearest, best = np.inf, weights
    for _ in range(ROUNDS):
        weights[alive] = _cut(weights[alive], cap)
        miss = largest_miss(weights, reachable)
        if miss < nearest:
            best = weights.copy()
        if miss <= MET or miss > nearest * 0.99:
            break
        nearest = miss
        raked = rake_cells(weights, reachable, sweeps=SWEEPS).weights
        weights[alive] = raked[alive] / raked[alive].mean()
    return best


def _reachable(cells: Cells, alive: Booleans, cap: float) -> Cells:
    """The cells with no more to aim at than their members may weigh, which leaves more to the others."""
    most = cap * (cells.inside @ alive) / max(int((cells.known & alive).sum()), 1)
    aim = np.minimum(cells.aim, most)
    if not cells.overlapping and aim.sum() > 0:
        short = aim < most
        for _ in range(len(aim)):
            left = cells.aim.sum() - aim.sum()
            if not (left > 1e-12 and aim[short].sum() > 0):
                break
            aim[short] *= 1 + left / aim[short].sum()
            aim = np.minimum(aim, most)
            short = aim < most
    return replace(cells, aim=aim)


def least_error_cap(base: FloatArray, cells: Sequence[Cells]) -> float:
    """The cap (a multiple of the mean) that minimises `error_bound`; infinite where no trimming is best.

    Sought on a geometric grid between 1.2 and the largest weight without a cap.
    """
    free = rake_under_cap(base, cells, np.inf)
    largest = float(free.max())
    if largest <= 1.2:
        return np.inf
    caps = [*np.geomspace(largest, 1.2, CANDIDATES)[1:]]
    best, least = np.inf, error_bound(free, cells)
    for cap in caps:
        bound = error_bound(rake_under_cap(base, cells, cap), cells)
        if bound < least * (1 - 1e-9):
            best, least = float(cap), bound
    return best


def error_bound(weights: FloatArray, cells: Sequence[Cells]) -> float:
    """Upper bound for the mean squared error of a weighted mean, of any outcome of variance 1; range > 0.

    Squared bias is at most the chi-square distance Σ (share - aim)²/aim of the margin that is worst met (an outcome
    wholly decided by that margin, by Cauchy and Schwarz); variance is at most 1/n_eff (Kish), as of an outcome that the
    margins say nothing about.
    """
    return max((_distance(one, weights) for one in cells), default=0.0) + 1 / kish_effective_n(weights)


def _distance(cells: Cells, weights: FloatArray) -> float:
    share = cells.weighted_shares(weights)
    aim, miss = cells.aim, (share - cells.aim) ** 2
    if cells.overlapping:  # each level is a margin of two cells, inside and outside
        inside = aim * (1 - aim)
        return float(np.divide(miss, inside, out=np.zeros_like(miss), where=inside > 0).max(initial=0.0))
    return float(np.divide(miss, aim, out=np.zeros_like(miss), where=aim > 0).sum())


def _cut(weights: FloatArray, cap: float) -> FloatArray:
    """Weights with mean 1 and none above ``cap``: what is cut off goes to the others in proportion."""
    for _ in range(100):
        capped = np.minimum(weights, cap)
        free = capped < cap
        if not free.any() or abs(capped.mean() - 1) < 1e-12 or not capped[free].sum() > 1e-9:
            return capped
        capped[free] *= (len(weights) - capped[~free].sum()) / capped[free].sum()
        weights = capped
    return weights
