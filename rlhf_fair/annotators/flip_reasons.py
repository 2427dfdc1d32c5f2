"""Why a rule has no value for some items, read off its table."""

from __future__ import annotations

import pandas as pd


def why_no_value(table: pd.DataFrame) -> str:
    """One sentence on the items without a value; "" if every item has one.

    ``table``: of `aggregation_rules.aggregate`. A jury needs a rater of every group with a seat on the item, so with
    more groups than judgements an item it decides nothing at all.

    >>> why_no_value(pd.DataFrame({"item_id": ["x", "y"], "p_a": [1.0, None], "n": [2, 1], "vacant": ["", "h"]}))
    '1 of 2 items lack a rater of a group that has a seat (most often h: 1); items have 1 judgements at the median'
    """
    silent = table[table["p_a" if "p_a" in table else "value"].isna()]
    if silent.empty:
        return ""
    if "vacant" in table:
        empty = silent["vacant"].astype("str").str.split(", ").explode().value_counts()
        name, times, most = empty.index[0], int(empty.iloc[0]), int(silent["n"].median())
        return (
            f"{len(silent)} of {len(table)} items lack a rater of a group that has a seat (most often {name}: {times})"
            f"; items have {most} judgements at the median"
        )
    if "weight" in table and (silent["weight"] == 0).all():
        return f"on {len(silent)} of {len(table)} items no judgement has any weight"
    return f"on {len(silent)} of {len(table)} items several values are as frequent or as likely"
