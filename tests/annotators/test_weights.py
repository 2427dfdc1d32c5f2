"""Weights: Kish's numbers, margins met, trimming, people of whom something is unknown."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_fair.annotators.population import Population
from rlhf_fair.annotators.weights import design_effect, raking_weights
from rlhf_fair.errors import ColumnError, SettingsError
from rlhf_fair.stats.columns import kish_effective_n

PEOPLE = Population.from_shares({"gender": {"woman": 0.5, "man": 0.5}, "age": {"young": 0.4, "old": 0.6}})


def make_members(women_young: int, women_old: int, men_young: int, men_old: int) -> pd.DataFrame:
    cells = {
        ("woman", "young"): women_young,
        ("woman", "old"): women_old,
        ("man", "young"): men_young,
        ("man", "old"): men_old,
    }
    rows = [cell for cell, count in cells.items() for _ in range(count)]
    table = pd.DataFrame(rows, columns=["attr.gender", "attr.age"])
    return table.assign(annotator_id=[f"p{i}" for i in range(len(rows))])


def test_kish_numbers() -> None:
    assert kish_effective_n([1, 1, 1, 1, 3, 3]) == pytest.approx(4.5455, abs=5e-5)  # 10^2 / 22
    assert design_effect([1, 1, 1, 1, 3, 3]) == pytest.approx(1.32)
    assert kish_effective_n([2, 2, 2]) == pytest.approx(3)
    assert np.isnan(kish_effective_n([0, 0]))


@settings(deadline=None)
@given(st.lists(st.integers(1, 20), min_size=4, max_size=4))
def test_margins_are_met_and_odds_ratio_kept(counts: list[int]) -> None:
    members = make_members(*counts)
    found = raking_weights(members, PEOPLE, trim=1e9)
    assert found.weights.mean() == pytest.approx(1)
    assert found.max_gap < 1e-6
    joint = members.assign(w=found.weights.to_numpy()).groupby(["attr.gender", "attr.age"])["w"].sum()
    odds = joint["woman", "young"] * joint["man", "old"] / (joint["woman", "old"] * joint["man", "young"])
    assert odds == pytest.approx(counts[0] * counts[3] / (counts[1] * counts[2]), rel=1e-4)


def test_one_margin_is_post_stratification() -> None:
    # 1 woman of 4, wanted half: her weight is .5/.25 = 2, the men's .5/.75 = 2/3
    people = Population.from_shares({"gender": {"woman": 1, "man": 1}})
    found = raking_weights(make_members(1, 0, 3, 0), people)
    assert found.weights.tolist() == pytest.approx([2, 2 / 3, 2 / 3, 2 / 3])
    assert found.weights.index.tolist() == ["p0", "p1", "p2", "p3"]


def test_design_weights_are_the_start() -> None:
    # a level's two members were drawn with probability 1 and 1/3: inside the level their weights stay 1 to 3
    people = Population.from_shares({"gender": {"woman": 1, "man": 1}})
    members = make_members(2, 0, 2, 0).assign(inclusion_probability=[1, 1 / 3, 0.5, 0.5])
    assert raking_weights(members, people).weights.tolist() == pytest.approx([0.5, 1.5, 1, 1])
    with pytest.raises(SettingsError, match=r"\(0, 1\]"):
        raking_weights(members.assign(inclusion_probability=0), people)


def test_trimming_caps_weights_and_reports_the_gap_it_leaves() -> None:
    members = make_members(1, 0, 50, 49)
    free, capped = raking_weights(members, PEOPLE, trim=1e9), raking_weights(members, PEOPLE, trim=5)
    assert free.weights.max() > 5
    assert capped.weights.max() == pytest.approx(5)
    assert capped.weights.mean() == pytest.approx(1)
    assert capped.trimmed == 1
    assert capped.max_gap == pytest.approx(0.45)  # one woman of 100 at weight 5 stands for 5 %, not 50 %
    with pytest.raises(SettingsError, match="trim = 1; allowed"):
        raking_weights(members, PEOPLE, trim=1)


def test_unknown_attributes_are_counted_and_left_out_of_their_margin() -> None:
    members = make_members(10, 10, 10, 10)
    members.loc[0, "attr.gender"] = None
    members.loc[1:2, "attr.gender"] = "other"
    found = raking_weights(members, PEOPLE)
    assert found.unknown == {"gender": 3, "age": 0}
    assert (found.weights > 0).all()
    assert found.max_gap < 1e-6
    women = found.margins.set_index(["attribute", "level"]).loc[("gender", "woman")]
    assert women["panel"] == pytest.approx(17 / 37)


def test_cells_nobody_stands_for_are_visible() -> None:
    found = raking_weights(make_members(5, 0, 5, 0), PEOPLE)
    old = found.margins.set_index("level").loc["old"]
    assert (old["target"], old["panel"], old["weighted"]) == (0.6, 0, 0)
    assert found.max_gap == pytest.approx(0.6)
    assert found.weights.tolist() == pytest.approx([1] * 10)


def test_missing_column_is_named() -> None:
    with pytest.raises(ColumnError, match=r"panel lacks column 'attr\.age'"):
        raking_weights(make_members(1, 1, 1, 1).drop(columns="attr.age"), PEOPLE)
