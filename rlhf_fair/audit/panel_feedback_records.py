"""The records that lie beside a report: enough to compute its numbers again, and nobody's full description.

Ratings of one rater stay together (every interval is clustered by rater), and what somebody rated is a fingerprint, so
attributes cannot be taken apart by giving each its own rater numbers. What is left is a gate: where fewer than k raters
share all attributes of a rater, the attributes of that rater are withheld in the file. The numbers of the report rest
on all labels, and whoever holds the ratings files, whose hashes the manifest names, computes every one of them again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

WITHHELD = "(withheld)"
"""Label of raters whose attributes are not in the file; not a group, and not ``(unknown)``, which is an answer's."""


def shareable_records(records: pd.DataFrame, names: Sequence[str], k: int) -> pd.DataFrame:
    """``records`` with raters as running numbers and the attributes ``names`` of few withheld.

    A combination of attributes is kept if at least k raters have it. If those withheld are themselves fewer than k, the
    smallest kept combination goes with them, so that they are not the ones who are missing. Without rater ids, the most
    ratings that a combination has on one item is the least number of people that it can be. ``k`` = 1 keeps everything.
    """
    if k <= 1 or not names or records.empty:
        return coded_raters(records)
    keys = [records[name] for name in names]
    cell = records.groupby(keys, sort=True).ngroup()
    if "rater" in records:
        people = records["rater"].groupby(cell).nunique()
    else:
        people = records.groupby([cell, records["item"]]).size().groupby(level=0).max()
    few = set(people.index[people < k])
    others = people[~people.index.isin(few)]
    if 0 < people.sum() - others.sum() < k and len(others):
        few.add(others.idxmin())
    out = coded_raters(records)
    withheld = cell.isin(few).to_numpy()
    for name in names:
        out[name] = np.where(withheld, WITHHELD, out[name])
    return out


def withheld_raters(records: pd.DataFrame, names: Sequence[str]) -> int:
    """Raters (ratings, where the file names no raters) without attributes in `shareable_records`."""
    rows = records[list(names)].isin([WITHHELD]).all(axis=1) if len(names) else pd.Series(False, index=records.index)
    return int(records.loc[rows, "rater"].nunique() if "rater" in records else rows.sum())


def coded_raters(records: pd.DataFrame) -> pd.DataFrame:
    """Raters as running numbers: enough to recompute every interval, and no id that a platform could look up."""
    if "rater" not in records:
        return records.copy()
    return records.assign(rater=pd.factorize(records["rater"], sort=True)[0] + 1)
