"""Several seeds become one table, and the table one front.

With one seed an estimate keeps its own interval, over names and scenarios. With several the unit is the seed: a mean
over trainings on the same prompts, with a t interval over seeds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from rlhf_fair.mitigations import measures as m
from rlhf_fair.mitigations.settings import PLAIN, SFT
from rlhf_fair.records import Estimate
from rlhf_fair.stats.contrasts import mean_estimate
from rlhf_fair.stats.ratios import contrast_ratio

KEYS = ["method", "measure", "attribute"]
QUALITIES = (m.UTILITY, m.REWARD)


def over_seeds(results: pd.DataFrame, *, alpha: float) -> pd.DataFrame:
    """One row per method, measure and attribute: estimate, interval, ``seeds`` and, where there is none, the reason."""
    rows = []
    for (method, measure, attribute), part in results.groupby(KEYS, sort=False):
        e = _combined(results, part, str(method), str(measure), str(attribute), alpha)
        groups = sorted(set(part["group"]) - {""})
        found = {"method": method, "measure": measure, "attribute": attribute, "group": " or ".join(groups)}
        kept = {"estimate": e.estimate, "ci_low": e.ci_low, "ci_high": e.ci_high, "reason": e.reason}
        rows.append(found | kept | {"seeds": int(part["estimate"].notna().sum())})
    return pd.DataFrame(rows)


def _combined(
    results: pd.DataFrame, part: pd.DataFrame, method: str, measure: str, attribute: str, alpha: float
) -> Estimate:
    if len(part) == 1:
        row = part.iloc[0]
        return Estimate(estimate=row["estimate"], ci_low=row["ci_low"], ci_high=row["ci_high"], reason=row["reason"])
    if measure == m.GAP_REMAINING:
        own, plain = (_by_seed(results, who, m.GAP, attribute) for who in (method, PLAIN))
        return _ratio(own, plain, alpha)
    if measure == m.REWARD_KEPT:
        own, plain, sft = (_by_seed(results, who, m.REWARD, "") for who in (method, PLAIN, SFT))
        return _ratio(own - sft, plain - sft, alpha)
    known = part["estimate"].dropna()
    if known.empty:
        return Estimate.not_estimable("; ".join(sorted(set(part["reason"]))) or "measured with no seed")
    return mean_estimate(known, rates=False, alpha=alpha)


def _by_seed(results: pd.DataFrame, method: str, measure: str, attribute: str) -> pd.Series:
    chosen = (results["method"] == method) & (results["measure"] == measure) & (results["attribute"] == attribute)
    return results[chosen].set_index("seed")["estimate"]


def _ratio(top: pd.Series, bottom: pd.Series, alpha: float) -> Estimate:
    """Ratio of the means over the seeds that both have."""
    both = pd.concat([top, bottom], axis=1, keys=["top", "bottom"]).dropna()
    if len(both) < 2:
        return Estimate.not_estimable(f"measured with {len(both)} seeds; a ratio over seeds needs 2")
    return contrast_ratio(both["top"], both["bottom"], np.zeros(len(both), dtype=int), {0: 1.0}, alpha=alpha)


def pareto_front(cost: ArrayLike, quality: ArrayLike) -> NDArray[np.bool_]:
    """(n,) True where no other point has at most the cost and at least the quality and is better in one of the two.

    Points with a missing value are not on it. Equal points are on it together.

    >>> pareto_front([0.4, 0.1, 0.2, 0.3], [2.0, 1.0, 0.5, 2.0]).tolist()  # the third costs more than the second
    [False, True, False, True]
    """
    c, q = np.asarray(cost, dtype=float), np.asarray(quality, dtype=float)
    known = np.isfinite(c) & np.isfinite(q)
    no_worse = (c[None, :] <= c[:, None]) & (q[None, :] >= q[:, None])
    better = (c[None, :] < c[:, None]) | (q[None, :] > q[:, None])
    dominated = (no_worse & better & known[None, :]).any(axis=1)
    return np.asarray(known & ~dominated)


def fronts(summary: pd.DataFrame, attributes: Sequence[str]) -> pd.DataFrame:
    """One row per quality, attribute and method: absolute gap, quality, their limits, and ``on_front``."""
    parts = []
    for quality in QUALITIES:
        for attribute in attributes:
            gaps, qualities = (_column(summary, *key) for key in ((m.ABSOLUTE_GAP, attribute), (quality, "")))
            both = gaps.add_suffix("_gap").join(qualities.add_suffix("_quality"))
            on_front = pareto_front(both["estimate_gap"], both["estimate_quality"])
            parts.append(both.assign(on_front=on_front, quality=quality, attribute=attribute).reset_index())
    return pd.concat(parts, ignore_index=True)


def _column(summary: pd.DataFrame, measure: str, attribute: str) -> pd.DataFrame:
    chosen = summary[(summary["measure"] == measure) & (summary["attribute"] == attribute)]
    return chosen.set_index("method")[["estimate", "ci_low", "ci_high"]]
