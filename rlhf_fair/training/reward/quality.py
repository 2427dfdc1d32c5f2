"""What ``metrics.json`` says of a reward model: its quality on held-out texts, pooled and source by source.

Sources of ratings differ in level, so a pooled correlation is high already for a model that tells sources apart and
nothing else. It therefore never stands alone: beside it are the correlation within sources, that of each source, and
that of the sources' means alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.models.reward_heads import RewardHeads
from rlhf_fair.training.reward.evaluation import (
    correlation,
    noise_ceiling,
    preference_accuracy,
    within_source_correlation,
)
from rlhf_fair.training.reward.group_quality import plain
from rlhf_fair.training.reward.sources import Source

POOLED = "pooled"


def evaluate(held_out: pd.DataFrame, sources: list[Source], *, seed: int) -> dict[str, Any]:
    """Quality on both held-out splits; for ratings also the noise ceiling of each number on the test split."""
    rng = np.random.default_rng([seed, 1])
    test = held_out[held_out["split"] == "test"]
    report: dict[str, Any] = {
        "reward": {"mean": float(test["prediction"].mean()), "sd": float(test["prediction"].std())}
    }
    for split, rows in held_out.groupby("split"):
        report[str(split)] = {POOLED: _pooled_quality(rows)}
        report[str(split)] |= {str(name): _quality(part) for name, part in rows.groupby("source")}
    if "rating" in held_out:
        report["noise_ceiling"] = noise_ceilings(test, sources, rng)
    return report


def virtue_quality(held_out: pd.DataFrame, heads: RewardHeads) -> dict[str, Any]:
    """For each virtue, on its own rows of the test split: its declared weight, how well its head predicts people, and
    how well the combined reward does, which shows what the other virtues cost it.

    ``held_out``: split, virtue, prediction (the combined reward) and head (the output for the row's own virtue).
    """
    test = held_out[held_out["split"] == "test"]
    report: dict[str, Any] = {}
    for name, weight in zip(heads.names, heads.weights, strict=True):
        rows = test[test["virtue"] == name]
        report[name] = {"weight": weight}
        if rows.empty:
            report[name]["reason"] = "no held-out text of this virtue"
            continue
        report[name]["head"] = _pooled_quality(rows.assign(prediction=rows["head"]))
        report[name]["combined_reward"] = _pooled_quality(rows)
    return report


def _pooled_quality(rows: pd.DataFrame) -> dict[str, Any]:
    quality = _quality(rows)
    if "rating" not in rows:
        return quality
    prediction, rating, source = rows["prediction"], rows["rating"], rows["source"]
    level = rating.groupby(source).transform("mean")
    return quality | {
        "pearson_r_within_source": plain(within_source_correlation(prediction, rating, source, rows["key"])),
        "pearson_r_of_source_means": plain(correlation(level, rating, rows["key"])),
    }


def _quality(rows: pd.DataFrame) -> dict[str, Any]:
    """Ratings are compared on the common scale [0, 1], whatever the reward was trained towards."""
    if "rating" not in rows:
        a, b = (rows[rows["side"] == side] for side in ("a", "b"))
        difference = a["prediction"].to_numpy() - b["prediction"].to_numpy()
        return {"accuracy": plain(preference_accuracy(difference, a["p_a"], a["key"]))}
    return {
        "pearson_r": plain(correlation(rows["prediction"], rows["rating"], rows["key"])),
        "pearson_r_unweighted_mean": plain(correlation(rows["prediction"], rows["plain_rating"], rows["key"])),
    }


def noise_ceilings(
    test: pd.DataFrame, sources: list[Source], rng: np.random.Generator
) -> dict[str, dict[str, float | None]]:
    """For each correlation, the highest one that the raters' disagreement leaves room for; see `noise_ceiling`."""
    parts = {}
    for source in sources:
        ids = set(test.loc[test["source"] == source.name, "item_id"])
        ratings = source.ratings[source.ratings["item_id"].isin(ids)]
        if len(ratings):
            parts[source.name] = ratings.assign(item_id=source.name + "/" + ratings["item_id"])
    everything = pd.concat(parts.values(), ignore_index=True)
    ceilings = {name: _ceilings(ratings, rng) for name, ratings in {POOLED: everything, **parts}.items()}
    # The correlation within sources is the mean of theirs, and so is its ceiling.
    shares = test["source"].value_counts(normalize=True)
    within = sum(shares[name] * ceilings[name]["pearson_r"] for name in parts)
    ceilings[POOLED]["pearson_r_within_source"] = within
    return {name: {key: _finite(value) for key, value in row.items()} for name, row in ceilings.items()}


def _ceilings(ratings: pd.DataFrame, rng: np.random.Generator) -> dict[str, float]:
    return {
        "pearson_r": noise_ceiling(ratings, rng=rng),
        "pearson_r_unweighted_mean": noise_ceiling(ratings.assign(weight=1.0), rng=rng),
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
