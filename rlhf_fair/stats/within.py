"""Do two groups differ on the same items: the gap with a fixed effect for every item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from rlhf_fair.records import Estimate
from rlhf_fair.stats.contrasts import contrast_estimate


def within_estimate(
    values: ArrayLike,
    groups: ArrayLike,
    group: Any,
    reference: Any,
    *,
    items: ArrayLike,
    clusters: Sequence[ArrayLike] = (),
    weights: ArrayLike | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
) -> Estimate:
    """Mean of ``group`` minus mean of ``reference`` within items; null value 0, unit of ``values``.

    The coefficient of group membership in a regression with one intercept per item. By Frisch & Waugh (1933) that is
    the difference of two weighted means, each row weighted with how far its membership lies from its item's share of
    the group, of values freed of the item's intercept; so the interval is `contrast_estimate`'s. An item counts by
    n1·n0/(n1 + n0) of its ratings, hence not at all where one of the groups did not rate it: such rows are left out.

    Parameters: ``items`` (n,) labels; the others as in `contrast_estimate`.
    """
    w = np.ones(len(np.asarray(values))) if weights is None else np.asarray(weights, dtype=float)
    rows = pd.DataFrame({"y": np.asarray(values, dtype=float), "item": np.asarray(items), "w": w})
    labels = np.asarray(groups, dtype=object)
    keep = np.isfinite(rows["y"].to_numpy()) & np.isin(labels, np.array([group, reference], dtype=object))
    rows, member = rows[keep], (labels[keep] == group).astype(float)
    rows = rows.assign(member=member * rows["w"], wy=rows["w"] * rows["y"])
    sums = rows.groupby("item")[["w", "member", "wy"]].transform("sum")
    share = (sums["member"] / sums["w"]).to_numpy()
    leverage = np.abs(member - share)
    shared = (share > 0) & (share < 1)
    if not shared.any():
        return Estimate.not_estimable(f"no item was rated by both {group} and {reference}", n=0)
    y, weight = rows["y"].to_numpy()[shared], (rows["w"].to_numpy() * leverage)[shared]
    sign = np.where(member[shared] == 1, 1.0, -1.0)
    gap = float((sign * weight * y).sum() / weight[sign > 0].sum())
    intercept = (sums["wy"] / sums["w"]).to_numpy()[shared] - gap * share[shared]
    return contrast_estimate(
        y - intercept,
        sign,
        {1.0: 1.0, -1.0: -1.0},
        clusters=[np.asarray(way)[keep][shared] for way in clusters],
        weights=weight,
        rates=False,
        alpha=alpha,
        power=power,
    )
