"""Does an assignment keep its promises? Counted from the tables alone, knowing nothing of how it was made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from rlhf_fair.errors import RowError
from rlhf_fair.json_cells import json_cell
from rlhf_fair.tables import require_columns

REQUIRED = (("language", "languages"), ("skills", "skills"))
COLUMNS = ("constraint", "item_id", "annotator_id", "found", "wanted")
UNKNOWN_ITEM, UNKNOWN_ANNOTATOR = "item is unknown", "annotator is unknown"
RATINGS, PEOPLE, SLOTS, GROUPS = "ratings per item", "distinct people", "slots", "distinct groups"
CAPACITY, ITEM_ORDER, ANNOTATOR_ORDER = "capacity", "orders of an item", "orders of an annotator"


@dataclass(frozen=True)
class Terms:
    """What was promised. group_columns: a group is a combination of their levels, a missing one being a level too.

    ``left``: ids of those who left half-way; the orders of what they had judged by then were never to come out even.
    """

    ratings_per_item: int
    distinct_groups: int = 1
    group_columns: tuple[str, ...] = ()
    capacity_column: str = "capacity"
    left: frozenset[str] = frozenset()


def check(assignments: pd.DataFrame, items: pd.DataFrame, members: pd.DataFrame, terms: Terms) -> pd.DataFrame:
    """Every broken promise: constraint, item_id, annotator_id (null where none is at fault), found, wanted.

    Checked are: known ids; exactly ``ratings_per_item`` judgements of every item by different people, slots numbered
    0, 1, …; at least ``distinct_groups`` groups; capacities; languages and skills, where items have these columns;
    orders ``ab`` and ``ba`` that differ in number by 1 at most, for each item and each annotator.
    """
    require_columns(assignments, ["item_id", "annotator_id", "slot"], "assignments")
    require_columns(items, ["item_id"], "items")
    require_columns(members, ["annotator_id", *terms.group_columns], "panel")
    item = pd.Index(items["item_id"]).get_indexer(assignments["item_id"])
    person = pd.Index(members["annotator_id"]).get_indexer(assignments["annotator_id"])
    faults = [
        _rows(UNKNOWN_ITEM, assignments[item < 0], "", ""),
        _rows(UNKNOWN_ANNOTATOR, assignments[person < 0], "", ""),
    ]
    known = (item >= 0) & (person >= 0)
    table = pd.DataFrame({"item": item, "person": person, "slot": assignments["slot"].to_numpy()})[known]
    faults += _of_items(table, items, terms)
    faults += _of_people(table, items, members, terms)
    if "order" in assignments:
        table["sign"] = np.where(assignments["order"].to_numpy()[known] == "ab", 1, -1)
        faults += _orders(table, items, members, terms)
    return pd.concat(faults, ignore_index=True).astype(dict.fromkeys(COLUMNS, "str"))


def _of_items(table: pd.DataFrame, items: pd.DataFrame, terms: Terms) -> list[pd.DataFrame]:
    """Number of ratings, repeated people, slots."""
    k, n = terms.ratings_per_item, len(items)
    ratings = np.bincount(table["item"], minlength=n)
    wrong = np.flatnonzero(ratings != k)
    repeated = table[table.duplicated(["item", "person"])]
    numbered = np.isin(table["slot"], np.arange(k)) & ~table.duplicated(["item", "slot"])
    return [
        _rows(RATINGS, items.iloc[wrong], ratings[wrong], k),
        _rows(PEOPLE, items.iloc[repeated["item"]], "repeated", "once"),
        _rows(SLOTS, items.iloc[table["item"][~numbered]], table["slot"][~numbered].to_numpy(), f"0 to {k - 1}, once"),
    ]


def _of_people(table: pd.DataFrame, items: pd.DataFrame, members: pd.DataFrame, terms: Terms) -> list[pd.DataFrame]:
    """Groups, capacities, languages and skills."""
    faults = []
    if terms.distinct_groups > 1 or terms.group_columns:
        combined = pd.MultiIndex.from_frame(members[list(terms.group_columns)].astype(object).fillna("\0"))
        group = pd.factorize(combined)[0][table["person"]]
        pair = np.unique(table["item"].to_numpy() * (group.max(initial=0) + 1) + group)
        seen = np.bincount(pair // (group.max(initial=0) + 1), minlength=len(items))
        few = np.flatnonzero(seen < terms.distinct_groups)
        faults.append(_rows(GROUPS, items.iloc[few], seen[few], f">= {terms.distinct_groups}"))
    if terms.capacity_column in members:
        load = np.bincount(table["person"], minlength=len(members))
        most = members[terms.capacity_column].to_numpy(float)
        over = np.flatnonzero(load > most)
        faults.append(_rows(CAPACITY, members.iloc[over], load[over], most[over]))
    for needed, owned in REQUIRED:
        if needed in items and items[needed].notna().any():
            require_columns(members, [owned], "panel")
            faults.append(_ineligible(table, items, members, needed, owned))
    return faults


def _ineligible(
    table: pd.DataFrame, items: pd.DataFrame, members: pd.DataFrame, needed: str, owned: str
) -> pd.DataFrame:
    """Judgements by people who lack what the item needs; every pair of different cells is looked at once."""
    wants, wanted = pd.factorize(items[needed])
    has, offered = pd.factorize(members[owned])
    pair = (wants[table["item"]] + 1) * (len(offered) + 1) + has[table["person"]] + 1
    pairs, place = np.unique(pair, return_inverse=True)
    needs = [set(), *(_words(cell, f"items, column {needed!r}") for cell in wanted)]
    offers = [set(), *(_words(cell, f"panel, column {owned!r}") for cell in offered)]
    good = np.array([needs[p // (len(offered) + 1)] <= offers[p % (len(offered) + 1)] for p in pairs.tolist()], bool)
    bad = table[~good[place]]
    ids = pd.DataFrame(
        {
            "item_id": items["item_id"].to_numpy()[bad["item"]],
            "annotator_id": members["annotator_id"].to_numpy()[bad["person"]],
        }
    )
    return _rows(needed, ids, members[owned].to_numpy()[bad["person"]], items[needed].to_numpy()[bad["item"]])


def _words(cell: object, where: str) -> set[str]:
    text = str(cell)
    try:
        listed = text.lstrip().startswith("[")
        parts = json_cell(text) if listed else text.replace("|", ";").replace(",", ";").split(";")
    except ValueError as error:
        raise RowError(f"{where}: {text!r} is not a JSON array: {error}") from error
    return {str(part).strip().casefold() for part in parts} - {"", "none"}


def _orders(table: pd.DataFrame, items: pd.DataFrame, members: pd.DataFrame, terms: Terms) -> list[pd.DataFrame]:
    of_item = np.bincount(table["item"], table["sign"], len(items))
    of_person = np.bincount(table["person"], table["sign"], len(members))
    stayed = ~members["annotator_id"].isin(list(terms.left)).to_numpy(dtype=np.bool_)
    one, other = np.flatnonzero(abs(of_item) > 1), np.flatnonzero((abs(of_person) > 1) & stayed)
    wanted = "ab minus ba: -1 to 1"
    return [
        _rows(ITEM_ORDER, items.iloc[one], of_item[one], wanted),
        _rows(ANNOTATOR_ORDER, members.iloc[other], of_person[other], wanted),
    ]


def _rows(constraint: str, where: pd.DataFrame, found: object, wanted: object) -> pd.DataFrame:
    ids = {name: where[name].to_numpy() if name in where else None for name in ("item_id", "annotator_id")}
    table = pd.DataFrame({"constraint": constraint, **ids, "found": found, "wanted": wanted}, index=range(len(where)))
    return table[list(COLUMNS)].astype(object).where(table.notna(), None)
