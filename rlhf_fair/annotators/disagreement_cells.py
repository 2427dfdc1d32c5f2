"""The cells of groups on items: which may be shown, and what stands in them.

A cell of few raters tells what a person said. Groups, and cells of a group on an item, with fewer than ``min_raters``
raters are counted, and neither shown nor used; and where the hidden raters of an item are so few together, the smallest
cell that is left is hidden with them, lest the item's total give them away. That keeps the tables of one attribute from
telling single ratings; for several attributes together see `rlhf_fair.annotators.disagreement_differences`. It is no
release gate: see `rlhf_fair.annotators.privacy_release`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.annotators.aggregation import CHOICE_VALUES
from rlhf_fair.annotators.agreement import AgreementSettings, Judgements
from rlhf_fair.records import NAN
from rlhf_fair.stats.columns import Floats
from rlhf_fair.stats.group_disagreement import chance_distances, item_disagreement
from rlhf_fair.stats.rating_counts import RatingCounts

CELLS = ["kind", "attribute", "item_id", "group", "raters", "mean", "majority", "majority_share", "within", "reason"]


@dataclass(frozen=True)
class GroupCells:
    """One kind of judgement by groups with enough raters.

    ``counts``: (G, V, I). ``distance``: (V, V) in units of chance. ``shown``: (G, I), True may be shown. ``rows``: (n,)
    True for the judgements counted; ``labels``: (n,) the group of every judgement.
    """

    part: Judgements
    attribute: str
    ratings: RatingCounts
    counts: Floats
    distance: Floats
    shown: NDArray[np.bool_]
    rows: pd.Series
    labels: pd.Series

    @classmethod
    def of(cls, part: Judgements, attribute: str, labels: pd.Series, s: AgreementSettings) -> GroupCells | None:
        """None where no two groups have enough raters."""
        few = too_few(part, labels, s)
        rows = labels.notna() & ~labels.astype("str").isin(list(few))
        ratings = part.counts(labels, rows)
        if ratings is None or len(ratings.names) < 2:
            return None
        counts = ratings.tally()
        size = counts.sum(axis=1)
        raters = part.rows.groupby("item_id")["annotator_id"].nunique().reindex(ratings.items)
        shown = shown_cells(size, np.asarray(raters, dtype=float), s.min_raters)
        return cls(part, attribute, ratings, counts, chance_distances(ratings, part.level), shown, rows, labels)

    @property
    def values(self) -> Floats:
        """(V,) the values as numbers: of choices, 1 for a, 1/2 for a tie, 0 for b."""
        if self.part.kind == "pair":
            return np.array([CHOICE_VALUES[str(level)] for level in self.ratings.levels])
        return np.asarray(self.ratings.levels, dtype=float)

    @property
    def means(self) -> Floats:
        """(G, I) mean value of each cell that is shown, NaN elsewhere."""
        size = self.counts.sum(axis=1)
        total = np.einsum("gvi,v->gi", self.counts, self.values)
        return np.asarray(np.divide(total, size, out=np.full_like(size, NAN), where=self.shown & (size > 0)))


def too_few(part: Judgements, labels: pd.Series, s: AgreementSettings) -> dict[str, int]:
    """Raters of each group that has fewer than enough."""
    size = part.rows["annotator_id"].groupby(labels.astype("str").where(labels.notna())).nunique()
    return {str(group): int(n) for group, n in size[size < s.min_raters].items()}


def shown_cells(size: Floats, raters: Floats, least: int) -> NDArray[np.bool_]:
    """(G, I) True for cells with at least ``least`` raters, unless one is needed to cover an item's hidden raters.

    ``size``: (G, I) raters of each group on each item; ``raters``: (I,) all raters of the item.

    >>> shown_cells(np.array([[9.0, 9.0], [5.0, 5.0]]), np.array([16.0, 14.0]), 5).tolist()  # two hidden, none hidden
    [[True, True], [False, True]]
    """
    shown = size >= max(least, 1)
    while True:
        hidden = raters - np.where(shown, size, 0).sum(axis=0)
        exposed = (hidden > 0) & (hidden < least) & shown.any(axis=0)
        if not exposed.any():
            return shown
        smallest = np.where(shown, size, np.inf).argmin(axis=0)
        shown[smallest[exposed], np.flatnonzero(exposed)] = False


def cell_rows(cells: GroupCells, s: AgreementSettings) -> pd.DataFrame:
    """One row for each group and item with a rating, columns `CELLS`; numbers of hidden cells are NaN."""
    size = cells.counts.sum(axis=1)
    inside = np.where(cells.shown, item_disagreement(cells.counts, cells.distance).inside, NAN)
    group, item = np.nonzero(size)
    seen = cells.shown[group, item]
    most = cells.counts.max(axis=1)
    return pd.DataFrame(
        {
            "kind": cells.part.kind,
            "attribute": cells.attribute,
            "item_id": cells.ratings.items[item],
            "group": np.array(cells.ratings.names, dtype=object)[group],
            "raters": size[group, item].astype(int),
            "mean": cells.means[group, item],
            "majority": [
                _majority(cells, int(g), int(i)) if ok else None for g, i, ok in zip(group, item, seen, strict=True)
            ],
            "majority_share": np.where(seen, (most / np.maximum(size, 1))[group, item], NAN),
            "within": inside[group, item],
            "reason": [_reason(n, ok, s) for n, ok in zip(size[group, item], seen, strict=True)],
        },
        columns=CELLS,
    ).sort_values(["item_id", "group"], kind="stable")


def _majority(cells: GroupCells, group: int, item: int) -> str:
    """The most frequent value, or all of them where several are."""
    column = cells.counts[group, :, item]
    values: list[Any] = cells.ratings.levels[column == column.max()].tolist()
    return "|".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)


def _reason(n: float, shown: bool, s: AgreementSettings) -> str:
    if not shown:
        return s.withheld() if n < s.min_raters else "withheld to cover a smaller group"
    return "" if n > 1 else "one rater has no disagreement"
