"""Assignments with languages and skills: every promise holds on random instances, or what is lacking is proved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, sparse

from rlhf_fair.annotators.assignment import assign
from rlhf_fair.annotators.assignment_check import GROUPS, Terms, check
from rlhf_fair.annotators.assignment_eligibility import eligibility, entries
from rlhf_fair.annotators.assignment_shortage import shortages
from rlhf_fair.errors import ColumnError, InfeasibleError, RowError

LANGUAGES = ["en", "de", "sw"]
SKILLS = ["law", "medicine"]


def assigned(items: pd.DataFrame, members: pd.DataFrame, terms: Terms, rng: np.random.Generator) -> pd.DataFrame | None:
    """An assignment under the terms, or None where there is none."""
    try:
        return assign(
            items,
            members,
            ratings_per_item=terms.ratings_per_item,
            distinct_groups=terms.distinct_groups,
            group_columns=terms.group_columns,
            rng=rng,
        )
    except InfeasibleError:
        return None


def random_instance(rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame, Terms]:
    n, people = int(rng.integers(1, 13)), int(rng.integers(1, 15))
    listed = [";".join(rng.permutation(SKILLS)[: rng.integers(0, 3)]) or None for _ in range(people)]
    items = pd.DataFrame(
        {
            "item_id": [f"i{k}" for k in range(n)],
            "language": rng.choice([*LANGUAGES, None], n, p=[0.5, 0.2, 0.1, 0.2]),
            "skills": rng.choice([*SKILLS, "law;medicine", None], n, p=[0.15, 0.1, 0.05, 0.7]),
        }
    )
    members = pd.DataFrame(
        {
            "annotator_id": [f"p{k}" for k in range(people)],
            "attr.g": rng.choice(["f", "m", None], people),
            "languages": [", ".join(rng.permutation(LANGUAGES)[: rng.integers(0, 4)]) or None for _ in range(people)],
            "skills": listed,
        }
    )
    slots = int(rng.integers(1, 4))
    if rng.random() < 0.7:
        members["capacity"] = rng.integers(0, 3 * n * slots // people + 3, people)
    return items, members, Terms(slots, int(rng.integers(1, slots + 1)), ("attr.g",))


def may(item: Any, member: Any) -> bool:
    """Eligibility in the notation of `random_instance`."""
    needs = [set() if pd.isna(cell) else set(cell.split(";")) for cell in (item.language, item.skills)]
    speaks, can = ("" if pd.isna(cell) else cell for cell in (member.languages, member.skills))
    return needs[0] <= set(speaks.split(", ")) and needs[1] <= set(can.split(";"))


def single_arcs(items: pd.DataFrame, members: pd.DataFrame, terms: Terms) -> tuple[np.ndarray, np.ndarray, int]:
    """By brute force, one node for each item, person and group of an item: no classes, no kinds of people.

    Arcs (arcs, 3) of tail, head and room; arcs that an item may repeat a group on beyond what it is promised; sink.
    """
    n, people, slots = len(items), len(members), terms.ratings_per_item
    group = pd.factorize(members["attr.g"].fillna("?"))[0]
    groups = int(group.max()) + 1
    capacity = members["capacity"] if "capacity" in members else pd.Series(n, index=members.index)
    person, pair, again = 1 + np.arange(people), 1 + people, 1 + people + n * groups
    sink = again + 2 * n
    arcs = [(0, int(node), int(room)) for node, room in zip(person, capacity, strict=True)]
    for i, wants in enumerate(items.itertuples()):
        arcs += [
            (1 + a, pair + i * groups + group[a], 1) for a, has in enumerate(members.itertuples()) if may(wants, has)
        ]
        for g in range(groups):
            arcs += [(pair + i * groups + g, again + n + i, 1), (pair + i * groups + g, again + i, slots)]
        arcs += [(again + i, again + n + i, slots - terms.distinct_groups), (again + n + i, sink, slots)]
    extra = [(again + i, again + n + i, slots) for i in range(n)]
    return np.array(arcs, dtype=np.int32), np.array(extra, dtype=np.int32), sink


def most_judgements(items: pd.DataFrame, members: pd.DataFrame, terms: Terms) -> int:
    arcs, _, sink = single_arcs(items, members, terms)
    graph = sparse.csr_array((arcs[:, 2], (arcs[:, 0], arcs[:, 1])), shape=(sink + 1, sink + 1))
    return int(sparse.csgraph.maximum_flow(graph, 0, sink).flow_value)


def fewest_lost_groups(items: pd.DataFrame, members: pd.DataFrame, terms: Terms) -> int:
    """Groups that all items together must lack when every judgement is made."""
    arcs, extra, sink = single_arcs(items, members, terms)
    every = np.concatenate([arcs, extra])
    balance = np.zeros((sink + 1, len(every)))
    np.add.at(balance, (every[:, 0], np.arange(len(every))), 1)
    np.add.at(balance, (every[:, 1], np.arange(len(every))), -1)
    lower = np.where(every[:, 1] == sink, every[:, 2], 0)
    cost = np.arange(len(every)) >= len(arcs)
    found = optimize.linprog(
        cost, A_eq=balance[1:sink], b_eq=np.zeros(sink - 1), bounds=np.stack([lower, every[:, 2]], 1)
    )
    return round(found.fun)


@settings(max_examples=500, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_every_promise_holds_or_what_is_lacking_is_proved(seed: int) -> None:
    rng = np.random.default_rng(seed)
    items, members, terms = random_instance(rng)
    options = {
        "ratings_per_item": terms.ratings_per_item,
        "distinct_groups": terms.distinct_groups,
        "group_columns": terms.group_columns,
    }
    lacking = shortages(items, members, **options)
    wanted = len(items) * terms.ratings_per_item
    assert lacking.missing == wanted - most_judgements(items, members, terms)
    one_group = Terms(terms.ratings_per_item, 1, terms.group_columns)
    assert lacking.missing_without_groups == wanted - most_judgements(items, members, one_group)
    assert lacking.classes["missing"].sum() == lacking.missing
    assert bool(lacking.conflicts) == bool(lacking.missing)
    try:
        table = assign(items, members, **options, rng=rng)
    except InfeasibleError:
        assert lacking.missing_without_groups
        return
    assert not lacking.missing_without_groups
    found = check(table, items, members, terms)
    assert set(found["constraint"]) <= {GROUPS}
    lost = (terms.distinct_groups - found["found"].astype(int)).sum()
    assert lost == (fewest_lost_groups(items, members, terms) if lacking.missing else 0)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_nobody_could_be_spared_a_judgement_by_another_sharing_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    items, members, terms = random_instance(rng)
    terms = Terms(terms.ratings_per_item, 1, terms.group_columns)
    try:
        table = assign(items, members, ratings_per_item=terms.ratings_per_item, rng=rng)
    except InfeasibleError:
        return
    load = table["annotator_id"].value_counts().reindex(members["annotator_id"], fill_value=0).to_numpy()
    most = members["capacity"].to_numpy() if "capacity" in members else np.full(len(members), len(items))
    # the busiest are as little busy as can be: with everybody below them the work is not done (by brute force)
    lighter = members.assign(capacity=np.minimum(most, load.max() - 1))
    assert most_judgements(items, lighter, terms) < len(table)
    # and the idlest as busy: nobody at the smallest load could take over from anybody with two more
    asked = set(zip(table["item_id"], table["annotator_id"], strict=True))
    idle = members[(load == load.min()) & (load < most)]
    busy = set(members["annotator_id"][load >= load.min() + 2])
    who = eligibility(items, members)
    allowed = who.allowed[who.member_kind[idle.index]][:, who.item_class]
    for person, may in zip(idle["annotator_id"], allowed, strict=True):
        for item in items["item_id"][may]:
            judges = set(table.loc[table["item_id"] == item, "annotator_id"])
            assert (item, person) in asked or not judges & busy


def test_a_proportional_mix_and_level_loads_by_hand() -> None:
    # 60 English and 30 German items x 2 ratings = 180. Only the 6 bilinguals speak German, so they give its 60;
    # 12 English speakers give 120 at 10 each, and the bilinguals 60 at 10 each: level loads of 10 for all 18.
    items = pd.DataFrame({"item_id": range(90), "language": ["en"] * 60 + ["de"] * 30}).astype({"item_id": "str"})
    members = pd.DataFrame(
        {
            "annotator_id": [f"p{k}" for k in range(18)],
            "languages": ["EN"] * 12 + ['["de", "en"]'] * 6,
            "attr.g": ["f", "m"] * 9,
        }
    )
    table = assign(
        items,
        members,
        ratings_per_item=2,
        distinct_groups=2,
        group_columns=["attr.g"],
        rng=np.random.default_rng(0),
    )
    assert (table["annotator_id"].value_counts() == 10).all()
    assert len(table["annotator_id"].unique()) == 18
    assert check(table, items, members, Terms(2, 2, ("attr.g",))).empty


def test_what_is_lacking_is_named_with_its_cheapest_repair() -> None:
    # 4 Swahili items x 3 ratings by 3 groups; one woman and one man speak it: 8 of 12 judgements, a third group lacks
    items = pd.DataFrame({"item_id": [f"i{k}" for k in range(10)], "language": ["en"] * 6 + ["sw"] * 4})
    members = pd.DataFrame(
        {
            "annotator_id": list("abcdef"),
            "attr.gender": ["f", "m", "x"] * 2,
            "languages": ["en;sw", "en|sw", "en", "en", "en", "en"],
        }
    )
    options = {"ratings_per_item": 3, "distinct_groups": 3, "group_columns": ["attr.gender"]}
    lacking = shortages(items, members, **options)
    row = lacking.classes.iloc[0]
    assert (lacking.missing, lacking.missing_without_groups, lacking.more_capacity_would_do) == (4, 4, False)
    assert (row["needs"], row["items"], row["first_item"], row["eligible_annotators"]) == ("language sw", 4, "i6", 2)
    assert (row["recruit"], row["people"]) == ("4 judgements by gender=x", 1)
    message = (
        r"4 items that need \(language sw\) call for 12 judgements, of which the 2 annotators eligible can give at "
        r"most 8 .*: 4 short. Cheapest repair: recruit for language sw \(e.g. item i6\): 4 judgements by gender=x"
    )
    with pytest.raises(InfeasibleError, match=message):
        assign(items, members, **options, rng=np.random.default_rng(0))
    mended = pd.concat(
        [members, pd.DataFrame({"annotator_id": ["new"], "attr.gender": ["x"], "languages": ["sw"]})],
        ignore_index=True,
    )
    assert shortages(items, mended, **options).missing == 0
    table = assign(items, mended, **options, rng=np.random.default_rng(0))
    assert check(table, items, mended, Terms(3, 3, ("attr.gender",))).empty
    assert shortages(items, members.assign(capacity=1), ratings_per_item=1).more_capacity_would_do


def test_cells_list_languages_in_several_notations() -> None:
    assert entries(" EN ;de, pt-BR|fr;") == {"en", "de", "pt-br", "fr"}
    assert entries('["medical doctor", "law", null]') == {"medical doctor", "law"}
    assert entries("en-GB") != entries("en")
    with pytest.raises(RowError, match="not a JSON array"):
        entries("[en")
    items = pd.DataFrame({"item_id": ["a", "b", "c"], "language": ["en", None, "sw"], "skills": [None, None, "law"]})
    members = pd.DataFrame({"annotator_id": ["p", "q"], "languages": ["en", None], "skills": ["law", None]})
    who = eligibility(items, members)
    may = who.allowed[who.member_kind][:, who.item_class]
    assert may.tolist() == [[True, True, False], [False, True, False]]  # of q nothing is known
    with pytest.raises(ColumnError, match="panel lacks column 'languages'"):
        eligibility(items, members.drop(columns="languages"))


def test_items_that_need_nothing_are_assigned_as_ever() -> None:
    items = pd.DataFrame({"item_id": [f"i{k}" for k in range(30)]})
    members = pd.DataFrame({"annotator_id": [f"p{k}" for k in range(9)]})
    tables = [
        assign(work, members, ratings_per_item=3, rng=np.random.default_rng(1))
        for work in (items, items.assign(language=None))
    ]
    pd.testing.assert_frame_equal(*tables)


@pytest.mark.parametrize("cell", ["[en", "[" * 100_000], ids=["open", "too deep"])
def test_a_list_that_is_none_is_told_with_its_column_when_assignments_are_checked(cell: str) -> None:
    items = pd.DataFrame({"item_id": ["i"], "language": ["en"]})
    members = pd.DataFrame({"annotator_id": ["p"], "capacity": [1], "languages": [cell]})
    assignments = pd.DataFrame({"item_id": ["i"], "annotator_id": ["p"], "slot": [0], "order": ["ab"]})
    with pytest.raises(RowError, match=r"panel, column 'languages': .* is not a JSON array"):
        check(assignments, items, members, Terms(ratings_per_item=1))
