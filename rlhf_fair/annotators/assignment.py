"""Who judges which item: distinct people, distinct groups, level loads, both presentation orders.

Where anybody may judge anything, one line of people is wound around the items (`assignment_winding`). Where items need
a language or skills, a flow shares out the work first (`assignment_classes`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rlhf_fair.annotators.assignment_classes import assign_classes, work
from rlhf_fair.annotators.assignment_eligibility import capacities, group_codes, group_labels, needs_anything
from rlhf_fair.annotators.assignment_shortage import find_shortages
from rlhf_fair.annotators.assignment_winding import IntArray, balanced_coin, fill, shuffle, wind
from rlhf_fair.errors import InfeasibleError, RowError, SettingsError
from rlhf_fair.tables import require_columns


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
        Tables with item_id and annotator_id. Where items have the columns language or skills, only members whose
        languages and skills hold all of them are asked (`assignment_eligibility` says how cells are read).
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
        Fewer members than ratings per item, less capacity than items × ratings, or items that too few are eligible
        for: `shortages` says which, and what would mend it.
    """
    _require_usable(items, members, group_columns)
    if not 1 <= distinct_groups <= ratings_per_item:
        raise SettingsError(f"distinct_groups = {distinct_groups}; allowed: 1 to ratings_per_item = {ratings_per_item}")
    n = len(items)
    capacity = capacities(members, capacity_column, n)
    _require_room(capacity, n, ratings_per_item)
    group = group_codes(members, group_columns)
    if needs_anything(items):
        plan = work(items, members, capacity, group, ratings_per_item, distinct_groups)
        lacking = find_shortages(plan, items["item_id"], group_labels(members, group_columns))
        if lacking.missing_without_groups:
            raise InfeasibleError(str(lacking))
        person = assign_classes(plan, ratings_per_item, distinct_groups, rng)
    else:
        loads = _loads(capacity, group, n, ratings_per_item, distinct_groups, rng)
        person = wind(loads, group, n, rng).reshape(ratings_per_item, n).T[rng.permutation(n)]
        shuffle(person, group, distinct_groups, rng)
    return _in_rows(items["item_id"], members["annotator_id"], person, rng)


def coverage(assignments: pd.DataFrame, members: pd.DataFrame, group_columns: Sequence[str]) -> pd.DataFrame:
    """For each item: item_id, annotators (different people), groups (different combinations of ``group_columns``)."""
    require_columns(members, ["annotator_id", *group_columns], "panel")
    groups = members.groupby(list(group_columns), dropna=False, sort=False).ngroup()
    group = assignments["annotator_id"].map(pd.Series(groups.to_numpy(), index=members["annotator_id"].to_numpy()))
    counted = assignments.assign(group=group).groupby("item_id", sort=False)
    return counted.agg(annotators=("annotator_id", "nunique"), groups=("group", "nunique")).reset_index()


def _in_rows(item_ids: pd.Series, annotator_ids: pd.Series, person: IntArray, rng: np.random.Generator) -> pd.DataFrame:
    """The assignments table of who judges what; ``person``: (items, slots), places among the annotators."""
    n, slots = person.shape
    item, slot = np.repeat(np.arange(n), slots), np.tile(np.arange(slots), n)
    first = balanced_coin(item, person.ravel(), rng).astype(np.int64)
    return pd.DataFrame(
        {
            "item_id": item_ids.take(item).array,
            "annotator_id": annotator_ids.take(person.ravel()).array,
            "slot": slot,
            "order": pd.Series(["ba", "ab"], dtype="str").take(first).array,
        }
    )


def _require_usable(items: pd.DataFrame, members: pd.DataFrame, group_columns: Sequence[str]) -> None:
    """Raise if a column is missing, or a table is empty or repeats an id."""
    require_columns(items, ["item_id"], "items")
    require_columns(members, ["annotator_id", *group_columns], "panel")
    for name, ids in (("items", items["item_id"]), ("panel", members["annotator_id"])):
        if ids.empty or not ids.is_unique:
            raise RowError(
                f"{name}: needs rows with distinct {ids.name}; has {len(ids)} rows, {ids.nunique()} distinct"
            )


def _require_room(capacity: IntArray, n: int, slots: int) -> None:
    """Raise if the work does not fit, whoever may do it."""
    wanted, room = n * slots, int(capacity.sum())
    able = int((capacity > 0).sum())
    if able < slots:
        raise InfeasibleError(f"{slots} ratings per item need as many annotators; the panel has {able} with capacity")
    if room < wanted:
        raise InfeasibleError(
            f"{n} items x {slots} ratings = {wanted} judgements, but the panel's capacity is {room}: "
            f"{wanted - room} short; raise capacity, or ask for at most {room // n} ratings per item"
        )


def _loads(
    capacity: IntArray, group: IntArray, n: int, slots: int, distinct: int, rng: np.random.Generator
) -> IntArray:
    """Items for each member: level over everybody, then moved from large groups to small ones for distinctness.

    An item can meet a group once for distinctness, so Σ min(group load, n) has to reach ``distinct`` × n.
    """
    loads = fill(capacity, n * slots, rng)
    size = int(group.max()) + 1
    load, room = (np.bincount(group, x, size).astype(np.int64) for x in (loads, capacity))
    spare = np.maximum(np.minimum(room, n) - load, 0)
    wanted = distinct * n - int(np.minimum(load, n).sum())
    moved = min(max(wanted, 0), int(spare.sum()))
    if moved == 0:
        return loads
    load += fill(spare, moved, rng) - fill(np.maximum(load - n, 0), moved, rng)
    for g in range(size):
        loads[group == g] = fill(capacity[group == g], int(load[g]), rng)
    return loads
