"""Cells of several attributes together: attacks by subtraction that know nothing of how cells were chosen."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_fair.annotators.agreement import AgreementSettings
from rlhf_fair.annotators.disagreement import DisagreementMap, disagreement_map
from rlhf_fair.annotators.disagreement_differences import safe_cells, tells_few

Person = tuple[str | None, str | None]


def mapped(people: list[Person], k: int, absent: dict[str, list[int]] | None = None) -> DisagreementMap:
    """Map of one item, or of one for each entry of ``absent`` (people who did not rate it), two attributes crossed."""
    items = absent or {"i": []}
    rng = np.random.default_rng(1)
    rows = [
        {"item_id": item, "annotator_id": str(n), "kind": "rating", "value": float(rng.integers(1, 6))}
        for item, gone in items.items()
        for n in range(len(people))
        if n not in gone
    ]
    groups = {"gender": pd.Series([g for g, _ in people]), "race": pd.Series([r for _, r in people])}
    groups["gender*race"] = pd.Series([f"{g}*{r}" if g and r else None for g, r in people])
    groups = {name: of.set_axis(of.index.astype(str)) for name, of in groups.items()}
    s = AgreementSettings(permutations=0, min_raters=k)
    return disagreement_map(pd.DataFrame(rows), groups, s, rng=rng)


def attack(people: list[Person], cells: pd.DataFrame, k: int, gone: list[int]) -> list[list[str]]:
    """Every sum and difference of published means and the total: those that are about 1 to k - 1 people."""
    here = [n for n in range(len(people)) if n not in gone]
    members = {"(all)": [n in here for n in range(len(people))]}
    for row in cells[cells["mean"].notna()].to_dict("records"):
        name = {"gender": lambda p: p[0], "race": lambda p: p[1], "gender*race": lambda p: f"{p[0]}*{p[1]}"}
        of = name[row["attribute"]]
        inside = [n in here and of(person) == row["group"] for n, person in enumerate(people)]
        assert sum(inside) == row["raters"] >= k
        members[f"{row['attribute']}={row['group']}"] = inside
    table = np.array(list(members.values()), dtype=int)
    found = []
    for signs in product((-1, 0, 1), repeat=len(table)):
        about = int((np.array(signs) @ table != 0).sum())
        if 0 < about < k:
            found.append([f"{sign:+d} {name}" for sign, name in zip(signs, members, strict=True) if sign])
    return found


RATERS: list[Person] = [("Woman", "White")] * 9 + [("Woman", "Black")] + [("Man", "White")] * 6 + [("Man", "Black")] * 4


def test_nobody_is_told_by_the_difference_of_two_attributes() -> None:
    # women 10 less White women 9 is one person; White 15 less White women 9 are the 6 White men, who may be shown
    cells = mapped(RATERS, 5).cells
    shown = {(a, g) for a, g, mean in zip(cells["attribute"], cells["group"], cells["mean"], strict=True) if mean > 0}
    assert shown == {("gender", "Woman"), ("gender", "Man"), ("race", "White"), ("race", "Black")}
    hidden = cells[cells["mean"].isna()].set_index("group")["reason"].to_dict()
    # `White men` would tell: men less White men are 4 Black men
    assert hidden["Woman*White"] == hidden["Man*White"] == "withheld to cover a smaller group"
    assert not attack(RATERS, cells, 5, [])


def test_the_attack_finds_what_it_looks_for() -> None:
    cells = pd.DataFrame(
        [("gender", "Woman", 10, 3.0), ("gender*race", "Woman*White", 9, 3.0)],
        columns=["attribute", "group", "raters", "mean"],
    )
    assert ["+1 gender=Woman", "-1 gender*race=Woman*White"] in attack(RATERS, cells, 5, [])


def test_two_attributes_that_are_not_crossed_tell_too() -> None:
    # women and the old are the same but for one young woman and one old man: the means differ by these two
    parts = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    size = np.array([8, 1, 1, 8])
    safe = safe_cells(parts, size, [np.array([True, True]), np.array([True, True])], 3)
    assert [mask.tolist() for mask in safe] == [[True, True], [False, False]]
    safe = safe_cells(parts, size, [np.array([True, True]), np.array([True, True])], 2)
    assert [mask.tolist() for mask in safe] == [[True, True], [True, True]]


def test_sums_with_weights_count_by_whom_they_involve() -> None:
    # a + b, b + c and a + c of one person each: (1 + 3 - 2) / 2 is one of them alone; each sum alone is of two
    pairs = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
    assert tells_few(pairs, np.array([1, 1, 1]), 2)
    assert not tells_few(pairs[:2], np.array([1, 1, 1]), 2)
    assert tells_few(pairs[:2], np.array([1, 1, 1]), 3)
    assert not tells_few(pairs, np.array([5, 5, 5]), 5)


PEOPLE = st.lists(
    st.tuples(st.sampled_from(["Woman", "Man", None]), st.sampled_from(["White", "Black", "Asian", None])),
    min_size=6,
    max_size=24,
)


@settings(deadline=None, max_examples=60)
@given(PEOPLE, st.integers(2, 5), st.lists(st.integers(0, 23), max_size=6))
def test_no_difference_tells_fewer_than_k_raters(people: list[Person], k: int, gone: list[int]) -> None:
    if len(set(range(len(people))) - set(gone)) < k:
        return
    absent = {"all": [], "some": gone}
    cells = mapped(people, k, absent).cells
    for item, left in absent.items():
        own = cells[cells["item_id"] == item]
        if own["mean"].notna().sum() <= 9:  # 3^10 sums of ten cells and more take too long to list
            assert not attack(people, own, k, left)


@settings(deadline=None, max_examples=40)
@given(PEOPLE, st.integers(2, 5), st.integers(0, 2**16))
def test_no_weights_at_all_tell_fewer_than_k_raters(people: list[Person], k: int, seed: int) -> None:
    # any weights a reader may choose: those that cancel out as many raters as can be, solved for at random
    cells = mapped(people, k).cells
    shown = cells[cells["mean"].notna()]
    table = np.ones((1, len(people)))
    for attribute, group in zip(shown["attribute"], shown["group"], strict=True):
        name = {"gender": [p[0] for p in people], "race": [p[1] for p in people]}.get(
            attribute, [f"{p[0]}*{p[1]}" for p in people]
        )
        table = np.vstack([table, [other == group for other in name]])
    rng = np.random.default_rng(seed)
    for _ in range(20):
        # solve for a sum that is zero on a random choice of raters as large as the rank allows
        cancelled = rng.permutation(len(people))[: int(np.linalg.matrix_rank(table)) - 1]
        _, singular, weights = np.linalg.svd(table[:, cancelled].T) if len(cancelled) else (0, np.zeros(0), [[1.0]])
        for weight in weights[int((singular > 1e-9).sum()) :]:
            about = int((np.abs(np.pad(weight, (0, len(table) - len(weight))) @ table) > 1e-7).sum())
            assert about == 0 or about >= k


def test_names_of_groups_change_nothing() -> None:
    renamed = [("F" if g == "Woman" else "M", r) for g, r in RATERS]
    one, two = mapped(RATERS, 5).cells, mapped(renamed, 5).cells
    key = ["attribute", "raters"]
    assert (
        one.groupby(key)["mean"].apply(lambda m: m.isna().sum()).tolist()
        == two.groupby(key)["mean"].apply(lambda m: m.isna().sum()).tolist()
    )


def test_one_attribute_is_as_it_was() -> None:
    people: list[Person] = [("Woman", None)] * 8 + [("Man", None)] * 7
    cells = mapped(people, 5).cells
    assert cells["mean"].notna().all()
    assert set(cells["attribute"]) == {"gender"}


@pytest.mark.parametrize("k", [1])
def test_without_a_least_number_everything_is_shown(k: int) -> None:
    assert mapped(RATERS, k).cells["mean"].notna().all()
