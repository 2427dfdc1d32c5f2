"""Who judges which item: distinct people, distinct groups, level loads, both presentation orders.

People stand in one line, grouped, each taking as much of it as the number of items they judge. The line is wound
around the items, once for each slot. A stretch no longer than the number of items never meets the same item twice, so
everybody's items are distinct and so are the groups; the rest is shuffling that keeps both. O(items × slots).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from rlhf_fair.errors import InfeasibleError, RowError, SettingsError
from rlhf_fair.tables import require_columns

SHUFFLES = 8
"""Rounds of random swaps for each slot after winding; the law of the result hardly changes after a few."""

IntArray = NDArray[np.int64]


def assign(
    items: pd.DataFrame,
    members: pd.DataFrame,
    *,
    ratings_per_item: int,
    distinct_groups: int = 1,
    group_columns: Sequence[str] = (),
    capacity_column: str = "capacity",
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Give each item ``ratings_per_item`` different annotators.

    Parameters
    ----------
    items, members
        Tables with item_id and annotator_id.
    distinct_groups
        Different groups wanted for each item, where a group is one combination of ``group_columns`` (a missing value
        is a level of its own). Where the panel's groups or capacities do not allow it, as near as they do:
        `coverage` shows what each item got.
    capacity_column
        Most items for each member; without that column nobody is limited.

    Returns
    -------
    DataFrame
        item_id, annotator_id, slot (0-based), order (``ab`` or ``ba``: what is shown first), by item and slot. Loads
        within a group differ by at most 1 where capacities allow it; each item and each annotator sees the two orders
        equally often, give or take 1.

    Raises
    ------
    RowError
        A table is empty or repeats an id.
    InfeasibleError
        Fewer members than ratings per item, or less capacity than items × ratings.
    """
    require_columns(items, ["item_id"], "items")
    require_columns(members, ["annotator_id", *group_columns], "panel")
    if not 1 <= distinct_groups <= ratings_per_item:
        raise SettingsError(f"distinct_groups = {distinct_groups}; allowed: 1 to ratings_per_item = {ratings_per_item}")
    for name, ids in (("items", items["item_id"]), ("panel", members["annotator_id"])):
        if ids.empty or not ids.is_unique:
            raise RowError(
                f"{name}: needs rows with distinct {ids.name}; has {len(ids)} rows, {ids.nunique()} distinct"
            )
    n = len(items)
    capacity = _capacity(members, capacity_column, n, ratings_per_item)
    keys = members.groupby(list(group_columns), dropna=False, sort=False) if group_columns else None
    group = np.asarray(keys.ngroup() if keys is not None else np.zeros(len(members)), dtype=np.int64)
    loads = _loads(capacity, group, n, ratings_per_item, distinct_groups, rng)
    person = _wind(loads, group, n, rng).reshape(ratings_per_item, n).T[rng.permutation(n)]
    _shuffle(person, group, distinct_groups, rng)
    item = np.repeat(np.arange(n), ratings_per_item)
    return pd.DataFrame(
        {
            "item_id": items["item_id"].to_numpy()[item],
            "annotator_id": members["annotator_id"].to_numpy()[person.ravel()],
            "slot": np.tile(np.arange(ratings_per_item), n),
            "order": np.where(_balanced_coin(item, person.ravel(), rng), "ab", "ba"),
        }
    ).astype({"item_id": items["item_id"].dtype, "annotator_id": members["annotator_id"].dtype, "order": "str"})


def coverage(assignments: pd.DataFrame, members: pd.DataFrame, group_columns: Sequence[str]) -> pd.DataFrame:
    """For each item: item_id, annotators (different people), groups (different combinations of ``group_columns``)."""
    require_columns(members, ["annotator_id", *group_columns], "panel")
    groups = members.groupby(list(group_columns), dropna=False, sort=False).ngroup()
    group = assignments["annotator_id"].map(pd.Series(groups.to_numpy(), index=members["annotator_id"].to_numpy()))
    counted = assignments.assign(group=group).groupby("item_id", sort=False)
    return counted.agg(annotators=("annotator_id", "nunique"), groups=("group", "nunique")).reset_index()


def _capacity(members: pd.DataFrame, column: str, n: int, slots: int) -> IntArray:
    """Most items for each member, at most all of them; raise if the work does not fit."""
    if column in members:
        given = members[column].to_numpy(float)
        if not np.all(given >= 0):
            raise SettingsError(f"panel: every {column!r} must be a number >= 0")
        capacity = np.minimum(np.floor(given), n).astype(np.int64)
    else:
        capacity = np.full(len(members), n, dtype=np.int64)
    work, room = n * slots, int(capacity.sum())
    able = int((capacity > 0).sum())
    if able < slots:
        raise InfeasibleError(f"{slots} ratings per item need as many annotators; the panel has {able} with capacity")
    if room < work:
        raise InfeasibleError(
            f"{n} items x {slots} ratings = {work} judgements, but the panel's capacity is {room}: "
            f"{work - room} short; raise capacity, or ask for at most {room // n} ratings per item"
        )
    return np.asarray(capacity)


