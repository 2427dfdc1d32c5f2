"""How well a reward model predicts each group's own judgements of held-out items."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.records import Estimate
from rlhf_fair.stats.contrasts import mean_estimate
from rlhf_fair.stats.intervals import t_interval
from rlhf_fair.training.reward.config import RewardConfig
from rlhf_fair.training.reward.evaluation import (
    correlation,
    is_constant,
    on_fishers_scale,
    pairs_right,
    preference_accuracy,
    within_source_correlation,
)
from rlhf_fair.training.reward.rows import GROUP_PREFIX, rater_group, split_rows
from rlhf_fair.training.reward.sources import Source

Floats = NDArray[np.float64]

UNKNOWN = "(unknown)"
SMALL = 20
"""Groups with fewer held-out items are not told one by one: nothing can be said of them, but people might be found."""


def group_predictions(
    items: pd.DataFrame,
    held_out: pd.DataFrame,
    sources: Sequence[Source],
    config: RewardConfig,
    find: Callable[[str], Path],
    *,
    by_raters: bool = True,
) -> pd.DataFrame:
    """Rows of held-out ``items`` by group with ``prediction``: of a text its reward, of a pair that of a less b's.

    ``held_out``: source, item_id, side, prediction, and ``uncertainty`` where there is one; of a pair both sides' mean.
    With ``by_raters`` one row for each rater group that judged an item, else one for each item.
    """
    return _with_predictions(split_rows(items, sources, config, find, by_raters=by_raters), held_out)


def group_quality(
    items: pd.DataFrame,
    held_out: pd.DataFrame,
    sources: Sequence[Source],
    config: RewardConfig,
    find: Callable[[str], Path],
) -> dict[str, dict[str, Any]]:
    """For each grouping and group: accuracy (pairs) or correlation (ratings) with an interval, and the number of items.

    ``uncertainty``, where the heads know one, is its mean over the group's items: a reward that is lowered by it taxes
    the groups of which little is known. Intervals of text and source groups are clustered by text; those of rater
    groups speak of other raters of the group as well, see `rater_quality`. Groups are not compared here: their items
    differ unless all judged the same ones. Groups with fewer than `SMALL` items are counted in one entry.
    """
    whole = group_predictions(items, held_out, sources, config, find, by_raters=False)
    found: dict[str, dict[str, Any]] = {}
    for name, groups in config.groups.items():
        if groups.of == "raters":
            rows, measure = _judgements(items, held_out, sources, config, name), rater_quality
        else:
            rows, measure = whole, _quality
        labels = rows[GROUP_PREFIX + name].astype("object").fillna(UNKNOWN)
        sizes = rows.assign(unit=rows["source"] + "/" + rows["item_id"]).groupby(labels)["unit"].nunique()
        small = sizes[sizes < SMALL]
        large = sorted(set(sizes.index) - set(small.index))
        found[name] = {str(group): _plain(measure(rows[labels == group])) for group in large}
        if len(small):
            reason = f"fewer than {SMALL} held-out items each"
            found[name][f"(fewer than {SMALL})"] = {"groups": len(small), "n": int(small.sum()), "reason": reason}
    return found


def rater_quality(rows: pd.DataFrame) -> dict[str, Estimate]:
    """How well the reward foretells what raters of one kind say, on texts and for raters that are not these.

    ``rows``: single judgements with source, item_id, key, rater_id, value, weight, prediction. The variance is that
    of leaving out one text at a time plus that of leaving out one rater at a time (each changes the means of all that
    he judged); their sum is a little too large, since what text and rater do together is in both.
    """
    judged = _Judged.of(rows)
    items = judged.items
    y = judged.means()
    known = np.isfinite(y)
    measures = _quality(items[known].assign(**{"p_a" if "p_a" in rows else "rating": y[known]}))
    for name, statistic in _STATISTICS.items():
        if name not in measures or not np.isfinite(measures[name].ci_low):
            continue
        without = np.array([statistic(items, means) for means in judged.without_each_rater()])
        measures[name] = _of_raters(measures[name], without, is_rate=name == "accuracy")
    return measures


@dataclass(frozen=True)
class _Judged:
    """``items``: one row each, in the order of the codes ``item`` (n,) of the judgements."""

    items: pd.DataFrame
    item: NDArray[np.intp]
    rater: NDArray[np.intp]
    value: Floats
    weight: Floats

    @classmethod
    def of(cls, rows: pd.DataFrame) -> _Judged:
        unit = rows["source"] + "/" + rows["item_id"]
        names, item = np.unique(unit.to_numpy(dtype=str), return_inverse=True)
        items = rows.assign(unit=unit).drop_duplicates("unit").set_index("unit").loc[names].reset_index(drop=True)
        rater = np.unique((rows["source"] + "/" + rows["rater_id"]).to_numpy(dtype=str), return_inverse=True)[1]
        weight = rows["weight"].to_numpy(float)
        weight = weight if weight.sum() > 0 else np.ones(len(rows))
        return cls(items, item, rater, rows["value"].to_numpy(float), weight)

    def means(self) -> Floats:
        """(items,) weighted mean judgements; NaN where nobody of any weight judged."""
        return _ratio(*self._sums(np.ones(len(self.item), dtype=bool)))

    def without_each_rater(self) -> Iterator[Floats]:
        """The same for everyone but one."""
        product, weight = self._sums(np.ones(len(self.item), dtype=bool))
        for rater in range(int(self.rater.max()) + 1):
            p, w = self._sums(self.rater == rater)
            yield _ratio(product - p, np.where(weight - w > 1e-9 * weight, weight - w, 0.0))

    def _sums(self, rows: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        n, item = len(self.items), self.item[rows]
        weight: Floats = self.weight[rows]
        product, total = (np.bincount(item, w, n).astype(np.float64) for w in (weight * self.value[rows], weight))
        return product, total


def _ratio(product: Floats, weight: Floats) -> Floats:
    ratio: Floats = np.divide(product, weight, out=np.full(len(weight), np.nan), where=weight > 0)
    return ratio


def _pearson(items: pd.DataFrame, means: Floats) -> float:
    known = np.isfinite(means)
    x, y = items["prediction"].to_numpy(float)[known], means[known]
    return float("nan") if len(x) < 4 or is_constant(x) or is_constant(y) else float(np.corrcoef(x, y)[0, 1])


def _pearson_within(items: pd.DataFrame, means: Floats) -> float:
    known = np.isfinite(means)
    total = 0.0
    for name in items["source"].unique():
        own = (items["source"] == name).to_numpy()
        total += (own & known).sum() / known.sum() * _pearson(items[own], means[own])
    return total


def _accuracy(items: pd.DataFrame, means: Floats) -> float:
    return float(np.nanmean(pairs_right(items["prediction"], means)))


_STATISTICS: dict[str, Callable[[pd.DataFrame, Floats], float]] = {
    "pearson_r": _pearson,
    "pearson_r_within_source": _pearson_within,
    "accuracy": _accuracy,
}


def _of_raters(estimate: Estimate, without: Floats, *, is_rate: bool) -> Estimate:
    """``estimate``, whose error is that of texts, with the jackknife error of raters added."""
    n = len(without)
    size = {"n": estimate.n, "n_clusters": min(estimate.n_clusters or 0, n)}
    if n < 3 or not np.isfinite(without).all():
        reason = f"{n} raters: too few to speak of other raters"
        return Estimate(estimate=estimate.estimate, reason=reason, **size)
    variance = estimate.standard_error**2 + (n - 1) / n * float(np.square(without - without.mean()).sum())
    df = size["n_clusters"] - 2
    if not is_rate:
        return on_fishers_scale(estimate.estimate, math.sqrt(variance), df, size)
    found = t_interval(estimate.estimate, math.sqrt(variance), df)
    limits = {"ci_low": max(found.ci_low, 0.0), "ci_high": min(found.ci_high, 1.0)}
    return Estimate(estimate=estimate.estimate, standard_error=math.sqrt(variance), **limits, **size)


def _judgements(
    items: pd.DataFrame, held_out: pd.DataFrame, sources: Sequence[Source], config: RewardConfig, name: str
) -> pd.DataFrame:
    """Single judgements of ``items`` with the rater's group; sources without single judgements have none."""
    parts = []
    for source in sources:
        own = items[items["source"] == source.name]
        if source.ratings.empty or own.empty:
            continue
        rows = source.ratings[source.ratings["item_id"].isin(set(own["item_id"]))]
        rows = rows.assign(
            source=source.name, **{GROUP_PREFIX + name: rater_group(rows, config.groups[name], source.name)}
        )
        parts.append(rows.merge(own[["item_id", "key"]], on="item_id"))
    columns = ["source", "item_id", "key", "rater_id", "value", "weight", GROUP_PREFIX + name]
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns, dtype="object")
    rows = _with_predictions(rows, held_out)
    return rows.assign(p_a=rows["value"]) if "p_a" in items else rows


