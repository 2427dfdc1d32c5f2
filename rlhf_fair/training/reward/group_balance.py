"""Group-balanced loss: every group's rows weigh the same in sum, however many there are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def balanced_weights(groups: NDArray[np.int64], weight: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """(n,) weights with mean 1 under which each group has the same sum; inside a group their ratios stay.

    ``groups``: (n,) codes, -1 for unknown. Unknown rows keep their share of the whole. Kamiran & Calders 2012.

    >>> balanced_weights(np.array([0, 0, 0, 1]), None).round(3).tolist()
    [0.667, 0.667, 0.667, 2.0]
    """
    own = np.ones(len(groups)) if weight is None else np.asarray(weight, dtype=float)
    known = groups >= 0
    sums = np.bincount(groups[known], own[known]).astype(float)
    present = int((sums > 0).sum())
    factor = np.divide(own[known].sum() / max(present, 1), sums, out=np.zeros_like(sums), where=sums > 0)
    result = own.copy()
    result[known] *= factor[groups[known]]
    return np.asarray(result / result.mean())
