"""To learn from some raters only: what a panel of one kind of people would have taught."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from rlhf_fair.errors import ColumnError, RowError, about_file
from rlhf_fair.tables import ATTRIBUTE_PREFIX, Column, Contract, read_table, validate
from rlhf_fair.training.reward.rows import judgement_means
from rlhf_fair.training.reward.sources import Source

Chosen = Mapping[str, Sequence[str]]
"""Attribute -> levels; a rater is chosen who has one of the levels of every attribute."""


MEMBERS = Contract(
    "members",
    {
        "annotator_id": Column(),
        "source": Column(required=False),
        "weight": Column("number", required=False, low=0),
    },
    key=("annotator_id",),
)


def read_members(path: Path) -> pd.DataFrame:
    """A panel: annotator_id as text, and ``source`` and ``weight`` where the table has them.

    Raises
    ------
    RowError
        A row names nobody, has a weight below 0, or a person is there twice.
    """
    raw = read_table(path)
    key = ("source", *MEMBERS.key) if "source" in raw else MEMBERS.key
    with about_file(path):
        checked = validate(raw, replace(MEMBERS, key=key))
    if len(checked.rejects):
        first = checked.rejects.iloc[0]
        raise RowError(f"{path}: {first['message']}")
    return checked.table.astype({"annotator_id": "str"})


def as_judged_by(
    chosen: Chosen, items: pd.DataFrame, sources: Sequence[Source], members: pd.DataFrame | None = None
) -> tuple[pd.DataFrame, list[Source], int]:
    """Items and sources as the chosen raters alone would have made them; the held-out test items stay as they are.

    ``members``: a panel, see `read_members`; only its people are heard, with their weights where it has some. Items
    outside the test split whose judgements all came from others are left out; the last result counts them.

    Raises
    ------
    ColumnError
        A source does not know the attribute.
    RowError
        No rater has the level, or a source has no single judgements, or nobody of the panel rated it.
    """
    kept = [replace(source, ratings=_of_members(members, source)) for source in sources]
    kept = [replace(source, ratings=_of(chosen, source)) for source in kept]
    test, learnt = items[items["split"] == "test"], items[items["split"] != "test"]
    value = "rating" if "rating" in items else "p_a"
    parts = [test]
    for source in kept:
        own = learnt[learnt["source"] == source.name]
        judged = source.ratings[source.ratings["item_id"].isin(set(own["item_id"]))]
        means = judgement_means(judged, ["item_id"]).drop(columns="share").rename(columns={"value": value})
        parts.append(own.drop(columns=value).merge(means, on="item_id", validate="one_to_one"))
    result = pd.concat(parts, ignore_index=True)[items.columns]
    return result, kept, len(items) - len(result)


def _of_members(members: pd.DataFrame | None, source: Source) -> pd.DataFrame:
    ratings = source.ratings
    if ratings.empty:
        raise RowError(f"source {source.name!r}: single judgements are not known, so raters cannot be chosen")
    if members is None:
        return ratings
    own = members[members["source"] == source.name] if "source" in members else members
    who = ratings["rater_id"].astype("str")
    heard = who.isin(set(own["annotator_id"]))
    if not heard.any():
        raise RowError(f"source {source.name!r}: none of the panel's {len(own)} members rated it")
    if "weight" in own:
        ratings = ratings.assign(weight=who.map(own.set_index("annotator_id")["weight"]))
    return ratings[heard].reset_index(drop=True)


def _of(chosen: Chosen, source: Source) -> pd.DataFrame:
    ratings = source.ratings
    for name, levels in chosen.items():
        column = ATTRIBUTE_PREFIX + name.removeprefix(ATTRIBUTE_PREFIX)
        if column not in ratings:
            raise ColumnError(f"source {source.name!r}", column, ratings.columns)
        there = sorted(ratings[column].dropna().astype(str).unique())
        absent = [level for level in levels if level not in there]
        if absent:
            raise RowError(f"source {source.name!r}: no rater has {name} = {absent[0]!r}; levels: {', '.join(there)}")
        ratings = ratings[ratings[column].astype("string").isin(list(levels)).fillna(False)]
    if ratings.empty:
        raise RowError(f"source {source.name!r}: no rater has all of {dict(chosen)}")
    return ratings.reset_index(drop=True)