def _with_predictions(rows: pd.DataFrame, held_out: pd.DataFrame) -> pd.DataFrame:
    keys = ["source", "item_id"]
    wide = held_out.pivot(index=keys, columns="side", values="prediction")
    prediction = wide["a"] - wide["b"] if "a" in wide else wide[""]
    rows = rows.join(prediction.rename("prediction"), on=keys)
    if "uncertainty" not in held_out:
        return rows
    return rows.join(held_out.groupby(keys)["uncertainty"].mean(), on=keys)


def _quality(rows: pd.DataFrame) -> dict[str, Estimate]:
    if "p_a" in rows:
        measures = {"accuracy": preference_accuracy(rows["prediction"], rows["p_a"], rows["key"])}
    else:
        measures = {"pearson_r": correlation(rows["prediction"], rows["rating"], rows["key"])}
        if rows["source"].nunique() > 1:
            measures["pearson_r_within_source"] = within_source_correlation(
                rows["prediction"], rows["rating"], rows["source"], rows["key"]
            )
    if "uncertainty" in rows:
        measures["uncertainty"] = mean_estimate(rows["uncertainty"], clusters=[rows["key"]], rates=False)
    return measures


def _plain(measures: dict[str, Estimate]) -> dict[str, Any]:
    return {name: plain(estimate) for name, estimate in measures.items()}


def plain(estimate: Estimate) -> dict[str, Any]:
    """What a metrics file says of an estimate."""
    kept = ("estimate", "ci_low", "ci_high", "n", "n_clusters", "reason")
    return {name: value for name, value in estimate.model_dump(mode="json").items() if name in kept}
