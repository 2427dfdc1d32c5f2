"""Who left a collection half-way, and which of their judgements are open: what they have judged stays theirs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rlhf_fair.annotators.assignment_eligibility import BoolArray, IntArray
from rlhf_fair.annotators.assignment_places import places
from rlhf_fair.errors import RowError
from rlhf_fair.tables import require_columns

PAIR = ["item_id", "annotator_id"]


@dataclass(frozen=True)
class Leavers:
    """Those who get nothing more, and ``open_rows`` (assignments,), True where their judgement goes to others.

    Rows of theirs that are not open stand as judged: they count for the ratings and the groups of their items.
    """

    annotator_ids: frozenset[str]
    open_rows: BoolArray

    @classmethod
    def of(cls, assignments: pd.DataFrame, ids: Collection[str], *, answered: pd.DataFrame | None = None) -> Leavers:
        """Everything that ``ids`` were assigned is open, but for the pairs with a judgement in ``answered``.

        ``answered``: item_id, annotator_id and whatever else; a feedback table of any kind.

        Raises
        ------
        RowError
            No pair of ``answered`` is assigned: it belongs to another assignment, or its ids are pseudonyms.
        """
        require_columns(assignments, PAIR, "assignments")
        open_rows = assignments["annotator_id"].isin(list(ids)).to_numpy(dtype=np.bool_)
        if answered is not None:
            judged = has_judgement(assignments, answered)
            if not judged.any():
                item, person = answered[PAIR].iloc[0]
                raise RowError(
                    f"answered: none of its {len(answered)} judgements is of an assigned item and annotator "
                    f"(the first: {item!r} by {person!r}); allowed: ids as in the assignments"
                )
            open_rows = open_rows & ~judged
        return cls(frozenset(ids), open_rows)

    @classmethod
    def with_open(
        cls,
        assignments: pd.DataFrame,
        slots: pd.DataFrame,
        *,
        ids: Collection[str] = (),
        answered: pd.DataFrame | None = None,
    ) -> Leavers:
        """Exactly the assigned pairs of ``slots`` (item_id, annotator_id) are open; who has one there has left.

        ``ids``: who else is given nothing. ``answered`` is only held against ``slots``.

        Raises
        ------
        RowError
            A pair of ``slots`` is not assigned, or has a judgement in ``answered``.
        """
        require_columns(assignments, PAIR, "assignments")
        require_columns(slots, PAIR, "open")
        open_rows, assigned = _shared_pairs(assignments, slots)
        _refuse(slots, ~assigned, "is not in the assignments")
        if answered is not None:
            _refuse(slots, has_judgement(slots, answered), "has a judgement in answered, so is not open")
        return cls(frozenset(ids) | frozenset(slots["annotator_id"]), open_rows)


def has_judgement(assignments: pd.DataFrame, answered: pd.DataFrame) -> BoolArray:
    """(assignments,) True where ``answered`` holds a judgement of that item by that annotator."""
    require_columns(answered, PAIR, "answered")
    return _shared_pairs(assignments, answered)[0]


def not_assigned(assignments: pd.DataFrame, answered: pd.DataFrame) -> int:
    """Judgements of items by people to whom they were not assigned."""
    return int((~_shared_pairs(assignments, answered)[1]).sum())


def _shared_pairs(one: pd.DataFrame, other: pd.DataFrame) -> tuple[BoolArray, BoolArray]:
    """(one,) and (other,): True where the row's item and annotator are a row of the other table as well."""
    items, people = (other[name].drop_duplicates(ignore_index=True) for name in PAIR)

    def code(table: pd.DataFrame) -> IntArray:
        item, person = places(table["item_id"], items), places(table["annotator_id"], people)
        return np.where((item >= 0) & (person >= 0), item * len(people) + person, -1)

    left, right = code(one), code(other)
    return np.isin(left, right), np.isin(right, left)


def _refuse(slots: pd.DataFrame, bad: BoolArray, what: str) -> None:
    if bad.any():
        item, person = slots.loc[bad, PAIR].iloc[0]
        more = f" (and {int(bad.sum()) - 1} more)" if bad.sum() > 1 else ""
        raise RowError(f"open: item {item!r} of annotator {person!r} {what}{more}")
