"""Group means drawn to the overall mean as far as their noise warrants (empirical Bayes; Efron & Morris 1975)."""

from __future__ import annotations

import numpy as np

from rlhf_fair.training.fairness.snapshot import GroupSnapshot
from rlhf_fair.training.fairness.sums import Floats


def within_group_variance(snapshot: GroupSnapshot) -> float:
    """sigma^2, share-weighted over groups where their spreads are known, else of all: the latter holds tau^2 too."""
    if snapshot.within_sds is None:
        return snapshot.score_sd**2
    return float(snapshot.shares @ snapshot.within_sds**2)


def between_group_signal(snapshot: GroupSnapshot) -> float:
    """tau^2, the variance of true group means, by moments: what exceeds chance, never below 0.

    The share-weighted variance of G independent means with variance tau^2 averages to tau^2 (1 - sum_g p_g^2).
    """
    spread = 1.0 - float(snapshot.shares @ snapshot.shares)
    noise = within_group_variance(snapshot) / np.maximum(snapshot.counts, 1.0)
    excess = snapshot.between_group_variance - float(snapshot.shares @ (noise * (1 - snapshot.shares)))
    return max(excess, 0.0) / spread if spread > 0 else 0.0


def shrunk_means(snapshot: GroupSnapshot) -> Floats:
    """(groups,) mu + B_g (mu_g - mu) with B_g = tau^2 / (tau^2 + sigma^2 / n_g): 1 without noise, 0 without signal.

    n_g is Kish's effective sample and sigma the spread within groups (each mean is weighed by its own noise, all groups
    by one spread: that of a small group is itself hardly known).
    """
    signal = between_group_signal(snapshot)
    noise = within_group_variance(snapshot) / np.maximum(snapshot.counts, 1.0)
    factor = np.divide(signal, signal + noise, out=np.zeros_like(noise), where=signal + noise > 0)
    return snapshot.overall + factor * (snapshot.means - snapshot.overall)
