"""Many tests, one error rate: adjusted p-values. A NaN p-value stays NaN and is not counted as a test."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control

from rlhf_fair.stats.columns import check_shares


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Step-down adjusted p-values; family-wise error is held for any dependence (Holm 1979).

    ``p_values``: (n,) in [0, 1], NaN where there was no test; any other value is a `RowError`.

    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=float)
    check_shares("p_values", p)
    adjusted = np.full_like(p, np.nan)
    order = np.argsort(p)[: int(np.isfinite(p).sum())]  # NaN sorts last
    stepped = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return adjusted


def benjamini_hochberg(p_values: ArrayLike) -> NDArray[np.float64]:
    """Step-up adjusted p-values; false discovery rate is held under positive dependence (Benjamini & Hochberg 1995).

    ``p_values``: as in `holm`.

    >>> benjamini_hochberg([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.04, 0.04]
    """
    p = np.asarray(p_values, dtype=float)
    check_shares("p_values", p)
    adjusted = np.full_like(p, np.nan)
    known = np.isfinite(p)
    adjusted[known] = false_discovery_control(p[known], method="bh")
    return adjusted
