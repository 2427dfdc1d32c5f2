"""Aggregation rules on tables small enough to do by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from rlhf_fair.annotators.aggregation import aggregate_pairs, aggregate_ratings, flips, judgement_weights
from rlhf_fair.annotators.aggregation_groups import counted_groups
from rlhf_fair.annotators.aggregation_rules import (
    RULES,
    RuleInputs,
    aggregate,
    collected_only,
    usable_rules,
)
from rlhf_fair.annotators.latent_classes import LATENT_CLASS
from rlhf_fair.errors import RowError, SettingsError

PAIRS = pd.DataFrame(
    {
        "item_id": ["x"] * 4 + ["y"] * 2,
        "annotator_id": ["p", "q", "r", "s", "p", "s"],
        "kind": "pair",
        "choice": ["a", "a", "b", "tie", "b", "a"],
    }
)
GROUPS = pd.Series({"p": "g", "q": "g", "r": "g", "s": "h"})
WEIGHTS = pd.Series({"p": 1.0, "q": 1.0, "r": 4.0, "s": 2.0})


def test_plain_weighted_and_group_balanced_shares() -> None:
    plain = aggregate_pairs(PAIRS)
    assert plain["item_id"].tolist() == ["x", "y"]
    assert plain["p_a"].tolist() == [0.625, 0.5]  # (1 + 1 + 0 + 1/2) / 4, (0 + 1) / 2
    assert plain["n"].tolist() == [4, 2]
    weighted = aggregate_pairs(PAIRS, WEIGHTS)
    assert weighted["p_a"].tolist() == pytest.approx([0.375, 2 / 3])  # (1 + 1 + 0 + 1) / 8, 2 / 3
    assert weighted["weight"].tolist() == [8, 3]
    balanced = aggregate_pairs(PAIRS, groups=GROUPS)
    assert balanced["p_a"].tolist() == pytest.approx([7 / 12, 0.5])  # mean of 2/3 (group g) and 1/2 (group h)
    assert aggregate_pairs(PAIRS, rule="majority")["p_a"].tolist() == [1, 0.5]
    both = aggregate_pairs(PAIRS, WEIGHTS, groups=GROUPS)
    assert both["p_a"].tolist() == pytest.approx([5 / 12, 0.5])  # mean of 2/6 and 1/2


def test_flips_count_only_items_both_rules_decide() -> None:
    result = flips(aggregate_pairs(PAIRS), aggregate_pairs(PAIRS, WEIGHTS))
    assert (result.flipped, result.tied, result.unmatched, result.share) == (1, 1, 0, 1.0)  # x: .625 to .375; y tied
    assert flips(aggregate_pairs(PAIRS), aggregate_pairs(PAIRS[:4])).unmatched == 1
    assert np.isnan(flips(aggregate_pairs(PAIRS[4:]), aggregate_pairs(PAIRS[4:])).share)


def test_swapping_the_responses_mirrors_the_share() -> None:
    swapped = PAIRS.assign(choice=PAIRS["choice"].map({"a": "b", "b": "a", "tie": "tie"}))
    for keywords in ({}, {"groups": GROUPS}):
        one, two = aggregate_pairs(PAIRS, WEIGHTS, **keywords), aggregate_pairs(swapped, WEIGHTS, **keywords)
        np.testing.assert_allclose(one["p_a"] + two["p_a"], 1)


def test_zero_weight_is_not_estimable_and_unknown_people_are_an_error() -> None:
    assert np.isnan(aggregate_pairs(PAIRS, WEIGHTS * 0)["p_a"]).all()
    with pytest.raises(RowError, match="weights lack annotator 'q'; they cover 3"):
        aggregate_pairs(PAIRS, WEIGHTS.drop("q"))
    with pytest.raises(SettingsError, match=">= 0"):
        aggregate_pairs(PAIRS, -WEIGHTS)
    with pytest.raises(RowError, match="'c'; allowed: a, b, tie"):
        aggregate_pairs(PAIRS.assign(choice="c"))


def test_who_is_in_no_group_counts_as_one_person() -> None:
    groups = GROUPS.astype("object")
    groups["r"] = None
    # x: r is one of four; the mean of the groups (g: a, a; h: tie) is 3/4: 3/4 · 3/4 + 1/4 · 0. y: both in groups.
    assert aggregate_pairs(PAIRS, groups=groups)["p_a"].tolist() == pytest.approx([9 / 16, 0.5])
    # with weights 1, 1, 4, 2 r is 4 of 8; the groups' mean is as before
    assert aggregate_pairs(PAIRS, WEIGHTS, groups=groups)["p_a"].tolist() == pytest.approx([3 / 8, 0.5])
    nobody = pd.Series(None, index=list("pqrs"), dtype="object")
    pd.testing.assert_series_equal(judgement_weights(PAIRS, WEIGHTS, groups=nobody), judgement_weights(PAIRS, WEIGHTS))


def test_who_is_in_no_group_has_no_veto_under_max_min() -> None:
    groups = GROUPS.astype("object")
    rows = PAIRS.assign(choice=["a", "a", "a", "b", "a", "a"])
    groups["s"] = None
    # x: g is all for a, s against it; all together 3/4: least support for a 3/4, for b 0
    table = aggregate(rows, "max-min", RuleInputs(groups=groups))
    assert table["p_a"].tolist() == [1, 1]
    assert table["worst_off"].tolist() == ["(all)", "g"]
    rated = aggregate(RATINGS.assign(kind="rating"), "max-min", RuleInputs(groups=groups))
    assert rated["value"].tolist() == pytest.approx([5 / 3, 2])  # g: (1 + 1 + 3) / 3 below all: 10 / 4; y: 2 below 3
    groups[["p", "q", "r"]], groups["s"] = None, "h"
    rated = aggregate(RATINGS.assign(kind="rating"), "max-min", RuleInputs(groups=groups))
    assert rated["value"].tolist() == [2.5, 3]  # h rates 5 and 4: those of no group bring the mean of all below it
    assert rated["worst_off"].tolist() == ["(all)", "(all)"]
    groups["s"] = None
    assert aggregate(rows, "max-min", RuleInputs(groups=groups))["p_a"].tolist() == [1, 1]  # as the majority


def test_who_makes_a_group() -> None:
    names = ["m"] * 5 + ["w"] * 5 + ["x"] * 2 + ["prefer_not_to_say"] * 6 + [None] + ["w"]
    groups = pd.Series(names, index=[f"r{k:02d}" for k in range(20)], dtype="object")
    raters = groups.index[:19]  # the last has judged nothing
    found = counted_groups(groups, raters)
    assert (found.counted, found.too_small, found.undisclosed) == ({"m": 5, "w": 5}, {"x": 2}, 7)
    assert found.groups.dropna().value_counts().to_dict() == {"m": 5, "w": 6}
    everybody = counted_groups(groups, raters, count_undisclosed=True)
    assert everybody.counted == {"m": 5, "prefer_not_to_say": 6, "w": 5}
    assert everybody.too_small == {"(unknown)": 1, "x": 2}
    seated = counted_groups(groups, raters, keep=["x", "prefer_not_to_say"])
    assert set(seated.counted) == {"m", "w", "x", "prefer_not_to_say"}
    assert (seated.too_small, seated.undisclosed) == ({}, 1)
    for each in (found, everybody, seated):
        assert sum(each.counted.values()) + sum(each.too_small.values()) + each.undisclosed == 19
    with pytest.raises(SettingsError, match="min_group 0; allowed: 1 or more"):
        counted_groups(groups, raters, min_group=0)


RATINGS = pd.DataFrame(
    {
        "item_id": ["x"] * 4 + ["y"] * 2,
        "annotator_id": ["p", "q", "r", "s", "p", "s"],
        "value": [1, 1, 3, 5, 2, 4],
    }
)


def test_rating_rules() -> None:
    assert aggregate_ratings(RATINGS)["value"].tolist() == [2.5, 3]
    assert aggregate_ratings(RATINGS, WEIGHTS)["value"].tolist() == pytest.approx([3, 10 / 3])  # 24/8, (2 + 8)/3
    assert aggregate_ratings(RATINGS, groups=GROUPS)["value"].tolist() == pytest.approx([10 / 3, 3])  # (5/3 + 5)/2
    assert aggregate_ratings(RATINGS, rule="median")["value"].tolist() == [1, 2]
    assert aggregate_ratings(RATINGS, WEIGHTS, rule="median")["value"].tolist() == [3, 4]
    majority = aggregate_ratings(RATINGS, rule="majority")["value"]
    assert majority[0] == 1
    assert np.isnan(majority[1])
    assert aggregate_ratings(RATINGS, WEIGHTS, rule="majority")["value"].tolist() == [3, 4]
    with pytest.raises(RowError, match="1 ratings without a value"):
        aggregate_ratings(RATINGS.assign(value=[np.nan, 1, 1, 1, 1, 1]))


def test_max_min_sides_with_the_group_that_stands_to_lose_most() -> None:
    # x: group g prefers a at 2/3, h (one tie) at 1/2: least support for a 1/2, for b 1/3, so a, and h is worst off.
    # y: p (g) prefers b, s (h) prefers a: either way one group gets nothing.
    table = aggregate(PAIRS, "max-min", RuleInputs(groups=GROUPS)).set_index("item_id")
    assert table["p_a"].tolist() == [1, 0.5]
    assert table["worst_off"].tolist() == ["h", ""]
    # three of g are content with a (p_g = 1) but h is wholly against it: equal, while a majority decides for a
    rows = PAIRS.assign(choice=["a", "a", "a", "b", "a", "a"])
    assert aggregate(rows, "max-min", RuleInputs(groups=GROUPS))["p_a"].tolist() == [0.5, 1]
    assert aggregate(rows, "majority")["p_a"].tolist() == [1, 1]
    rated = aggregate(RATINGS.assign(kind="rating"), "max-min", RuleInputs(groups=GROUPS)).set_index("item_id")
    assert rated["value"].tolist() == pytest.approx([5 / 3, 2])  # x: (1 + 1 + 3) / 3 against 5; y: 2 against 4
    assert rated["worst_off"].tolist() == ["g", "g"]


def test_rules_by_name_are_the_weighted_means_they_stand_for() -> None:
    inputs = RuleInputs(weights=WEIGHTS, groups=GROUPS)
    assert aggregate(PAIRS, "group-balanced", inputs)["p_a"].tolist() == pytest.approx([7 / 12, 0.5])
    assert aggregate(PAIRS, "population-weighted", inputs)["p_a"].tolist() == pytest.approx([0.375, 2 / 3])
    scalars = RATINGS.assign(kind="scalar", value=[-1.0, 1, 3, -5, 2, 4])
    assert aggregate(scalars, "mean")["value"].tolist() == [-0.5, 3]
    assert aggregate(scalars, "max-min", RuleInputs(groups=GROUPS))["value"].tolist() == [-5, 2]


def test_dawid_skene_rule_says_how_sure_it_is() -> None:
    rows = pd.DataFrame({"item_id": list("xxxyyy"), "annotator_id": list("pqrpqr"), "kind": "pair"})
    rows["choice"] = ["a", "a", "a", "b", "b", "b"]
    table = aggregate(rows, "dawid-skene")
    assert table["p_a"].tolist() == [1, 0]
    assert table["confidence"].tolist() == [1, 1]
    rated = aggregate(rows.assign(kind="rating", value=[4, 4, 4, 2, 2, 2]), "dawid-skene")
    assert rated["value"].tolist() == [4, 2]


@pytest.mark.parametrize("rule", ["dawid-skene", "mace", "glad"])
def test_two_raters_who_disagree_decide_nothing(rule: str) -> None:
    if rule != "dawid-skene":
        pytest.importorskip("crowdkit", reason="crowd-kit is not installed: pip install 'rlhf-fair[crowd]'")
    # by symmetry: swapping the two answers and the two raters of every item leaves the table as it is
    ids = {"item_id": np.repeat(np.arange(12), 2).astype(str), "annotator_id": [f"r{k}" for k in range(24)]}
    ratings = pd.DataFrame({**ids, "kind": "rating", "value": [1.0, 5.0] * 12})
    assert aggregate(ratings, rule)["value"].isna().all()
    assert aggregate(ratings, "majority")["value"].isna().all()
    pairs = pd.DataFrame({**ids, "kind": "pair", "choice": ["a", "b"] * 12})
    assert aggregate(pairs, rule)["p_a"].eq(0.5).all()


@pytest.mark.parametrize(("lead", "decided"), [(0.0009, False), (0.0011, True)])
def test_a_lead_too_small_to_tell_decides_nothing(lead: float, decided: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(answers: pd.DataFrame) -> SimpleNamespace:
        first, second, *_ = sorted(answers["answer"].unique())
        posterior = pd.DataFrame({first: [0.5 - lead / 2], second: [0.5 + lead / 2]}, index=["x"])
        return SimpleNamespace(posterior=posterior, converged=True)

    monkeypatch.setitem(LATENT_CLASS, "dawid-skene", fit)
    ids = {"item_id": "x", "annotator_id": ["p", "q"]}
    rated = aggregate(pd.DataFrame({**ids, "kind": "rating", "value": [1.0, 5.0]}), "dawid-skene")
    assert rated["value"].tolist() == [5.0] if decided else rated["value"].isna().all()
    p_a = aggregate(pd.DataFrame({**ids, "kind": "pair", "choice": ["a", "b"]}), "dawid-skene")["p_a"][0]
    assert p_a == (pytest.approx(0.5 - lead / 2) if decided else 0.5)


def test_what_a_rule_needs_is_said() -> None:
    with pytest.raises(SettingsError, match="'max-min' needs groups"):
        aggregate(PAIRS, "max-min")
    with pytest.raises(SettingsError, match=r"'bradley-terry' on feedback of kinds \['rating'\]; allowed: one of pair"):
        aggregate(RATINGS.assign(kind="rating"), "bradley-terry")
    with pytest.raises(SettingsError, match="rule = 'best'; allowed: mean, median"):
        aggregate(PAIRS, "best")
    usable, skipped = usable_rules("scalar", RuleInputs(groups=GROUPS))
    assert set(usable) | set(skipped) == set(RULES)
    assert set(skipped) == {"population-weighted", "dawid-skene", "mace", "glad", "bradley-terry"}


@pytest.mark.parametrize("rule", [name for name in RULES if "scalar" in RULES[name].kinds])
def test_values_too_large_to_add_are_named(rule: str) -> None:
    inputs = RuleInputs(weights=WEIGHTS, groups=GROUPS)
    scalars = RATINGS.assign(kind="scalar")
    with pytest.raises(RowError, match=r"value -1e\+308; allowed: -1e\+100 to 1e\+100"):
        aggregate(scalars.assign(value=[1, 2, -1e308, 4, 5, 6.0]), rule, inputs)
    assert np.isfinite(aggregate(scalars.assign(value=scalars["value"] * 1e99), rule, inputs)["value"][0])
    with pytest.raises(SettingsError, match=r"annotator weight 1e\+308; allowed: 0 to 1e\+100"):
        aggregate(scalars, "mean", RuleInputs(weights=WEIGHTS * 2.5e307))


def test_texts_are_collected_and_never_aggregated() -> None:
    rows = pd.DataFrame({"kind": ["edit", "pair", "revised_instruction", "edit"]})
    assert collected_only(rows) == {"edit": 2, "revised_instruction": 1}
    assert not any({"edit", "revised_instruction"} & set(rule.kinds) for rule in RULES.values())
