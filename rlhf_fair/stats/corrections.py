"""Many tests, one error rate: adjusted p-values. A NaN p-value stays NaN and is not counted as a test."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from statsmodels.stats.multitest import multipletests


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Step-down adjusted p-values; family-wise error is held for any dependence (Holm 1979).

    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    return _adjust(p_values, "holm")


def benjamini_hochberg(p_values: ArrayLike) -> NDArray[np.float64]:
    """Step-up adjusted p-values; false discovery rate is held under positive dependence (Benjamini & Hochberg 1995).

    >>> benjamini_hochberg([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.04, 0.04]
    """
    return _adjust(p_values, "fdr_bh")


def _adjust(p_values: ArrayLike, method: str) -> NDArray[np.float64]:
    p = np.asarray(p_values, dtype=float)
    adjusted = np.full_like(p, np.nan)
    known = np.isfinite(p)
    if known.any():
        adjusted[known] = multipletests(p[known], method=method)[1]
    return adjusted
