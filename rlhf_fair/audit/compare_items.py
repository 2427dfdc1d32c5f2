"""Items of two audits, matched by id: those that both measured are compared, all others are counted."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from rlhf_fair.audit.compare_folder import SavedAudit
from rlhf_fair.audit.compare_kind import SAMPLE, Kind
from rlhf_fair.changes import ComparedItems
from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.stats.columns import Codes, label_column
from rlhf_fair.stats.sample import cluster_codes, cross
from rlhf_fair.tables import require_columns


@dataclass(frozen=True)
class Matched:
    """``a``, ``b``: records of the same items in the same order, that of A; all were measured in both."""

    a: pd.DataFrame
    b: pd.DataFrame
    counts: ComparedItems

    def codes(self, column: str) -> Codes:
        """(n,) cluster codes; an item without a label, or with an empty one, is a cluster of its own."""
        labels = self.a[column]
        return cluster_codes(label_column(labels.mask(labels == "")))

    def ways(self, columns: tuple[str, ...], apart: str) -> list[Codes]:
        """(n,) cluster codes for each column; the clusters of two values of ``apart`` are never one."""
        parts = [self.codes(apart)] if apart else []
        return [cross([*parts, self.codes(column)]) for column in columns]


def match(a: SavedAudit, b: SavedAudit, kind: Kind) -> Matched:
    """Items by their id, and by their sample where there are several.

    Raises
    ------
    RowError
        An id occurs twice, or an item is in another cluster in B than in A.
    SettingsError
        No item was measured in both.
    """
    first, second = (_indexed(one, kind) for one in (a, b))
    common = first.index.intersection(second.index, sort=False)
    both = common[first["measured"].loc[common].to_numpy() & second["measured"].loc[common].to_numpy()]
    if both.empty:
        raise SettingsError(f"no item was measured in both audits: {len(common)} items are in both of them")
    rows = [one.records.iloc[found["row"].loc[both]].reset_index(drop=True) for one, found in ((a, first), (b, second))]
    for column in (*kind.clusters, *filter(None, [kind.apart])):
        _check_same(rows[0][column], rows[1][column], column, both)
    counts = ComparedItems(
        in_both=len(common),
        only_a=len(first) - len(common),
        only_b=len(second) - len(common),
        compared=len(both),
        unmeasured=len(common) - len(both),
    )
    return Matched(*kind.pair(rows[0], rows[1]), counts)


def _indexed(audit: SavedAudit, kind: Kind) -> pd.DataFrame:
    """One row per record, by its id: where it stands and whether it was measured."""
    records = audit.records
    require_columns(records, (*kind.key, *kind.clusters, *filter(None, [kind.apart])), f"{audit.folder} records")
    keys = [*kind.key, *([SAMPLE] if SAMPLE in records else [])]
    index = pd.MultiIndex.from_frame(records[keys].astype("str"))
    if not index.is_unique:
        repeated = "/".join(map(str, index[index.duplicated()][0]))
        raise RowError(f"{audit.folder} records: item {repeated!r} occurs more than once")
    measured = (kind.problems(records) == "").to_numpy()
    return pd.DataFrame({"row": range(len(records)), "measured": measured}, index=index)


def _check_same(a: pd.Series, b: pd.Series, column: str, items: pd.Index) -> None:
    differs = (a != b).to_numpy() & ~(a.isna() & b.isna()).to_numpy()
    if differs.any():
        where = "/".join(map(str, items[int(differs.argmax())]))
        raise RowError(f"item {where!r} has another {column!r} in B than in A: the records are not of the same items")
