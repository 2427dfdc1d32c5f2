"""The sign-flip test: what if every cluster's contribution may as well have had the other sign (Fisher 1935)?

Exact, whatever the distribution, where the two things compared are exchangeable within a cluster: original and
counterfactual swapped, the labels of a pair exchanged.
"""

from __future__ import annotations

import numpy as np

from rlhf_fair.stats.columns import Floats

EXACT_UP_TO = 14
"""Sign flips of so many clusters are enumerated (16,384 patterns); of more, drawn at random."""

BLOCK = 2_000_000
"""Numbers held at a time while signs are drawn."""


def sign_flip_p_value(
    sums: Floats, *, widths: Floats | None = None, draws: int = 9999, rng: np.random.Generator
) -> float:
    """Two-sided p-value of ``sum_b widths[b] * |sum_c sums[c, b]|`` under all signs of the clusters' rows.

    Enumerated up to `EXACT_UP_TO` clusters that are not 0, else (1 + as extreme draws) / (draws + 1).

    Parameters
    ----------
    sums: (C,), one number for each cluster, or (C, B). widths: (B,), default 1.

    >>> sign_flip_p_value(np.array([1.0, 2.0, 3.0]), rng=np.random.default_rng(0))  # 2 of 8 patterns
    0.25
    """
    table = sums.reshape(len(sums), -1)
    x = table[(table != 0).any(axis=1)]
    if not len(x):
        return 1.0
    width = np.ones(x.shape[1]) if widths is None else widths
    reached = float(np.abs(x.sum(axis=0)) @ width) * (1 - 1e-12)
    if len(x) <= EXACT_UP_TO:
        patterns = 2.0 * (np.arange(2 ** len(x))[:, None] >> np.arange(len(x)) & 1) - 1
        return float((np.abs(patterns @ x) @ width >= reached).mean())
    block = max(1, BLOCK // (x.shape[0] + x.shape[1]))
    extreme = 0
    for start in range(0, draws, block):
        signs = rng.integers(0, 2, (min(block, draws - start), len(x)), dtype=np.int8) * 2.0 - 1
        extreme += int((np.abs(signs @ x) @ width >= reached).sum())
    return (1 + extreme) / (draws + 1)
