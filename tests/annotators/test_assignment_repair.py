"""Repairs touch what drop-outs left and nothing else, keep every promise, and leave open what nobody could take."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_fair.annotators.assignment import assign
from rlhf_fair.annotators.assignment_check import (
    ANNOTATOR_ORDER,
    GROUPS,
    ITEM_ORDER,
    RATINGS,
    Terms,
    check,
)
from rlhf_fair.annotators.assignment_openings import RepairTerms
from rlhf_fair.annotators.assignment_repair import ALL_THERE, FULL, NOBODY, repair
from rlhf_fair.errors import RowError, SettingsError
from tests.annotators.test_assignment_eligibility import assigned, may, random_instance


@settings(max_examples=500, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_repair_keeps_every_promise_and_leaves_open_what_nobody_could_take(seed: int) -> None:
    rng = np.random.default_rng(seed)
    items, members, terms = random_instance(rng)
    table = assigned(items, members, terms, rng)
    if table is None:
        return
    _, pool, _ = random_instance(rng)
    pool["annotator_id"] = "new-" + pool["annotator_id"]
    pool = pool.drop(columns="capacity", errors="ignore")
    if "capacity" in members:
        pool["capacity"] = rng.integers(0, 4, len(pool))
    dropped = members["annotator_id"][rng.random(len(members)) < 0.3].tolist()
    kept = RepairTerms(terms.distinct_groups, terms.group_columns)
    done = repair(table, members, dropped, items=items, replacements=pool, terms=kept, rng=rng)

    everybody = pd.concat([members, pool], ignore_index=True)
    staying = everybody[~everybody["annotator_id"].isin(dropped)].reset_index(drop=True)
    was = table[table["annotator_id"].isin(dropped)]
    untouched = table.drop(was.index).merge(done.assignments, how="inner")
    assert len(untouched) == len(table) - len(was)
    assert len(done.replaced) + len(done.unreplaced) == len(was)
    found = check(done.assignments, items, staying, terms)
    assert set(found["constraint"]) <= {GROUPS, RATINGS, ANNOTATOR_ORDER, ITEM_ORDER}
    assert set(found["item_id"][found["constraint"] == RATINGS]) == set(done.unreplaced["item_id"])
    assert set(found["item_id"][found["constraint"] == ITEM_ORDER]) <= set(done.unreplaced["item_id"])
    assert done.exhaustive

    # by brute force: how many of the open judgements could anybody take, with those that stay in place
    assert len(done.replaced) == most_replaceable(was, table, items, staying)


def most_replaceable(was: pd.DataFrame, table: pd.DataFrame, items: pd.DataFrame, staying: pd.DataFrame) -> int:
    """A flow of single judgements: an open judgement of an item for each copy of it, one for each person and item."""
    import networkx as nx  # an independent maximum flow

    graph = nx.DiGraph()
    graph.add_nodes_from(["source", "sink"])
    load = table["annotator_id"].value_counts()
    there = set(zip(table["item_id"], table["annotator_id"], strict=True))
    for item, count in was["item_id"].value_counts().items():
        graph.add_edge(("item", item), "sink", capacity=int(count))
        wants = next(items[items["item_id"] == item].itertuples())
        for person in staying.itertuples():
            if (item, person.annotator_id) not in there and may(wants, person):
                graph.add_edge(person.annotator_id, ("item", item), capacity=1)
                room = getattr(person, "capacity", len(table)) - load.get(person.annotator_id, 0)
                graph.add_edge("source", person.annotator_id, capacity=int(room))
    return int(nx.maximum_flow_value(graph, "source", "sink"))


def big_instance(rng: np.random.Generator, slots: int = 4) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    items = pd.DataFrame({"item_id": [f"i{k}" for k in range(3000)], "language": rng.choice(["en", "de"], 3000)})
    members = pd.DataFrame(
        {
            "annotator_id": [f"p{k}" for k in range(300)],
            "attr.g": rng.choice(list("abcdef"), 300),
            "languages": rng.choice(["en", "de", "de;en"], 300),
            "capacity": 60,
        }
    )
    table = assign(items, members, ratings_per_item=slots, distinct_groups=3, group_columns=["attr.g"], rng=rng)
    return items, members, table


@pytest.mark.parametrize("slots", [4, 5])
def test_groups_loads_and_orders_stay_as_they_were(slots: int) -> None:
    rng = np.random.default_rng(5)
    items, members, table = big_instance(rng, slots)
    dropped = members["annotator_id"].sample(9, random_state=1).tolist()
    pool = members[members["annotator_id"].isin(dropped)].assign(
        annotator_id=lambda people: "new-" + people["annotator_id"]
    )
    terms = RepairTerms(3, ("attr.g",))
    done = repair(table, members, dropped, items=items, replacements=pool, terms=terms, rng=rng)
    staying = pd.concat([members[~members["annotator_id"].isin(dropped)], pool], ignore_index=True)
    assert done.unreplaced.empty
    assert done.short_of_groups.empty
    found = check(done.assignments, items, staying, Terms(slots, 3, ("attr.g",)))
    # orders of items are kept exactly; of people, all but a few of those who took over something
    assert set(found["constraint"]) <= {ANNOTATOR_ORDER}
    assert len(found) <= 0.1 * done.replaced["annotator_id"].nunique()
    # each newcomer has the group and languages of somebody who left, so takes over about as much as they had
    groups = pd.concat([members, pool]).set_index("annotator_id")["attr.g"]
    same = groups[done.replaced["dropped"]].to_numpy() == groups[done.replaced["annotator_id"]].to_numpy()
    assert same.mean() > 0.95
    load = done.assignments["annotator_id"].value_counts()
    assert load.max() <= table["annotator_id"].value_counts().max() + 1


def test_what_could_not_be_replaced_says_why() -> None:
    # a and b judge both items, c has no room, d does not speak Swahili: b's judgements cannot go to anybody
    items = pd.DataFrame({"item_id": ["x", "y"], "language": ["sw", "en"]})
    members = pd.DataFrame(
        {
            "annotator_id": list("abcd"),
            "languages": ["sw;en", "sw;en", "en", "de"],
            "capacity": [2, 2, 0, 9],
        }
    )
    rows = [("x", "a", 0), ("x", "b", 1), ("y", "a", 0), ("y", "b", 1)]
    table = pd.DataFrame(rows, columns=["item_id", "annotator_id", "slot"])
    rng = np.random.default_rng(0)
    done = repair(table, members, ["b"], items=items, rng=rng)
    assert done.unreplaced["reason"].tolist() == [ALL_THERE, f"{FULL} (1 eligible)"]
    assert done.assignments["annotator_id"].tolist() == ["a", "a"]
    done = repair(table, members, ["a", "b"], items=items, rng=rng)
    assert done.unreplaced["reason"].tolist() == [NOBODY, NOBODY, f"{FULL} (1 eligible)", f"{FULL} (1 eligible)"]
    done = repair(table, members, ["b"], rng=rng)  # without items languages are not looked at: d takes both
    assert done.assignments["annotator_id"].tolist() == ["a", "d", "a", "d"]
    assert repair(table, members, [], items=items, rng=rng).assignments.equals(table)


def test_a_judgement_changes_hands_where_that_alone_helps() -> None:
    # c may take x or y, d only x (German): c has to leave x to d although nothing else says so
    items = pd.DataFrame({"item_id": ["x", "y"], "language": ["de", "en"]})
    members = pd.DataFrame(
        {"annotator_id": ["b", "c", "d"], "languages": ["de;en", "de;en", "de"], "capacity": [2, 1, 1]}
    )
    table = pd.DataFrame({"item_id": ["x", "y"], "annotator_id": ["b", "b"], "slot": [0, 0]})
    for seed in range(10):
        done = repair(table, members, ["b"], items=items, rng=np.random.default_rng(seed))
        assert done.assignments["annotator_id"].tolist() == ["d", "c"]


def test_faults_are_named() -> None:
    _, members, table = big_instance(np.random.default_rng(0))
    rng = np.random.default_rng(0)
    with pytest.raises(RowError, match="dropped: 'nobody' is not in the panel"):
        repair(table, members, ["nobody"], rng=rng)
    with pytest.raises(RowError, match="assignments: 'p0' is neither in the panel nor in the pool"):
        repair(table.sort_values("annotator_id"), members[1:], ["p1"], rng=rng)
    with pytest.raises(SettingsError, match="pool lacks 'capacity'"):
        repair(table, members, ["p1"], replacements=members.drop(columns="capacity"), rng=rng)
