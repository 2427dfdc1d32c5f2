"""Training rows from items and the judgements behind them: one for each item, rater group or single judgement."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.annotators.population import CROSS
from rlhf_fair.errors import ColumnError, RowError
from rlhf_fair.probes.counterfactual_text import groups_in
from rlhf_fair.probes.counterfactual_text_lexicon import load_lexicon
from rlhf_fair.tables import ATTRIBUTE_PREFIX, read_table, require_columns
from rlhf_fair.training.reward.config import RewardConfig
from rlhf_fair.training.reward.mitigations import Groups
from rlhf_fair.training.reward.sources import Source

NOBODY = "nobody named"
GROUP_PREFIX = "group."
"""``group.NAME``: the label of a row in the grouping NAME; missing where it is unknown."""


def split_rows(
    items: pd.DataFrame,
    sources: Sequence[Source],
    config: RewardConfig,
    find: Callable[[str], Path],
    *,
    by_raters: bool,
    single: bool = False,
) -> pd.DataFrame:
    """``items`` with a column ``group.NAME`` for each grouping, and split where that is asked for.

    With ``by_raters`` one row for each rater group that judged an item, with ``single`` one for each judgement; else
    the items themselves, of no known rater group. An item's rows share its weight in proportion to the weights of their
    raters, so splitting changes nothing where groups play no part. ``rating`` or ``p_a`` become the row's own. ``find``
    gives the place of a table of terms.
    """
    parts = [_split(items[items["source"] == source.name], source, config, by_raters, single) for source in sources]
    rows = pd.concat([part for part in parts if len(part)], ignore_index=True)
    for name, groups in config.groups.items():
        if groups.of == "texts":
            rows[GROUP_PREFIX + name] = text_groups(rows, groups, find)
        elif groups.of == "sources":
            rows[GROUP_PREFIX + name] = rows["source"]
    return rows


def single_judgements(config: RewardConfig) -> bool:
    """Whether what is learnt needs every judgement by itself: grades, classes, or how far people are apart."""
    return config.objective in ("ordinal", "classification") or config.heads.kind == "distribution"


def group_codes(labels: pd.Series, at_least: int = 1) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """(n,) codes and the names they stand for; -1 where the label is missing or stands on fewer rows."""
    counts = labels.value_counts()
    names = tuple(sorted(str(name) for name in counts.index[counts >= at_least]))
    if not names:
        raise RowError(f"no group has {at_least} rows; groups: {counts.to_dict()}")
    return np.asarray(pd.Index(names).get_indexer(pd.Index(labels.astype("object"))), dtype=np.int64), names


def text_groups(rows: pd.DataFrame, groups: Groups, find: Callable[[str], Path]) -> pd.Series:
    """Whom each row's text speaks of first, `NOBODY` if no one; of pairs, the first answer's text counts."""
    texts = rows["text"] if "text" in rows else rows["text_a"]
    if groups.terms is None:
        lexicon = load_lexicon(groups.attributes[0])
        found = {text: next(iter(groups_in(text, lexicon)), NOBODY) for text in texts.unique()}
        return texts.map(found).astype("object")
    table = read_table(find(groups.terms))
    require_columns(table, ["term", "axis"], f"terms {groups.terms}")
    table = table.dropna(subset=["term", "axis"])
    axis = {str(term).lower(): str(name) for term, name in zip(table["term"], table["axis"], strict=True)}
    longest = "|".join(re.escape(term) for term in sorted(axis, key=len, reverse=True))
    first = texts.str.extract(rf"(?<!\w)({longest})s?(?!\w)", flags=re.IGNORECASE, expand=False)
    return first.str.lower().map(axis).fillna(NOBODY).astype("object")


def _split(items: pd.DataFrame, source: Source, config: RewardConfig, by_raters: bool, single: bool) -> pd.DataFrame:
    name = config.rater_groups
    if source.ratings.empty or not (single or (by_raters and name)):
        return items if name is None else items.assign(**{GROUP_PREFIX + name: None})
    judgements = source.ratings[source.ratings["item_id"].isin(set(items["item_id"]))]
    by = ["item_id", "rater_id"] if single else ["item_id"]
    if name is not None:
        column = GROUP_PREFIX + name
        judgements = judgements.assign(**{column: rater_group(judgements, config.groups[name], source.name)})
        by.append(column)
    value = "rating" if "rating" in items else "p_a"
    means = judgement_means(judgements, by).rename(columns={"value": value})
    merged = items.drop(columns=[value]).merge(means, on="item_id", validate="one_to_many")
    return merged.assign(weight=merged["weight"] * merged.pop("share"))


def rater_group(judgements: pd.DataFrame, groups: Groups, source: str) -> pd.Series:
    """The rater's level, crossed levels joined; missing where one of them is."""
    columns = [ATTRIBUTE_PREFIX + name.removeprefix(ATTRIBUTE_PREFIX) for name in groups.attributes]
    for column in columns:
        if column not in judgements:
            raise ColumnError(f"source {source!r}", column, judgements.columns)
    labels = judgements[columns[0]].astype("string")
    for column in columns[1:]:
        labels = labels.str.cat(judgements[column].astype("string"), sep=CROSS)  # missing where one of them is
    return labels.astype("object").where(labels.notna(), None)


def judgement_means(judgements: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """``by``, value (weighted mean) and share of the item's weight; raters of no weight share by their number."""
    weighted = judgements.assign(n=1.0, product=judgements["value"] * judgements["weight"])
    sums = weighted.groupby(by, sort=True, dropna=False)[["product", "weight", "value", "n"]].sum().reset_index()
    whole = sums.groupby("item_id")[["weight", "n"]].transform("sum")
    none = sums["weight"] <= 0
    mean = (sums["product"] / sums["weight"]).where(~none, sums["value"] / sums["n"])
    share = (sums["weight"] / whole["weight"]).where(whole["weight"] > 0, sums["n"] / whole["n"])
    return sums[by].assign(value=mean, share=share)
