"""How well a reward model predicts each group's own judgements of held-out items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.records import Estimate
from rlhf_fair.stats.contrasts import mean_estimate
from rlhf_fair.training.reward.config import RewardConfig
from rlhf_fair.training.reward.evaluation import correlation, preference_accuracy, within_source_correlation
from rlhf_fair.training.reward.rows import GROUP_PREFIX, split_rows
from rlhf_fair.training.reward.sources import Source

UNKNOWN = "(unknown)"
SMALL = 20
"""Groups with fewer held-out items are not told one by one: nothing can be said of them, but people might be found."""


def group_predictions(
    items: pd.DataFrame,
    held_out: pd.DataFrame,
    sources: Sequence[Source],
    config: RewardConfig,
    find: Callable[[str], Path],
) -> pd.DataFrame:
    """Rows of held-out ``items`` by group with ``prediction``: of a text its reward, of a pair that of a less b's.

    ``held_out``: source, item_id, side, prediction, and ``uncertainty`` where there is one; of a pair both sides' mean.
    """
    rows = split_rows(items, sources, config, find, by_raters=True)
    keys = ["source", "item_id"]
    wide = held_out.pivot(index=keys, columns="side", values="prediction")
    prediction = wide["a"] - wide["b"] if "a" in wide else wide[""]
    rows = rows.join(prediction.rename("prediction"), on=keys)
    if "uncertainty" not in held_out:
        return rows
    return rows.join(held_out.groupby(keys)["uncertainty"].mean(), on=keys)


def group_quality(rows: pd.DataFrame, groupings: Sequence[str], *, seed: int) -> dict[str, dict[str, Any]]:
    """For each grouping and group: accuracy (pairs) or correlation (ratings) with an interval, and the number of rows.

    ``uncertainty``, where the heads know one, is its mean over the group's items: a reward that is lowered by it taxes
    the groups of which little is known. The intervals resample items. Groups are not compared here: their items differ
    unless all judged the same ones. Groups with fewer than `SMALL` items are counted in one entry.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in groupings:
        rng = np.random.default_rng([seed, 2])
        labels = rows[GROUP_PREFIX + name].astype("object").fillna(UNKNOWN)
        counts = labels.value_counts()
        small = counts[counts < SMALL]
        found[name] = {
            str(group): _quality(rows[labels == group], rng) for group in sorted(set(counts.index) - set(small.index))
        }
        if len(small):
            reason = f"fewer than {SMALL} held-out items each"
            found[name][f"(fewer than {SMALL})"] = {"groups": len(small), "n": int(small.sum()), "reason": reason}
    return found


def _quality(rows: pd.DataFrame, rng: np.random.Generator) -> dict[str, Any]:
    if "p_a" in rows:
        measures = {"accuracy": preference_accuracy(rows["prediction"], rows["p_a"], rows["key"], rng=rng)}
    else:
        measures = {"pearson_r": correlation(rows["prediction"], rows["rating"], rng=rng)}
        if rows["source"].nunique() > 1:
            measures["pearson_r_within_source"] = within_source_correlation(
                rows["prediction"], rows["rating"], rows["source"], rng=rng
            )
    if "uncertainty" in rows:
        measures["uncertainty"] = mean_estimate(rows["uncertainty"], clusters=[rows["key"]], rates=False)
    return {name: plain(estimate) for name, estimate in measures.items()}


def plain(estimate: Estimate) -> dict[str, Any]:
    """What a metrics file says of an estimate."""
    kept = ("estimate", "ci_low", "ci_high", "n", "n_clusters", "reason")
    return {name: value for name, value in estimate.model_dump(mode="json").items() if name in kept}
