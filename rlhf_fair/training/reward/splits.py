"""Which items train, which are held out, and the rows that are learnt from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.training.reward.config import RewardConfig
from rlhf_fair.training.reward.evaluation import is_constant, split_by_key
from rlhf_fair.training.reward.rows import single_judgements, split_rows
from rlhf_fair.training.reward.sources import Source


def split_items(sources: list[Source], config: RewardConfig) -> tuple[pd.DataFrame, int]:
    """All items with ``split`` and, for ratings, ``target`` (see `rating_target`).

    Sources that hold nothing out lose the items whose text another source holds out; the second result counts them.
    """
    items = pd.concat([source.items for source in sources], ignore_index=True)
    holding = {source.name for source in config.sources if source.held_out}
    held = items["source"].isin(holding)
    if not held.any():
        raise SettingsError("no source holds texts out: at least one needs held_out = true")
    s = config.split
    items["split"] = "train"
    items.loc[held, "split"] = split_by_key(items.loc[held, "key"], validation=s.validation, test=s.test, seed=s.seed)
    leaks = ~held & items["key"].isin(items.loc[items["split"] != "train", "key"])
    items = items[~leaks].reset_index(drop=True)
    for part in ("train", "test"):
        if not (items["split"] == part).any():
            raise RowError(f"no item is left for the {part} split: {len(items)} items in all")
    if s.few is not None:
        train = items.index[items["split"] == "train"].to_numpy()
        kept = np.random.default_rng([s.seed, 3]).permutation(train)[: s.few]
        items = items[(items["split"] != "train") | items.index.isin(kept)].reset_index(drop=True)
    if "rating" in items:
        items["target"] = rating_target(items, items, config.target)
    return items, int(leaks.sum())


def rating_target(rows: pd.DataFrame, items: pd.DataFrame, target: str) -> pd.Series:
    """Ratings of ``rows`` standardised: less the mean and divided by the SD of the training ``items``' ratings.

    Over all sources together, or within each source.
    """
    result = pd.Series(0.0, index=rows.index)
    for name in sorted(items["source"].unique()) if target == "within_source" else ["all sources"]:
        every = target != "within_source"
        seen = items.loc[(items["split"] == "train") & (every | (items["source"] == name)), "rating"]
        if len(seen) < 2 or is_constant(seen):
            raise RowError(f"{name}: the training items all have the same rating, nothing can be learnt")
        place = rows.index[every | (rows["source"] == name)]
        result[place] = (rows.loc[place, "rating"] - seen.mean()) / seen.std()
    return result


def rows_of(
    split: str, items: pd.DataFrame, sources: list[Source], config: RewardConfig, find: Callable[[str], Path]
) -> pd.DataFrame:
    """The rows of one split as they are learnt from, with ``target`` where ratings are; none if it has no items."""
    part = items[items["split"] == split]
    if part.empty:
        return part
    single = single_judgements(config)
    rows = split_rows(part, sources, config, find, by_raters=config.learns_by_raters, single=single)
    if "rating" in rows:
        rows["target"] = rating_target(rows, items, config.target)
    return rows
