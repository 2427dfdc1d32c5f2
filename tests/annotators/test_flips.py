"""The flip report on a table small enough to do by hand, its intervals against plain sums, and its laws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_fair.annotators.aggregation_rules import RuleInputs, aggregate
from rlhf_fair.annotators.flips import FlipReport, FlipSettings, flip_report
from rlhf_fair.errors import SettingsError

PERSPECTIVE = Path(__file__).parents[3] / "shared/data/perspective-taking-toxicity"

# Items: three raters of group g and one of h. h disagrees on x, y; all agree on z; on w group g is split.
CHOICES = {"x": "aaab", "y": "bbba", "z": "aaaa", "w": ["a", "b", "tie", "a"]}
FEEDBACK = pd.DataFrame(
    [(i, r, "pair", c) for i, row in CHOICES.items() for r, c in zip("pqrs", row, strict=True)],
    columns=["item_id", "annotator_id", "kind", "choice"],
)
GROUPS = pd.Series({"p": "g", "q": "g", "r": "g", "s": "h"})


def report(feedback: pd.DataFrame, rules: list[str], groups: pd.Series = GROUPS, **options: object) -> FlipReport:
    weights = pd.Series({"p": 1.0, "q": 1.0, "r": 1.0, "s": 5.0})
    inputs = RuleInputs(weights=weights, groups=groups)
    results = {rule: aggregate(feedback, rule, inputs if rule != "majority" else None) for rule in rules}
    return compare(feedback, results, groups, **options)


def compare(
    feedback: pd.DataFrame, results: dict[str, pd.DataFrame], groups: pd.Series, **options: object
) -> FlipReport:
    settings = FlipSettings(**{"permutations": 99, **options})  # type: ignore[arg-type]
    aware = {"group-balanced", "max-min", "jury", "population-weighted"}
    return flip_report(feedback, results, groups, settings, group_aware=aware, rng=np.random.default_rng(0))


def test_by_hand() -> None:
    found = report(FEEDBACK, ["majority", "population-weighted"])
    rules = found.rules.set_index("rule")
    assert rules.loc["majority", ["decided", "undecided", "flipped"]].tolist() == [4, 0, 0]
    assert rules.loc["population-weighted", "flipped"] == 2  # x and y, where s outweighs p, q and r
    assert rules.loc["population-weighted", "share"] == 0.5
    groups = found.groups.set_index(["rule", "group"])
    assert groups.loc[("majority", "g"), ["items", "contradicted"]].tolist() == [3, 0]  # no majority of g on w
    assert groups.loc[("majority", "h"), ["items", "contradicted"]].tolist() == [4, 0.5]
    assert groups.loc[("population-weighted", "g"), "contradicted"] == pytest.approx(2 / 3)
    assert groups.loc[("population-weighted", "h"), "contradicted"] == 0
    assert groups.loc[("population-weighted", "h"), "change"] == -0.5
    assert groups.loc[("majority", "h"), "gap"] == 0.5
    # single judgements of g: 9 on x, y, z and a, b on w, of which b is overruled (w is decided for a)
    assert groups.loc[("majority", "g"), "overruled"] == pytest.approx(1 / 11)
    flipped = found.items[found.items["flipped"].fillna(False)]
    assert flipped[["item_id", "rule"]].to_numpy().tolist() == [
        ["x", "population-weighted"],
        ["y", "population-weighted"],
    ]


def test_an_undecided_rule_contradicts_nobody_and_a_silent_one_is_not_measured() -> None:
    found = report(FEEDBACK, ["majority", "max-min"])
    sides = found.items[found.items["rule"] == "max-min"].set_index("item_id")
    assert sides["side"].tolist() == [0, 0, 1, 1]
    groups = found.groups.set_index(["rule", "group"])
    assert (groups.loc["max-min", "contradicted"] == 0).all()
    assert found.rules.set_index("rule").loc["max-min", "undecided"] == 2
    results = {"majority": aggregate(FEEDBACK, "majority"), "other": aggregate(FEEDBACK[:4], "majority")}
    part = compare(FEEDBACK, results, GROUPS)
    assert part.rules.set_index("rule").loc["other", "unmeasured"] == 3
    assert part.groups.set_index(["rule", "group"]).loc[("other", "h"), "items"] == 1


def test_minimum_raters_and_unknown_groups() -> None:
    found = report(FEEDBACK, ["majority"], minimum_raters=2).groups.set_index("group")
    assert found.loc["h", "items"] == 0
    assert np.isnan(found.loc["h", "contradicted"])
    assert found.loc["h", "contradicted_reason"]
    groups = GROUPS.astype("object")
    groups["s"] = None
    assert set(report(FEEDBACK, ["majority"], groups=groups).groups["group"]) == {"g", "(unknown)"}


def test_a_jury_of_more_groups_than_raters_says_why_it_decides_nothing() -> None:
    """Eight groups have a seat each, every item has three raters: five seats at least stay empty."""
    rows = [(f"i{i}", f"r{(i + k) % 8}", "pair", "a") for i in range(8) for k in range(3)]
    feedback = pd.DataFrame(rows, columns=["item_id", "annotator_id", "kind", "choice"])
    groups = pd.Series([f"g{k}" for k in range(8)], index=[f"r{k}" for k in range(8)])
    results = {
        "majority": aggregate(feedback, "majority"),
        "jury": aggregate(feedback, "jury", RuleInputs(None, groups)),
    }
    row = compare(feedback, results, groups).rules.set_index("rule").loc["jury"]
    assert (row["decided"], row["unmeasured"]) == (0, 8)
    # each group is on 3 items of 8, so its seat is empty on 5
    assert row["reason"].startswith("8 of 8 items lack a rater of a group that has a seat (most often g")
    assert row["reason"].endswith(": 5); items have 3 judgements at the median")


@pytest.mark.parametrize("scale", [1.0, 1e100, 1e-320])
def test_sides_do_not_depend_on_the_scale(scale: float) -> None:
    rated = FEEDBACK.assign(kind="scalar", value=FEEDBACK["choice"].map({"a": 1.0, "b": -1.0, "tie": 0.0}) * scale)
    found = compare(rated, {"majority": aggregate(rated, "median")}, GROUPS)
    assert found.cut == 0
    assert found.items["side"].tolist() == [1, -1, 1, 0]  # medians a, b, a, tie (of a b tie a: the second lowest)


def test_ratings_are_cut() -> None:
    rated = FEEDBACK.assign(kind="rating", value=FEEDBACK["choice"].map({"a": 5, "b": 1, "tie": 3}))
    results = {
        "majority": aggregate(rated, "mean"),
        "group-balanced": aggregate(rated, "group-balanced", RuleInputs(groups=GROUPS)),
    }
    found = compare(rated, results, GROUPS)
    assert found.cut == 3
    sides = found.items.set_index(["rule", "item_id"])["side"]
    assert sides["majority"].tolist() == [1, -1, 1, 1]  # means 4, 2, 5, 3.5
    assert sides["group-balanced"].tolist() == [0, 0, 1, 1]  # 3, 3, 5, 4
    low = compare(rated, results, GROUPS, cut=4.5)
    assert low.items.set_index(["rule", "item_id"])["side"]["majority"].tolist() == [-1, -1, 1, -1]


def planted(rng: np.random.Generator, n_items: int, raters: int = 24) -> tuple[pd.DataFrame, pd.Series]:
    """A quarter of the raters sees 30 % of the items the other way round; five raters an item."""
    minority = {f"r{k}": ("minority" if k % 4 == 0 else "majority") for k in range(raters)}
    groups = pd.Series(minority)
    contested = rng.random(n_items) < 0.3
    rows = []
    for item in range(n_items):
        for rater in rng.choice(raters, 5, replace=False):
            side = (groups[f"r{rater}"] == "minority") and contested[item]
            right = rng.random() < 0.9
            rows.append((f"i{item}", f"r{rater}", "pair", "b" if side == right else "a"))
    return pd.DataFrame(rows, columns=["item_id", "annotator_id", "kind", "choice"]), groups


def test_a_planted_minority_loses_under_the_majority_and_less_under_balance() -> None:
    feedback, groups = planted(np.random.default_rng(3), 600)
    inputs = RuleInputs(groups=groups)
    rules = ["majority", "group-balanced", "max-min", "jury", "dawid-skene"]
    results = {rule: aggregate(feedback, rule, inputs if rule != "majority" else None) for rule in rules}
    table = compare(feedback, results, groups, permutations=999).groups.set_index(["rule", "group"])
    lost = table.loc[("majority", "minority")]
    assert lost["gap_ci_low"] > 0.05
    assert lost["gap"] > lost["gap_by_chance"] + 0.05
    # The smallest two-sided p of 999 lots is .002; two rules are blind to groups, which makes four gaps.
    assert lost["gap_p_adjusted"] <= 0.008
    assert np.isnan(table.loc[("jury", "minority"), "gap_p_value"])
    assert table.loc[("group-balanced", "minority"), "change_ci_high"] < 0
    assert (
        table.loc[("dawid-skene", "minority"), "contradicted"]
        > table.loc[("group-balanced", "minority"), "contradicted"]
    )


def test_groups_of_equal_size_dealt_by_lot_have_no_gap() -> None:
    """Of 100 null tables the 95 % interval of the gap should miss 0 about 5 times (sd 2.2)."""
    missed = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        feedback, _ = planted(rng, 60)
        groups = pd.Series({f"r{k}": g for k, g in enumerate(rng.permutation(["u", "v"] * 12))})
        results = {"majority": aggregate(feedback, "majority")}
        row = compare(feedback, results, groups, permutations=0).groups.iloc[0]
        missed += not row["gap_ci_low"] <= 0 <= row["gap_ci_high"]
    assert missed <= 12  # three standard deviations above what is meant


def test_a_small_group_is_contradicted_more_by_arithmetic_alone_and_the_lots_know_it() -> None:
    """Of 100 null tables with a group of a quarter, p <= .05 about 5 times (sd 2.2), though the gap is not 0."""
    rejected, gap, chance = 0, [], []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        feedback, _ = planted(rng, 60)
        groups = pd.Series({f"r{k}": g for k, g in enumerate(rng.permutation(["small"] * 6 + ["large"] * 18))})
        rows = compare(feedback, {"majority": aggregate(feedback, "majority")}, groups).groups.set_index("group")
        rejected += rows.loc["small", "gap_p_value"] <= 0.05
        gap.append(rows.loc["small", "gap"])
        chance.append(rows.loc["small", "gap_by_chance"])
    assert rejected <= 12
    assert np.mean(gap) > 0.05
    assert np.mean(chance) == pytest.approx(np.mean(gap), abs=3 * np.std(gap) / 10)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_laws(seed: int) -> None:
    feedback, groups = planted(np.random.default_rng(seed), 12, raters=8)
    results = {
        "majority": aggregate(feedback, "majority"),
        "jury": aggregate(feedback, "jury", RuleInputs(groups=groups)),
    }
    found = compare(feedback, results, groups)
    mirrored = feedback.assign(choice=feedback["choice"].map({"a": "b", "b": "a"}))
    turned = {name: table.assign(p_a=1 - table["p_a"]) for name, table in results.items()}
    again = compare(mirrored, turned, groups)
    pd.testing.assert_frame_equal(found.groups, again.groups)  # which response is called a does not matter
    assert found.rules["decided"].add(found.rules["undecided"]).add(found.rules["unmeasured"]).eq(12).all()
    for name in ("contradicted", "overruled"):
        known = found.groups[name].dropna()
        assert known.between(0, 1).all()


@pytest.mark.skipif(not PERSPECTIVE.exists(), reason="data set not at hand: ../shared/data/perspective-taking-toxicity")
def test_women_and_men_of_a_public_set_against_its_published_group_shares() -> None:
    """The set publishes the share of women and of men who call each of 120 comments toxic."""
    table = pd.read_csv(PERSPECTIVE / "pilot_annotations.csv")
    published = pd.read_csv(PERSPECTIVE / "comments.csv").set_index("id")[["pos_f", "pos_m"]]
    feedback = pd.DataFrame({"item_id": table["comment"], "annotator_id": table["workerId"], "kind": "pair"})
    feedback["choice"] = table["answer"].map({1: "a", -1: "b"})
    groups = table.drop_duplicates("workerId").set_index("workerId")["gender"]
    found = compare(feedback, {"majority": aggregate(feedback, "majority")}, groups, permutations=0)
    overall = np.sign(table.groupby("comment")["answer"].sum().reindex(published.index))
    rows = found.groups.set_index("group")
    for group, column in (("Female", "pos_f"), ("Male", "pos_m")):
        own = np.sign((published[column] - 0.5).round(9))
        assert rows.loc[group, "contradicted"] == pytest.approx(((overall * own) < 0).sum() / (own != 0).sum())


def test_faults_are_named() -> None:
    with pytest.raises(SettingsError, match="baseline 'mean' is not among the rules majority"):
        report(FEEDBACK, ["majority"], baseline="mean")
    with pytest.raises(SettingsError, match="minimum_raters 0"):
        FlipSettings(minimum_raters=0)
    mixed = FEEDBACK.assign(kind=["pair"] * 15 + ["edit"])
    with pytest.raises(SettingsError, match="one kind at a time"):
        compare(mixed, {"majority": aggregate(FEEDBACK, "majority")}, GROUPS)
