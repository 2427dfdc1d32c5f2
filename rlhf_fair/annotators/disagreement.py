"""Where annotators disagree: item by item and group by group, and how much of it is between groups beyond noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rlhf_fair.annotators.agreement import (
    ALL,
    UNKNOWN,
    AgreementSettings,
    Judgements,
    Progress,
    by_attribute,
    judgements,
)
from rlhf_fair.annotators.disagreement_cells import CELLS, GroupCells, cell_rows, too_few
from rlhf_fair.annotators.disagreement_differences import without_differences
from rlhf_fair.errors import RowError
from rlhf_fair.stats.corrections import benjamini_hochberg
from rlhf_fair.stats.group_disagreement import FEWEST, Shares, disagreement_share, furthest_pairs, item_disagreement
from rlhf_fair.stats.item_splits import Draws, split_p_value
from rlhf_fair.tables import require_columns

SHARES = [
    "kind",
    "attribute",
    "by",
    "level",
    "items",
    "within",
    "between",
    "share",
    "p_value",
    "p_adjusted",
    "null_sd",
    "mde",
    "reason",
]
ITEMS = [
    "kind",
    "attribute",
    "item_id",
    "raters",
    "groups",
    "within",
    "between",
    "p_value",
    "p_adjusted",
    "group_a",
    "group_b",
    "distance",
    "mean_a",
    "mean_b",
    "reason",
]
EVERY = 50
"""Items between two steps of the progress display."""

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class DisagreementMap:
    """Result of `disagreement_map`; distances are in units of chance disagreement, as in Krippendorff's α.

    Attributes
    ----------
    shares
        Over all items, and over those of each level of the item columns: mean disagreement ``within`` groups and
        ``between`` them beyond noise, ``share`` = between / both (0 = groups do not matter) with p-value, null SD and
        smallest share to be seen; ``p_adjusted`` by Benjamini & Hochberg, over all items and over each item column.
    items
        The same for each item, over the groups with enough raters there; p-values of `split_p_value`, ``p_adjusted``
        over all rows; the two groups furthest apart (``distance`` beyond noise) and their means.
    cells
        Each group on each item: raters, mean (of choices: share that prefers a, ties by halves), the most frequent
        value and its share, disagreement ``within``.
    not_compared
        kind, attribute, group, raters: groups with too few raters overall, and raters of no known group.
    """

    shares: pd.DataFrame
    items: pd.DataFrame
    cells: pd.DataFrame
    not_compared: pd.DataFrame


def disagreement_map(
    feedback: pd.DataFrame,
    groups: Mapping[str, pd.Series],
    settings: AgreementSettings | None = None,
    *,
    item_columns: pd.DataFrame | None = None,
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> DisagreementMap:
    """Map the disagreement of groups of annotators.

    Parameters
    ----------
    feedback
        item_id, annotator_id, kind, choice and/or value.
    groups
        Attribute -> group by annotator_id; who has none is not compared.
    item_columns
        item_id and what else is known of items, such as a topic; each column is broken down by its levels.
    """
    s = settings or AgreementSettings()
    shares: Rows = []
    items: Rows = []
    left_out: Rows = []
    cells = [pd.DataFrame(columns=CELLS)]
    work = list(by_attribute(judgements(feedback, s), groups))
    views = _views(work, s)
    for part, attribute, labels in work:
        key = {"kind": part.kind, "attribute": attribute}
        few = too_few(part, labels, s)
        unknown = int(part.rows["annotator_id"][labels.isna()].nunique())
        few |= {UNKNOWN: unknown} if unknown else {}
        left_out += [key | {"group": group, "raters": n} for group, n in few.items()]
        view = views.get((part.kind, attribute))
        if view is None:
            shares.append(key | {"by": "", "level": ALL, "reason": f"fewer than two groups of {s.min_raters} raters"})
            continue
        shares += [key | row for row in _share_rows(view, item_columns, s, rng)]
        items += [key | row for row in _item_rows(view, s, rng, progress)]
        cells.append(cell_rows(view, s))
    table = pd.DataFrame(shares, columns=SHARES)
    for _, rows in table.groupby("by").groups.items():
        table.loc[rows, "p_adjusted"] = benjamini_hochberg(table.loc[rows, "p_value"].astype(float))
    by_item = pd.DataFrame(items, columns=ITEMS)
    by_item["p_adjusted"] = benjamini_hochberg(by_item["p_value"].astype(float))
    of_cells = pd.concat([part for part in cells if len(part)] or cells, ignore_index=True)
    columns = ["kind", "attribute", "group", "raters"]
    return DisagreementMap(table, by_item, of_cells, pd.DataFrame(left_out, columns=columns))


def _views(work: list[tuple[Judgements, str, pd.Series]], s: AgreementSettings) -> dict[tuple[str, str], GroupCells]:
    """Kind and attribute -> its cells; what may be shown is settled for all attributes of a kind together."""
    made = [GroupCells.of(part, attribute, labels, s) for part, attribute, labels in work]
    of_kind: dict[str, list[GroupCells]] = {}
    for view in made:
        if view is not None:
            of_kind.setdefault(view.part.kind, []).append(view)
    safe = [view for views in of_kind.values() for view in without_differences(views, s.min_raters)]
    return {(view.part.kind, view.attribute): view for view in safe}


def _share_rows(
    cells: GroupCells, item_columns: pd.DataFrame | None, s: AgreementSettings, rng: np.random.Generator
) -> Rows:
    """Over all items and over each level of each item column."""
    item_ids = cells.part.rows["item_id"]
    sets = [("", ALL, pd.Series(True, index=item_ids.index))]
    for name, level in _levels(item_columns, item_ids).items():
        sets += [(name, value, level == value) for value in sorted(set(level))]
    rows: Rows = []
    for name, value, rows_of_set in sets:
        row = {"by": name, "level": value}
        few = too_few(cells.part, cells.labels.where(rows_of_set & cells.rows), s)
        own = rows_of_set & cells.rows & ~cells.labels.astype("str").isin(list(few))
        ratings = cells.part.counts(cells.labels, own)
        if ratings is None or len(ratings.names) < 2:
            rows.append(row | {"items": 0, "reason": f"fewer than two groups of {s.min_raters} raters"})
            continue
        seen = np.searchsorted(cells.ratings.levels, ratings.levels)
        distance = cells.distance[np.ix_(seen, seen)]
        share = disagreement_share(ratings, distance, permutations=s.permutations, rng=rng)
        note = f"without {', '.join(few)} ({s.withheld()})" if few else ""
        rows.append(row | {"items": share.n_items, **_share(share), "reason": share.reason or note})
    return rows


def _share(share: Shares) -> dict[str, Any]:
    kept = ("within", "between", "share", "p_value", "null_sd", "mde")
    return {name: getattr(share, name) for name in kept}


def _levels(item_columns: pd.DataFrame | None, item_ids: pd.Series) -> dict[str, pd.Series]:
    """Column -> the level of each judgement's item, as text; of an item not listed, or without one, ``(unknown)``."""
    if item_columns is None:
        return {}
    require_columns(item_columns, ["item_id"], "items")
    twice = item_columns["item_id"][item_columns["item_id"].duplicated()]
    if len(twice):
        raise RowError(f"items: item_id {twice.iloc[0]!r} occurs twice")
    known = item_columns.set_index("item_id").astype("str")
    return {str(name): item_ids.map(known[name]).fillna(UNKNOWN).astype("object") for name in known.columns}


