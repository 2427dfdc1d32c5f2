"""Cells, suppression and release: published numbers, tables worked by hand, and attacks of our own."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from rlhf_fair.annotators.privacy_cells import UNKNOWN, Gate, diversity, risk
from rlhf_fair.annotators.privacy_release import WITHHELD, people_of, release_attributes
from rlhf_fair.annotators.privacy_suppression import ALL, CountTable, count_table
from rlhf_fair.errors import ColumnError, RowError, SettingsError

POPQUORN = Path(__file__).parents[3] / "shared/data/popquorn/offensiveness/raw_data.csv.gz"


def people(cells: dict[tuple[str, ...], int]) -> pd.DataFrame:
    """As many rows as each combination of levels says, columns a, b, …"""
    rows = [cell for cell, n in cells.items() for _ in range(n)]
    table = pd.DataFrame(rows, columns=list("abcd")[: len(next(iter(cells)))], dtype="str")
    return table.assign(annotator_id=[f"r{i}" for i in range(len(table))])


def shown(table: CountTable, *cell: str) -> int | None:
    rows = table.cells[(table.cells[list(table.columns)] == list(cell)).all(axis=1)]
    count = rows["count"].iloc[0]
    return None if pd.isna(count) else int(count)


@pytest.fixture(scope="module")
def raters() -> pd.DataFrame:
    if not POPQUORN.exists():
        pytest.skip("data set not at hand: ../shared/data/popquorn")
    ratings = pd.read_csv(POPQUORN, dtype="str", keep_default_na=False)
    return ratings.drop_duplicates("user_id").rename(columns={"user_id": "annotator_id"})


def test_popquorn_raters_who_are_alone(raters: pd.DataFrame) -> None:
    assert risk(raters, ["gender", "race", "age"]).unique == 24
    found = risk(raters, ["gender", "race", "age", "education", "occupation"])
    assert (found.people, found.unique, found.smallest) == (262, 129, 1)


def test_popquorn_release_keeps_small_groups_in(raters: pd.DataFrame) -> None:
    released = release_attributes(raters, ["gender", "race"], Gate(k=5))
    assert released.passed
    kept = released.people[~released.people[WITHHELD]]
    assert risk(kept, ["gender", "race"]).below_k == 0
    assert released.withheld >= 5
    attack(released.counts)


def test_risk_by_hand() -> None:
    # a: x x x y y z; the 2 y and the 1 z are below 3
    found = risk(people({("x",): 3, ("y",): 2, ("z",): 1}), ["a"], Gate(k=3))
    assert (found.people, found.cells, found.smallest) == (6, 3, 1)
    assert (found.unique, found.below_k, found.cells_below_k) == (1, 3, 2)


def test_a_missing_answer_is_a_cell() -> None:
    table = people({("x",): 3, ("y",): 1})
    table.loc[3, "a"] = None
    assert risk(table, ["a"]).unique == 1
    assert shown(count_table(table, ["a"], k=2), UNKNOWN) is None


def test_diversity_counts_known_values() -> None:
    table = people({("x",): 3, ("y",): 2}).assign(ill=pd.Series(["yes", "no", None, "yes", "yes"], dtype="str"))
    assert diversity(table, ["a"], ["ill"]).tolist() == [2, 2, 2, 1, 1]
    assert risk(table, ["a"], Gate(k=2, l=2, sensitive=("ill",))).least_diverse == 1


def test_the_smallest_companion_goes_with_a_small_cell() -> None:
    # 1 of 262 in a margin that is shown: the next smallest, 5, is hidden too, and only their sum of 6 is known
    table = count_table(people({("p",): 1, ("q",): 5, ("r",): 6, ("s",): 250}), ["a"], k=5)
    assert [shown(table, level) for level in ("p", "q", "r", "s", ALL)] == [None, None, 6, 250, 262]
    assert (table.suppressed("small"), table.suppressed("companion")) == (1, 1)


def test_a_companion_that_leaves_no_room_is_not_enough() -> None:
    # 2 + 1 + 1 hidden would sum to 4: each at most 2, below k; so 9 is hidden too and each could be 5 or more
    table = count_table(people({("p",): 1, ("q",): 1, ("r",): 2, ("s",): 9, ("t",): 50}), ["a"], k=5)
    assert [shown(table, level) for level in "pqrst"] == [None, None, None, None, 50]


def test_two_by_two_hides_the_rectangle() -> None:
    # one small cell in a 2 x 2 table of known margins needs the three others
    table = count_table(people({("x", "u"): 2, ("x", "v"): 20, ("y", "u"): 30, ("y", "v"): 40}), ["a", "b"], k=5)
    inner = [shown(table, *cell) for cell in product("xy", "uv")]
    assert inner == [None] * 4
    assert shown(table, "x", ALL) == 22
    assert shown(table, ALL, "v") == 60


def test_nothing_is_hidden_without_need() -> None:
    table = count_table(people({("x", "u"): 5, ("x", "v"): 20, ("y", "v"): 40}), ["a", "b"], k=5)
    assert (table.cells["status"] == "published").all()
    assert shown(table, "y", "u") == 0


def test_too_few_people_for_any_table() -> None:
    table = count_table(people({("x",): 3, ("y",): 3}), ["a"], k=5)  # at most 5 in one: 6 - 1
    assert [shown(table, level) for level in ("x", "y", ALL)] == [None, None, 6]
    table = count_table(people({("x",): 3, ("y",): 2, ("z",): 1}), ["a"], k=5)  # at most 4, since all three are there
    assert table.withheld
    assert shown(table, ALL) == 6
    table = count_table(people({("x",): 3}), ["a"], k=5)
    assert table.withheld
    assert shown(table, ALL) is None


def attack(table: CountTable) -> None:
    """A reader's linear programme: every published number as an equation over the inner cells that are left out.

    Written without the package's own sums: it works on labels. No hidden number of 1 to k - 1 may be bounded below k,
    and no hidden number may be known exactly.
    """
    columns, cells = list(table.columns), table.cells
    inner = cells[(cells[columns] != ALL).all(axis=1)].reset_index(drop=True)
    unknown = inner["count"].isna().to_numpy()
    below = np.array(
        [
            [all(part in (ALL, level) for part, level in zip(cell, own, strict=True)) for own in inner[columns].values]
            for cell in cells[columns].values
        ]
    )
    base = below[:, ~unknown] @ inner["count"][~unknown].to_numpy(dtype=float)
    told = cells["count"].notna().to_numpy()
    equations, sums = below[told][:, unknown], (cells["count"].to_numpy(dtype=float, na_value=np.nan) - base)[told]
    least = 0 if table.withheld else 1
    for row, known in zip(below[~told][:, unknown], base[~told], strict=True):
        ends = [
            sign * linprog(sign * row, A_eq=equations, b_eq=sums, bounds=(least, None)).fun + known
            if len(equations)
            else np.nan
            for sign in (1.0, -1.0)
        ]
        assert not ends[1] - ends[0] < 0.5, (cells, row)
        assert not ends[1] < table.k - 1e-6, (cells, row)


SIZES = st.integers(0, 12)


@settings(deadline=None, max_examples=60)
@given(st.lists(SIZES, min_size=6, max_size=12).filter(lambda n: sum(n) > 6), st.integers(2, 6))
def test_no_linear_attack_on_two_attributes(sizes: list[int], k: int) -> None:
    width = 3
    cells = {(f"a{i // width}", f"b{i % width}"): n for i, n in enumerate(sizes)}
    check(people(cells), ["a", "b"], k)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.sampled_from([0, 0, 1, 2, 5, 9, 30]), min_size=12, max_size=12).filter(any), st.integers(2, 5))
def test_no_linear_attack_on_three_attributes(sizes: list[int], k: int) -> None:
    cells = dict(zip(product("xy", "uv", "pqr"), sizes, strict=True))
    check(people(cells), ["a", "b", "c"], k)


def check(table: pd.DataFrame, columns: list[str], k: int) -> None:
    counted = count_table(table, columns, k=k)
    small = (counted.cells["count"] > 0) & (counted.cells["count"] < k)
    assert not small.any()
    if len(table) >= k:
        attack(counted)
    truth = table[columns].value_counts()
    inner = counted.cells[(counted.cells[columns] != ALL).all(axis=1)].set_index(columns)["count"].dropna()
    assert all(inner[cell] == truth.get(cell, 0) for cell in inner.index)  # what is shown is true


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 4), min_size=4, max_size=4).filter(lambda n: n[0] * n[3] > 0), st.integers(2, 3))
def test_no_attack_by_listing_every_table(sizes: list[int], k: int) -> None:
    # every 2 x 2 table of whole people that agrees with what is published, one by one
    counted = count_table(people(dict(zip(product("xy", "uv"), sizes, strict=True))), ["a", "b"], k=k)
    if counted.withheld:
        return
    full = counted.cells["count"].to_numpy(dtype=float, na_value=np.nan).reshape(3, 3)
    fits = []
    for trial in product(range(sum(sizes) + 1), repeat=4):
        table = np.zeros((3, 3))
        table[:2, :2] = np.reshape(trial, (2, 2))
        table[2, :2], table[:, 2] = table[:2, :2].sum(0), 0
        table[:, 2] = table.sum(1)
        if (np.isnan(full) | (full == table)).all() and (table[np.isnan(full)] > 0).all():
            fits.append(table)
    most = np.max(fits, axis=0)
    assert (most[np.isnan(full)] >= k).all()


def test_a_release_empties_rows_and_says_so() -> None:
    table = people({("x", "u"): 2, ("x", "v"): 20, ("y", "u"): 30, ("y", "v"): 40, ("z", "w"): 10})
    table["secret"] = "yes"
    released = release_attributes(table, ["a", "b"], Gate(k=5))
    assert (released.withheld, released.too_few, released.companions, released.too_alike) == (92, 2, 90, 0)
    assert list(released.people) == ["annotator_id", "a", "b", WITHHELD]  # nothing that was not asked for
    emptied = released.people[WITHHELD]
    assert released.people.loc[emptied, ["a", "b"]].isna().all(axis=None)
    assert set(released.people.loc[~emptied, "a"]) == {"z"}


def test_people_who_are_all_alike_are_withheld() -> None:
    table = people({("x",): 6, ("y",): 6}).assign(ill=["yes"] * 6 + ["yes", "no"] * 3)
    released = release_attributes(table, ["a"], Gate(k=5, l=2, sensitive=("ill",)))
    assert (released.too_few, released.too_alike) == (0, 6)
    kept = released.people[~released.people[WITHHELD]]
    assert set(kept["a"]) == {"y"}
    assert released.people.loc[released.people[WITHHELD], "ill"].isna().all()


def test_the_risk_is_told_over_everything_together() -> None:
    # 6 y, of whom 4 say yes and 2 no: all below 5, though a alone keeps to k and holds both answers
    table = people({("y", "u"): 3, ("y", "v"): 3}).assign(ill=["yes"] * 2 + ["no"] * 2 + ["yes"] * 2)
    released = release_attributes(table, ["a"], Gate(k=5, l=2, sensitive=("ill",)))
    assert (released.withheld, released.share_below_k) == (0, 1.0)
    assert released.together is not None
    assert (released.together.smallest, released.together.unique) == (2, 0)
    released = release_attributes(table, ["a"], Gate(k=3, l=2, sensitive=("ill",)), earlier=["b"])
    assert list(released.people) == ["annotator_id", "a", "ill", WITHHELD]
    assert released.together is not None
    # u yes 2, u no 1, v no 1, v yes 2
    assert (released.together.smallest, released.together.unique, released.together.below_k) == (1, 2, 6)


def test_where_nothing_may_leave_the_gate_is_shut() -> None:
    assert not release_attributes(people({("x",): 3, ("y",): 1}), ["a"], Gate(k=5)).passed


def test_attributes_of_a_feedback_table() -> None:
    feedback = pd.DataFrame({"annotator_id": ["p", "p", "q"], "attr.a": ["x", "x", None], "value": [1, 2, 3]})
    assert people_of(feedback)["annotator_id"].tolist() == ["p", "q"]
    with pytest.raises(RowError, match="annotator 'p' has different attributes"):
        people_of(feedback.assign(**{"attr.a": ["x", "y", None]}))


def test_faults_are_named() -> None:
    table = people({("x",): 3})
    with pytest.raises(SettingsError, match="k is 1"):
        Gate(k=1)
    with pytest.raises(SettingsError, match="no sensitive column"):
        Gate(l=2)
    with pytest.raises(SettingsError, match="l is 1, which protects nothing of ill"):
        Gate(sensitive=("ill",))
    with pytest.raises(ColumnError, match="lacks column 'b'"):
        risk(table, ["b"])
    with pytest.raises(SettingsError, match="at least one"):
        risk(table, [])
    with pytest.raises(RowError, match=r"holds the text '\(all\)'"):
        count_table(table.assign(a=ALL), ["a"], k=2)
    with pytest.raises(RowError, match="more than one row"):
        release_attributes(pd.concat([table, table]), ["a"], Gate())
    wide = pd.DataFrame({name: [str(i) for i in range(80)] for name in "ab"})
    with pytest.raises(SettingsError, match="more than 5,000 cells"):
        count_table(wide, ["a", "b"], k=2)
