"""Consent, languages, several levels in a cell, expected drop-out, prices: worked by hand or enumerated."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rlhf_fair.annotators.attrition import DropOut, chance_below
from rlhf_fair.annotators.eligibility import Needs, eligibility
from rlhf_fair.annotators.minimums import Cell, Minimum
from rlhf_fair.annotators.panel import PanelPlan, plan_for
from rlhf_fair.annotators.population import Population
from rlhf_fair.annotators.quotas import Demand
from rlhf_fair.errors import ColumnError, SettingsError

ONE = Population.from_shares({"g": {"a": 1, "b": 1}})


def people(**columns: list[object]) -> pd.DataFrame:
    n = len(next(iter(columns.values())))
    names = {name: f"attr.{name}" if len(name) == 1 else name for name in columns}
    return pd.DataFrame({"annotator_id": [f"p{i}" for i in range(n)], **{names[k]: v for k, v in columns.items()}})


def planned(pool: pd.DataFrame, demand: Demand, population: Population = ONE) -> PanelPlan:
    return plan_for(pool, population, demand, rng=np.random.default_rng(0))


def test_only_who_consents_knows_the_language_and_has_room_is_drawn() -> None:
    pool = people(
        g=["a", "b"] * 4,
        consent=["yes", "Yes", "no", None, "true", "yes", "yes", "yes"],
        languages=["en|fr", "EN; de", "en", "en", "fr", "en", "english", "en"],
        skills=["law", "law,medicine", "law", "law", "law", None, "law", "law"],
        capacity=[10, 10, 10, 10, 10, 10, 10, 3],
    )
    able = eligibility(pool, Needs(("en",), ("Law",), 5))
    assert able.allowed.tolist() == [True, True] + [False] * 6
    assert able.reasons == {
        "no consent": 2,
        "languages: lacks en": 2,
        "skills: lacks Law": 1,
        "capacity: below 5 or unknown": 1,
    }
    plan = planned(pool, Demand(2, needs=Needs(("en",), ("law",), 5)))
    assert plan.members["annotator_id"].tolist() == ["p0", "p1"]
    assert (plan.eligible, plan.unplaced, sum(plan.ineligible.values())) == (2, 0, 6)
    with pytest.raises(ColumnError, match="skills"):
        eligibility(pool.drop(columns="skills"), Needs(skills=("law",)))


def test_whoever_names_two_levels_counts_in_both() -> None:
    # Half the population names A, 70 % name B: of 10 people 5 and 7, so two name both.
    named = Population.from_shares({"r": {"A": 0.5, "B": 0.7}}, multi_select=["r"])
    pool = people(r=["A"] * 20 + ["B"] * 20 + ["B|A"] * 5 + ["A | B"] * 5 + ["A|Z"] * 3)
    plan = planned(pool, Demand(10, tolerance=0), named)
    assert plan.targets["planned"].tolist() == [5, 7]
    assert plan.targets["available"].tolist() == [30, 30]
    assert plan.members["attr.r"].str.contains(r"\|").sum() == 2
    assert plan.unplaced == 3  # nobody knows what share names Z
    minimum = planned(pool, Demand(10, tolerance=3, minimums=(Minimum.parse("r=A:8"),)), named)
    assert minimum.targets["planned"].iloc[0] == 8
    with pytest.raises(SettingsError, match="overlaps"):
        named.joint()
    with pytest.raises(SettingsError, match="0 to 1"):
        Population.from_shares({"r": {"A": 50, "B": 70}}, multi_select=["r"])
    with pytest.raises(SettingsError, match="multi_select names 'q'"):
        Population.from_shares({"r": {"A": 0.5}}, multi_select=["q"])


def test_a_level_that_holds_the_separator_is_one_level() -> None:
    census = Population.from_shares({"r": {"A": 1, "B": 1, "A|B": 2}})
    plan = planned(people(r=["A"] * 9 + ["B"] * 9 + ["A|B"] * 9), Demand(8, tolerance=0), census)
    assert plan.targets["planned"].tolist() == [2, 2, 4]


def test_enough_are_invited_that_the_expected_finish() -> None:
    # 8 wanted, 4 of each: a stays (4), b leaves with .2: 5 * .8 = 4
    pool = people(g=["a", "b"] * 20)
    plan = planned(pool, Demand(8, tolerance=0, dropout=DropOut.parse(["g=b:0.2"])))
    assert plan.targets["planned"].tolist() == [4, 5]
    assert plan.targets["expected"].tolist() == [4, 4]
    found = plan.certificate()
    assert (found["size"], found["expected_finishers"], found["wanted_finishers"]) == (9, 8, 8)
    # fewer than 4 of 5 finish: binomial, .8^5 and 5 * .2 * .8^4 do not count
    assert plan.targets["chance_short"].tolist() == pytest.approx([0, 1 - 0.8**5 - 5 * 0.2 * 0.8**4])
    assert found["chance_of_fewer_finishers"] == pytest.approx(1 - 0.8**5 - 5 * 0.2 * 0.8**4)


def test_a_person_s_own_rate_goes_before_that_of_cells_and_of_everybody() -> None:
    pool = people(g=["a", "b", "b", "a"], dropout=[0.5, None, 0.0, None])
    rates = DropOut(0.1, ((Cell.parse("g=b"), 0.3),))
    assert rates.retention(pool).tolist() == pytest.approx([0.5, 0.7, 1.0, 0.9])
    with pytest.raises(SettingsError, match=r"'dropout' = '1\.0'"):
        rates.retention(pool.assign(dropout=1.0))
    with pytest.raises(SettingsError, match="dropout 'often'"):
        DropOut.parse(["often"])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.05, 1), min_size=1, max_size=8), st.integers(0, 9))
def test_the_chance_of_too_few_is_the_sum_over_all_outcomes(retention: list[float], needed: int) -> None:
    total = 0.0
    for outcome in itertools.product([0, 1], repeat=len(retention)):
        if sum(outcome) < needed:
            total += float(np.prod([p if stays else 1 - p for p, stays in zip(retention, outcome, strict=True)]))
    assert chance_below(retention, needed) == pytest.approx(total, abs=1e-9)


def test_equal_rates_are_binomial() -> None:
    assert chance_below([0.9] * 60, 50) == pytest.approx(stats.binom.cdf(49, 60, 0.9))


def test_prices_by_hand() -> None:
    # Targets 2 and 2, give or take 1: the cheapest is three a at 1 and one b at 2, cost 5. A second b costs 5 and takes
    # the place of an a at 1: +4. One more in all is a b (a is at its limit of 3): +5.
    pool = people(g=["a"] * 5 + ["b"] * 3, cost=[1.0] * 5 + [2.0, 5.0, 5.0])
    plan = planned(pool, Demand(4))
    assert plan.cost == 5
    prices = plan.prices().set_index("limit")
    assert prices.loc["g=b", ["exact", "basis"]].tolist() == [4, "re-solved"]
    assert prices.loc["g=a", ["dual", "basis"]].tolist() == [0, "not binding"]
    assert prices.loc["size = 4", "exact"] == 5


def test_a_price_that_no_panel_could_pay() -> None:
    pool = people(g=["a"] * 5 + ["b"] * 2, cost=[1.0] * 5 + [3.0] * 2)
    plan = planned(pool, Demand(4, tolerance=0, minimums=(Minimum.parse("g=b:2"),)))
    prices = plan.prices().set_index("limit")
    assert prices.loc["g=b: at least 2", "basis"] in ("impossible", "not binding")
    assert np.isnan(prices.loc["g=b: at least 2", "exact"])