def _item_rows(cells: GroupCells, s: AgreementSettings, rng: np.random.Generator, progress: Progress | None) -> Rows:
    found = item_disagreement(cells.counts, cells.distance, cells.shown)
    furthest = furthest_pairs(cells.counts, cells.distance, cells.shown)
    means, names, n_items = cells.means, cells.ratings.names, len(furthest)
    draws = Draws.for_tests(int((found.raters > 0).sum()))
    rows: Rows = []
    for i, pair in enumerate(furthest):
        if progress and (i % EVERY == 0 or i == n_items - 1):
            progress(f"items by {cells.attribute}, {cells.part.kind}", i + 1, n_items)
        row = {"item_id": cells.ratings.items[i], "raters": int(found.raters[i]), "groups": int(found.groups[i])}
        if pair is None:
            few = max(s.min_raters, FEWEST)
            rows.append(row | {"reason": f"fewer than two groups with {few} raters that may be shown"})
            continue
        table = np.where(cells.shown[:, None, i], cells.counts[:, :, i], 0.0)
        rows.append(
            row
            | {
                "within": found.within[i],
                "between": found.between[i],
                "p_value": split_p_value(table, cells.distance, draws=draws, rng=rng) if s.permutations else np.nan,
                "group_a": names[pair.first],
                "group_b": names[pair.second],
                "distance": pair.distance,
                "mean_a": means[pair.first, i],
                "mean_b": means[pair.second, i],
                "reason": "",
            }
        )
    return rows
