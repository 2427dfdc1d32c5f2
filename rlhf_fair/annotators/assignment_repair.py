"""Drop-outs: their judgements go to others, and nothing else is touched.

Most replacements are found in rounds: who is least busy, of the same group where somebody is, is offered the open
judgements. What is left over then is settled by a largest flow in which the new judgements may still change hands, so
nothing stays open that could have been filled.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rlhf_fair.annotators.assignment_eligibility import BoolArray, IntArray
from rlhf_fair.annotators.assignment_leavers import Leavers
from rlhf_fair.annotators.assignment_openings import Openings, RepairTerms, distinct_known
from rlhf_fair.annotators.assignment_orders import even_out
from rlhf_fair.annotators.assignment_places import places
from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.tables import require_columns

NOBODY, ALL_THERE, FULL = "nobody is eligible", "all who are eligible judge the item already", "no capacity is left"


@dataclass(frozen=True)
class Repair:
    """assignments: as before but for the replaced (and without the unreplaced); replaced: item_id, slot, dropped,
    annotator_id; unreplaced: item_id, slot, dropped, reason; short_of_groups: item_id, groups; exhaustive: False where
    the last search was cut short, so that an unreplaced judgement might still have been placed."""

    assignments: pd.DataFrame
    replaced: pd.DataFrame
    unreplaced: pd.DataFrame
    short_of_groups: pd.DataFrame
    exhaustive: bool


def repair(
    assignments: pd.DataFrame,
    members: pd.DataFrame,
    dropped: Collection[str] | Leavers,
    *,
    items: pd.DataFrame | None = None,
    replacements: pd.DataFrame | None = None,
    terms: RepairTerms | None = None,
    rng: np.random.Generator,
) -> Repair:
    """Give the judgements of ``dropped`` annotators to other members or to ``replacements``.

    Parameters
    ----------
    dropped
        Ids, all of whose judgements are open; or `Leavers`, some of whose judgements are made and stay as they are.
    assignments
        item_id, annotator_id, slot and, where orders are to stay balanced, order.
    items
        Needed for languages and skills; without it everybody is eligible for everything.
    replacements
        People to draw on besides the panel, with the panel's columns.

    Notes
    -----
    Every item keeps different people, members their capacity, and items ``distinct_groups`` groups: where that cannot
    be, a judgement is better than none, and the item is listed in ``short_of_groups``. What leavers judged counts for
    the groups and the people of its item; what others were assigned counts as their load, judged or not. Orders of an
    item stay as balanced as they were; those of people as far as the replaced judgements allow.
    """
    terms = terms or RepairTerms()
    leavers = dropped if isinstance(dropped, Leavers) else Leavers.of(assignments, dropped)
    people = _people(members, replacements, leavers.annotator_ids, terms)
    openings = Openings(assignments, people, leavers, items, terms, rng)
    openings.in_rounds()
    exhaustive = openings.by_flow() if openings.open.any() else True
    return _result(openings, exhaustive)


def _people(
    members: pd.DataFrame, replacements: pd.DataFrame | None, dropped: Collection[str], terms: RepairTerms
) -> pd.DataFrame:
    """Panel and replacements, the panel's rows first and each id once; drop-outs stay, for their groups."""
    columns = ["annotator_id", *terms.group_columns]
    require_columns(members, columns, "panel")
    gone, known = pd.Series(sorted(dropped), dtype="str"), members["annotator_id"]
    if replacements is not None and "annotator_id" in replacements:
        known = pd.concat([known, replacements["annotator_id"]], ignore_index=True)  # who stood in may leave too
    unknown = gone[places(gone, known) < 0].unique()
    if len(unknown):
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        raise RowError(f"dropped: {unknown[0]!r} is not in the panel{'' if replacements is None else ' or pool'}{more}")
    if replacements is None:
        return members.reset_index(drop=True)
    require_columns(replacements, columns, "pool")
    column = terms.capacity_column
    if column in members and column not in replacements:
        raise SettingsError(f"pool lacks {column!r}, which the panel has; say how much newcomers may do")
    if column in replacements and column not in members:
        members = members.assign(**{column: np.inf})
    both = pd.concat([members, replacements], ignore_index=True)
    return both.drop_duplicates("annotator_id", ignore_index=True)


def _result(openings: Openings, exhaustive: bool) -> Repair:
    table, rows, left = openings.table, openings.rows, openings.open
    ids, person = openings.people["annotator_id"], openings.person.copy()
    person[rows] = np.where(left, openings.was, openings.now)
    kept = np.ones(len(table), dtype=np.bool_)
    kept[rows[left]] = False
    columns = {"annotator_id": _replaced(table["annotator_id"], rows, ids.take(person[rows]))}
    if "order" in table and len(rows):
        columns["order"] = _orders(openings, person, kept)
    listed = pd.DataFrame(
        {
            "item_id": table["item_id"].iloc[rows].to_numpy(),
            "slot": table["slot"].iloc[rows].to_numpy(),
            "dropped": ids.to_numpy()[openings.was],
        }
    )
    groups = distinct_known(openings.team, openings.group)
    few = groups < openings.terms.distinct_groups
    new = table.assign(**columns)
    return Repair(
        new[kept].reset_index(drop=True) if left.any() else new,
        listed[~left].assign(annotator_id=ids.to_numpy()[openings.now[~left]]).reset_index(drop=True),
        listed[left].assign(reason=_reasons(openings, np.flatnonzero(left))).reset_index(drop=True),
        pd.DataFrame({"item_id": np.asarray(openings.item_ids)[few], "groups": groups[few]}),
        exhaustive,
    )


def _orders(openings: Openings, person: IntArray, kept: BoolArray) -> pd.Series:
    """The orders, flipped for some replaced judgements where that evens out what a person sees."""
    order = openings.table["order"]
    sign = np.where((order == "ab").to_numpy(dtype=np.bool_), 1, -1)
    counted, filled = np.where(kept, sign, 0), openings.rows[~openings.open]
    of_item = np.bincount(openings.concerned_item, counted[openings.concerned], len(openings.team)).astype(np.int64)
    of_person = np.bincount(person, counted, len(openings.people)).astype(np.int64)
    item = openings.item[~openings.open]
    flipped = filled[even_out(item, person[filled], sign[filled], (of_item, of_person), openings.rng)]
    return _replaced(order, flipped, pd.Series(["ab", "ba"], dtype=order.dtype).take((sign[flipped] + 1) // 2))


def _replaced(column: pd.Series, rows: IntArray, values: pd.Series) -> pd.Series:
    """A copy with other values in some rows."""
    column = column.astype(values.dtype)
    column.iloc[rows] = values.array
    return column


def _reasons(openings: Openings, judgements: IntArray) -> list[str]:
    """Why nobody could be found, for each open judgement."""
    reasons = []
    for item in openings.item[judgements].tolist():
        able = openings.allowed[openings.kind, openings.item_class[item]] & ~openings.gone
        others = len(np.setdiff1d(np.flatnonzero(able), openings.team[item]))
        found = f"{FULL} ({others} eligible)" if others else ALL_THERE
        reasons.append(found if able.any() else NOBODY)
    return reasons
