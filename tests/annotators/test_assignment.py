"""Assignments: every promise holds on random panels, or infeasibility is explained."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_fair.annotators.assignment import assign, coverage
from rlhf_fair.errors import InfeasibleError, RowError, SettingsError


def make_items(n: int) -> pd.DataFrame:
    return pd.DataFrame({"item_id": [f"i{k}" for k in range(n)]})


def make_members(groups: list[int], capacity: list[int] | None = None) -> pd.DataFrame:
    labels = [f"g{g}" for g, count in enumerate(groups) for _ in range(count)]
    table = pd.DataFrame({"annotator_id": [f"p{k}" for k in range(len(labels))], "attr.g": labels})
    return table if capacity is None else table.assign(capacity=capacity)


def balanced(orders: pd.DataFrame, by: str) -> bool:
    signed = np.where(orders["order"] == "ab", 1, -1)
    return bool((pd.Series(signed).groupby(orders[by].to_numpy()).sum().abs() <= 1).all())


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 40),
    groups=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    slots=st.integers(1, 5),
    data=st.data(),
)
def test_every_promise_holds_or_infeasible_is_raised(
    seed: int, n: int, groups: list[int], slots: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    distinct = data.draw(st.integers(1, slots))
    people = sum(groups)
    capacity = [int(c) for c in rng.integers(0, 2 * n * slots // people + 3, people)]
    members = make_members(groups, capacity)
    room = int(np.minimum(capacity, n).sum())
    try:
        table = assign(
            make_items(n), members, ratings_per_item=slots, distinct_groups=distinct, group_columns=["attr.g"], rng=rng
        )
    except InfeasibleError:
        assert room < n * slots or (np.array(capacity) > 0).sum() < slots
        return
    assert len(table) == n * slots
    assert not table.duplicated(["item_id", "annotator_id"]).any()
    assert not table.duplicated(["item_id", "slot"]).any()
    load = table["annotator_id"].value_counts().reindex(members["annotator_id"], fill_value=0).to_numpy()
    assert (load <= capacity).all()
    for g in members["attr.g"].unique():  # level: who has 2 fewer than a colleague is at capacity
        inside = (members["attr.g"] == g).to_numpy()
        lagging = inside & (load < load[inside].max() - 1)
        assert (load[lagging] == np.minimum(capacity, n)[lagging]).all()
    assert balanced(table, "item_id")
    assert balanced(table, "annotator_id")
    # an item meets a group once for distinctness, so no panel can give every item more than this many groups
    reach = np.minimum(members.groupby("attr.g")["capacity"].apply(lambda c: np.minimum(c, n).sum()), n).sum()
    groups_seen = coverage(table, members, ["attr.g"])["groups"]
    assert groups_seen.min() >= min(distinct, reach // n)


def test_distinct_groups_pull_work_to_the_small_group() -> None:
    # 30 items x 2 ratings over 18 + 2 people: level loads of 3 give the small group 6 items, distinctness wants 30
    members = make_members([18, 2])
    loose = assign(make_items(30), members, ratings_per_item=2, rng=np.random.default_rng(0))
    assert loose["annotator_id"].value_counts().unique().tolist() == [3]
    strict = assign(
        make_items(30),
        members,
        ratings_per_item=2,
        distinct_groups=2,
        group_columns=["attr.g"],
        rng=np.random.default_rng(0),
    )
    assert (coverage(strict, members, ["attr.g"])["groups"] == 2).all()
    assert strict["annotator_id"].value_counts()[["p18", "p19"]].tolist() == [15, 15]


def test_pairs_of_people_meet_about_as_often_as_by_chance() -> None:
    # 12 people, 6,000 items x 2: each of 66 pairs is expected 6000/66 = 90.9 times
    table = assign(make_items(6000), make_members([12]), ratings_per_item=2, rng=np.random.default_rng(3))
    teams = table.groupby("item_id")["annotator_id"].agg(lambda who: "+".join(sorted(who))).value_counts()
    assert len(teams) == 66
    assert teams.min() > 50
    assert teams.max() < 140


def test_orders_within_item_are_independent_of_who_is_asked() -> None:
    table = assign(make_items(3000), make_members([30]), ratings_per_item=3, rng=np.random.default_rng(3))
    first = (table["order"] == "ab").groupby(table["slot"]).mean()
    assert first.between(0.46, 0.54).all()


def test_infeasible_capacity_is_explained_with_numbers() -> None:
    members = make_members([3], capacity=[5, 5, 50])
    with pytest.raises(InfeasibleError, match=r"10 items x 3 ratings = 30 .* capacity is 20: 10 short; .* at most 2"):
        assign(make_items(10), members, ratings_per_item=3, rng=np.random.default_rng(0))
    with pytest.raises(InfeasibleError, match="4 ratings per item need as many annotators; the panel has 3"):
        assign(make_items(10), members, ratings_per_item=4, rng=np.random.default_rng(0))
    with pytest.raises(RowError, match="items: needs rows with distinct item_id; has 0 rows"):
        assign(make_items(0), members, ratings_per_item=1, rng=np.random.default_rng(0))
    with pytest.raises(RowError, match=r"panel: .* has 6 rows, 3 distinct"):
        assign(make_items(1), pd.concat([members] * 2), ratings_per_item=1, rng=np.random.default_rng(0))
    with pytest.raises(SettingsError, match="distinct_groups = 3; allowed: 1 to ratings_per_item = 2"):
        assign(make_items(1), members, ratings_per_item=2, distinct_groups=3, rng=np.random.default_rng(0))


def test_same_seed_same_assignment() -> None:
    tables = [
        assign(make_items(50), make_members([4, 4]), ratings_per_item=3, rng=np.random.default_rng(7)) for _ in range(2)
    ]
    pd.testing.assert_frame_equal(*tables)


def test_a_hundred_thousand_items_keep_every_promise() -> None:
    members = make_members([400, 300, 200, 100])
    table = assign(
        make_items(100_000),
        members,
        ratings_per_item=3,
        distinct_groups=3,
        group_columns=["attr.g"],
        rng=np.random.default_rng(0),
    )
    assert (coverage(table, members, ["attr.g"])["groups"] == 3).all()