def _loads(
    capacity: IntArray, group: IntArray, n: int, slots: int, distinct: int, rng: np.random.Generator
) -> IntArray:
    """Items for each member: level over everybody, then moved from large groups to small ones for distinctness.

    An item can meet a group once for distinctness, so Σ min(group load, n) has to reach ``distinct`` × n.
    """
    loads = _fill(capacity, n * slots, rng)
    size = int(group.max()) + 1
    load, room = (np.bincount(group, x, size).astype(np.int64) for x in (loads, capacity))
    spare = np.maximum(np.minimum(room, n) - load, 0)
    wanted = distinct * n - int(np.minimum(load, n).sum())
    moved = min(max(wanted, 0), int(spare.sum()))
    if moved == 0:
        return loads
    load += _fill(spare, moved, rng) - _fill(np.maximum(load - n, 0), moved, rng)
    for g in range(size):
        loads[group == g] = _fill(capacity[group == g], int(load[g]), rng)
    return loads


def _fill(capacity: IntArray, total: int, rng: np.random.Generator) -> IntArray:
    """Share ``total`` as evenly as capacities allow; who gets one more is random. Needs total <= Σ capacity."""
    low, high = 0, int(capacity.max(initial=0))
    while low < high:  # the highest full level that does not exceed the total
        level = (low + high + 1) // 2
        low, high = (level, high) if int(np.minimum(capacity, level).sum()) <= total else (low, level - 1)
    filled = np.minimum(capacity, low)
    more = np.flatnonzero(capacity > low)
    filled[rng.permutation(more)[: total - int(filled.sum())]] += 1
    return filled


def _wind(loads: IntArray, group: IntArray, n: int, rng: np.random.Generator) -> IntArray:
    """The line of people, (items × slots,): groups that fill whole rounds first, so the others lie side by side.

    Side by side, the small groups cover every item equally often (give or take one): no order does better.
    """
    load = np.bincount(group, loads)
    shuffled = rng.permutation(len(load))
    place = np.empty(len(load), dtype=np.int64)
    place[shuffled[np.argsort(load[shuffled] < n, kind="stable")]] = np.arange(len(load))
    order = np.lexsort((rng.random(len(group)), place[group]))
    return np.repeat(order, loads[order])


def _shuffle(person: IntArray, group: IntArray, distinct: int, rng: np.random.Generator) -> None:
    """Swap people between random items, in place, wherever both items keep distinct people and enough groups.

    Slots are shuffled within items before each round: people wound into the same slot would never meet otherwise.
    """
    n, slots = person.shape
    half = n // 2
    for slot in np.tile(np.arange(slots), SHUFFLES):
        if slot == 0:
            rng.permuted(person, axis=1, out=person)
        order = rng.permutation(n)
        one, two = order[:half], order[half : 2 * half]
        before = (
            np.minimum(_distinct(group[person[one]]), distinct),
            np.minimum(_distinct(group[person[two]]), distinct),
        )
        first, second = person[one], person[two]
        first[:, slot], second[:, slot] = second[:, slot].copy(), first[:, slot].copy()
        allowed = (_distinct(first) == slots) & (_distinct(second) == slots)
        allowed &= (_distinct(group[first]) >= before[0]) & (_distinct(group[second]) >= before[1])
        person[one[allowed]], person[two[allowed]] = first[allowed], second[allowed]


def _distinct(codes: IntArray) -> IntArray:
    """Number of different values in each row."""
    ordered = np.sort(codes, axis=1)
    return np.asarray(1 + np.count_nonzero(np.diff(ordered, axis=1), axis=1))


def _balanced_coin(item: IntArray, person: IntArray, rng: np.random.Generator) -> NDArray[np.bool_]:
    """A coin for each judgement that falls equally often on both sides, give or take 1, for each item and each person.

    Judgements are paired within items and within people; partners must differ. The pairs form paths and even cycles,
    so two colours do, found as the two halves of the graph's double cover.
    """
    total = len(item)
    left, right = (np.concatenate(ends) for ends in zip(_pairs(item, rng), _pairs(person, rng), strict=True))
    tail = np.concatenate([left, left + total])
    head = np.concatenate([right + total, right])
    graph = sparse.coo_array((np.ones(len(tail), dtype=np.int8), (tail, head)), shape=(2 * total, 2 * total))
    _, side = sparse.csgraph.connected_components(graph, directed=False)
    here, there = side[:total], side[total:]
    coin = rng.random(2 * total) < 0.5  # one flip for each component, looked up by its lower label
    return (here < there) ^ coin[np.minimum(here, there)]


def _pairs(label: IntArray, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Disjoint random pairs of positions with equal labels; at most one position of a label stays alone."""
    order = np.lexsort((rng.random(len(label)), label))
    ordered = label[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    first = np.flatnonzero((rank[:-1] % 2 == 0) & (ordered[:-1] == ordered[1:]))
    return order[first], order[first + 1]
