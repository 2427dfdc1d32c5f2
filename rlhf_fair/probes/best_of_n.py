"""What a reward model would select: the score of the best of n answers, which foretells what PPO will do.

Over N candidate answers whose rewards are known, what the best of n drawn without replacement is needs no simulation:
the candidate of rank r (1 = lowest reward) is the best with probability C(r - 1, n - 1) / C(N, n).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from rlhf_fair.errors import SettingsError
from rlhf_fair.stats.columns import numbers

Reward = Callable[[Sequence[str], Sequence[str]], NDArray[np.float64]]


def select_best(candidates: Sequence[pd.DataFrame], reward: Reward) -> pd.DataFrame:
    """One row per prompt: the candidate answer with the highest reward; ties go to the first.

    ``candidates`` are n tables with the same rows (prompt, text, ...). The result keeps the chosen table's columns and
    adds ``reward``.
    """
    rewards = np.stack([reward(table["prompt"].tolist(), table["text"].tolist()) for table in candidates])
    chosen = rewards.argmax(axis=0)
    columns = {
        column: np.stack([table[column].to_numpy() for table in candidates])[chosen, np.arange(len(chosen))]
        for column in candidates[0].columns
    }
    return pd.DataFrame(columns).assign(reward=rewards.max(axis=0))


def selection_probabilities(rewards: ArrayLike, n: int) -> NDArray[np.float64]:
    """(N,) the probability that each candidate is the best of ``n`` drawn without replacement; sums to 1.

    Candidates of equal reward share theirs evenly, as if the best were drawn by lot.

    >>> selection_probabilities([0.1, 0.7, 0.4], 2).round(4).tolist()  # of 3 pairs the best is in 2, the middle in 1
    [0.0, 0.6667, 0.3333]
    """
    r = numbers("rewards", rewards)
    if not np.isfinite(r).all():
        raise SettingsError("rewards of candidates must all be finite; allowed: leave others out first")
    if not 1 <= n <= len(r):
        raise SettingsError(f"best of {n} of {len(r)} candidates; allowed: 1 to {len(r)}")
    at_most = np.searchsorted(np.sort(r), r, side="right")
    below = np.searchsorted(np.sort(r), r, side="left")
    chance = _all_among(at_most, len(r), n) - _all_among(below, len(r), n)
    return np.asarray(chance / (at_most - below))


def best_of_n_kl(n: int) -> float:
    """KL divergence in nats of the best of ``n`` from a single draw, ``log n - (n - 1) / n``, of draws without ties.

    An upper bound where answers can repeat (Stiennon et al. 2020; Beirami et al. 2024); 0 at n = 1.

    >>> round(best_of_n_kl(4), 4)  # 1.3863 - 0.75
    0.6363
    """
    if n < 1:
        raise SettingsError(f"best of {n}; allowed: 1 or more")
    return math.log(n) - (n - 1) / n


def _all_among(k: NDArray[np.intp], size: int, n: int) -> NDArray[np.float64]:
    """P(all n drawn are among k of size) = C(k, n) / C(size, n); 0 for k < n."""
    safe = np.maximum(k, n)
    log = gammaln(safe + 1) - gammaln(safe - n + 1) - gammaln(size + 1) + gammaln(size - n + 1)
    return np.where(k >= n, np.exp(log), 0.0)
