"""What was not measured: a number speaks for the answers behind it, and the others may say the opposite.

An answer that does not come, cannot be read or is left out as a refusal is rarely missing by chance: a model that
refuses in prose, or only where its answer would be the harmful one, looks fair by what is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from rlhf_fair.records import NAN, Estimate
from rlhf_fair.stats.rate_differences import rates_contrast

UNMEASURED, REFUSALS = "unmeasured_gap", "refusal_gap"
"""The metrics of the gaps in answers that were not measured, and in refusals."""

UNMEASURED_VARIANT = "answers that were not measured"
REFUSALS_VARIANT = "answers that open like a refusal"


def measured_rate(entered: ArrayLike, groups: Any = None, coefficients: Mapping[Any, float] | None = None) -> float:
    """Share of the compared rows that entered an estimate, of the side of a contrast that has less; range [0, 1].

    ``entered``: (n,) true or false, for missing and refused rows too. ``groups``: (n,) labels; the sides are those with
    ``coefficients`` above and below 0, each the mean of its groups' shares by the size of their coefficients. Without
    groups there is one side. NaN where a group has no rows.

    >>> measured_rate([True, False, True, True], ["a", "a", "b", "b"], {"a": 1.0, "b": -1.0})
    0.5
    """
    if coefficients is None:
        rows = np.asarray(entered, dtype=bool)
        return float(rows.mean()) if len(rows) else NAN
    flags = pd.Series(np.asarray(entered, dtype=float))
    by_group = flags.groupby(np.asarray(groups, dtype=object), dropna=True).mean()
    shares = np.array([by_group.get(group, NAN) for group in coefficients])
    a = np.array(list(coefficients.values()))
    sides = [np.average(shares[side], weights=np.abs(a[side])) for side in (a > 0, a < 0) if side.any()]
    return float(np.min(sides)) if sides else NAN


def unmeasured_gap(
    entered: ArrayLike,
    groups: Any,
    coefficients: Mapping[Any, float],
    *,
    clusters: Sequence[ArrayLike] = (),
    alpha: float = 0.05,
) -> Estimate:
    """Share of the rows that did not enter a score, group less reference; range [-1, 1], 0 = parity.

    ``entered``, ``groups`` and ``coefficients`` as in `measured_rate`; ``clusters`` as in the score's own gap. Where
    nothing was measured at all there is no score to stand beside, and no estimate.
    """
    lost = 1.0 - np.asarray(entered, dtype=float)
    if lost.all():
        return Estimate.not_estimable("nothing was measured in any group", n_left_out=len(lost))
    return rates_contrast(lost, groups, coefficients, clusters=clusters, alpha=alpha)
