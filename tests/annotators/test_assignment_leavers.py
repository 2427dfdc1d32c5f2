"""People who leave half-way: what they judged stays and counts, and only what they left open changes hands."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_fair.annotators.assignment_check import ANNOTATOR_ORDER, GROUPS, ITEM_ORDER, RATINGS, check
from rlhf_fair.annotators.assignment_leavers import Leavers, has_judgement, not_assigned
from rlhf_fair.annotators.assignment_openings import RepairTerms
from rlhf_fair.annotators.assignment_repair import ALL_THERE, FULL, repair
from rlhf_fair.errors import RowError
from tests.annotators.test_assignment_eligibility import assigned, random_instance
from tests.annotators.test_assignment_repair import most_replaceable


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_what_is_judged_stays_and_as_much_as_can_be_is_given_to_others(seed: int) -> None:
    rng = np.random.default_rng(seed)
    items, members, terms = random_instance(rng)
    table = assigned(items, members, terms, rng)
    if table is None:
        return
    judged = rng.random(len(table)) < 0.5
    dropped = members["annotator_id"][rng.random(len(members)) < 0.4].tolist()
    if not judged.any():
        return
    leavers = Leavers.of(table, dropped, answered=table[judged])
    kept = RepairTerms(terms.distinct_groups, terms.group_columns)
    done = repair(table, members, leavers, items=items, terms=kept, rng=rng)

    was = table[table["annotator_id"].isin(dropped) & ~judged]
    untouched = table.drop(was.index).merge(done.assignments, how="inner")
    assert len(untouched) == len(table) - len(was)
    assert len(done.replaced) + len(done.unreplaced) == len(was)
    assert not set(done.replaced["annotator_id"]) & set(dropped)
    found = check(done.assignments, items, members, terms)
    assert set(found["constraint"]) <= {GROUPS, RATINGS, ANNOTATOR_ORDER, ITEM_ORDER}
    assert set(found["item_id"][found["constraint"] == RATINGS]) == set(done.unreplaced["item_id"])
    # groups are counted with those who judged and left
    few = set(found["item_id"][found["constraint"] == GROUPS]) & set(was["item_id"])
    assert few == set(done.short_of_groups["item_id"])

    # by an independent maximum flow: nobody could have done better
    staying = members[~members["annotator_id"].isin(dropped)].reset_index(drop=True)
    assert len(done.replaced) == most_replaceable(was, table, items, staying)


def three_of_x() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Item x of a, b and c; d, of the group of b, is free."""
    members = pd.DataFrame({"annotator_id": list("abcd"), "attr.g": ["p", "q", "p", "q"], "capacity": [9, 9, 9, 1]})
    rows = [("x", "a", 0), ("x", "b", 1), ("y", "a", 0), ("y", "c", 1)]
    return members, pd.DataFrame(rows, columns=["item_id", "annotator_id", "slot"])


def test_the_group_of_who_judged_and_left_counts() -> None:
    # b judged x and left y to come; a left both open. x keeps b, so its other judgement may be of any group but needs
    # group p for two groups: c, and not d, who is less busy.
    members, table = three_of_x()
    terms = RepairTerms(2, ("attr.g",))
    leavers = Leavers.of(table, ["a", "b"], answered=pd.DataFrame({"item_id": ["x"], "annotator_id": ["b"]}))
    assert leavers.open_rows.tolist() == [True, False, True, False]
    done = repair(table, members, leavers, terms=terms, rng=np.random.default_rng(0))
    # x: c joins b. y: c is there, so d (q) joins: two groups each
    assert done.assignments["annotator_id"].tolist() == ["c", "b", "d", "c"]
    assert done.short_of_groups.empty


def test_loads_count_what_is_judged_already() -> None:
    # d may judge one item and has judged z: full, although nothing is left for d to do
    members, table = three_of_x()
    table.loc[len(table)] = ["z", "d", 0]
    answered = pd.DataFrame({"item_id": ["z", "y"], "annotator_id": ["d", "c"]})
    done = repair(table, members, Leavers.of(table, ["c", "b"], answered=answered), rng=np.random.default_rng(0))
    assert done.unreplaced["item_id"].tolist() == ["x"]
    assert done.unreplaced["reason"].tolist() == [f"{FULL} (1 eligible)"]
    nobody_else = members[members["annotator_id"] != "d"]
    done = repair(table[:4], nobody_else, Leavers.of(table[:4], ["c", "b"]), rng=np.random.default_rng(0))
    assert done.unreplaced["reason"].tolist() == [ALL_THERE, ALL_THERE]


def test_pairs_are_matched_whole() -> None:
    # a judged y and c judged x: neither the item nor the person alone makes an assigned pair
    _, table = three_of_x()
    answered = pd.DataFrame({"item_id": ["y", "x", "x", "w"], "annotator_id": ["a", "c", "nobody", "a"]})
    assert has_judgement(table, answered).tolist() == [False, False, True, False]
    assert not_assigned(table, answered) == 3
    with pytest.raises(RowError, match=r"none of its 1 judgements is of an assigned item .*'x' by 'c'"):
        Leavers.of(table, ["a"], answered=answered[1:2])


def test_open_slots_name_who_left() -> None:
    _, table = three_of_x()
    leavers = Leavers.with_open(table, table[2:3], ids=["c"])
    assert leavers.annotator_ids == {"a", "c"}
    assert leavers.open_rows.tolist() == [False, False, True, False]
    with pytest.raises(RowError, match=r"open: item 'y' of annotator 'b' is not in the assignments$"):
        Leavers.with_open(table, pd.DataFrame({"item_id": ["y"], "annotator_id": ["b"]}))
