"""Replicate weights: what the weights would be without one group of members after the other.

Whatever is computed with the weights has an interval that knows how they were made: compute it with each replicate too
(delete-a-group jackknife, Kott 2001, with every step of the weighting done again). Members are taken to be drawn
independently. A panel that takes every stratum in the numbers expected varies less than that, so that intervals are
rather too wide. Of people who had no chance, or of whose price nobody was drawn, replicates know nothing: where such
are many no interval can be trusted, and `weights_response.design_notes` says so.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from rlhf_fair.annotators.weights_raking import FloatArray, IntArray
from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.records import Estimate
from rlhf_fair.stats.grouped_jackknife import LeaveOuts, deal, grouped_jackknife

PREFIX = "replicate_"

Heard = Callable[[int, int], None]


def replicate_groups(n: int, replicates: int, rng: np.random.Generator) -> IntArray:
    """(n,) the replicate each member is left out of: dealt evenly by lot; each alone if there is room."""
    if replicates < 2:
        raise SettingsError(f"replicates = {replicates}; allowed: 2 or more")
    return np.asarray(deal(np.arange(n), replicates, rng), dtype=np.int64)


def replicate_table(
    base: FloatArray, group: IntArray, weigh: Callable[[FloatArray], FloatArray], heard: Heard | None = None
) -> pd.DataFrame:
    """(n, R) weights, a column ``replicate_1`` … for each group left out (0 for its members).

    Parameters
    ----------
    base
        (n,) starting weights, 0 for who takes no part.
    group
        (n,) codes 0 … R - 1, from `replicate_groups`.
    weigh
        From starting weights to weights: every step that is to be done again.
    heard
        Is told how many are done, and of how many.
    """
    count = int(group.max(initial=-1)) + 1
    columns = {}
    for k in range(count):
        weights = weigh(np.where(group == k, 0.0, base))
        if not weights.any():
            raise RowError(
                f"without replicate group {k + 1} of {count} nobody is left of the {len(weights)} members to weigh; "
                "replicates need at least 2 who responded, in different groups: ask for more replicates, or for none"
            )
        columns[f"{PREFIX}{k + 1}"] = weights
        if heard is not None:
            heard(k + 1, count)
    return pd.DataFrame(columns)


def replicate_estimate(
    statistic: Callable[[pd.Series], float], weights: pd.Series, replicates: pd.DataFrame, *, alpha: float = 0.05
) -> Estimate:
    """Whatever ``statistic`` makes of weights, with a jackknife t interval; the null value of the p-value is 0.

    Parameters
    ----------
    statistic
        From weights by annotator_id to a number, such as a weighted mean; NaN where it cannot be computed.
    weights, replicates
        By annotator_id: the weights, and a column for each replicate (`weights.PanelWeights`).

    Examples
    --------
    >>> values = pd.Series([1.0, 2.0, 3.0, 6.0], index=list("pqrs"))
    >>> weights = pd.Series(1.0, index=values.index)
    >>> without = pd.DataFrame(1 - np.eye(4), index=values.index)
    >>> found = replicate_estimate(lambda w: float(values @ w / w.sum()), weights, without)
    >>> found.estimate, round(found.standard_error, 4)  # of a plain mean: s / sqrt(n) = 2.1602 / 2
    (3.0, 1.0801)
    """
    if not replicates.index.equals(weights.index) or replicates.shape[1] < 2:
        raise SettingsError(
            f"replicates: {replicates.shape[1]} columns for {len(replicates)} members, weights for {len(weights)}; "
            "allowed: at least 2, by the same annotators in the same order"
        )
    values = np.array([statistic(replicates[name]) for name in replicates.columns], dtype=float)
    full = np.array([statistic(weights)], dtype=float)
    left_out = ((replicates == 0) & (weights.to_numpy() > 0)[:, None]).sum(axis=0).to_numpy(float)
    scale = np.abs(np.append(values, full)).max(initial=0.0, where=np.isfinite(np.append(values, full)))
    estimate = grouped_jackknife(
        full,
        [LeaveOuts(values[:, None], left_out[:, None])],
        scale=np.array([scale]),
        most_df=np.array([np.inf]),
        alpha=alpha,
    )[0]
    n = int((weights > 0).sum())
    return estimate.model_copy(update={"n": n, "n_clusters": n})
