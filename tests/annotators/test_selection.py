"""Minimums by group, budgets, random parts and their probabilities; tables around a selection."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_fair.annotators.selection import BY_LOT, BY_SCORE, Selection, random_share, select_at_random, select_by_design
from rlhf_fair.annotators.selection_coverage import UNKNOWN, AtLeast, Coverage, coverage, no_coverage
from rlhf_fair.annotators.selection_design import GreedyDesign
from rlhf_fair.annotators.selection_heads import HeadSettings
from rlhf_fair.annotators.selection_pool import (
    candidates,
    coverage_table,
    item_groups,
    label_shares,
    selection_table,
)
from rlhf_fair.annotators.selection_strategies import EVERYBODY, Known, ensemble_view, views
from rlhf_fair.errors import ColumnError, InfeasibleError, RowError, SettingsError


def designed(vectors: np.ndarray, wanted: Coverage, budget: int, *, explore: float = 0.0, seed: int = 0) -> Selection:
    rng = np.random.default_rng(seed)
    return select_by_design({"": GreedyDesign(vectors)}, wanted, budget, explore=explore, rng=rng)


def drawn(wanted: Coverage, budget: int, seed: int) -> Selection:
    return select_at_random(wanted, budget, rng=np.random.default_rng(seed))


def feasible(groups: pd.DataFrame, wanted: Coverage, picks: int) -> bool:
    """Whether any set of ``picks`` candidates meets the minimums, by trying all."""
    counts = wanted.inside[:, wanted.cell].astype(int)
    return any(
        (counts[:, list(rows)].sum(axis=1) >= wanted.wanted).all()
        for rows in itertools.combinations(range(len(groups)), picks)
    )


@st.composite
def instances(draw: st.DrawFn) -> tuple[pd.DataFrame, list[AtLeast], int, int]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = int(rng.integers(2, 10))
    levels = {f"c{k}": [f"{g}" for g in range(int(rng.integers(1, 4)))] for k in range(int(rng.integers(1, 4)))}
    groups = pd.DataFrame({name: rng.choice(names, n) for name, names in levels.items()})
    rules = [AtLeast(float(rng.integers(0, 3)), False, name) for name in levels]
    return groups, rules, int(rng.integers(1, n + 1)), int(rng.integers(2**31))


@settings(max_examples=200)
@given(instances())
def test_budget_and_minimums_hold_exactly_where_they_can(case: tuple[pd.DataFrame, list[AtLeast], int, int]) -> None:
    groups, rules, budget, seed = case
    wanted = coverage(groups, rules, budget)
    vectors = np.random.default_rng(seed).standard_normal((len(groups), 3))
    if not feasible(groups, wanted, budget):
        for attempt in (lambda: designed(vectors, wanted, budget), lambda: drawn(wanted, budget, seed)):
            with pytest.raises(InfeasibleError, match=r"wanted, \d+ available|can be chosen"):
                attempt()
        return
    for found in (designed(vectors, wanted, budget), drawn(wanted, budget, seed)):
        assert len(found.rows) == budget == len(set(found.rows.tolist()))
        for (column, group), least in minimums(wanted).items():
            assert (groups[column].iloc[found.rows] == group).sum() >= least
        assert ((found.probability > 0) & (found.probability <= 1)).all()


def minimums(wanted: Coverage) -> dict[tuple[str, str], int]:
    return {tuple(n.split("=")): int(w) for n, w in zip(wanted.names, wanted.wanted, strict=True)}  # type: ignore[misc]


def test_without_minimums_the_choice_is_the_free_one() -> None:
    vectors = np.random.default_rng(0).standard_normal((50, 4))
    groups = pd.DataFrame({"g": ["x", "y"] * 25})
    free = designed(vectors, no_coverage(50), 10)
    slack = designed(vectors, coverage(groups, [AtLeast(1, False)], 10), 10)
    assert set(free.reason) == {BY_SCORE}
    assert slack.rows.tolist() == free.rows.tolist()  # both groups came in by themselves


def test_a_minimum_says_what_it_brought_in() -> None:
    # orthogonal pairs of falling length; group y holds the two shortest: of 4 picks, 2 by score, 2 for y
    vectors = np.diag([6.0, 5, 4, 3, 2, 1])
    groups = pd.DataFrame({"g": ["x", "x", "x", "x", "y", "y"]})
    found = designed(vectors, coverage(groups, [AtLeast(2, False, "g", "y")], 4), 4)
    assert found.rows.tolist() == [0, 1, 4, 5]
    assert found.reason == (BY_SCORE, BY_SCORE, "coverage g=y", "coverage g=y")
    np.testing.assert_allclose(found.gain, np.log1p(np.array([36, 25, 4, 1])) / 2)  # ½ log(1 + length²)
    table = coverage_table(found, groups, coverage(groups, [AtLeast(2, False, "g", "y")], 4)).set_index("group")
    assert table.loc["y", ["available", "at_least", "chosen", "brought_in"]].tolist() == [2, 2, 2, 2]
    assert table.loc["x", ["available", "at_least", "chosen", "brought_in"]].tolist() == [4, 0, 2, 0]


def test_overlapping_minimums_are_met_by_the_same_items() -> None:
    # one item is both b and y: a budget of 1 meets two minimums with it alone, however little it teaches
    groups = pd.DataFrame({"g": ["a", "a", "b", "b"], "h": ["x", "y", "x", "y"]})
    rules = [AtLeast(1, False, "g", "b"), AtLeast(1, False, "h", "y")]
    found = designed(np.diag([4.0, 3, 2, 1]), coverage(groups, rules, 1), 1)
    assert found.rows.tolist() == [3]
    assert found.reason == ("coverage g=b, h=y",)


def test_infeasible_minimums_name_group_wanted_and_available() -> None:
    groups = pd.DataFrame({"topic": ["law"] * 3 + ["care"] * 7})
    with pytest.raises(InfeasibleError, match="group topic=law: 5 wanted, 3 available"):
        drawn(coverage(groups, [AtLeast(0.5, True)], 10), 10, 0)
    with pytest.raises(InfeasibleError, match=r"need 6 items, 5 can be chosen \(topic=care: 3, topic=law: 3\)"):
        drawn(coverage(groups, [AtLeast(3, False)], 5), 5, 0)
    with pytest.raises(InfeasibleError, match=r"topic=tax: 2 wanted, 0 available; groups: \['care', 'law'\]"):
        coverage(groups, [AtLeast(2, False, "topic", "tax")], 5)
    with pytest.raises(InfeasibleError, match="budget 11: only 10 candidates"):
        drawn(no_coverage(10), 11, 0)
    with pytest.raises(ColumnError, match="lacks column 'subject'"):
        coverage(groups, [AtLeast(2, False, "subject")], 5)
    # the random part counts towards no minimum: 10 % of 10 leaves 9
    groups = pd.DataFrame({"topic": ["law"] * 20 + ["care"] * 20})
    with pytest.raises(InfeasibleError, match="need 10 items, 9 can be chosen"):
        designed(np.eye(40), coverage(groups, [AtLeast(5, False)], 10), 10, explore=0.1)


@pytest.mark.parametrize(
    ("text", "column", "group", "items"),
    [
        ("0.1", None, None, 20),
        ("20", None, None, 20),
        ("topic:0.05", "topic", None, 10),
        ("topic=law: 7", "topic", "law", 7),
        ("a=b:c:1.0", "a", "b:c", 200),
        ("0.111", None, None, 23),  # 22.2, rounded up
    ],
)
def test_minimums_are_read(text: str, column: str | None, group: str | None, items: int) -> None:
    rule = AtLeast.parse(text)
    assert (rule.column, rule.group, rule.items(200)) == (column, group, items)


@pytest.mark.parametrize("text", ["", "many", "-1", "1.5", "topic=law", ":3", "topic=:3", "=law:3"])
def test_minimums_that_cannot_be_read(text: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(repr(text))):
        AtLeast.parse(text)


def test_the_most_specific_minimum_counts_and_unknown_has_none() -> None:
    groups = item_groups(pd.DataFrame({"g": ["a", "b", None, ""], "h": ["x", "x", "x", "y"]}), ["g", "h"])
    rules = [AtLeast(1, False), AtLeast(2, False, "h"), AtLeast(3, False, "h", "y")]
    assert minimums(coverage(groups, rules, 9)) == {("g", "a"): 1, ("g", "b"): 1, ("h", "x"): 2, ("h", "y"): 3}
    assert minimums(coverage(groups, [AtLeast(1, False, "g", UNKNOWN)], 9)) == {("g", UNKNOWN): 1}


def test_probabilities_weigh_the_batch_up_to_all_candidates() -> None:
    # Horvitz & Thompson: Σ y / probability is unbiased for the candidates' total, here over 4,000 draws
    rng = np.random.default_rng(8)
    groups = pd.DataFrame({"g": list("a" * 24 + "b" * 11 + "c" * 5)})
    wanted = coverage(groups, [AtLeast(2, False, "g"), AtLeast(3, False, "g", "c")], 10)
    y = rng.standard_normal(40) + (groups["g"] == "c") * 5
    design = [designed(np.eye(40) * y.to_numpy()[:, None], wanted, 16, explore=0.4, seed=s) for s in range(400)]
    lots = [drawn(wanted, 10, s) for s in range(4000)]
    for batches in (design, lots):
        totals = np.array([(y.to_numpy()[b.rows] / b.probability).sum() for b in batches])
        assert abs(totals.mean() - y.sum()) < 4 * totals.std() / np.sqrt(len(batches))
    # and the stated probabilities are the frequencies
    frequency = np.bincount(np.concatenate([b.rows for b in lots]), minlength=40) / 4000
    stated = {row: p for b in lots for row, p in zip(b.rows.tolist(), b.probability.tolist(), strict=True)}
    assert sorted(stated) == list(range(40))
    assert np.abs(frequency - np.array([stated[i] for i in range(40)])).max() < 4.5 * 0.5 / np.sqrt(4000)


def test_accuracy_of_the_weighted_batch_is_that_of_all_candidates() -> None:
    """A model that is right more often where its members agree; the design takes where they disagree.

    The weighted batch estimates its accuracy on all candidates within three standard errors. Its random part alone is
    another estimand, the accuracy where the design had not gone, and too high by far more than that.
    """
    rng = np.random.default_rng(0)
    whole, alone = [], []
    for _ in range(60):
        quality, spread = rng.normal(0, 2, 300), rng.uniform(0.2, 2.5, 300)
        design = ensemble_view(quality[:, None] + spread[:, None] * rng.normal(size=(300, 12))).design
        right = rng.random(300) < 1 / (1 + np.exp(-np.abs(quality) / spread))
        batch = select_by_design({"": design}, no_coverage(300), 120, explore=0.25, rng=rng)
        weight = batch.weight(300)
        assert weight.sum() == pytest.approx(300)
        whole.append(np.average(right[batch.rows], weights=weight) - right.mean())
        drawn = np.array(batch.reason) == BY_LOT
        alone.append(np.average(right[batch.rows][drawn], weights=weight[drawn]) - right.mean())
    standard_error = np.std(whole, ddof=1) / np.sqrt(60)
    assert abs(np.mean(whole)) < 3 * standard_error
    assert np.mean(alone) > 3 * standard_error


def test_weights_need_a_chance_for_everybody() -> None:
    design = designed(np.diag(np.arange(1.0, 41)), no_coverage(40), 10)
    assert np.isnan(design.weight(40)).all()
    assert designed(np.eye(5), no_coverage(5), 5).weight(5).tolist() == [1] * 5
    groups = pd.DataFrame({"g": list("aaaabbbb")})  # all of the budget goes to a's minimum: b has no chance
    assert np.isnan(drawn(coverage(groups, [AtLeast(2, False, "g", "a")], 2), 2, 0).weight(8)).all()
    assert drawn(coverage(groups, [AtLeast(2, False, "g", "a")], 3), 3, 0).weight(8)[2] > 1


def test_the_random_part() -> None:
    found = designed(np.diag(np.arange(1.0, 41)), no_coverage(40), 10, explore=0.2)
    assert found.reason == (BY_SCORE,) * 8 + (BY_LOT,) * 2
    assert found.probability.tolist() == [1.0] * 8 + [2 / 32] * 2
    assert np.isnan(found.gain[8:]).all()
    assert [random_share(10, e) for e in (0, 0.001, 0.25, 1)] == [0, 1, 2, 10]
    assert set(designed(np.eye(5), no_coverage(5), 5, explore=1.0).probability) == {1.0}
    with pytest.raises(SettingsError, match="explore 2"):
        random_share(10, 2)


def test_each_pick_serves_the_group_known_least() -> None:
    # two rater groups; the head of "few" has no labels, that of "many" 200 in the same directions
    rng = np.random.default_rng(9)
    ids = [f"i{k}" for k in range(500)]
    known = Known(pd.DataFrame(rng.standard_normal((500, 5)), index=ids), np.zeros(5))
    share = pd.Series((known.differences.iloc[:200, 0] > 0).astype(float))
    shares = {EVERYBODY: share, "many": share, "few": share.iloc[:0]}
    for strategy in ("fisher", "disagreement"):
        seen = views(strategy, known, ids[200:], shares, HeadSettings(), rng=rng)
        designs = {name: view.design for name, view in seen.items()}
        found = select_by_design(designs, no_coverage(300), 20, rng=rng)
        assert found.known_least[0] == "few"
        assert found.known_least.count("few") > 15


def test_seed_and_order_change_ties_alone() -> None:
    rng = np.random.default_rng(10)
    vectors, order = rng.standard_normal((80, 5)), rng.permutation(80)
    groups = pd.DataFrame({"g": rng.choice(["a", "b"], 80, p=[0.9, 0.1])})
    rules = [AtLeast(0.4, True)]
    found = designed(vectors, coverage(groups, rules, 12), 12)
    shuffled = designed(vectors[order], coverage(groups.iloc[order].reset_index(drop=True), rules, 12), 12)
    assert order[shuffled.rows].tolist() == found.rows.tolist()
    assert shuffled.reason == found.reason


def test_copies_and_labelled_items_are_no_candidates() -> None:
    items = pd.DataFrame(
        {
            "item_id": ["4", "3", "2", "1", "0"],
            "prompt": ["p", "p", "q", "p", "r"],
            "response_a": ["x", "y", "x", "x", "x"],
            "response_b": ["y", "x", "y", "z", "y"],
        }
    )
    found = candidates(items, ["0", "elsewhere"])
    assert found.table["item_id"].tolist() == ["1", "2", "3"]  # 4 is 3 with its sides swapped
    assert (found.labelled, found.copies) == (1, 1)
    assert candidates(items, ["4"]).table["item_id"].tolist() == ["0", "1", "2"]  # 3 is a copy of the labelled 4
    assert len(candidates(items[["item_id"]], []).table) == 5


def test_shares_by_rater_group() -> None:
    feedback = pd.DataFrame(
        {
            "item_id": ["i", "i", "i", "j"],
            "annotator_id": ["1", "2", "3", "1"],
            "kind": "pair",
            "choice": ["a", "b", "tie", "b"],
        }
    )
    groups = pd.Series({"1": "w", "2": "m", "4": "x"})  # 3 is of no known group
    found = label_shares(feedback, groups)
    assert found[EVERYBODY].to_dict() == {"i": 0.5, "j": 0.0}
    assert found["w"].to_dict() == {"i": 1.0, "j": 0.0}
    assert found["m"].to_dict() == {"i": 0.0}
    assert found["x"].empty


def test_the_batch_as_a_table() -> None:
    pool = pd.DataFrame({"item_id": ["a", "b", "c"], "topic": ["law", None, "law"]})
    logits = np.array([[3.0, -3.0], [0.1, 0.1], [2.0, -2.0]])
    view = ensemble_view(logits)
    found = select_by_design({"": view.design}, no_coverage(3), 2, rng=np.random.default_rng(0))
    table = selection_table(found, pool, item_groups(pool, ["topic"]), "disagreement", {"": view})
    assert table["item_id"].tolist() == ["a", "c"] or table["item_id"].tolist() == ["a", "b"]
    assert table["p_a"].iloc[0] == pytest.approx(0.5)
    assert table["rank"].tolist() == [1, 2]
    with pytest.raises(SettingsError, match="an ensemble of 1"):
        ensemble_view(logits[:, :1])
    with pytest.raises(RowError, match="nothing to choose by"):
        Known(pd.DataFrame(np.zeros((2, 2))), np.zeros(2)).scaled()
